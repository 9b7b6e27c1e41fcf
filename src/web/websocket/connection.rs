//! Event loop of one WebSocket. No event is dropped: back-pressure slows down a client that sends too fast, and events for a
//! client that reads too slowly stay in the event log.

use std::{future::Future, panic::AssertUnwindSafe, pin::pin, time::Duration};

use futures_util::FutureExt;
use storage::Position;
use tokio::time::{Instant, sleep_until};

use super::{
    Close, Frame, FramesOrClose, SocketHandler, SocketServer, SocketSession,
    transport::{IncomingFrame, Transport, TransportEvent},
};
use crate::{
    auth::Caller,
    clock,
    error::chain,
    events::{Feed, FeedBatch},
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
pub(super) struct SocketConnection<'a, V> {
    sockets: &'a SocketServer,
    transport: &'a mut Transport,
    handler: &'a mut V,
    feed: &'a mut Feed,
    caller: &'a Caller,
    /// Token bucket for the frame rate. Pings and pongs count as well, since each costs an answer.
    frames: TokenBucket,
    /// Answer to the last frame, held until the preceding events are sent.
    answer: Option<PendingAnswer>,
    /// False before the greeting, and after an event that could not be delivered: no events are sent.
    delivers: bool,
}

struct PendingAnswer {
    frames: Vec<Frame>,
    /// Position of the event log at the time of the answer. All events up to it are sent first, above all those caused by this
    /// frame and those before it: clients match answers to their frames by order alone.
    after: Position,
}

enum Never {}

impl<'a, V: SocketHandler> SocketConnection<'a, V> {
    pub(super) fn new(sockets: &'a SocketServer, transport: &'a mut Transport, speaking: &'a mut SocketSession<V>) -> Self {
        let SocketSession { handler, feed, caller } = speaking;
        let frames = TokenBucket::full(sockets.frame_rate(), Instant::now());
        Self { sockets, transport, handler, feed, caller, frames, answer: None, delivers: false }
    }

    pub(super) async fn run(mut self) -> Close {
        match self.run_loop().await {
            Ok(never) => match never {},
            Err(close) => self.final_frames(close).await,
        }
    }

    async fn run_loop(&mut self) -> Result<Never, Close> {
        let caller = self.caller;
        let greeting = in_turn(self.sockets, caller, Box::pin(self.handler.on_open())).await?;
        self.send(greeting);
        self.delivers = true;
        let mut times = Deadlines::begin(caller, self.sockets.limits.ping_seconds).await;
        times.reads_paused_until = self.pause_reads();
        let mut ended = pin!(caller.ended.cancelled());
        let mut stopping = pin!(self.sockets.requests.stopping());
        // A single timer for all deadlines saves memory, since every socket holds one.
        let mut alarm = pin!(sleep_until(times.next()));
        loop {
            self.flush_answer().await?;
            if self.feed.is_restarted() && times.drains_at.is_none() {
                times.drains_at = Some(self.sockets.drain_deadline());
            }
            let has_room = self.transport.has_room();
            let is_answered = self.answer.is_none() && !self.handler.has_more();
            let reads = has_room && is_answered && times.reads_paused_until.is_none();
            if alarm.deadline() != times.next() {
                alarm.as_mut().reset(times.next());
            }
            tokio::select! {
                turn = self.transport.next_event(reads) => if let TransportEvent::Read(read) = turn? {
                    times.last_read = Instant::now();
                    self.read(read).await?;
                    times.reads_paused_until = self.pause_reads();
                },
                batch = self.feed.next(), if has_room && times.feed_paused_until.is_none() && !self.feed.is_restarted() => match batch {
                    Ok(batch) => {
                        let said = self.deliver(&batch).await?;
                        self.send(said);
                    }
                    Err(_) if self.feed.is_restarted() => {}
                    Err(error) => {
                        // The feed keeps its position and resumes once the database can be read.
                        tracing::debug!(error = %chain(&error), "event feed of a socket interrupted, retrying");
                        times.feed_paused_until = Some(Instant::now() + FEED_PAUSE);
                    }
                },
                // Next part of a long answer. Other work proceeds in between.
                () = std::future::ready(()), if has_room && self.handler.has_more() => {}
                () = &mut alarm => self.on_deadline(&mut times).await?,
                () = &mut ended => return Err(Close::NOT_LOGGED_IN),
                () = &mut stopping, if times.drains_at.is_none() => {
                    times.drains_at = Some(self.sockets.drain_deadline());
                }
            }
        }
    }

