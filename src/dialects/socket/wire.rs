use std::{
    collections::VecDeque,
    future::Future,
    io::ErrorKind,
    pin::{Pin, pin},
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

use super::{CLOSING, Close, Frame, metered::Metered};
use crate::config;

/// How much is gathered before it is written. Only what is in use is allocated.
const GATHERED_BYTES: usize = 16 * 1024;

/// One socket, and what is still to be written to it.
pub(super) struct Wire {
    stream: WebSocketStream<Metered<Upgraded>>,
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
    Binary(Bytes),
    /// A ping or a pong.
    Sign,
}

/// The end of a [`Wire::turn`].
#[derive(Debug)]
pub(super) enum Turn {
    Read(Read),
    /// The queue was full, and is not any more.
    Room,
}

impl Wire {
    pub(super) async fn new(stream: Upgraded, limits: &config::Sockets) -> Self {
        let config = WebSocketConfig::default()
            // The default is 32 times as much, zeroed before every read.
            .read_buffer_size(limits.read_buffer_bytes)
            .write_buffer_size(GATHERED_BYTES)
            .max_message_size(Some(limits.message_bytes))
            .max_frame_size(Some(limits.message_bytes));
        let stream = Metered::new(stream, limits.message_bytes);
        Self {
            stream: WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            queue: VecDeque::new(),
            queued_bytes: 0,
            unflushed: false,
            most_frames: limits.queued_frames,
            most_bytes: limits.queued_bytes,
        }
    }

    /// Has a frame written as soon as the peer takes it. Whoever says more than there is room for waits for it first.
    pub(super) fn say(&mut self, frame: Frame) {
        self.queued_bytes += frame.len();
        self.queue.push_back(Message::Text(frame));
    }

    /// True if one more batch or answer may be said.
    pub(super) fn has_room(&mut self) -> bool {
        if self.is_full() {
            // A peer that takes everything was only not asked yet. An error comes again with the next turn.
            let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
        }
        !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= self.most_frames || self.queued_bytes >= self.most_bytes
    }

    /// True if all that was said is handed to the kernel.
    pub(super) fn is_flushed(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    pub(super) fn ping(&mut self) {
        self.queue.push_back(Message::Ping(Bytes::new()));
    }

    /// Writes what is queued, and, if it `reads`, gives what comes next from the peer. Safe to cancel.
    pub(super) async fn turn(&mut self, reads: bool) -> Result<Turn, Close> {
        let was_full = self.is_full();
        std::future::poll_fn(|context| {
            if let Poll::Ready(Err(error)) = self.poll_write(context) {
                return Poll::Ready(Err(end(&error)));
            }
            if was_full && !self.is_full() {
                return Poll::Ready(Ok(Turn::Room));
            }
            if reads { self.poll_read(context).map_ok(Turn::Read) } else { Poll::Pending }
        })
        .await
    }

    /// Writes what is queued while something else is done.
    pub(super) async fn beside<T>(&mut self, done: impl Future<Output = T>) -> T {
        let mut done = pin!(done);
        std::future::poll_fn(|context| {
            // An error comes again with the next turn.
            let _ = self.poll_write(context);
            done.as_mut().poll(context)
        })
        .await
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Read, Close>> {
        Poll::Ready(match ready!(Pin::new(&mut self.stream).poll_next(context)) {
            Some(Ok(Message::Text(text))) => Ok(Read::Text(text)),
            Some(Ok(Message::Binary(bytes))) => Ok(Read::Binary(bytes)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                // The stream has its pong ready.
                self.unflushed = true;
                Ok(Read::Sign)
            }
            // The stream answers a close by itself, with the next read.
            Some(Ok(Message::Close(_))) => Err(Close::new(1000, "")),
            Some(Err(error)) => Err(end(&error)),
            None => Err(Close::new(1006, "")),
        })
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
            self.say(frame);
        }
        if close.code != 1000 && close.code != 1006 {
            let frame = CloseFrame { code: CloseCode::from(close.code), reason: close.reason.into() };
            self.queue.push_back(Message::Close(Some(frame)));
        }
        self.stream.get_mut().lift();
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
