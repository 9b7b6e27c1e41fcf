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

use crate::{
    client::{ConnectContext, ConnectedClient, Membership, ReceivedEvent, Receiver, Sender},
    target::{RequestError, Target},
};

/// Read time-out. Servers ping far more often.
const READ_TIMEOUT: Duration = Duration::from_secs(150);

trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

type Stream = WebSocketStream<Box<dyn ByteStream>>;

impl From<tungstenite::Error> for RequestError {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => Self::Refused(format!("status {}", response.status().as_u16())),
            _ => Self::Broken("socket broken".into()),
        }
    }
}

/// An open socket before it is split into receiver and sender.
pub(crate) struct Connection {
    stream: Stream,
    /// Frames received while waiting for an answer.
    buffered: VecDeque<Value>,
    timeout: Duration,
}

impl Connection {
    pub(crate) async fn open(target: &Target, path: &str) -> Result<Self, RequestError> {
        timeout(target.timeout, Self::connect(target, path)).await.map_err(|_| RequestError::Broken("timed out".into()))?
    }

    async fn connect(target: &Target, path: &str) -> Result<Self, RequestError> {
        let not_connected = |_| RequestError::Broken("not connected".into());
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(not_connected)?;
        stream.set_nodelay(true).map_err(not_connected)?;
        let stream: Box<dyn ByteStream> = if target.is_https {
            let name =
                ServerName::try_from(target.host.clone()).map_err(|_| RequestError::Broken("not a name for TLS".into()))?;
            Box::new(TlsConnector::from(Arc::clone(&target.tls)).connect(name, stream).await.map_err(not_connected)?)
        } else {
            Box::new(stream)
        };
        // Turns `http` into `ws`, and `https` into `wss`.
        let request = target.url(path).replacen("http", "ws", 1).into_client_request()?;
        // Small buffers: thousands of sockets share the memory.
        let config = WebSocketConfig::default().read_buffer_size(2_048).write_buffer_size(0);
        let (stream, _) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Self { stream, buffered: VecDeque::new(), timeout: target.timeout })
    }

    pub(crate) async fn send(&mut self, frame: &Value) -> Result<(), RequestError> {
        Ok(self.stream.send(Message::text(frame.to_string())).await?)
    }

    /// Waits for a matching frame, and keeps the others for later.
    pub(crate) async fn wait_for_frame(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value, RequestError> {
        loop {
            let frame = next_frame(&mut self.stream, self.timeout).await?;
            if fits(&frame) {
                return Ok(frame);
            }
            self.buffered.push_back(frame);
        }
    }

    /// Sends a ping and waits for its pong: the server has processed all frames before it.
    pub(crate) async fn wait_for_pong(&mut self) -> Result<(), RequestError> {
        self.stream.send(Message::Ping("listening?".into())).await?;
        loop {
            let next = timeout(self.timeout, self.stream.next()).await.map_err(|_| RequestError::Broken("timed out".into()))?;
            match next.ok_or(RequestError::Broken("socket broken".into()))?? {
                Message::Pong(_) => return Ok(()),
                other => self.buffered.extend(parse_frame(other)?),
            }
        }
    }
}

/// Reads the next frame, within this time-out.
async fn next_frame(
    stream: &mut (impl StreamExt<Item = tungstenite::Result<Message>> + Unpin),
    wait: Duration,
) -> Result<Value, RequestError> {
    loop {
        let next = timeout(wait, stream.next()).await.map_err(|_| RequestError::Broken("timed out".into()))?;
        if let Some(frame) = parse_frame(next.ok_or(RequestError::Broken("socket broken".into()))??)? {
            return Ok(frame);
        }
    }
}

fn parse_frame(message: Message) -> Result<Option<Value>, RequestError> {
    match message {
        Message::Text(text) => serde_json::from_str(&text).map(Some).map_err(|_| RequestError::malformed()),
        Message::Ping(_) | Message::Pong(_) => Ok(None),
        Message::Close(close) => {
            let code = close.map_or(1005, |close| u16::from(close.code));
            let kind = format!("closed with {code}");
            Err(if code == 4003 { RequestError::Unauthorized(kind) } else { RequestError::Broken(kind.into()) })
        }
        Message::Binary(_) | Message::Frame(_) => Err(RequestError::malformed()),
    }
}

