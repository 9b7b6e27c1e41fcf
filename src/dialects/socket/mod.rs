//! The only WebSocket loop. A dialect's [`Voice`] hears and tells; reading, writing, gathering what is to be written,
//! pings, limits, closing and the stop are here, the same for all.

mod pace;
mod sieve;
mod upgrade;
mod wire;

use std::{any::Any, future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_tungstenite::tungstenite::Utf8Bytes;

pub use upgrade::{is_asked_for, open};

use crate::{
    auth::Caller,
    chat::{Batch, Chat, Feed},
    clock, config,
    lifecycle::Lifecycle,
    metrics::Metrics,
    telemetry,
};
use pace::{Pace, Verdict};
use wire::{Read, Wire};

/// One text frame, which many sockets may share.
pub type Frame = Utf8Bytes;

/// For how long a peer is waited for that is to answer a close.
const CLOSING: Duration = Duration::from_secs(5);
/// After how many pings without a sign of life a socket is given up.
const SILENT_PINGS: u32 = 3;

/// What one dialect says on a socket of one caller.
pub trait Voice: Send + 'static {
    /// Its name in logs and metrics.
    const DIALECT: &'static str;

    /// What is said first.
    fn greet(&mut self) -> impl Future<Output = Said> + Send;
    /// What a client's frame is answered with. Never cancelled but by the server's end.
    fn hear(&mut self, text: &str) -> impl Future<Output = Said> + Send;
    /// How what has happened is told. May be called again with the same if the server was interrupted.
    fn tell(&mut self, batch: &Batch) -> impl Future<Output = Said> + Send;
    /// What is said beside every ping.
    fn beat(&mut self) -> impl Future<Output = Said> + Send;
    /// How a frame is answered that is not to be heard at all.
    fn refuse(&self, refusal: Refusal<'_>) -> Frame;
    /// What is said of a message that is larger than it may be, where that does not close the socket.
    fn too_large() -> Option<Frame> {
        None
    }
}

/// Frames to be sent in this order, or the end.
pub type Said = Result<Vec<Frame>, Close>;

/// Why a frame was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// It is binary.
    NotText,
    /// There are too many; the next one closes the socket. What this one says, if it is a text that could have been heard:
    /// its sender is to learn which it was.
    TooFast(Option<&'a str>),
}

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
    pub const NOT_LOGGED_IN: Self = Self::new(4003, "not logged in");
    pub const RUN_OUT: Self = Self::new(4003, "the token or the session has run out");
    pub const TOO_LARGE: Self = Self::new(1009, "the message is too big");
    pub const TOO_SLOW: Self = Self::new(4008, "too slow to read");
    pub const TOO_FAST: Self = Self::new(4029, "too many frames");
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
    metrics: Metrics,
    requests: Lifecycle,
}

impl Sockets {
    /// Sockets end when `requests` stop.
    pub fn new(chat: &Chat, limits: &config::Sockets, metrics: &Metrics, requests: &Lifecycle) -> Self {
        Self { chat: chat.clone(), limits: Arc::new(limits.clone()), metrics: metrics.clone(), requests: requests.clone() }
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
    let Speaking { voice, feed, caller } = speaking;
    let Ok(_present) = sockets.chat.connects(caller) else { return Close::TOO_MANY };
    let (pace, signs) = (Pace::new(&sockets.limits), Pace::new(&sockets.limits));
    let mut talk = Talk { sockets, voice, wire, caller, pace, signs, tells: false };
    match talk.go_on(feed).await {
        Ok(never) => match never {},
        Err(close) => talk.last_words(feed, close).await,
    }
}

struct Talk<'a, V> {
    sockets: &'a Sockets,
    voice: &'a mut V,
    wire: &'a mut Wire,
    caller: &'a Caller,
    pace: Pace,
    /// Of pings and pongs, which are nobody's words, but have to be answered all the same.
    signs: Pace,
    /// Nothing is told before the greeting, nor after something that could not be told.
    tells: bool,
}

