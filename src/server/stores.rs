//! Stores of the settings and of commands: opens them, checks them for a purpose, and migrates them.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Duration};

use storage::{Restoration, Storage, memory::Memory, postgres, sqlite, tables::Copyable};

use super::StartError;
use crate::{
    config::{Config, Store},
    events,
    metrics::Metrics,
    transaction::change_workspace,
};

/// Readers of a database file: more than the reads that a small machine runs at once.
const FILE_READERS: u32 = 8;
/// Time limit of waiting for the writer of a database file, or for a reader.
const FILE_PATIENCE: Duration = Duration::from_secs(5);
/// Time limit of a statement on a database file.
const FILE_STATEMENT: Duration = Duration::from_secs(10);
/// Time limit of a transaction on a database file, for which all other writers wait.
const FILE_TRANSACTION: Duration = Duration::from_secs(5);

/// Access that a command needs to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reads only, for which a standby suffices.
    Read,
    Write,
    /// Writes, after a migration of the schema.
    Migrate,
    /// Writes of the server, which is the only one of a database file.
    Serve {
        migrate: bool,
        /// True for a store that was moved and is to be served all the same.
        after_all: bool,
    },
}

impl Purpose {
    fn migrates(self) -> bool {
        matches!(self, Self::Migrate | Self::Serve { migrate: true, .. })
    }
}

/// Opens the store of the settings, checks it for the purpose, and migrates it if asked.
pub async fn open_storage(config: &Config, purpose: Purpose, metrics: &Metrics) -> Result<Arc<dyn Storage>, StartError> {
    let address = match config.store() {
        Store::Memory => return Ok(Arc::new(Memory::new())),
        Store::Sqlite(file) => return open_file(file, purpose, metrics).await,
        Store::Postgres(address) => address,
    };
    let storage = open_database(address, config).await?;
    storage.observe(observer(metrics));
    if purpose != Purpose::Read {
        storage.require_writable().await?;
    }
    if purpose.migrates() {
        refuse_beside_other_versions(&storage.blocking_nodes(env!("CARGO_PKG_VERSION")).await?)?;
        storage.make_schema_current().await?;
    }
    if purpose != Purpose::Read {
        refuse_moved(&storage, purpose).await?;
        storage.require_sequence_rights().await?;
        events::restart_log_if_lost(&storage).await?;
    }
    for setting in storage.lossy_settings().await? {
        tracing::warn!(setting, "database may lose confirmed commits: this setting is off");
    }
    Ok(Arc::new(storage))
}

/// Counts the statements of a store.
fn observer(metrics: &Metrics) -> postgres::Observer {
    let metrics = metrics.clone();
    Arc::new(move |operation, time, failed| metrics.statement(operation, time, failed))
}

/// Opens a store for a copy of all that it holds. Only a new store may be missing.
pub async fn open_copyable(store: Store<'_>, is_new: bool, config: &Config) -> Result<Arc<dyn Copyable>, StartError> {
    match store {
        Store::Memory => Err("memory: ends with its server: name a database".into()),
        Store::Sqlite(file) if !is_new && !file.is_file() => Err(format!("{}: no such file", file.display()).into()),
        Store::Sqlite(file) => Ok(Arc::new(make_file(file).await?)),
        Store::Postgres(address) => Ok(Arc::new(open_database(address, config).await?)),
    }
}

async fn open_database(address: &str, config: &Config) -> Result<postgres::Postgres, StartError> {
    let storage = postgres::Postgres::open(&database_options(address, config)).await?;
    storage.require_restored().await?;
    Ok(storage)
}

fn database_options(address: &str, config: &Config) -> postgres::Options {
    postgres::Options {
        url: address.to_owned(),
        max_connections: config.postgres.max_connections,
        acquire_timeout: Duration::from_millis(config.postgres.acquire_milliseconds),
        statement_timeout: Duration::from_millis(config.postgres.statement_milliseconds),
    }
}

/// Opens a database file, and makes it if there is none, with its directory.
async fn make_file(file: &Path) -> Result<sqlite::Sqlite, StartError> {
    make_directory_of(file)?;
    Ok(sqlite::Sqlite::open(&file_options(file)).await?)
}

