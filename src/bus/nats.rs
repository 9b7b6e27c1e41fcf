//! Bus over NATS: one subject per workspace, with reconnects by the client library.

use std::{path::PathBuf, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use async_trait::async_trait;
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::sync::{Mutex, mpsc};

use super::{Bus, BusInput, Error, Inbox};
use crate::error::chain;

/// Size limit of a batch; the default limit of servers is 1 MiB.
const MOST_BYTES: usize = 512 * 1024;
/// Delay before a new subscription.
const PAUSE: Duration = Duration::from_millis(500);
/// Capacity of the queue of connection events, which come one at a time.
const EVENTS: usize = 64;
/// Ping interval; the client closes the connection when the third ping is unanswered.
const PING: Duration = Duration::from_secs(3);

/// Connection options of NATS.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// `nats://user:password@host:port` or `tls://...`; commas separate several.
    pub url: String,
    /// Subject of the workspace.
    pub subject: String,
    /// File with a user's JWT and key.
    pub credentials: Option<PathBuf>,
    /// File with certificates of authorities to trust besides the well-known ones.
    pub authorities: Option<PathBuf>,
}

/// Bus over one subject of a NATS server, for any number of nodes.
pub struct NatsBus {
    client: Client,
    subject: String,
    /// Changes of the connection.
    events: Mutex<mpsc::Receiver<Event>>,
}

impl NatsBus {
    /// Prepares the connection, which is established, and re-established after a loss, in the background.
    ///
    /// # Errors
    /// Invalid options, or unreadable files.
    ///
    /// # Cancel safety
    /// Nothing stays behind.
    pub async fn open(options: &NatsOptions) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel(EVENTS);
        let mut connect =
            ConnectOptions::new().name("dragoman").ping_interval(PING).retry_on_initial_connect().event_callback(move |event| {
                // A full queue holds earlier events of the same kind.
                let _ = sender.try_send(event);
                async {}
            });
        if let Some(file) = &options.credentials {
            connect = connect.credentials_file(file).await?;
        }
        if let Some(file) = &options.authorities {
            connect = connect.add_root_certificates(file.clone());
        }
        // The provider is process-wide; an error means that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let servers = options.url.split(',').map(|server| server.trim().parse()).collect::<Result<Vec<ServerAddr>, _>>()?;
        // The client does not read credentials from the address. Servers of one cluster know the same users.
        if let Some(server) = servers.iter().find(|server| server.has_user_pass()) {
            let user = decoded(server.username())?;
            connect = match decoded(server.password())? {
                Some(password) => connect.user_and_password(user.unwrap_or_default(), password),
                None => connect.token(user.unwrap_or_default()),
            };
        }
        let client = connect.connect(servers).await?;
        Ok(Self { client, subject: options.subject.clone(), events: Mutex::new(events) })
    }
}

/// Percent-decodes a part of an address.
fn decoded(part: Option<&str>) -> Result<Option<String>, Error> {
    let decode = |part| percent_decode_str(part).decode_utf8().map(String::from);
    Ok(part.map(decode).transpose()?)
}

#[async_trait]
impl Bus for NatsBus {
    fn kind(&self) -> &'static str {
        "nats"
    }

    fn max_batch_bytes(&self) -> usize {
        MOST_BYTES
    }

    async fn send(&self, letter: String) -> Result<(), Error> {
        if self.client.connection_state() != async_nats::connection::State::Connected {
            return Err("not connected".into());
        }
        self.client.publish(self.subject.clone(), letter.into()).await?;
        self.client.flush().await?;
        Ok(())
    }

    async fn listen(&self, inbox: &Inbox<'_>) {
        let mut events = self.events.lock().await;
        // Attempts repeat quickly, mostly with the same error, which is logged once.
        let (mut said, mut refused) = (None, None);
        loop {
            match self.client.subscribe(self.subject.clone()).await {
                Ok(mut letters) => {
                    if self.client.connection_state() == async_nats::connection::State::Connected {
                        inbox(BusInput::Connected);
                    }
                    loop {
                        tokio::select! {
                            letter = letters.next() => match letter {
                                Some(letter) => inbox(BusInput::Batch(&letter.payload)),
                                None => break,
                            },
                            event = events.recv() => match event {
                                // The client renews the subscription by itself.
                                Some(Event::Connected | Event::SlowConsumer(_)) => {
                                    (said, refused) = (None, None);
                                    inbox(BusInput::Connected);
                                }
                                Some(Event::Disconnected | Event::Closed) => inbox(BusInput::Disconnected),
                                // A missing permission causes one per batch.
                                Some(Event::ServerError(error)) => {
                                    let error = Some(error.to_string());
                                    if refused != error {
                                        tracing::warn!(error, "NATS server error");
                                        refused = error;
                                    }
                                }
                                Some(Event::ClientError(error)) => {
                                    let error = Some(error.to_string());
                                    if said != error {
                                        tracing::warn!(error, "NATS unreachable");
                                        said = error;
                                    }
                                }
                                Some(Event::LameDuckMode | Event::Draining) => {}
                                None => return,
                            },
                        }
                    }
                }
                Err(error) => tracing::debug!(error = %chain(&error), "NATS subscription failed"),
            }
            inbox(BusInput::Disconnected);
            tokio::time::sleep(PAUSE).await;
        }
    }
}
