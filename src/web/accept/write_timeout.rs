//! Write time-out of a connection, HTTP or WebSocket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::least_rate::LeastRate;
use crate::metrics::Metrics;

/// Stream with a write time-out: writing fails with [`io::ErrorKind::TimedOut`] if the peer accepts no bytes for that long, or
/// fewer than the least rate. Each write offers what is held for the peer: of a response in memory the whole, of a file the
/// piece that is read, of a socket the frames that are written.
pub(super) struct WriteTimeout<S> {
    stream: S,
    rate: LeastRate,
    upgrade: Option<Upgrade<S>>,
    /// Change of a stream that has failed.
    abort: fn(&S),
}

/// Change of the stream after an upgrade to a WebSocket. It is applied from within, since hyper owns the stream by then.
struct Upgrade<S> {
    is_done: Arc<AtomicBool>,
    change: fn(&S),
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S, patience: Duration, metrics: &Metrics) -> Self {
        Self { stream, rate: LeastRate::new(patience, "write_seconds", metrics), upgrade: None, abort: |_| {} }
    }

    /// Calls `abort` when the peer is given up.
    pub(super) fn or_abort(self, abort: fn(&S)) -> Self {
        Self { abort, ..self }
    }

    /// Calls `change` once, at the first read after `is_done` was set.
    pub(super) fn once_upgraded(self, is_done: Arc<AtomicBool>, change: fn(&S)) -> Self {
        Self { upgrade: Some(Upgrade { is_done, change }), ..self }
    }
}

impl<S: AsyncWrite + Unpin> WriteTimeout<S> {
    fn write(
        &mut self,
        context: &mut Context<'_>,
        offered: usize,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.rate.holds(offered);
        let written = match write(Pin::new(&mut self.stream), context) {
            Poll::Ready(written) => written.and_then(|bytes| self.rate.moved(bytes).map(|()| bytes)),
            Poll::Pending => Err(ready!(self.rate.poll_silent(context))),
        };
        if written.as_ref().is_ok_and(|bytes| *bytes == offered) {
            self.rate.holds_nothing();
        }
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            self.rate.count();
            (self.abort)(&self.stream);
        }
        Poll::Ready(written)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(upgrade) = self.upgrade.take_if(|upgrade| upgrade.is_done.load(Ordering::Acquire)) {
            (upgrade.change)(&self.stream);
        }
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        // The kernel's write time-out, which may expire first, shows here as well.
        if matches!(&read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut) {
            self.rate.count();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, bytes.len(), |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = bytes.iter().map(|bytes| bytes.len()).sum();
        self.write(context, offered, |stream, context| stream.poll_write_vectored(context, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::{Response, server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        net::{TcpListener, TcpStream},
        time::sleep,
    };

    use super::{super::reset_on_close, *};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Outcome of writing so many bytes, of which `held` are in memory at a time, to a peer that accepts so many per second.
    async fn written_to(bytes: usize, held: usize, bytes_per_second: usize) -> io::Result<()> {
        let (ours, mut theirs) = duplex(1_000);
        let mut limited = WriteTimeout::new(ours, PATIENCE, &Metrics::default());
        let mut taken = vec![0; bytes_per_second];
        let taking = async {
            while theirs.read_exact(&mut taken).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let writing = async move {
            for _ in 0..bytes / held {
                limited.write_all(&vec![0; held]).await?;
            }
            limited.shutdown().await
        };
        tokio::join!(writing, taking).0
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_too_little_is_given_up() {
        let given_up = Err(io::ErrorKind::TimedOut);
        assert_eq!(written_to(1_000_000, 1_000_000, 5_000).await.map_err(|error| error.kind()), given_up);
        assert!(written_to(1_000_000, 1_000_000, 20_000).await.is_ok());
        // Nobody keeps a large answer in memory for longer than two minutes. A file is not in memory as a whole.
        assert_eq!(written_to(6_000_000, 6_000_000, 40_000).await.map_err(|error| error.kind()), given_up);
        assert!(written_to(6_000_000, 6_000_000, 60_000).await.is_ok());
        assert!(written_to(6_000_000, 60_000, 12_000).await.is_ok());
    }

    /// hyper offers a response in memory as a whole, so its reader is given up as well.
    #[tokio::test(start_paused = true)]
    async fn who_takes_too_little_of_a_response_is_given_up() {
        let (ours, mut theirs) = duplex(1_000);
        let limited = WriteTimeout::new(ours, PATIENCE, &Metrics::default());
        let answer = async |_| Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![0; 6_000_000]))));
        let serving = http1::Builder::new().serve_connection(TokioIo::new(limited), service_fn(answer));
        let taking = async {
            theirs.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await.expect("it is served");
            while theirs.read_exact(&mut [0; 40_000]).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let error = tokio::join!(serving, taking).0.expect_err("it takes 150 s");
        let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<io::Error>());
        assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn the_kernel_keeps_nothing_for_who_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let mut reader = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("somebody connects");
        let mut limited = WriteTimeout::new(stream, PATIENCE, &Metrics::default()).or_abort(reset_on_close);
        let written = limited.write_all(&vec![0; 64 * 1024 * 1024]).await.map_err(|error| error.kind());
        assert_eq!(written, Err(io::ErrorKind::TimedOut));
        drop(limited);
        let read = reader.read_to_end(&mut Vec::new()).await.map_err(|error| error.kind());
        assert_eq!(read, Err(io::ErrorKind::ConnectionReset));
    }
}