enum Never {}

impl<V: Voice> Talk<'_, V> {
    async fn go_on(&mut self, feed: &mut Feed) -> Result<Never, Close> {
        let caller = self.caller;
        let greeting = contained(&self.sockets.metrics, Box::pin(self.voice.greet())).await?;
        self.answer(greeting).await?;
        self.tells = true;
        let ping = Duration::from_secs(self.sockets.limits.ping_seconds);
        let mut expires = Box::pin(expiry(caller)).await;
        let (mut heard, mut pinged, mut leaves) = (Instant::now(), Instant::now(), None);
        let mut ended = pin!(caller.ended.cancelled());
        let mut stopping = pin!(self.sockets.requests.stopping());
        // One for all that is waited for: every socket holds it.
        let mut alarm = pin!(sleep_until(expires.min(pinged + ping)));
        loop {
            tokio::select! {
                read = self.wire.read() => {
                    heard = Instant::now();
                    match read? {
                        Read::Text(text) => self.hear(&text, feed).await?,
                        Read::Binary => self.refuse(Refusal::NotText)?,
                        Read::TooLarge => self.refuse_with(V::too_large().ok_or(Close::TOO_LARGE)?)?,
                        Read::Sign => self.notice()?,
                    }
                }
                batch = feed.next() => match batch {
                    Ok(batch) => {
                        let said = self.tell(&batch).await?;
                        self.say(said)?;
                    }
                    Err(error) => {
                        // The feed goes on from where it is once the store can be read again.
                        tracing::debug!(error = %telemetry::chain(&error), "a socket waits for the store");
                        sleep(Duration::from_secs(1)).await;
                    }
                },
                () = &mut alarm => {
                    let now = Instant::now();
                    if leaves.is_some_and(|leaves| now >= leaves) {
                        return Err(Close::GOING_AWAY);
                    }
                    if now >= expires {
                        expires = Box::pin(expiry(caller)).await;
                        if expires <= Instant::now() {
                            return Err(Close::RUN_OUT);
                        }
                    }
                    if now >= pinged + ping {
                        if now - heard > ping * SILENT_PINGS {
                            return Err(Close::SILENT);
                        }
                        pinged = now;
                        let said = contained(&self.sockets.metrics, Box::pin(self.voice.beat())).await?;
                        self.say(said)?;
                        self.wire.ping();
                    }
                    alarm.as_mut().reset(expires.min(pinged + ping).min(leaves.unwrap_or(expires)));
                }
                () = &mut ended => return Err(Close::NOT_LOGGED_IN),
                () = &mut stopping, if leaves.is_none() => {
                    // Not all clients are to come back at the same moment.
                    let at = Instant::now() + Duration::from_secs(self.sockets.limits.drain_seconds).mul_f64(fraction());
                    leaves = Some(at);
                    let next = alarm.deadline().min(at);
                    alarm.as_mut().reset(next);
                }
            }
        }
    }

    async fn tell(&mut self, batch: &Batch) -> Said {
        let said = contained(&self.sockets.metrics, Box::pin(self.voice.tell(batch))).await;
        self.tells = said.is_ok();
        said
    }

    /// What was stored before the end is still told, above all the answers to this peer's own messages: not to a peer that
    /// reads nothing more, nor once its session has ended.
    async fn last_words(&mut self, feed: &mut Feed, close: Close) -> Close {
        if close.is_to_the_deaf() || !self.tells || close == Close::NOT_LOGGED_IN {
            return close;
        }
        // Nothing is waited for: what this peer has sent is in the feed already.
        let Some(Ok(batch)) = feed.next().now_or_never() else { return close };
        let told = match self.tell(&batch).await {
            Ok(frames) => frames,
            Err(broken) => broken.last,
        };
        self.sockets.metrics.frames_told(V::DIALECT, told.len());
        Close { last: told.into_iter().chain(close.last).collect(), ..close }
    }

    async fn hear(&mut self, text: &str, feed: &mut Feed) -> Result<(), Close> {
        match self.pace.step() {
            Verdict::Fine => self.caller.goes_on(),
            Verdict::Warn => return self.say(vec![self.voice.refuse(Refusal::TooFast(Some(text)))]),
            Verdict::Enough => return Err(Close::TOO_FAST),
        }
        let answer = contained(&self.sockets.metrics, Box::pin(self.voice.hear(text))).await?;
        // All that had happened by then is told first, above all what this frame and those before it have made happen.
        // Nothing but their order tells a client which answers belong to which of its frames.
        match Box::pin(self.catch_up(feed)).await {
            Ok(()) => {}
            Err(close) if close.is_to_the_deaf() => return Err(close),
            Err(close) => return Err(Close { last: close.last.into_iter().chain(answer).collect(), ..close }),
        }
        self.answer(answer).await
    }

    /// Says what the peer itself has asked for: however much that is, it must not be taken for the peer's slowness.
    async fn answer(&mut self, frames: Vec<Frame>) -> Result<(), Close> {
        for frame in frames {
            self.wire.has_room(frame.len()).await?;
            self.say(vec![frame])?;
        }
        Ok(())
    }

    /// Tells what the feed holds, if the store lets it.
    async fn catch_up(&mut self, feed: &mut Feed) -> Result<(), Close> {
        // Whatever goes wrong comes again when it is its turn.
        while let Ok(Some(batch)) = feed.by_now().await {
            let said = self.tell(&batch).await?;
            self.say(said)?;
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal<'_>) -> Result<(), Close> {
        self.refuse_with(self.voice.refuse(refusal))
    }

    fn refuse_with(&mut self, frame: Frame) -> Result<(), Close> {
        match self.pace.step() {
            Verdict::Fine => self.say(vec![frame]),
            Verdict::Warn => self.say(vec![self.voice.refuse(Refusal::TooFast(None))]),
            Verdict::Enough => Err(Close::TOO_FAST),
        }
    }

    fn notice(&mut self) -> Result<(), Close> {
        match self.signs.step() {
            Verdict::Fine => Ok(()),
            Verdict::Warn => self.say(vec![self.voice.refuse(Refusal::TooFast(None))]),
            Verdict::Enough => Err(Close::TOO_FAST),
        }
    }

    fn say(&mut self, frames: Vec<Frame>) -> Result<(), Close> {
        self.sockets.metrics.frames_told(V::DIALECT, frames.len());
        frames.into_iter().try_for_each(|frame| self.wire.say(frame))
    }
}

/// A panic ends its own socket and no other.
async fn contained(metrics: &Metrics, said: impl Future<Output = Said>) -> Said {
    match AssertUnwindSafe(said).catch_unwind().await {
        Ok(said) => said,
        Err(panic) => {
            metrics.panic();
            let correlation = telemetry::correlation();
            tracing::error!(correlation, panic = telemetry::panic_text(panic.as_ref()), "panicked on a socket");
            Err(Close::INTERNAL)
        }
    }
}

/// When the caller's token runs out, or its session, as far as can be said now: whoever uses it meanwhile stays longer.
async fn expiry(caller: &Caller) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 86_400);
    let left = match caller.may_stay_until().await {
        Ok(until) => until.map_or(FAR, |at| (at - clock::now()).to_std().unwrap_or_default().min(FAR)),
        Err(error) => {
            tracing::debug!(error = %telemetry::chain(&error), "whether a socket's session lives cannot be said");
            Duration::from_secs(1)
        }
    };
    Instant::now() + left
}

/// A number from 0 up to, but not including, 1.
fn fraction() -> f64 {
    let mut byte = [0; 2];
    getrandom::fill(&mut byte).expect("the operating system has randomness");
    f64::from(u16::from_le_bytes(byte)) / 65_536.0
}
