//! The only WebSocket loop. A dialect's [`Voice`] hears and tells; reading, writing, gathering what is to be written,
//! back-pressure, pings, limits, closing and the stop are here, the same for all.

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

/// One text frame, which many sockets may share.
pub type Frame = Utf8Bytes;

impl Encoding for Frame {
    fn bytes(&self) -> usize {
        self.len()
    }
}

/// For how long a peer is waited for that is to answer a close.
const CLOSING: Duration = Duration::from_secs(5);

/// What one dialect says on a socket of one caller.
pub trait Voice: Send + 'static {
    /// Its name in logs and metrics.
    const DIALECT: &'static str;
    /// Whether a binary frame that holds a text is heard as one.
    const HEARS_BINARY: bool = false;

    /// What is said first.
    fn greet(&mut self) -> impl Future<Output = Said> + Send;
    /// What a client's frame is answered with. Never cancelled but by the server's end.
    fn hear(&mut self, text: &str) -> impl Future<Output = Said> + Send;
    /// True while the answer to the last frame goes on, because it is too much at once. No other frame is heard meanwhile.
    fn goes_on(&self) -> bool {
        false
    }
    /// The next part of such an answer. Asked for when there is room. Never cancelled but by the server's end.
    fn go_on(&mut self) -> impl Future<Output = Said> + Send {
        std::future::ready(Ok(Vec::new()))
    }
    /// How what has happened is told. May be called again with the same if the server was interrupted.
    fn tell(&mut self, batch: &Batch) -> impl Future<Output = Said> + Send;
    /// What is said beside every ping.
    fn beat(&mut self) -> impl Future<Output = Said> + Send;
    /// The answer to a binary frame that is not heard.
    fn not_text(&self) -> Frame;
}

/// Frames to be sent in this order, or the end.
pub type Said = Result<Vec<Frame>, Close>;

/// Why a socket is closed, as the peer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    /// At most 123 bytes.
    pub reason: &'static str,
    /// What is still said before.
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

    /// Whether the peer is not expected back at once: it has closed the socket itself, or may not come in any more.
    fn is_for_good(&self) -> bool {
        self.code == 1000 || *self == Self::NOT_LOGGED_IN
    }

    /// True for what the peer is refused for, and is again if it comes back with the same.
    fn is_refusal(&self) -> bool {
        (4000..5000).contains(&self.code)
    }

    /// Whether the peer reads nothing more.
    fn is_to_the_deaf(&self) -> bool {
        [1000, 1006, Self::TOO_SLOW.code].contains(&self.code)
    }
}

/// What all sockets of a server share. Clones are handles to the same.
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
    /// Sockets end when `requests` stop.
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

    /// When to close a socket of many: not all clients are to come back at the same moment.
    fn drained_at(&self) -> Instant {
        Instant::now() + Duration::from_secs(self.limits.drain_seconds).mul_f64(fraction())
    }

    fn frame_rate(&self) -> Rate {
        Rate { burst: self.limits.frames_burst.into(), per_second: self.limits.frames_per_second.into() }
    }
}

/// A place among the server's connections, which a socket keeps while it is open.
#[derive(Clone)]
pub struct Held(#[expect(dead_code, reason = "it only has to live")] Arc<dyn Any + Send + Sync>);

impl Held {
    pub fn new(place: impl Any + Send + Sync) -> Self {
        Self(Arc::new(place))
    }
}

/// A voice, what it tells, and whose it is.
pub struct Speaking<V> {
    pub voice: V,
    pub feed: Feed,
    pub caller: Caller,
}

/// Serves a socket from its first frame to its end, and gives why it ended.
async fn serve<V: Voice>(sockets: &Sockets, wire: &mut Wire, speaking: &mut Speaking<V>) -> Close {
    let Ok(present) = sockets.chat.connects(&speaking.caller) else { return Close::TOO_MANY };
    let close = talk::Talk::new(sockets, wire, speaking).run().await;
    if close.is_for_good() {
        present.close();
    }
    close
}

/// A number from 0 up to, but not including, 1.
fn fraction() -> f64 {
    let mut byte = [0; 2];
    getrandom::fill(&mut byte).expect("the operating system has randomness");
    f64::from(u16::from_le_bytes(byte)) / 65_536.0
}
