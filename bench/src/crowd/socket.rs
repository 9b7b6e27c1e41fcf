//! WebSocket clients: connecting, and the common part of the three dialects with sockets.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Mutex,
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use super::{
    dialect::{Ears, Entered, Mouth, Seat, Told, Visit},
    site::{Site, Trouble},
};

/// Read time-out. Servers ping far more often.
const SILENCE: Duration = Duration::from_secs(150);

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

type Stream = WebSocketStream<Box<dyn Wire>>;

impl From<tungstenite::Error> for Trouble {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => Self::Refused(format!("status {}", response.status().as_u16())),
            _ => Self::Broken("socket broken".into()),
        }
    }
}

/// An open socket before it is split into receiver and sender.
pub(crate) struct Line {
    stream: Stream,
    /// Frames received while waiting for an answer.
    told: VecDeque<Value>,
    patience: Duration,
}

impl Line {
    pub(crate) async fn open(site: &Site, path: &str) -> Result<Self, Trouble> {
        timeout(site.patience, Self::connect(site, path)).await.map_err(|_| Trouble::Broken("timed out".into()))?
    }

    async fn connect(site: &Site, path: &str) -> Result<Self, Trouble> {
        let not_connected = |_| Trouble::Broken("not connected".into());
        let stream = TcpStream::connect((site.host.as_str(), site.port)).await.map_err(not_connected)?;
        stream.set_nodelay(true).map_err(not_connected)?;
        let stream: Box<dyn Wire> = if site.is_https {
            let name = ServerName::try_from(site.host.clone()).map_err(|_| Trouble::Broken("not a name for TLS".into()))?;
            Box::new(TlsConnector::from(Arc::clone(&site.tls)).connect(name, stream).await.map_err(not_connected)?)
        } else {
            Box::new(stream)
        };
        // Turns `http` into `ws`, and `https` into `wss`.
        let request = site.url(path).replacen("http", "ws", 1).into_client_request()?;
        // Small buffers: thousands of sockets share the memory.
        let config = WebSocketConfig::default().read_buffer_size(2_048).write_buffer_size(0);
        let (stream, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self { stream, told: VecDeque::new(), patience: site.patience })
    }

    pub(crate) async fn say(&mut self, frame: &Value) -> Result<(), Trouble> {
        Ok(self.stream.send(Message::text(frame.to_string())).await?)
    }

    /// Waits for a matching frame, and keeps the others for later.
    pub(crate) async fn answer(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value, Trouble> {
        loop {
            let frame = hear(&mut self.stream, self.patience).await?;
            if fits(&frame) {
                return Ok(frame);
            }
            self.told.push_back(frame);
        }
    }

    /// Sends a ping and waits for its pong: the server has processed all frames before it.
    pub(crate) async fn listens(&mut self) -> Result<(), Trouble> {
        self.stream.send(Message::Ping("listening?".into())).await?;
        loop {
            let next = timeout(self.patience, self.stream.next()).await.map_err(|_| Trouble::Broken("timed out".into()))?;
            match next.ok_or(Trouble::Broken("socket broken".into()))?? {
                Message::Pong(_) => return Ok(()),
                other => self.told.extend(frame(other)?),
            }
        }
    }
}

/// Reads the next frame, within this time-out.
async fn hear(
    stream: &mut (impl StreamExt<Item = tungstenite::Result<Message>> + Unpin),
    wait: Duration,
) -> Result<Value, Trouble> {
    loop {
        let next = timeout(wait, stream.next()).await.map_err(|_| Trouble::Broken("timed out".into()))?;
        if let Some(frame) = frame(next.ok_or(Trouble::Broken("socket broken".into()))??)? {
            return Ok(frame);
        }
    }
}

fn frame(message: Message) -> Result<Option<Value>, Trouble> {
    match message {
        Message::Text(text) => serde_json::from_str(&text).map(Some).map_err(|_| Trouble::strange()),
        Message::Ping(_) | Message::Pong(_) => Ok(None),
        Message::Close(close) => {
            let code = close.map_or(1005, |close| u16::from(close.code));
            let kind = format!("closed with {code}");
            Err(if code == 4003 { Trouble::Unauthorized(kind) } else { Trouble::Broken(kind.into()) })
        }
        Message::Binary(_) | Message::Frame(_) => Err(Trouble::strange()),
    }
}

/// The codec of a dialect: encodes outgoing frames, decodes incoming ones.
pub(crate) trait Tongue: Send + Sync + 'static {
    fn understand(&self, frame: &Value) -> Option<Told>;
    fn message(&self, seat: &Seat, text: &str, key: &str) -> Value;
    fn typing(&self, seat: &Seat) -> Option<Value>;
    fn read(&self, seat: &Seat, id: i64) -> Option<Value>;
    fn sign_of_life(&self) -> Vec<Value>;
    /// True if messages carry an idempotency key of their sender.
    fn has_keys(&self) -> bool;
}

