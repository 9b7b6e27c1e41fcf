//! Transport of one WebSocket: a bounded send queue with gathered writes, reads with back-pressure, and the closing handshake.

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

use super::{CLOSE_TIMEOUT, Close, Frame, metered::RateLimited};
use crate::config;

/// Size of the write buffer, in bytes. Memory is allocated as needed.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// One WebSocket with its send queue.
pub(super) struct Transport {
    stream: WebSocketStream<RateLimited<Upgraded>>,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    /// True if the stream has data that is not flushed.
    unflushed: bool,
    most_frames: usize,
    most_bytes: usize,
}

/// A frame received from the peer.
#[derive(Debug)]
pub(super) enum IncomingFrame {
    Text(Utf8Bytes),
    Binary(Bytes),
    /// A ping or a pong.
    PingOrPong,
}

/// Result of [`Transport::next_event`].
#[derive(Debug)]
pub(super) enum TransportEvent {
    Read(IncomingFrame),
    /// The queue was full and has room again.
    Writable,
}

impl Transport {
    pub(super) async fn new(stream: Upgraded, limits: &config::SocketSettings) -> Self {
        let config = WebSocketConfig::default()
            // The default is 32 times as large, and zeroed before every read.
            .read_buffer_size(limits.read_buffer_bytes)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(limits.message_bytes))
            .max_frame_size(Some(limits.message_bytes));
        let stream = RateLimited::new(stream, limits.message_bytes);
        Self {
            stream: WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            queue: VecDeque::new(),
            queued_bytes: 0,
            unflushed: false,
            most_frames: limits.queued_frames,
            most_bytes: limits.queued_bytes,
        }
    }

    /// Queues a frame. The caller checks [`Self::has_room`] first.
    pub(super) fn queue_frame(&mut self, frame: Frame) {
        self.queued_bytes += frame.len();
        self.queue.push_back(Message::Text(frame));
    }

    /// True if the queue accepts another batch or answer.
    pub(super) fn has_room(&mut self) -> bool {
        if self.is_full() {
            // Tries to write first: the peer may accept everything. An error is reported by the next turn.
            let _ = self.poll_write(&mut Context::from_waker(Waker::noop()));
        }
        !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.queue.len() >= self.most_frames || self.queued_bytes >= self.most_bytes
    }

    /// True if the kernel has accepted all frames.
    pub(super) fn is_flushed(&self) -> bool {
        self.queue.is_empty() && !self.unflushed
    }

    pub(super) fn ping(&mut self) {
        self.queue.push_back(Message::Ping(Bytes::new()));
    }

    /// Writes the queue, and, if it `reads`, returns the next frame of the peer.
    ///
    /// # Errors
    ///
    /// The close code, if the connection has ended or the peer has broken the protocol.
    ///
    /// # Cancel safety
    ///
    /// Safe: unwritten frames stay queued, and no frame is lost.
    pub(super) async fn next_event(&mut self, reads: bool) -> Result<TransportEvent, Close> {
        let was_full = self.is_full();
        std::future::poll_fn(|context| {
            if let Poll::Ready(Err(error)) = self.poll_write(context) {
                return Poll::Ready(Err(close_for(&error)));
            }
            if was_full && !self.is_full() {
                return Poll::Ready(Ok(TransportEvent::Writable));
            }
            if reads { self.poll_read(context).map_ok(TransportEvent::Read) } else { Poll::Pending }
        })
        .await
    }

    /// Writes the queue while another future runs.
    pub(super) async fn write_while<T>(&mut self, done: impl Future<Output = T>) -> T {
        let mut done = pin!(done);
        std::future::poll_fn(|context| {
            // The next turn reports the error.
            let _ = self.poll_write(context);
            done.as_mut().poll(context)
        })
        .await
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<IncomingFrame, Close>> {
        Poll::Ready(match ready!(Pin::new(&mut self.stream).poll_next(context)) {
            Some(Ok(Message::Text(text))) => Ok(IncomingFrame::Text(text)),
            Some(Ok(Message::Binary(bytes))) => Ok(IncomingFrame::Binary(bytes)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                // The stream has queued the pong.
                self.unflushed = true;
                Ok(IncomingFrame::PingOrPong)
            }
            // The stream answers the close frame itself, with the next read.
            Some(Ok(Message::Close(_))) => Err(Close::new(1000, "")),
            Some(Err(error)) => Err(close_for(&error)),
            None => Err(Close::new(1006, "")),
        })
    }

    /// Writes the queue as far as the peer accepts it, in as few system calls as possible.
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

    /// Sends the last frames and the close frame, then waits for the peer's close, for a limited time.
    pub(super) async fn close(mut self, close: Close) {
        if close.code == Close::TOO_SLOW.code {
            self.queue.clear();
            self.queued_bytes = 0;
        }
        for frame in close.last_frames {
            self.queue_frame(frame);
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
            // Reads and discards the peer's frames: closing a connection with unread data resets it, which may drop the last
            // frames.
            while let Some(Ok(_)) = self.stream.next().await {}
            let rest = self.stream.get_mut();
            let _ = rest.shutdown().await;
            let _ = tokio::io::copy(rest, &mut tokio::io::sink()).await;
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, end).await;
    }
}

/// Close code for an error of the stream.
fn close_for(error: &Error) -> Close {
    match error {
        Error::Capacity(_) => Close::TOO_LARGE,
        Error::Utf8(_) => Close::NO_TEXT,
        // The peer has closed the connection without a close frame.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Close::new(1006, ""),
        Error::Protocol(_) => Close::PROTOCOL_ERROR,
        // The write time-out has expired.
        Error::Io(error) if error.kind() == ErrorKind::TimedOut => Close::TOO_SLOW,
        _ => Close::new(1006, ""),
    }
}
