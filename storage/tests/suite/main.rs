//! The storage suite: the tests of all backends. A test is an async function of an empty store; [`on_every_backend!`]
//! makes a test for each backend from it, for example `rollback_leaves_no_trace::memory`.

// `.clippy.toml` allows these only in functions that are marked as tests themselves.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use storage::{Storage, memory::Memory};

/// Time-out of a test. It means that the test hangs: none takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

macro_rules! on_every_backend {
    ($($test:ident),+ $(,)?) => {
        $(mod $test {
            on_each_of! { $test:
                // The list of backends.
                memory => crate::memory_store(),
                #[cfg(feature = "postgres")]
                postgres => crate::postgres_store(),
                #[cfg(feature = "sqlite")]
                sqlite => crate::sqlite_store(),
            }
        })+
    };
}

macro_rules! on_each_of {
    ($test:ident: $($(#[$condition:meta])* $backend:ident => $store:expr,)+) => {
        $($(#[$condition])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $backend() {
            // The second part, if there is one, goes after the test.
            let (store, _kept) = $store.await;
            tokio::time::timeout(crate::PATIENCE, super::$test(store)).await.expect("the test hangs");
        })+
    };
}

mod atomicity;
mod attachments;
mod attendances;
mod audit;
mod books;
mod bounds;
mod changes;
mod client_keys;
mod conversations;
mod directory;
mod groups;
mod import;
mod import_history;
mod log;
mod memberships;
mod messages;
mod newcomers;
mod nodes;
mod ordering;
mod people;
mod places;
mod presence;
mod reactions;
mod redaction;
mod search;
mod sessions;
mod store;
mod support;
mod tokens;
mod unread;
mod uploads;
mod users;
mod workspace;

async fn memory_store() -> (Arc<dyn Storage>, ()) {
    (Arc::new(Memory::new()), ())
}

/// A store on a file of its own.
#[cfg(feature = "sqlite")]
async fn sqlite_store() -> (Arc<dyn Storage>, tempfile::TempDir) {
    use storage::sqlite::{Options, Sqlite};

    let directory = tempfile::tempdir().unwrap();
    let options = Options {
        path: directory.path().join("dragoman.db"),
        readers: 4,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(20),
        transaction_timeout: Duration::from_secs(20),
        max_bytes: None,
    };
    let storage = Sqlite::open(&options).await.unwrap();
    storage.migrate().await.unwrap();
    (Arc::new(storage), directory)
}

/// A store on a database of its own, in the cluster that `DRAGOMAN_TEST_POSTGRES` names. The cluster is discarded as a
/// whole.
#[cfg(feature = "postgres")]
async fn postgres_store() -> (Arc<dyn Storage>, ()) {
    use sqlx::{AssertSqlSafe, ConnectOptions, Executor, postgres::PgConnectOptions};
    use storage::postgres::{Options, Postgres};

    let cluster = std::env::var("DRAGOMAN_TEST_POSTGRES")
        .expect("DRAGOMAN_TEST_POSTGRES names no PostgreSQL to make databases in: run the tests with .ci/test");
    let maintenance: PgConnectOptions = cluster.parse().expect("DRAGOMAN_TEST_POSTGRES is a PostgreSQL URL");
    let name = format!("suite_{}", uuid::Uuid::new_v4().simple());
    let mut connection = maintenance.connect().await.unwrap();
    let template = std::env::var("DRAGOMAN_TEST_TEMPLATE").expect("run the tests with .ci/test, which makes a template");
    connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"))).await.unwrap();

    let options = Options {
        url: maintenance.database(&name).to_url_lossy().into(),
        max_connections: 20,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(20),
    };
    (Arc::new(Postgres::open(&options).await.unwrap()), ())
}
