//! Dumps: copies of the file; and the replacement of an empty file by one.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::io::AsyncRead;
use uuid::Uuid;

use super::cause::StoreName;
use super::files::{Files, beside, make};
use super::messages::attachments::{OBJECTS, named_object};
use super::{Options, Sqlite, connection, error::explain, get, limit, start};
use crate::dump::RESTORED_STATEMENT_TIMEOUT;
use crate::{Dump, Dumps, Error, NamedObject, Restoration, Result, RowCounts, Storage, Workspaces};

const COUNTS: &str = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM conversations), (SELECT count(*) FROM messages)";
/// Reads all pages. Says what is wrong with the first that is damaged.
const CHECK: &str = "PRAGMA quick_check(1)";
const BYTES: &str = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";

#[async_trait]
impl Dumps for Sqlite {
    async fn dump(&self, file: &Path) -> Result<Box<dyn Dump>> {
        let core = &self.core;
        core.files.check()?;
        // Errors may be those of the other file.
        let name = StoreName::of(file);
        let copied = async {
            let mut reader = connection::copier_options(core.files.database()).connect().await?;
            start::copy(&mut reader, file).await?;
            reader.close().await?;
            connection::copy_options(file).connect().await
        };
        let copy = copied.await.map_err(|error| explain(&name, error))?;
        Ok(Box::new(SqliteDump { copy, name }))
    }

    async fn row_counts(&self) -> Result<RowCounts> {
        counts(&self.only_row(sqlx::query(COUNTS)).await?)
    }
}

/// The copy, which nobody writes.
struct SqliteDump {
    copy: SqliteConnection,
    name: StoreName,
}

#[async_trait]
impl Dump for SqliteDump {
    async fn schema(&mut self) -> Result<i64> {
        let row = sqlx::query(start::NEWEST).fetch_one(&mut self.copy).await;
        get(&row.map_err(|error| explain(&self.name, error))?, 0)
    }

    async fn row_counts(&mut self) -> Result<RowCounts> {
        let row = sqlx::query(COUNTS).fetch_one(&mut self.copy).await;
        counts(&row.map_err(|error| explain(&self.name, error))?)
    }

    async fn objects(&mut self, after: &str, most: usize) -> Result<Vec<NamedObject>> {
        let rows = sqlx::query(OBJECTS).bind(after).bind(limit(most)).fetch_all(&mut self.copy).await;
        rows.map_err(|error| explain(&self.name, error))?.iter().map(named_object).collect()
    }
}

fn counts(row: &sqlx::sqlite::SqliteRow) -> Result<RowCounts> {
    Ok(RowCounts { users: get(row, 0)?, conversations: get(row, 1)?, messages: get(row, 2)? })
}

/// Restoration into a file beside the store's own, which it replaces at the end. The lock file is taken until then.
struct SqliteRestoration {
    options: Options,
    name: StoreName,
    files: Files,
    replaced: Option<Uuid>,
    /// The restored store.
    staged: Option<Sqlite>,
}

impl Sqlite {
    /// Begins to restore a dump into a file that is not there, or holds no data.
    ///
    /// # Errors
    /// `Internal` if the store has data, or its file cannot be used; `Unavailable` if another process serves it.
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind but an empty lock file.
    pub async fn begin_restoration(options: &Options) -> Result<Box<dyn Restoration>> {
        let path = std::path::absolute(&options.path).map_err(|error| Error::Unavailable(error.into()))?;
        let name = StoreName::of(&path);
        let files = Files::find(&path, name.clone())?;
        files.lock()?;
        let options = Options { path: files.database().to_owned(), ..options.clone() };
        let mut restoration = SqliteRestoration { options, name, files, replaced: None, staged: None };
        restoration.replaced = restoration.replaceable().await?;
        Ok(Box::new(restoration))
    }
}

impl SqliteRestoration {
    /// Refuses a store with data. Returns its workspace.
    async fn replaceable(&self) -> Result<Option<Uuid>> {
        if fs::metadata(&self.options.path).map_or(0, |found| found.len()) == 0 {
            return Ok(None);
        }
        let store = Sqlite::open(&self.options).await?;
        let found = match store.core.schema {
            Some(_) if !store.is_empty().await? => {
                Err(self.name.unusable("it holds data", "restore into a file that is not there, or an empty store"))
            }
            Some(_) => store.workspace().await.map(|workspace| workspace.uuid),
            None => Ok(None),
        };
        store.close().await;
        found
    }

