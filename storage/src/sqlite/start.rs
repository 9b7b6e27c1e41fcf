//! Start-up checks of the file, and migrations.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migrate as _, MigrateError};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Executor as _};

use super::{
    MIGRATIONS, Sqlite,
    cause::StoreName,
    connection::{Connection, connect, writer_options},
    error::explain,
    files::make,
    get, only,
};
use crate::{Error, Result};

/// The first version without the error by which two connections could damage the write-ahead log as it starts anew.
const LEAST_VERSION: [u32; 3] = [3, 51, 3];
/// The mark of this program's files, as the first migration sets it.
const APPLICATION: i64 = 0x4452_4147;
const TABLE: &str = "_sqlx_migrations";

const PROPERTIES: &str = "SELECT sqlite_version() AS version, (SELECT application_id FROM pragma_application_id) AS application,
    (SELECT count(*) FROM sqlite_schema) AS objects,
    EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations') AS is_migrated";
pub(super) const NEWEST: &str = "SELECT max(version) FROM _sqlx_migrations";
const BROKEN_REFERENCES: &str = "PRAGMA foreign_key_check";
const COPY: &str = "VACUUM INTO $1";

/// Refuses a version of SQLite that may damage the file, and a file of another program or of a newer version of this one. Returns
/// the version of the schema; `None` if there is none yet.
pub(super) async fn inspect(name: &StoreName, connection: &mut Connection, limit: Duration) -> Result<Option<i64>> {
    let until = Instant::now() + limit;
    let rows = connection.rows(sqlx::query(PROPERTIES), until).await.map_err(|error| explain(name, error))?;
    let row = only(rows.first())?;
    let version: &str = get(row, "version")?;
    let numbers: Vec<u32> = version.split('.').map_while(|number| number.parse().ok()).collect();
    if numbers.as_slice() < LEAST_VERSION.as_slice() {
        return Err(name.unusable(format!("SQLite {version} may damage it"), "build with SQLite 3.51.3 or later"));
    }
    let application: i64 = get(row, "application")?;
    let is_foreign = if application == 0 { get::<i64, _>(row, "objects")? > 0 } else { application != APPLICATION };
    if is_foreign {
        return Err(name.unusable("it is a database of another program", "name a file of this program, or a new one"));
    }
    if !get::<bool, _>(row, "is_migrated")? {
        return Ok(None);
    }
    let rows = connection.rows(sqlx::query(NEWEST), until).await.map_err(|error| explain(name, error))?;
    match get::<Option<i64>, _>(only(rows.first())?, 0)? {
        Some(found) if found > newest() => Err(name.unusable(
            format!("its schema is of a newer version: {found}, and this program knows {}", newest()),
            "start that version of the program again, or restore a backup of before the upgrade",
        )),
        found => Ok(found),
    }
}

/// Version of the schema that this program makes.
pub(super) fn newest() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Copies of a file that a migration changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    /// One beside it, as it was before.
    Before,
    None,
}

impl Sqlite {
    /// True if the schema was not that of this program when the file was opened.
    pub fn needs_migration(&self) -> bool {
        self.core.schema != Some(newest())
    }

    /// Migrates the schema, completely or not at all. A file that has one already is copied first, to `NAME.before-VERSION`
    /// beside it. Several processes may do so at once: one does, the others wait for it.
    ///
    /// # Errors
    /// `Unavailable` if the file cannot be written, or another process keeps its lock; `Internal` if a migration fails.
    ///
    /// # Cancel safety
    /// A dropped call rolls back.
    pub async fn migrate(&self) -> Result<()> {
        self.migrate_with(Copies::Before).await
    }

    /// Migrates the schema of a file that is a copy itself.
    pub(super) async fn migrate_in_place(&self) -> Result<()> {
        self.migrate_with(Copies::None).await
    }

    async fn migrate_with(&self, copies: Copies) -> Result<()> {
        self.run_migrations(copies).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => self.core.explain(error),
            error => Error::Internal(error.into()),
        })
    }

    async fn run_migrations(&self, copies: Copies) -> Result<(), MigrateError> {
        let files = &self.core.files;
        // A migration that makes a table anew must not delete what refers to it.
        let options = writer_options(files.database(), None).foreign_keys(false);
        let mut connection = connect(&options).await?;
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        tx.ensure_migrations_table(TABLE).await?;
        let applied = tx.list_applied_migrations(TABLE).await?;
        let is_behind = applied.iter().all(|migration| migration.version < newest());
        if is_behind && !applied.is_empty() && copies == Copies::Before {
            let mut other = connect(&options).await?;
            copy(&mut other, &files.copy_before(newest())).await?;
            other.close().await?;
        }
        MIGRATIONS.run_direct(None, &mut *tx, false).await?;
        if is_behind && !tx.fetch_all(BROKEN_REFERENCES).await?.is_empty() {
            return Err(MigrateError::Source("rows refer to others that are not there".into()));
        }
        tx.commit().await?;
        connection.close().await?;
        Ok(())
    }
}

/// Copies the committed state to another file, which is there completely or not at all. Only its owner reads it.
pub(super) async fn copy(connection: &mut SqliteConnection, target: &Path) -> sqlx::Result<()> {
    let unfinished = target.with_added_extension("unfinished");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // SQLite would let others read it.
    make(&unfinished)?;
    let name = unfinished.to_str().ok_or_else(|| sqlx::Error::Protocol("the path of the file is not Unicode".into()))?;
    let copied = async {
        sqlx::query(COPY).bind(name).execute(connection).await?;
        File::open(&unfinished)?.sync_all()?;
        Ok(fs::rename(&unfinished, target)?)
    }
    .await;
    if copied.is_err() {
        // A full disk needs its room.
        let _ = fs::remove_file(&unfinished);
    }
    copied
}
