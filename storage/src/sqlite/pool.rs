//! Idle connections of one kind, and their leases.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteRow};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::{connection::Connection, turns::Turn};

/// Connections of one kind. A lease takes one, or opens another.
pub(super) struct Pool {
    options: SqliteConnectOptions,
    /// `None` once the pool is closed.
    idle: Mutex<Option<Vec<Connection>>>,
}

/// Permits to read: one of all readers, and one of those for the lane.
pub(super) type ReadPermit = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);
/// Connection that reads.
pub(super) type Reader = Lease<ReadPermit>;
/// Connection that writes.
pub(super) type Writer = Lease<Turn>;

/// Connection in use, with the permit for it. After its drop, the next one gets the permit once nothing of this use is left: its
/// statement is interrupted and its transaction rolled back.
pub(super) struct Lease<P: Send + 'static> {
    /// `None` once dropped.
    held: Option<(Connection, P)>,
    pool: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(options: SqliteConnectOptions) -> Arc<Self> {
        Arc::new(Self { options, idle: Mutex::new(Some(Vec::new())) })
    }

    pub(super) async fn lease<P: Send + 'static>(self: &Arc<Self>, permit: P) -> sqlx::Result<Lease<P>> {
        let idle = match &mut *self.idle.lock() {
            Some(idle) => idle.pop(),
            None => return Err(sqlx::Error::PoolClosed),
        };
        let connection = match idle {
            Some(connection) => connection,
            // Boxed: it is large, and rare.
            None => Box::pin(Connection::open(&self.options)).await?,
        };
        Ok(Lease { held: Some((connection, permit)), pool: Arc::clone(self) })
    }

    /// Returns the idle connections. Those in use are closed after their use.
    pub(super) fn close(&self) -> Vec<Connection> {
        self.idle.lock().take().unwrap_or_default()
    }

    pub(super) fn put_back(&self, connection: Connection) {
        if connection.is_idle()
            && let Some(idle) = &mut *self.idle.lock()
        {
            idle.push(connection);
        }
    }
}

impl<P: Send + 'static> Lease<P> {
    fn connection(&mut self) -> &mut Connection {
        &mut self.held.as_mut().expect("it is held until the drop").0
    }

    pub(super) async fn rows(
        &mut self,
        query: Query<'_, sqlx::Sqlite, SqliteArguments>,
        until: Instant,
    ) -> sqlx::Result<Vec<SqliteRow>> {
        self.connection().rows(query, until).await
    }
}

impl Reader {
    /// Begins a transaction, so that several statements read from one state of the store.
    pub(super) async fn begin(&mut self) -> sqlx::Result<()> {
        self.connection().begin_read().await
    }
}

impl Writer {
    pub(super) async fn begin(&mut self) -> sqlx::Result<()> {
        self.connection().begin_write().await
    }

    pub(super) async fn commit(&mut self) -> sqlx::Result<()> {
        self.connection().commit().await
    }

    pub(super) async fn checkpoint(&mut self) -> sqlx::Result<()> {
        self.connection().checkpoint().await
    }
}

impl<P: Send + 'static> Drop for Lease<P> {
    fn drop(&mut self) {
        let Some((mut connection, permit)) = self.held.take() else { return };
        if connection.is_idle() || connection.is_broken() {
            self.pool.put_back(connection);
        } else if let Ok(runtime) = Handle::try_current() {
            let pool = Arc::clone(&self.pool);
            runtime.spawn(async move {
                connection.reset().await;
                pool.put_back(connection);
                drop(permit);
            });
        }
        // Without a runtime the connection is closed, which rolls back.
    }
}