    /// Handles the deadlines that have passed.
    async fn on_deadline(&mut self, times: &mut Deadlines) -> Result<(), Close> {
        let now = Instant::now();
        if times.drains_at.is_some_and(|leaves| now >= leaves) {
            return Err(if self.feed.is_restarted() { Close::LOG_RESTARTED } else { Close::GOING_AWAY });
        }
        times.feed_paused_until = times.feed_paused_until.filter(|until| now < *until);
        if times.reads_paused_until.is_some_and(|until| now >= until) {
            times.last_read = now;
            times.reads_paused_until = self.pause_reads();
        }
        if now >= times.expires {
            times.expires = Box::pin(expiry(self.caller)).await;
            if times.expires <= Instant::now() {
                return Err(Close::EXPIRED);
            }
        }
        if now >= times.last_ping + times.ping {
            // Silence counts only while the socket is read and its queue is flushed. The write time-out closes a connection whose
            // peer accepts no bytes.
            if times.reads_paused_until.is_some() || !self.transport.is_flushed() {
                times.last_read = now;
            }
            if now - times.last_read > times.ping * SILENT_PINGS {
                return Err(Close::SILENT);
            }
            times.last_ping = now;
            let said = catch_panic(&self.sockets.metrics, Box::pin(self.handler.on_ping())).await?;
            self.send(said);
            self.transport.ping();
        }
        Ok(())
    }

    /// Back-pressure: the time until which nothing more is read, because the peer has exceeded its rate limit.
    fn pause_reads(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let owed = self.frames.debt(self.sockets.frame_rate(), now).max(self.sockets.chat.debt(self.caller));
        (!owed.is_zero()).then(|| {
            self.sockets.metrics.held_back(V::DIALECT, owed);
            now + owed
        })
    }

    async fn read(&mut self, read: IncomingFrame) -> Result<(), Close> {
        let read = match read {
            IncomingFrame::Binary(bytes, charge) if V::ACCEPTS_BINARY => match Frame::try_from(bytes.clone()) {
                Ok(text) => IncomingFrame::Text(text, charge),
                Err(_) => IncomingFrame::Binary(bytes, charge),
            },
            other => other,
        };
        self.frames.charge(self.sockets.frame_rate(), 1.0, Instant::now());
        match read {
            IncomingFrame::Text(text, mut charge) => {
                self.caller.record_activity();
                let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text);
                let heard = in_turn(self.sockets, self.caller, Box::pin(self.handler.on_message(text, &mut charge)));
                let frames = self.transport.write_while(heard).await?;
                self.answer = Some(PendingAnswer { frames, after: self.sockets.chat.position() });
            }
            IncomingFrame::Binary(..) => self.send(vec![self.handler.on_binary()]),
            IncomingFrame::PingOrPong => {}
        }
        Ok(())
    }

    /// Sends the answer to the last frame, and one more part of it, if the queue has room.
    async fn flush_answer(&mut self) -> Result<(), Close> {
        self.send_answer().await?;
        if self.handler.has_more() && self.answer.is_none() && self.transport.has_room() {
            let next = in_turn(self.sockets, self.caller, Box::pin(self.handler.next_part()));
            let frames = self.transport.write_while(next).await?;
            self.answer = Some(PendingAnswer { frames, after: self.sockets.chat.position() });
            self.send_answer().await?;
        }
        Ok(())
    }

    /// Sends the answer to the last frame after the events that precede it, if the queue has room for them.
    async fn send_answer(&mut self) -> Result<(), Close> {
        while let Some(PendingAnswer { frames, after }) = self.answer.take() {
            let is_next = self.feed.has_reached(after);
            if !is_next && !self.transport.has_room() {
                self.answer = Some(PendingAnswer { frames, after });
                return Ok(());
            }
            let batch = if is_next { None } else { self.feed.try_next().await.ok().flatten() };
            let Some(batch) = batch else {
                // The feed returns the error again on its next read.
                self.send(frames);
                return Ok(());
            };
            self.answer = Some(PendingAnswer { frames, after });
            let said = self.deliver(&batch).await?;
            self.send(said);
        }
        Ok(())
    }

    async fn deliver(&mut self, batch: &FeedBatch) -> FramesOrClose {
        let said = catch_panic(&self.sockets.metrics, Box::pin(self.handler.on_events(batch))).await;
        self.delivers = said.is_ok();
        said
    }

    /// Sends the remaining events before the close, above all the answers to the peer's own messages. Skips them for a peer that
    /// reads nothing more, and after the end of its session.
    async fn final_frames(&mut self, close: Close) -> Close {
        if close.is_unreadable() || close == Close::NOT_LOGGED_IN {
            return close;
        }
        let answer = self.answer.take().map_or_else(Vec::new, |answer| answer.frames);
        if !self.delivers {
            return Close { last_frames: close.last_frames.into_iter().chain(answer).collect(), ..close };
        }
        // Does not wait: the events of the peer's own messages are in the feed already.
        while self.transport.has_room()
            && let Some(Ok(batch)) = self.feed.next().now_or_never()
        {
            match self.deliver(&batch).await {
                Ok(said) => self.send(said),
                Err(broken) => {
                    self.send(broken.last_frames);
                    break;
                }
            }
        }
        Close { last_frames: answer.into_iter().chain(close.last_frames).collect(), ..close }
    }

    fn send(&mut self, frames: Vec<Frame>) {
        self.sockets.metrics.frames_sent(V::DIALECT, frames.len());
        frames.into_iter().for_each(|frame| self.transport.queue_frame(frame));
    }
}

