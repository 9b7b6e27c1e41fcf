use std::{path::PathBuf, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use async_trait::async_trait;
use futures_util::StreamExt;
use percent_encoding::percent_decode_str;
use tokio::sync::{Mutex, mpsc};

use super::{Bus, Error, Inbox, Incoming};
use crate::telemetry;

/// What servers take unless they are told otherwise is 1 MiB.
const MOST_BYTES: usize = 512 * 1024;
/// Before another subscription is tried.
const PAUSE: Duration = Duration::from_millis(500);
/// How many changes of the connection may wait to be noticed; they come one at a time.
const EVENTS: usize = 64;
/// The client asks the server whether it is there so often, and gives it up with the third question that is not answered.
const PING: Duration = Duration::from_secs(3);

/// How to reach NATS.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// `nats://user:password@host:port` or `tls://...`; several with commas between.
    pub url: String,
    /// Under which all nodes of one workspace tell each other.
    pub subject: String,
    /// A file with a user's JWT and key.
    pub credentials: Option<PathBuf>,
    /// A file with certificates of authorities to trust beside the well-known ones.
    pub authorities: Option<PathBuf>,
}

/// One subject of a NATS server, for as many nodes as there are.
pub struct Nats {
    client: Client,
    subject: String,
    /// Changes of the connection.
    events: Mutex<mpsc::Receiver<Event>>,
}

impl Nats {
    /// Prepares the connection, which is made, and made again whenever it is lost, in the background. Fails for options
    /// that cannot be meant.
    pub async fn open(options: &NatsOptions) -> Result<Self, Error> {
        let (sender, events) = mpsc::channel(EVENTS);
        let mut connect =
            ConnectOptions::new().name("dragoman").ping_interval(PING).retry_on_initial_connect().event_callback(move |event| {
                // If so many wait, one that is no longer noticed is not the first.
                let _ = sender.try_send(event);
                async {}
            });
        if let Some(file) = &options.credentials {
            connect = connect.credentials_file(file).await?;
        }
        if let Some(file) = &options.authorities {
            connect = connect.add_root_certificates(file.clone());
        }
        // The provider is one for the whole process; that it is there already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let servers = options.url.split(',').map(|server| server.trim().parse()).collect::<Result<Vec<ServerAddr>, _>>()?;
        // The client does not read these by itself. Servers of one cluster know the same users.
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

/// A part of an address as it was meant.
fn decoded(part: Option<&str>) -> Result<Option<String>, Error> {
    let decode = |part| percent_decode_str(part).decode_utf8().map(String::from);
    Ok(part.map(decode).transpose()?)
}

#[async_trait]
impl Bus for Nats {
    fn kind(&self) -> &'static str {
        "nats"
    }

    fn most_bytes(&self) -> usize {
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
        // Tries follow one another quickly, mostly with the same outcome.
        let (mut said, mut refused) = (None, None);
        loop {
            match self.client.subscribe(self.subject.clone()).await {
                Ok(mut letters) => {
                    if self.client.connection_state() == async_nats::connection::State::Connected {
                        inbox(Incoming::Connected);
                    }
                    loop {
                        tokio::select! {
                            letter = letters.next() => match letter {
                                Some(letter) => inbox(Incoming::Letter(&letter.payload)),
                                None => break,
                            },
                            event = events.recv() => match event {
                                // The subscription is made again by the client itself.
                                Some(Event::Connected | Event::SlowConsumer(_)) => {
                                    (said, refused) = (None, None);
                                    inbox(Incoming::Connected);
                                }
                                Some(Event::Disconnected | Event::Closed) => inbox(Incoming::Disconnected),
                                // At every letter, if it is that.
                                Some(Event::ServerError(error)) => {
                                    let error = Some(error.to_string());
                                    if refused != error {
                                        tracing::warn!(error, "NATS refuses something");
                                        refused = error;
                                    }
                                }
                                Some(Event::ClientError(error)) => {
                                    let error = Some(error.to_string());
                                    if said != error {
                                        tracing::warn!(error, "NATS cannot be reached");
                                        said = error;
                                    }
                                }
                                Some(Event::LameDuckMode | Event::Draining) => {}
                                None => return,
                            },
                        }
                    }
                }
                Err(error) => tracing::debug!(error = %telemetry::chain(&error), "NATS gives no subscription"),
            }
            inbox(Incoming::Disconnected);
            tokio::time::sleep(PAUSE).await;
        }
    }
}
