use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Connection, PgConnection, postgres::PgListener};
use tokio::sync::Mutex;

use super::{Bus, Error, Inbox, Incoming};
use crate::telemetry;

/// `NOTIFY` reaches the database that it is sent in, so one name does for every workspace.
const CHANNEL: &str = "dragoman";
/// PostgreSQL takes less than 8000 bytes.
const MOST_BYTES: usize = 7_900;
/// Before another connection is tried.
const PAUSE: Duration = Duration::from_millis(500);
const NOTIFY: &str = "SELECT pg_notify($1, $2)";

/// `LISTEN` and `NOTIFY` on connections of their own: a transaction that notifies holds up every other one that does, so
/// none that writes anything may.
pub struct Postgres {
    url: String,
    sender: Mutex<Option<PgConnection>>,
}

impl Postgres {
    pub fn new(url: String) -> Self {
        Self { url, sender: Mutex::new(None) }
    }
}

#[async_trait]
impl Bus for Postgres {
    fn most_bytes(&self) -> usize {
        MOST_BYTES
    }

    async fn send(&self, letter: String) -> Result<(), Error> {
        let mut sender = self.sender.lock().await;
        // Taken out, so that a connection on which sending failed, or was given up, is not used again.
        let mut connection = match sender.take() {
            Some(connection) => connection,
            None => PgConnection::connect(&self.url).await?,
        };
        sqlx::query(NOTIFY).bind(CHANNEL).bind(letter).execute(&mut connection).await?;
        *sender = Some(connection);
        Ok(())
    }

    async fn listen(&self, inbox: &Inbox<'_>) {
        loop {
            if let Err(error) = self.hear(inbox).await {
                tracing::debug!(error = %telemetry::chain(&error), "the listener of the bus ended");
            }
            inbox(Incoming::Disconnected);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Postgres {
    async fn hear(&self, inbox: &Inbox<'_>) -> sqlx::Result<()> {
        let mut listener = PgListener::connect(&self.url).await?;
        listener.listen(CHANNEL).await?;
        inbox(Incoming::Connected);
        // Never cancelled: the listener would forget that it had lost its connection.
        loop {
            match listener.try_recv().await? {
                Some(notification) => inbox(Incoming::Letter(notification.payload().as_bytes())),
                // It has lost its connection, and has another one.
                None => inbox(Incoming::Connected),
            }
        }
    }
}