    fn staging_file(&self) -> PathBuf {
        beside(self.files.database(), ".restoring")
    }
}

#[async_trait]
impl Restoration for SqliteRestoration {
    fn schema(&self) -> i64 {
        start::newest()
    }

    fn replaced(&self) -> Option<Uuid> {
        self.replaced
    }

    async fn load(&mut self, dump: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Arc<dyn Storage>> {
        let path = self.staging_file();
        let written = async {
            remove_database(&path)?;
            make(&path)?;
            let mut file = tokio::fs::OpenOptions::new().write(true).open(&path).await?;
            tokio::io::copy(dump, &mut file).await?;
            file.sync_all().await
        };
        written.await.map_err(|error| self.refused(&path, &error))?;
        self.require_undamaged(&path).await?;
        let limits = Options { statement_timeout: RESTORED_STATEMENT_TIMEOUT, ..self.options.clone() };
        let staged = Sqlite::open(&Options { path, ..limits }).await?;
        if staged.core.schema.is_none() {
            return Err(self.damaged("it has no tables"));
        }
        staged.migrate_in_place().await?;
        self.staged = Some(staged.clone());
        Ok(Arc::new(staged))
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let Some(staged) = self.staged.take() else { return Err(Error::Internal("nothing was loaded".into())) };
        staged.checkpoint().await?;
        staged.close().await;
        // A command may have written to the store meanwhile.
        self.replaceable().await?;
        let (path, database) = (self.staging_file(), self.files.database());
        let moved = || {
            if fs::exists(beside(&path, "-wal"))? {
                return Err(std::io::Error::other("its write-ahead log could not be moved into it"));
            }
            File::open(&path)?.sync_all()?;
            // A write-ahead log belongs to the file that it was written for.
            for log in ["-wal", "-shm"] {
                remove(&beside(database, log))?;
            }
            fs::rename(&path, database)?;
            File::open(database.parent().unwrap_or(database))?.sync_all()
        };
        moved().map_err(|error| self.refused(&path, &error))
    }
}

impl SqliteRestoration {
    /// Refuses a file that is damaged: a copy of a database file comes without a digest.
    async fn require_undamaged(&self, file: &Path) -> Result<()> {
        let checked = async {
            let mut connection = connection::copy_options(file).connect().await?;
            let bytes: i64 = sqlx::query_scalar(BYTES).fetch_one(&mut connection).await?;
            let found: String = sqlx::query_scalar(CHECK).fetch_one(&mut connection).await?;
            connection.close().await?;
            // SQLite completes a page of which only a part is there.
            let is_cut = fs::metadata(file)?.len() < bytes.unsigned_abs();
            Ok(if is_cut { "it is cut off".to_owned() } else { found })
        };
        let found = checked.await.unwrap_or_else(|error: sqlx::Error| error.to_string());
        if found == "ok" { Ok(()) } else { Err(self.damaged(&found.split_whitespace().collect::<Vec<_>>().join(" "))) }
    }

    fn damaged(&self, what: &str) -> Error {
        self.name.unusable(format!("the rows to be restored are damaged: {what}"), "restore another backup")
    }

    fn refused(&self, path: &Path, error: &std::io::Error) -> Error {
        self.name.unavailable(
            format!("{} cannot be written, or put in its place: {error}", path.display()),
            "check the space, the owner and the mode of its directory",
        )
    }
}

/// Removal of the unfinished copy, whose room the disk may need.
impl Drop for SqliteRestoration {
    fn drop(&mut self) {
        // The next restoration removes what is left after an error.
        let _ = remove_database(&self.staging_file());
    }
}

/// Removes a database with its write-ahead log, if there is one.
fn remove_database(path: &Path) -> std::io::Result<()> {
    ["", "-wal", "-shm"].iter().try_for_each(|suffix| remove(&beside(path, suffix)))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
