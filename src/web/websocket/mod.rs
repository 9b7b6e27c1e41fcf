//! WebSocket server loop of all dialects. A dialect implements [`SocketHandler`]; reading, the send queue, back-pressure, pings, limits,
//! closing and the server's stop are the same for all.

mod connection;
mod metered;
mod refusals;
mod transport;
mod upgrade;

use std::{any::Any, future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

pub use upgrade::{is_handshake, open, upgrade_required};

use crate::{
    auth::Caller,
    chat::Chat,
    config,
    events::{Encoding, Feed, FeedBatch},
    lifecycle::Lifecycle,
    metrics::Metrics,
    shares::{Charge, Shares},
    token_bucket::Rate,
};
use refusals::RefusalDelays;
use transport::Transport;

/// A text frame. Clones share the text.
pub type Frame = Utf8Bytes;

impl Encoding for Frame {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// Time-out for the peer's answer to a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handler of one dialect for one caller's socket.
pub trait SocketHandler: Send + 'static {
    /// Name in logs and metrics.
    const DIALECT: &'static str;
    /// True if a binary frame that contains UTF-8 is handled like a text frame.
    const ACCEPTS_BINARY: bool = false;

    /// Frames sent first.
    fn on_open(&mut self) -> impl Future<Output = FramesOrClose> + Send;
    /// Handles a client's frame and returns the answer. `charge` has the frame, and takes what is parsed from it. Cancelled only
    /// at the server's end.
    fn on_message(&mut self, text: &str, charge: &mut Charge) -> impl Future<Output = FramesOrClose> + Send;
    /// True while the answer to the last frame has further parts, because it exceeds the queue. No other frame is read meanwhile.
    fn has_more(&self) -> bool {
        false
    }
    /// Returns the next part of such an answer, once the queue has room. Cancelled only at the server's end.
    fn next_part(&mut self) -> impl Future<Output = FramesOrClose> + Send {
        std::future::ready(Ok(Vec::new()))
    }
    /// Encodes events and signals for the client. An event can be delivered again after an interruption of the server.
    fn on_events(&mut self, batch: &FeedBatch) -> impl Future<Output = FramesOrClose> + Send;
    /// Frames sent with every ping.
    fn on_ping(&mut self) -> impl Future<Output = FramesOrClose> + Send;
    /// Answer to a binary frame that is not accepted.
    fn on_binary(&self) -> Frame;
}

/// Frames in their order, or the close.
pub type FramesOrClose = Result<Vec<Frame>, Close>;

/// Close code and reason of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    /// At most 123 bytes.
    pub reason: &'static str,
    /// Frames sent before the close frame.
    pub last_frames: Vec<Frame>,
}

impl Close {
    pub const GOING_AWAY: Self = Self::new(1001, "the server is going away");
    pub const LOG_RESTARTED: Self = Self::new(1012, "what was told last may be lost, come back");
    pub const NOT_LOGGED_IN: Self = Self::new(4003, "not logged in");
    pub const EXPIRED: Self = Self::new(4003, "the token or the session has run out");
    pub const TOO_LARGE: Self = Self::new(1009, "the message is too big");
    pub const TOO_SLOW: Self = Self::new(4008, "too slow to read");
    pub const TOO_MANY: Self = Self::new(4029, "too many sockets");
    pub const UNAVAILABLE: Self = Self::new(1013, "not available now, try again shortly");
    pub const NO_MEMORY: Self = Self::new(1013, "no memory to spare for the message, try again shortly");
    pub const NO_TOKENS: Self = Self::new(1013, "this server is not set up for tokens");
    pub const SILENT: Self = Self::new(1001, "no sign of life");
    pub const PROTOCOL_ERROR: Self = Self::new(1002, "the frame is not what it should be");
    pub const NO_TEXT: Self = Self::new(1007, "the text is not UTF-8");
    pub const INTERNAL: Self = Self::new(1011, "something went wrong on our side");

    pub const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason, last_frames: Vec::new() }
    }

    /// True if the peer will not reconnect at once: it has closed the socket itself, or its access has ended.
    fn is_final(&self) -> bool {
        self.code == 1000 || *self == Self::NOT_LOGGED_IN
    }

    /// True for an application code (4000 to 4999): a retry with the same credentials would be refused again.
    fn is_refusal(&self) -> bool {
        (4000..5000).contains(&self.code)
    }

    /// True if the peer reads nothing more.
    fn is_unreadable(&self) -> bool {
        [1000, 1006, Self::TOO_SLOW.code].contains(&self.code)
    }
}

/// State shared by all sockets of a server. Clones share it.
#[derive(Clone)]
pub struct SocketServer {
    chat: Chat,
    limits: Arc<config::SocketSettings>,
    shares: Shares,
    metrics: Metrics,
    requests: Lifecycle,
    refusals: Arc<RefusalDelays>,
}

impl SocketServer {
    /// Creates the state. Sockets are closed when `requests` stop.
    pub fn new(chat: &Chat, limits: &config::SocketSettings, shares: &Shares, metrics: &Metrics, requests: &Lifecycle) -> Self {
        Self {
            chat: chat.clone(),
            limits: Arc::new(limits.clone()),
            shares: shares.clone(),
            metrics: metrics.clone(),
            requests: requests.clone(),
            refusals: Arc::new(RefusalDelays::new(Duration::from_secs(limits.refused_seconds))),
        }
    }

    /// Time to close a socket at a drain, spread randomly so that clients do not all reconnect at once.
    fn drain_deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.limits.drain_seconds).mul_f64(fraction())
    }

    fn frame_rate(&self) -> Rate {
        Rate { burst: self.limits.frames_burst.into(), per_second: self.limits.frames_per_second.into() }
    }
}

/// Guard of a connection slot of the server, held while the socket is open.
#[derive(Clone)]
pub struct ConnectionGuard(#[expect(dead_code, reason = "it only has to live")] Arc<dyn Any + Send + Sync>);

impl ConnectionGuard {
    pub fn new(place: impl Any + Send + Sync) -> Self {
        Self(Arc::new(place))
    }
}

/// A session: the handler, its feed, and the caller.
pub struct SocketSession<V> {
    pub handler: V,
    pub feed: Feed,
    pub caller: Caller,
}

/// Serves a socket from its first frame to its end, and returns the close.
async fn serve<V: SocketHandler>(sockets: &SocketServer, wire: &mut Transport, speaking: &mut SocketSession<V>) -> Close {
    let Ok(present) = sockets.chat.record_socket(&speaking.caller) else { return Close::TOO_MANY };
    let close = connection::SocketConnection::new(sockets, wire, speaking).run().await;
    if close.is_final() {
        present.close();
    }
    close
}

/// A random number from 0 (inclusive) to 1 (exclusive).
fn fraction() -> f64 {
    let mut byte = [0; 2];
    getrandom::fill(&mut byte).expect("the operating system has randomness");
    f64::from(u16::from_le_bytes(byte)) / 65_536.0
}
