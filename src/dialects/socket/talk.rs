//! Event loop of one WebSocket. No event is dropped: back-pressure slows down a client that sends too fast, and events for a
//! client that reads too slowly stay in the event log.

use std::{future::Future, panic::AssertUnwindSafe, pin::pin, time::Duration};

use futures_util::FutureExt;
use storage::Position;
use tokio::time::{Instant, sleep_until};

use super::{
    Close, Frame, Said, Sockets, Speaking, Voice,
    wire::{Read, Turn, Wire},
};
use crate::{
    auth::Caller,
    chat::{Batch, Feed},
    clock,
    metrics::Metrics,
    shares::Party,
    telemetry,
    token_bucket::TokenBucket,
};

/// Number of ping intervals without a frame from the peer after which a socket is closed.
const SILENT_PINGS: u32 = 3;
/// Byte order mark, which .NET puts before a text. It is ignored (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: char = '\u{feff}';
/// Pause before the retry of a failed feed.
const FEED_PAUSE: Duration = Duration::from_secs(1);

/// State of the loop of one socket.
pub(super) struct Talk<'a, V> {
    sockets: &'a Sockets,
    wire: &'a mut Wire,
    voice: &'a mut V,
    feed: &'a mut Feed,
    caller: &'a Caller,
    /// Token bucket for the frame rate. Pings and pongs count as well, since each costs an answer.
    frames: TokenBucket,
    /// Answer to the last frame, held until the preceding events are sent.
    answer: Option<Answer>,
    /// False before the greeting, and after an event that could not be delivered: no events are sent.
    tells: bool,
}

struct Answer {
    frames: Vec<Frame>,
    /// Position of the event log at the time of the answer. All events up to it are sent first, above all those caused by this
    /// frame and those before it: clients match answers to their frames by order alone.
    after: Position,
}

enum Never {}

impl<'a, V: Voice> Talk<'a, V> {
    pub(super) fn new(sockets: &'a Sockets, wire: &'a mut Wire, speaking: &'a mut Speaking<V>) -> Self {
        let Speaking { voice, feed, caller } = speaking;
        let frames = TokenBucket::full(sockets.frame_rate(), Instant::now());
        Self { sockets, wire, voice, feed, caller, frames, answer: None, tells: false }
    }

    pub(super) async fn run(mut self) -> Close {
        match self.go_on().await {
            Ok(never) => match never {},
            Err(close) => self.last_words(close).await,
        }
    }

    async fn go_on(&mut self) -> Result<Never, Close> {
        let caller = self.caller;
        let greeting = in_turn(self.sockets, caller, Box::pin(self.voice.greet())).await?;
        self.say(greeting);
        self.tells = true;
        let mut times = Times::begin(caller, self.sockets.limits.ping_seconds).await;
        times.held_until = self.holds_back();
        let mut ended = pin!(caller.ended.cancelled());
        let mut stopping = pin!(self.sockets.requests.stopping());
        // A single timer for all deadlines saves memory, since every socket holds one.
        let mut alarm = pin!(sleep_until(times.next()));
        loop {
            self.settle().await?;
            if self.feed.is_over() && times.leaves.is_none() {
                times.leaves = Some(self.sockets.drained_at());
            }
            let has_room = self.wire.has_room();
            let is_answered = self.answer.is_none() && !self.voice.goes_on();
            let reads = has_room && is_answered && times.held_until.is_none();
            if alarm.deadline() != times.next() {
                alarm.as_mut().reset(times.next());
            }
            tokio::select! {
                turn = self.wire.turn(reads) => if let Turn::Read(read) = turn? {
                    times.heard = Instant::now();
                    self.read(read).await?;
                    times.held_until = self.holds_back();
                },
                batch = self.feed.next(), if has_room && times.feed_rests_until.is_none() && !self.feed.is_over() => match batch {
                    Ok(batch) => {
                        let said = self.tell(&batch).await?;
                        self.say(said);
                    }
                    Err(_) if self.feed.is_over() => {}
                    Err(error) => {
                        // The feed keeps its position and resumes once the database can be read.
                        tracing::debug!(error = %telemetry::chain(&error), "a socket waits for the store");
                        times.feed_rests_until = Some(Instant::now() + FEED_PAUSE);
                    }
                },
                // Next part of a long answer. Other work proceeds in between.
                () = std::future::ready(()), if has_room && self.voice.goes_on() => {}
                () = &mut alarm => self.look_at(&mut times).await?,
                () = &mut ended => return Err(Close::NOT_LOGGED_IN),
                () = &mut stopping, if times.leaves.is_none() => {
                    times.leaves = Some(self.sockets.drained_at());
                }
            }
        }
    }

    /// Handles the deadlines that have passed.
    async fn look_at(&mut self, times: &mut Times) -> Result<(), Close> {
        let now = Instant::now();
        if times.leaves.is_some_and(|leaves| now >= leaves) {
            return Err(if self.feed.is_over() { Close::LOG_RESTARTED } else { Close::GOING_AWAY });
        }
        times.feed_rests_until = times.feed_rests_until.filter(|until| now < *until);
        if times.held_until.is_some_and(|until| now >= until) {
            times.heard = now;
            times.held_until = self.holds_back();
        }
        if now >= times.expires {
            times.expires = Box::pin(expiry(self.caller)).await;
            if times.expires <= Instant::now() {
                return Err(Close::RUN_OUT);
            }
        }
        if now >= times.pinged + times.ping {
            // Silence counts only while the socket is read and its queue is flushed. The write time-out closes a connection whose
            // peer accepts no bytes.
            if times.held_until.is_some() || !self.wire.is_flushed() {
                times.heard = now;
            }
            if now - times.heard > times.ping * SILENT_PINGS {
                return Err(Close::SILENT);
            }
            times.pinged = now;
            let said = contained(&self.sockets.metrics, Box::pin(self.voice.beat())).await?;
            self.say(said);
            self.wire.ping();
        }
        Ok(())
    }

