//! Transport of one WebSocket: a bounded send queue with gathered writes, reads with back-pressure, and the closing handshake.

use std::{
    collections::VecDeque,
    future::Future,
    io::ErrorKind,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use futures_util::{Sink, Stream};
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

use super::{CLOSE_TIMEOUT, Close, Frame, metered::MeteredStream};
use crate::{config, shares::Charge};

/// Size of the write buffer, in bytes. Memory is allocated as needed.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// One WebSocket with its send queue.
pub(super) struct Transport {
    stream: WebSocketStream<MeteredStream<Upgraded>>,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    /// True if the stream has data that is not flushed.
    unflushed: bool,
    /// Error of a write between two turns, for the next one: the kernel reports an error once.
    failed: Option<Close>,
    most_frames: usize,
    most_bytes: usize,
}

/// A frame received from the peer. A message has its charge, which lasts until it is handled.
pub(super) enum IncomingFrame {
    Text(Utf8Bytes, Charge),
    Binary(Bytes, Charge),
    /// A ping or a pong.
    PingOrPong,
}

/// Result of [`Transport::next_event`].
pub(super) enum TransportEvent {
    Read(IncomingFrame),
    /// The queue was full and has room again.
    Writable,
}

impl Transport {
    /// `message_bytes`: size limit of the peer's messages. `charge`: an empty one, for an unfinished message.
    pub(super) async fn new(stream: Upgraded, limits: &config::SocketSettings, message_bytes: usize, charge: Charge) -> Self {
        let config = WebSocketConfig::default()
            // The default is 32 times as large, and zeroed before every read.
            .read_buffer_size(limits.read_buffer_bytes)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        let stream = MeteredStream::new(stream, limits.message_bytes, charge);
        Self {
            stream: WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            queue: VecDeque::new(),
            queued_bytes: 0,
            unflushed: false,
            failed: None,
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
            // Tries to write first: the peer may accept everything.
            self.write_between_turns(&mut Context::from_waker(Waker::noop()));
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
            if let Some(failed) = self.failed.take() {
                return Poll::Ready(Err(failed));
            }
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
            self.write_between_turns(context);
            done.as_mut().poll(context)
        })
        .await
    }

    fn write_between_turns(&mut self, context: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_write(context) {
            self.failed.get_or_insert_with(|| close_for(&error));
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<IncomingFrame, Close>> {
        let read = ready!(Pin::new(&mut self.stream).poll_next(context));
        let metered = self.stream.get_mut();
        Poll::Ready(match read {
            Some(Ok(Message::Text(text))) => Ok(IncomingFrame::Text(text, metered.end_message())),
            Some(Ok(Message::Binary(bytes))) => Ok(IncomingFrame::Binary(bytes, metered.end_message())),
            Some(Ok(control @ (Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {
                metered.end_control_frame(control.len());
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

    /// Reads and discards what the peer sends, until it closes the socket. Pings are answered, up to the first message that is too
    /// large to be held.
    pub(super) async fn discard(&mut self) {
        self.stream.get_mut().stop_gathering();
        let close = loop {
            if let Err(close) = self.next_event(true).await {
                break close;
            }
        };
        if !close.is_unreadable() {
            self.stream.get_mut().discard().await;
        }
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
        let metered = self.stream.get_mut();
        metered.lift();
        metered.stop_gathering();
        let end = async move {
            if std::future::poll_fn(|context| self.poll_write(context)).await.is_err() {
                return;
            }
            // Reads and discards the peer's frames: closing a connection with unread data resets it, which may drop the last
            // frames.
            while std::future::poll_fn(|context| self.poll_read(context)).await.is_ok() {}
            // Without the WebSocket's buffers, in which the beginning of a message may be left.
            let mut rest = self.stream.into_inner();
            drop(rest.end_message());
            let _ = rest.shutdown().await;
            rest.discard().await;
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
        // The message has used up its memory share.
        Error::Io(error) if error.kind() == ErrorKind::QuotaExceeded => Close::NO_MEMORY,
        _ => Close::new(1006, ""),
    }
}
