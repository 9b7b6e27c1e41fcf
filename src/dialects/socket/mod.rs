//! WebSocket server loop of all dialects. A dialect implements [`Voice`]; reading, the send queue, back-pressure, pings, limits,
//! closing and the server's stop are the same for all.

mod metered;
mod refusals;
mod talk;
mod upgrade;
mod wire;

use std::{any::Any, future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Utf8Bytes;

pub use upgrade::{is_asked_for, no_socket, open};

use crate::{
    auth::Caller,
    chat::{Batch, Chat, Encoding, Feed},
    config,
    lifecycle::Lifecycle,
    metrics::Metrics,
    shares::Turns,
    token_bucket::Rate,
};
use refusals::RefusalDelays;
use wire::Wire;

/// A text frame. Clones share the text.
pub type Frame = Utf8Bytes;

impl Encoding for Frame {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// Time-out for the peer's answer to a close frame.
const CLOSING: Duration = Duration::from_secs(5);

/// Handler of one dialect for one caller's socket.
pub trait Voice: Send + 'static {
    /// Name in logs and metrics.
    const DIALECT: &'static str;
    /// True if a binary frame that contains UTF-8 is handled like a text frame.
    const HEARS_BINARY: bool = false;

    /// Frames sent first.
    fn greet(&mut self) -> impl Future<Output = Said> + Send;
    /// Handles a client's frame and returns the answer. Cancelled only at the server's end.
    fn hear(&mut self, text: &str) -> impl Future<Output = Said> + Send;
    /// True while the answer to the last frame has further parts, because it exceeds the queue. No other frame is read meanwhile.
    fn goes_on(&self) -> bool {
        false
    }
    /// Returns the next part of such an answer, once the queue has room. Cancelled only at the server's end.
    fn go_on(&mut self) -> impl Future<Output = Said> + Send {
        std::future::ready(Ok(Vec::new()))
    }
    /// Encodes events and signals for the client. An event can be delivered again after an interruption of the server.
    fn tell(&mut self, batch: &Batch) -> impl Future<Output = Said> + Send;
    /// Frames sent with every ping.
    fn beat(&mut self) -> impl Future<Output = Said> + Send;
    /// Answer to a binary frame that is not accepted.
    fn not_text(&self) -> Frame;
}

/// Frames in their order, or the close.
pub type Said = Result<Vec<Frame>, Close>;

/// Close code and reason of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    /// At most 123 bytes.
    pub reason: &'static str,
    /// Frames sent before the close frame.
    pub last: Vec<Frame>,
}

impl Close {
    pub const GOING_AWAY: Self = Self::new(1001, "the server is going away");
    pub const LOG_RESTARTED: Self = Self::new(1012, "what was told last may be lost, come back");
    pub const NOT_LOGGED_IN: Self = Self::new(4003, "not logged in");
    pub const RUN_OUT: Self = Self::new(4003, "the token or the session has run out");
    pub const TOO_LARGE: Self = Self::new(1009, "the message is too big");
    pub const TOO_SLOW: Self = Self::new(4008, "too slow to read");
    pub const TOO_MANY: Self = Self::new(4029, "too many sockets");
    pub const UNAVAILABLE: Self = Self::new(1013, "not available now, try again shortly");
    pub const NO_TOKENS: Self = Self::new(1013, "this server is not set up for tokens");
    pub const SILENT: Self = Self::new(1001, "no sign of life");
    pub const BROKEN: Self = Self::new(1002, "the frame is not what it should be");
    pub const NO_TEXT: Self = Self::new(1007, "the text is not UTF-8");
    pub const INTERNAL: Self = Self::new(1011, "something went wrong on our side");

    pub const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason, last: Vec::new() }
    }

    /// True if the peer will not reconnect at once: it has closed the socket itself, or its access has ended.
    fn is_for_good(&self) -> bool {
        self.code == 1000 || *self == Self::NOT_LOGGED_IN
    }

    /// True for an application code (4000 to 4999): a retry with the same credentials would be refused again.
    fn is_refusal(&self) -> bool {
        (4000..5000).contains(&self.code)
    }

    /// True if the peer reads nothing more.
    fn is_to_the_deaf(&self) -> bool {
        [1000, 1006, Self::TOO_SLOW.code].contains(&self.code)
    }
}

/// State shared by all sockets of a server. Clones share it.
#[derive(Clone)]
pub struct Sockets {
    chat: Chat,
    limits: Arc<config::Sockets>,
    turns: Turns,
    metrics: Metrics,
    requests: Lifecycle,
    refusals: Arc<RefusalDelays>,
}

impl Sockets {
    /// Creates the state. Sockets are closed when `requests` stop.
    pub fn new(chat: &Chat, limits: &config::Sockets, turns: &Turns, metrics: &Metrics, requests: &Lifecycle) -> Self {
        Self {
            chat: chat.clone(),
            limits: Arc::new(limits.clone()),
            turns: turns.clone(),
            metrics: metrics.clone(),
            requests: requests.clone(),
            refusals: Arc::new(RefusalDelays::new(Duration::from_secs(limits.refused_seconds))),
        }
    }

    /// Time to close a socket at a drain, spread randomly so that clients do not all reconnect at once.
    fn drained_at(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.limits.drain_seconds).mul_f64(fraction())
    }

    fn frame_rate(&self) -> Rate {
        Rate { burst: self.limits.frames_burst.into(), per_second: self.limits.frames_per_second.into() }
    }
}

/// Guard of a connection slot of the server, held while the socket is open.
#[derive(Clone)]
pub struct Held(#[expect(dead_code, reason = "it only has to live")] Arc<dyn Any + Send + Sync>);

impl Held {
    pub fn new(place: impl Any + Send + Sync) -> Self {
        Self(Arc::new(place))
    }
}

/// A session: the handler, its feed, and the caller.
pub struct Speaking<V> {
    pub voice: V,
    pub feed: Feed,
    pub caller: Caller,
}

/// Serves a socket from its first frame to its end, and returns the close.
async fn serve<V: Voice>(sockets: &Sockets, wire: &mut Wire, speaking: &mut Speaking<V>) -> Close {
    let Ok(present) = sockets.chat.connects(&speaking.caller) else { return Close::TOO_MANY };
    let close = talk::Talk::new(sockets, wire, speaking).run().await;
    if close.is_for_good() {
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
