use std::{
    collections::VecDeque,
    io::ErrorKind,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use futures_util::{Sink, Stream, StreamExt};
use poem::Upgraded;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message, Utf8Bytes,
        error::ProtocolError,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{CLOSING, Close, Frame, sieve::Sieve};
use crate::config;

/// How much is gathered before it is written. Only what is in use is allocated.
const GATHERED_BYTES: usize = 16 * 1024;

/// One socket, and what is still to be written to it.
pub(super) struct Wire {
    stream: WebSocketStream<Sieve<Upgraded>>,
    /// How many messages were read.
    count: u64,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    /// Something was handed to the stream since it was last flushed.
    unflushed: bool,
    most_frames: usize,
    most_bytes: usize,
}

/// What has come from the peer.
#[derive(Debug)]
pub(super) enum Read {
    Text(Utf8Bytes),
    Binary,
    /// It is too large, and what it said is thrown away.
    TooLarge,
    /// A ping or a pong.
    Sign,
}

impl Wire {
    pub(super) async fn new(stream: Upgraded, limits: &config::Sockets) -> Self {
        let config = WebSocketConfig::default()
            // The default is 32 times as much, zeroed before every read.
            .read_buffer_size(limits.read_buffer_bytes)
            .write_buffer_size(GATHERED_BYTES)
            .max_message_size(Some(limits.message_bytes))
            .max_frame_size(Some(limits.message_bytes));
        let stream = Sieve::new(stream, limits.message_bytes);
        Self {
            stream: WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            count: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            unflushed: false,
            most_frames: limits.queued_frames,
            most_bytes: limits.queued_bytes,
        }
    }

    /// Has a frame written as soon as the peer takes it. Fails for a peer that leaves too much lying.
    pub(super) fn say(&mut self, frame: Frame) -> Result<(), Close> {
        if self.is_full() {
            // Whoever takes what there is was only not asked yet. Who waits for the peer does so with the next read.
            if let Poll::Ready(Err(error)) = self.poll_write(&mut Context::from_waker(Waker::noop())) {
                return Err(end(&error));
            }
            if self.is_full() {
                return Err(Close::TOO_SLOW);
            }
        }
        self.push(frame);
        Ok(())
    }

    fn push(&mut self, frame: Frame) {
        self.queued_bytes += frame.len();
        self.queue.push_back(Message::Text(frame));
    }

    /// Waits until a frame of so many bytes can be said; not for ever. One that is larger than all that may wait is waited
    /// for until nothing else does, so that what is said next finds it under way.
    pub(super) async fn has_room(&mut self, bytes: usize) -> Result<(), Close> {
        if self.queue.len() < self.most_frames && self.queued_bytes.saturating_add(bytes) <= self.most_bytes {
            return Ok(());
        }
        let written = std::future::poll_fn(|context| self.poll_write(context));
        match tokio::time::timeout(CLOSING, written).await {
            Ok(written) => written.map_err(|error| end(&error)),
            Err(_) => Err(Close::TOO_SLOW),
        }
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= self.most_frames || self.queued_bytes >= self.most_bytes
    }

    pub(super) fn ping(&mut self) {
        self.queue.push_back(Message::Ping(Bytes::new()));
    }

    /// What comes next from the peer; writes meanwhile what is queued. Safe to cancel.
    pub(super) async fn read(&mut self) -> Result<Read, Close> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Read, Close>> {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            return Poll::Ready(Err(end(&error)));
        }
        let read = ready!(Pin::new(&mut self.stream).poll_next(context));
        if let Some(Ok(Message::Text(_) | Message::Binary(_))) = read {
            let number = self.count;
            self.count += 1;
            if self.stream.get_mut().is_replaced(number) {
                return Poll::Ready(Ok(Read::TooLarge));
            }
        }
        match read {
            Some(Ok(Message::Text(text))) => Poll::Ready(Ok(Read::Text(text))),
            Some(Ok(Message::Binary(_))) => Poll::Ready(Ok(Read::Binary)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                // The stream has its pong ready.
                self.unflushed = true;
                Poll::Ready(Ok(Read::Sign))
            }
            // The stream answers a close by itself, with the next read.
            Some(Ok(Message::Close(_))) => Poll::Ready(Err(Close::new(1000, ""))),
            Some(Err(error)) => Poll::Ready(Err(end(&error))),
            None => Poll::Ready(Err(Close::new(1006, ""))),
        }
    }

    /// Hands over what is queued as far as the peer takes it, in as few writes as can be.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        while !self.queue.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_ready(context))?;
            let message = self.queue.pop_front().expect("looked at before");
            if let Message::Text(text) = &message {
                self.queued_bytes -= text.len();
            }
            Pin::new(&mut self.stream).start_send(message)?;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Says why, and waits a while for the peer to agree.
    pub(super) async fn close(mut self, close: Close) {
        if close.code == Close::TOO_SLOW.code {
            self.queue.clear();
            self.queued_bytes = 0;
        }
        for frame in close.last {
            self.push(frame);
        }
        if close.code != 1000 && close.code != 1006 {
            let frame = CloseFrame { code: CloseCode::from(close.code), reason: close.reason.into() };
            self.queue.push_back(Message::Close(Some(frame)));
        }
        let end = async {
            if std::future::poll_fn(|context| self.poll_write(context)).await.is_err() {
                return;
            }
            // What the peer still says is not heard, but read: closing upon unread bytes would take back the last words.
            while let Some(Ok(_)) = self.stream.next().await {}
            let rest = self.stream.get_mut();
            let _ = rest.shutdown().await;
            let _ = tokio::io::copy(rest, &mut tokio::io::sink()).await;
        };
        let _ = tokio::time::timeout(CLOSING, end).await;
    }
}

/// How an error of the stream is told to the peer, if it can still be told anything.
fn end(error: &Error) -> Close {
    match error {
        Error::Capacity(_) => Close::TOO_LARGE,
        Error::Utf8(_) => Close::NO_TEXT,
        // It went away without a word.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Close::new(1006, ""),
        Error::Protocol(_) => Close::BROKEN,
        // So long it has taken nothing.
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => Close::TOO_SLOW,
        _ => Close::new(1006, ""),
    }
}
