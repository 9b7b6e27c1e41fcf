use std::time::Duration;

use async_trait::async_trait;
use sqlx::{
    Connection, PgConnection,
    postgres::{PgListener, PgPoolOptions},
};
use storage::postgres::{Pins, TimeOuts, connecting};
use tokio::{
    sync::{Mutex, Notify},
    time::{Instant, timeout},
};

use super::{Bus, Error, Inbox, Incoming, PATIENCE, SILENCE};
use crate::{metrics::Metrics, telemetry};

/// `NOTIFY` reaches the database that it is sent in, so one name does for every workspace.
const CHANNEL: &str = "dragoman";
/// PostgreSQL takes less than 8000 bytes.
const MOST_BYTES: usize = 7_900;
/// Before another connection is tried.
const PAUSE: Duration = Duration::from_millis(500);
const NOTIFY: &str = "SELECT pg_notify($1, $2)";
/// What is sent to hear whether anything comes. All nodes hear it, and take it for a sign of life.
const SIGN_OF_LIFE: &str = "";

/// `LISTEN` and `NOTIFY` on connections of their own: a transaction that notifies holds up every other one that does, so
/// none that writes anything may.
pub struct Postgres {
    url: String,
    pins: Pins,
    metrics: Metrics,
    sender: Mutex<Option<PgConnection>>,
}

impl Postgres {
    pub fn new(url: String, metrics: Metrics) -> Self {
        // Not even a limit for statements: who sends and who listens have their own, and an idle listener stays.
        Self { url, pins: Pins::new(TimeOuts::default(), None), metrics, sender: Mutex::new(None) }
    }

    /// Counts a statement, with the connection that it may have to make. One that is dropped, at the end of a time-out, has
    /// failed.
    async fn counted<T>(&self, operation: &str, statement: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        let mut counted = Counted { metrics: &self.metrics, operation, begun: Instant::now(), failed: true };
        let done = statement.await;
        counted.failed = done.is_err();
        done
    }
}

/// A statement under way, which counts when this is dropped.
struct Counted<'a> {
    metrics: &'a Metrics,
    operation: &'a str,
    begun: Instant,
    failed: bool,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.metrics.statement(self.operation, self.begun.elapsed(), self.failed);
    }
}

#[async_trait]
impl Bus for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn most_bytes(&self) -> usize {
        MOST_BYTES
    }

    async fn send(&self, letter: String) -> Result<(), Error> {
        let mut sender = self.sender.lock().await;
        // Taken out, so that a connection on which sending failed, or was given up, is not used again.
        let kept = sender.take();
        let notify = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => {
                    let mut connection = PgConnection::connect_with(&connecting(&self.url)?).await?;
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
                ended = self.hear(inbox, &heard) => if let Err(error) = ended {
                    tracing::debug!(error = %telemetry::chain(&error), "the listener of the bus ended");
                },
                // The listener goes with its connection, so that it does not matter what it forgets.
                () = self.silence(&heard) => tracing::debug!("the listener of the bus heard nothing, not even itself"),
            }
            inbox(Incoming::Disconnected);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Postgres {
    async fn hear(&self, inbox: &Inbox<'_>, heard: &Notify) -> sqlx::Result<()> {
        let pins = self.pins.clone();
        // As the listener would make itself, but that it pins settings.
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.after_connect(move |connection, _| {
            let pins = pins.clone();
            Box::pin(async move { pins.set(connection).await })
        });
        let listen = async {
            let mut listener = PgListener::connect_with(&pool.connect_with(connecting(&self.url)?).await?).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let mut listener = self.counted("listen", listen).await?;
        heard.notify_one();
        inbox(Incoming::Connected);
        // Cancelled only for ever: the listener would forget that it had lost its connection.
        loop {
            let notification = listener.try_recv().await?;
            heard.notify_one();
            match notification {
                Some(notification) if notification.payload() == SIGN_OF_LIFE => {}
                Some(notification) => inbox(Incoming::Letter(notification.payload().as_bytes())),
                // It has lost its connection, and has another one.
                None => inbox(Incoming::Connected),
            }
        }
    }

    /// Ends when nothing was heard for too long. A connection of which the other end is gone without a word looks like one on
    /// which there is no news; so where there is none, some is made.
    async fn silence(&self, heard: &Notify) {
        loop {
            if timeout(SILENCE / 2, heard.notified()).await.is_ok() {
                continue;
            }
            let answered = timeout(SILENCE / 2, async {
                // That it cannot be sent is not what matters; as long as nothing comes, it is the same.
                let _ = timeout(PATIENCE, self.send(SIGN_OF_LIFE.to_owned())).await;
                heard.notified().await;
            });
            if answered.await.is_err() {
                return;
            }
        }
    }
}