    /// Back-pressure: the time until which nothing more is read, because the peer has exceeded its rate limit.
    fn holds_back(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let owed = self.frames.debt(self.sockets.frame_rate(), now).max(self.sockets.chat.owes(self.caller));
        (!owed.is_zero()).then(|| {
            self.sockets.metrics.held_back(V::DIALECT, owed);
            now + owed
        })
    }

    async fn read(&mut self, read: Read) -> Result<(), Close> {
        let read = match read {
            Read::Binary(bytes) if V::HEARS_BINARY => Frame::try_from(bytes.clone()).map_or(Read::Binary(bytes), Read::Text),
            other => other,
        };
        self.frames.charge(self.sockets.frame_rate(), 1.0, Instant::now());
        match read {
            Read::Text(text) => {
                self.caller.goes_on();
                let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
                let heard = in_turn(self.sockets, self.caller, Box::pin(self.voice.hear(text)));
                let frames = self.wire.beside(heard).await?;
                self.answer = Some(Answer { frames, after: self.sockets.chat.position() });
            }
            Read::Binary(_) => self.say(vec![self.voice.not_text()]),
            Read::Sign => {}
        }
        Ok(())
    }

    /// Sends the answer to the last frame, and one more part of it, if the queue has room.
    async fn settle(&mut self) -> Result<(), Close> {
        self.say_answer().await?;
        if self.voice.goes_on() && self.answer.is_none() && self.wire.has_room() {
            let next = in_turn(self.sockets, self.caller, Box::pin(self.voice.go_on()));
            let frames = self.wire.beside(next).await?;
            self.answer = Some(Answer { frames, after: self.sockets.chat.position() });
            self.say_answer().await?;
        }
        Ok(())
    }

    /// Sends the answer to the last frame after the events that precede it, if the queue has room for them.
    async fn say_answer(&mut self) -> Result<(), Close> {
        while let Some(Answer { frames, after }) = self.answer.take() {
            let is_next = self.feed.has_reached(after);
            if !is_next && !self.wire.has_room() {
                self.answer = Some(Answer { frames, after });
                return Ok(());
            }
            let batch = if is_next { None } else { self.feed.by_now().await.ok().flatten() };
            let Some(batch) = batch else {
                // The feed returns the error again on its next read.
                self.say(frames);
                return Ok(());
            };
            self.answer = Some(Answer { frames, after });
            let said = self.tell(&batch).await?;
            self.say(said);
        }
        Ok(())
    }

    async fn tell(&mut self, batch: &Batch) -> Said {
        let said = contained(&self.sockets.metrics, Box::pin(self.voice.tell(batch))).await;
        self.tells = said.is_ok();
        said
    }

    /// Sends the remaining events before the close, above all the answers to the peer's own messages. Skips them for a peer that
    /// reads nothing more, and after the end of its session.
    async fn last_words(&mut self, close: Close) -> Close {
        if close.is_to_the_deaf() || close == Close::NOT_LOGGED_IN {
            return close;
        }
        let answer = self.answer.take().map_or_else(Vec::new, |answer| answer.frames);
        if !self.tells {
            return Close { last: close.last.into_iter().chain(answer).collect(), ..close };
        }
        // Does not wait: the events of the peer's own messages are in the feed already.
        while self.wire.has_room()
            && let Some(Ok(batch)) = self.feed.next().now_or_never()
        {
            match self.tell(&batch).await {
                Ok(said) => self.say(said),
                Err(broken) => {
                    self.say(broken.last);
                    break;
                }
            }
        }
        Close { last: answer.into_iter().chain(close.last).collect(), ..close }
    }

    fn say(&mut self, frames: Vec<Frame>) {
        self.sockets.metrics.frames_told(V::DIALECT, frames.len());
        frames.into_iter().for_each(|frame| self.wire.say(frame));
    }
}

/// Deadlines of a socket.
struct Times {
    ping: Duration,
    pinged: Instant,
    heard: Instant,
    /// Expiry of the caller's token or session.
    expires: Instant,
    /// Set once the server stops, or the event log was restarted.
    leaves: Option<Instant>,
    held_until: Option<Instant>,
    feed_rests_until: Option<Instant>,
}

impl Times {
    async fn begin(caller: &Caller, ping_seconds: u64) -> Self {
        let (now, expires) = (Instant::now(), Box::pin(expiry(caller)).await);
        let ping = Duration::from_secs(ping_seconds);
        Self { ping, pinged: now, heard: now, expires, leaves: None, held_until: None, feed_rests_until: None }
    }

    fn next(&self) -> Instant {
        let some = [self.leaves, self.held_until, self.feed_rests_until].into_iter().flatten();
        some.fold(self.expires.min(self.pinged + self.ping), Instant::min)
    }
}

/// Runs a handler under one of the user's turns, which its sockets share with its requests.
async fn in_turn(sockets: &Sockets, caller: &Caller, said: impl Future<Output = Said>) -> Said {
    let _turn = sockets.turns.wait(Party::User(caller.user)).await;
    contained(&sockets.metrics, said).await
}

/// Catches a panic, so that it closes only its own socket.
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

/// Expiry of the caller's token or session. Activity extends a session, so this is checked again when it is reached.
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