/// Splits a socket that has caught up into receiver and sender.
pub(crate) fn entered(line: Line, tongue: impl Tongue, missed: Vec<(String, i64)>) -> Entered {
    let tongue = Arc::new(tongue);
    let (sink, stream) = line.stream.split();
    let known = missed.iter().map(|(_, id)| *id).collect();
    Entered {
        ears: Box::new(SocketEars { stream, told: line.told, known, tongue: Arc::clone(&tongue) }),
        mouth: Box::new(SocketMouth { sink: Mutex::new(sink), tongue }),
        missed: missed.into_iter().map(|(text, id)| Told::Message { text, id }).collect(),
    }
}

struct SocketEars<T> {
    stream: SplitStream<Stream>,
    told: VecDeque<Value>,
    /// Ids of messages read from the history already, for deduplication: the socket may deliver them once more.
    known: HashSet<i64>,
    tongue: Arc<T>,
}

#[async_trait]
impl<T: Tongue> Ears for SocketEars<T> {
    async fn listen(&mut self) -> Result<Vec<Told>, Trouble> {
        loop {
            let frame = match self.told.pop_front() {
                Some(frame) => frame,
                None => hear(&mut self.stream, SILENCE).await?,
            };
            match self.tongue.understand(&frame) {
                Some(Told::Message { id, .. }) if self.known.remove(&id) => {}
                Some(told) => return Ok(vec![told]),
                None => {}
            }
        }
    }
}

struct SocketMouth<T> {
    sink: Mutex<SplitSink<Stream, Message>>,
    tongue: Arc<T>,
}

impl<T> SocketMouth<T> {
    async fn send(&self, frame: Option<Value>) -> Result<(), Trouble> {
        let Some(frame) = frame else { return Ok(()) };
        Ok(self.sink.lock().await.send(Message::text(frame.to_string())).await?)
    }
}

#[async_trait]
impl<T: Tongue> Mouth for SocketMouth<T> {
    async fn say(&self, seat: &Seat, text: &str, key: &str) -> Result<bool, Trouble> {
        self.send(Some(self.tongue.message(seat, text, key))).await?;
        Ok(false)
    }

    async fn types(&self, seat: &Seat) -> Result<(), Trouble> {
        self.send(self.tongue.typing(seat)).await
    }

    async fn has_read(&self, seat: &Seat, id: i64) -> Result<(), Trouble> {
        self.send(self.tongue.read(seat, id)).await
    }

    async fn lives(&self) -> Result<(), Trouble> {
        for frame in self.tongue.sign_of_life() {
            self.send(Some(frame)).await?;
        }
        Ok(())
    }

    async fn leaves(&self) {
        // An error means that the connection is closed already.
        let _ = self.sink.lock().await.send(Message::Close(None)).await;
    }

    fn may_repeat(&self) -> bool {
        self.tongue.has_keys()
    }
}

/// Parses a message id, a number or a string.
pub(crate) fn number(id: &Value) -> Option<i64> {
    id.as_i64().or_else(|| id.as_str()?.parse().ok())
}

/// Parses the messages of a page. `text` and `id` are the names of the fields.
pub(crate) fn page(messages: &Value, text: &str, id: &str) -> Result<Vec<(String, i64)>, Trouble> {
    let messages = messages.as_array().ok_or_else(Trouble::strange)?;
    // A file message may have no text.
    let read = |message: &Value| Some((message[text].as_str().unwrap_or_default().to_owned(), number(&message[id])?));
    messages.iter().map(read).collect::<Option<_>>().ok_or_else(Trouble::strange)
}

/// The membership of a virtual user with one conversation.
pub(crate) fn only_seat(visit: &Visit) -> Result<&Seat, Trouble> {
    visit.seats.first().ok_or_else(Trouble::strange)
}