/// Deadlines of a socket.
struct Deadlines {
    ping: Duration,
    last_ping: Instant,
    last_read: Instant,
    /// Expiry of the caller's token or session.
    expires: Instant,
    /// Set once the server stops, or the event log was restarted.
    drains_at: Option<Instant>,
    reads_paused_until: Option<Instant>,
    feed_paused_until: Option<Instant>,
}

impl Deadlines {
    async fn begin(caller: &Caller, ping_seconds: u64) -> Self {
        let (now, expires) = (Instant::now(), Box::pin(expiry(caller)).await);
        let ping = Duration::from_secs(ping_seconds);
        Self { ping, last_ping: now, last_read: now, expires, drains_at: None, reads_paused_until: None, feed_paused_until: None }
    }

    fn next(&self) -> Instant {
        let some = [self.drains_at, self.reads_paused_until, self.feed_paused_until].into_iter().flatten();
        some.fold(self.expires.min(self.last_ping + self.ping), Instant::min)
    }
}

/// Runs a handler under one of the user's turns, which its sockets share with its requests.
async fn in_turn(sockets: &SocketServer, caller: &Caller, said: impl Future<Output = FramesOrClose>) -> FramesOrClose {
    let _turn = sockets.shares.turns.wait(Party::User(caller.user)).await;
    catch_panic(&sockets.metrics, said).await
}

/// Catches a panic, so that it closes only its own socket.
async fn catch_panic(metrics: &Metrics, said: impl Future<Output = FramesOrClose>) -> FramesOrClose {
    match AssertUnwindSafe(said).catch_unwind().await {
        Ok(said) => said,
        Err(panic) => {
            metrics.panic();
            let correlation = telemetry::correlation();
            tracing::error!(correlation, panic = telemetry::panic_text(panic.as_ref()), "socket handler panicked");
            Err(Close::INTERNAL)
        }
    }
}

/// Expiry of the caller's token or session. Activity extends a session, so this is checked again when it is reached.
async fn expiry(caller: &Caller) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 86_400);
    let left = match caller.session_end().await {
        Ok(until) => until.map_or(FAR, |at| (at - clock::now()).to_std().unwrap_or_default().min(FAR)),
        Err(error) => {
            tracing::debug!(error = %chain(&error), "session expiry of a socket unknown");
            Duration::from_secs(1)
        }
    };
    Instant::now() + left
}
