//! Bus over PostgreSQL's `LISTEN` and `NOTIFY`, with a heartbeat that detects dead connections.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{
    Connection, PgConnection,
    postgres::{PgListener, PgPoolOptions},
};
use storage::postgres::{PinnedSettings, SessionTimeouts, connect_options};
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, timeout},
};

use super::{Bus, BusInput, Error, Inbox, RECEIVE_TIMEOUT, SEND_TIMEOUT};
use crate::{error::chain, metrics::Metrics};

/// Channel name. `NOTIFY` stays within its database, so one name serves every workspace.
const CHANNEL: &str = "dragoman";
/// Size limit of a batch; PostgreSQL's is 8000 bytes.
const MOST_BYTES: usize = 7_900;
/// Delay before a reconnect.
const PAUSE: Duration = Duration::from_millis(500);
const NOTIFY: &str = "SELECT pg_notify($1, $2)";
/// Payload of a heartbeat. Every node receives it, and counts it as activity of its own connection.
const HEARTBEAT: &str = "";

/// Bus over `LISTEN` and `NOTIFY` on connections of its own: transactions that notify wait for one another, so a transaction that
/// writes anything else must not notify.
pub struct PostgresBus {
    url: String,
    pins: PinnedSettings,
    metrics: Metrics,
    sender: Mutex<Option<PgConnection>>,
}

impl PostgresBus {
    pub fn new(url: String, metrics: Metrics) -> Self {
        // Without a statement time-out: sending and listening have their own, and an idle listener stays.
        Self { url, pins: PinnedSettings::new(SessionTimeouts::default(), None), metrics, sender: Mutex::new(None) }
    }

    /// Counts a statement in the metrics, including a connect. A statement that is dropped by a time-out counts as failed.
    async fn counted<T>(&self, operation: &str, statement: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let mut counted = StatementTimer { metrics: &self.metrics, operation, begun: Instant::now(), failed: true };
        let done = statement.await;
        counted.failed = done.is_err();
        done
    }
}

/// A statement under way; counted when this is dropped.
struct StatementTimer<'a> {
    metrics: &'a Metrics,
    operation: &'a str,
    begun: Instant,
    failed: bool,
}

impl Drop for StatementTimer<'_> {
    fn drop(&mut self) {
        self.metrics.statement(self.operation, self.begun.elapsed(), self.failed);
    }
}

#[async_trait]
impl Bus for PostgresBus {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn max_batch_bytes(&self) -> usize {
        MOST_BYTES
    }

    async fn send(&self, letter: String) -> Result<(), Error> {
        let mut sender = self.sender.lock().await;
        // Taken out, so that a connection on which sending failed or timed out is not reused.
        let kept = sender.take();
        let notify = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => {
                    let mut connection = PgConnection::connect_with(&connect_options(&self.url)?).await?;
                    self.pins.set(&mut connection).await?;
                    connection
                }
            };
            sqlx::query(NOTIFY).bind(CHANNEL).bind(letter).execute(&mut connection).await?;
            Ok(connection)
        };
        *sender = Some(self.counted("notify", notify).await?);
        Ok(())
    }

    async fn listen(&self, inbox: &Inbox<'_>) {
        loop {
            let heard = Notify::new();
            tokio::select! {
                ended = self.receive(inbox, &heard) => if let Err(error) = ended {
                    tracing::debug!(error = %chain(&error), "bus listener ended");
                },
                // The listener is dropped with its connection, so its lost state does not matter.
                () = self.watch_heartbeat(&heard) => tracing::debug!("bus listener ended: own heartbeat not received"),
            }
            inbox(BusInput::Disconnected);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl PostgresBus {
    async fn receive(&self, inbox: &Inbox<'_>, heard: &Notify) -> sqlx::Result<()> {
        let pins = self.pins.clone();
        // The pool that the listener would make by itself, plus pinned settings.
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.after_connect(move |connection, _| {
            let pins = pins.clone();
            Box::pin(async move { pins.set(connection).await })
        });
        let listen = async {
            let mut listener = PgListener::connect_with(&pool.connect_with(connect_options(&self.url)?).await?).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let mut listener = self.counted("listen", listen).await?;
        heard.notify_one();
        inbox(BusInput::Connected);
        // Never cancelled and resumed: the listener would forget that it had lost its connection.
        loop {
            let notification = listener.try_recv().await?;
            heard.notify_one();
            match notification {
                Some(notification) if notification.payload() == HEARTBEAT => {}
                Some(notification) => inbox(BusInput::Batch(notification.payload().as_bytes())),
                // The listener has reconnected.
                None => inbox(BusInput::Connected),
            }
        }
    }

    /// Ends when the connection has been silent for [`RECEIVE_TIMEOUT`]. A connection whose peer vanished looks like one without news, so
    /// a heartbeat is sent after half that time.
    async fn watch_heartbeat(&self, heard: &Notify) {
        loop {
            if timeout(RECEIVE_TIMEOUT / 2, heard.notified()).await.is_ok() {
                continue;
            }
            let answered = timeout(RECEIVE_TIMEOUT / 2, async {
                // A failed send needs no handling: the heartbeat does not arrive either.
                let _ = timeout(SEND_TIMEOUT, self.send(HEARTBEAT.to_owned())).await;
                heard.notified().await;
            });
            if answered.await.is_err() {
                return;
            }
        }
    }
}