/// The codec of a dialect: encodes outgoing frames, decodes incoming ones.
pub(crate) trait Codec: Send + Sync + 'static {
    fn decode(&self, frame: &Value) -> Option<ReceivedEvent>;
    fn encode_message(&self, seat: &Membership, text: &str, key: &str) -> Value;
    fn encode_typing(&self, seat: &Membership) -> Option<Value>;
    fn encode_read(&self, seat: &Membership, id: i64) -> Option<Value>;
    fn encode_heartbeat(&self) -> Vec<Value>;
    /// True if messages carry an idempotency key of their sender.
    fn has_idempotency_keys(&self) -> bool;
}

/// Splits a socket that has caught up into receiver and sender.
pub(crate) fn split_connection(line: Connection, codec: impl Codec, missed: Vec<(String, i64)>) -> ConnectedClient {
    let codec = Arc::new(codec);
    let (sink, stream) = line.stream.split();
    let known = missed.iter().map(|(_, id)| *id).collect();
    ConnectedClient {
        receiver: Box::new(SocketReceiver { stream, buffered: line.buffered, known_ids: known, codec: Arc::clone(&codec) }),
        sender: Box::new(SocketSender { sink: Mutex::new(sink), codec }),
        missed: missed.into_iter().map(|(text, id)| ReceivedEvent::Message { text, id }).collect(),
    }
}

struct SocketReceiver<T> {
    stream: SplitStream<Stream>,
    buffered: VecDeque<Value>,
    /// Ids of messages read from the history already, for deduplication: the socket may deliver them once more.
    known_ids: HashSet<i64>,
    codec: Arc<T>,
}

#[async_trait]
impl<T: Codec> Receiver for SocketReceiver<T> {
    async fn receive(&mut self) -> Result<Vec<ReceivedEvent>, RequestError> {
        loop {
            let frame = match self.buffered.pop_front() {
                Some(frame) => frame,
                None => next_frame(&mut self.stream, READ_TIMEOUT).await?,
            };
            match self.codec.decode(&frame) {
                Some(ReceivedEvent::Message { id, .. }) if self.known_ids.remove(&id) => {}
                Some(told) => return Ok(vec![told]),
                None => {}
            }
        }
    }
}

struct SocketSender<T> {
    sink: Mutex<SplitSink<Stream, Message>>,
    codec: Arc<T>,
}

impl<T> SocketSender<T> {
    async fn send(&self, frame: Option<Value>) -> Result<(), RequestError> {
        let Some(frame) = frame else { return Ok(()) };
        Ok(self.sink.lock().await.send(Message::text(frame.to_string())).await?)
    }
}

#[async_trait]
impl<T: Codec> Sender for SocketSender<T> {
    async fn send(&self, seat: &Membership, text: &str, key: &str) -> Result<bool, RequestError> {
        self.send(Some(self.codec.encode_message(seat, text, key))).await?;
        Ok(false)
    }

    async fn send_typing(&self, seat: &Membership) -> Result<(), RequestError> {
        self.send(self.codec.encode_typing(seat)).await
    }

    async fn mark_read(&self, seat: &Membership, id: i64) -> Result<(), RequestError> {
        self.send(self.codec.encode_read(seat, id)).await
    }

    async fn send_heartbeat(&self) -> Result<(), RequestError> {
        for frame in self.codec.encode_heartbeat() {
            self.send(Some(frame)).await?;
        }
        Ok(())
    }

    async fn disconnect(&self) {
        // An error means that the connection is closed already.
        let _ = self.sink.lock().await.send(Message::Close(None)).await;
    }

    fn is_idempotent(&self) -> bool {
        self.codec.has_idempotency_keys()
    }
}

/// Parses a message id, a number or a string.
pub(crate) fn message_id(id: &Value) -> Option<i64> {
    id.as_i64().or_else(|| id.as_str()?.parse().ok())
}

/// Parses the messages of a page. `text` and `id` are the names of the fields.
pub(crate) fn parse_page(messages: &Value, text: &str, id: &str) -> Result<Vec<(String, i64)>, RequestError> {
    let messages = messages.as_array().ok_or_else(RequestError::malformed)?;
    // A file message may have no text.
    let read = |message: &Value| Some((message[text].as_str().unwrap_or_default().to_owned(), message_id(&message[id])?));
    messages.iter().map(read).collect::<Option<_>>().ok_or_else(RequestError::malformed)
}

/// The membership of a virtual user with one conversation.
pub(crate) fn only_membership(visit: &ConnectContext) -> Result<&Membership, RequestError> {
    visit.memberships.first().ok_or_else(RequestError::malformed)
}