fn make_directory_of(file: &Path) -> Result<(), StartError> {
    if let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| format!("storage: {}: {error}", directory.display()))?;
    }
    Ok(())
}

fn file_options(file: &Path) -> sqlite::Options {
    sqlite::Options {
        path: file.to_owned(),
        readers: FILE_READERS,
        acquire_timeout: FILE_PATIENCE,
        statement_timeout: FILE_STATEMENT,
        transaction_timeout: FILE_TRANSACTION,
        max_bytes: None,
    }
}

/// Opens a store for a backup, which makes no store, and migrates none.
pub async fn open_for_backup(config: &Config) -> Result<Arc<dyn Storage>, StartError> {
    let file = match config.store() {
        Store::Memory => return Err("storage: memory: ends with the server; name a database".into()),
        Store::Sqlite(file) => file,
        Store::Postgres(_) => return open_storage(config, Purpose::Write, &Metrics::default()).await,
    };
    if !file.is_file() {
        return Err(format!("storage: {}: no such file", file.display()).into());
    }
    let storage = sqlite::Sqlite::open(&file_options(file)).await?;
    if storage.needs_migration() {
        let file = file.display();
        return Err(format!("storage: {file}: its schema is of an older version: run `dragoman migrate` first").into());
    }
    Ok(Arc::new(storage))
}

/// Begins to restore a backup into the store of the settings, which is missing or empty.
pub async fn begin_restoration(config: &Config) -> Result<Box<dyn Restoration>, StartError> {
    match config.store() {
        Store::Memory => Err("storage: memory: ends with the server; name a database".into()),
        Store::Sqlite(file) => {
            make_directory_of(file)?;
            Ok(sqlite::Sqlite::begin_restoration(&file_options(file)).await?)
        }
        Store::Postgres(address) => Ok(postgres::Postgres::begin_restoration(&database_options(address, config)).await?),
    }
}

/// Opens a database file. A command makes and migrates it as well, but not while a server has it.
async fn open_file(file: &Path, purpose: Purpose, metrics: &Metrics) -> Result<Arc<dyn Storage>, StartError> {
    let storage = make_file(file).await?;
    storage.observe(observer(metrics));
    let is_server = matches!(purpose, Purpose::Serve { .. });
    if is_server || storage.needs_migration() {
        storage.lock_exclusive()?;
        if !is_server || purpose.migrates() {
            storage.migrate().await?;
        }
        if !is_server {
            storage.unlock();
        }
    }
    if purpose != Purpose::Read {
        refuse_moved(&storage, purpose).await?;
    }
    Ok(Arc::new(storage))
}

/// Refuses a store that was moved, or that a move has not filled completely: what is written there would be lost.
async fn refuse_moved(storage: &dyn Storage, purpose: Purpose) -> Result<(), StartError> {
    let workspace = storage.workspace().await?;
    if workspace.unfinished_copy_of.is_some() {
        return Err("storage: `dragoman move` has not finished filling this store: run it again, or name another store".into());
    }
    match (workspace.moved_to, purpose) {
        (None, _) | (_, Purpose::Read | Purpose::Migrate) => Ok(()),
        (Some(_), Purpose::Serve { after_all: true, .. }) => Ok(change_workspace(storage, |workspace| workspace.moved_to = None).await?),
        (Some(to), _) => Err(format!(
            "storage: this store was moved to {to}: use that one, or start a server on this one with `dragoman serve --after-all`, \
             without what was said there since"
        )
        .into()),
    }
}

/// Refuses a migration while nodes of other versions serve the database, which cannot work after it.
fn refuse_beside_other_versions(others: &[postgres::OtherNode]) -> Result<(), StartError> {
    let Some(last) = others.iter().map(|node| node.until).max() else { return Ok(()) };
    let named = others.iter().map(|node| format!("{} (version {})", node.id, node.version.as_deref().unwrap_or("0.1.0")));
    let named = named.collect::<Vec<_>>().join(", ");
    Err(format!(
        "migrate: nodes of other versions serve this database, stop them first: {named}; if they are dead, wait until {last}"
    )
    .into())
}
