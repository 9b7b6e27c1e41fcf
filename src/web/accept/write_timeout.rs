//! Write time-out of a connection, HTTP or WebSocket.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::least_rate::LeastRate;

/// Stream with a write time-out: writing fails with [`io::ErrorKind::TimedOut`] if the peer accepts no bytes for that long, or
/// fewer than the least rate.
pub(super) struct WriteTimeout<S> {
    stream: S,
    rate: LeastRate,
    upgrade: Option<Upgrade<S>>,
}

/// Change of the stream after an upgrade to a WebSocket. It is applied from within, since hyper owns the stream by then.
struct Upgrade<S> {
    is_done: Arc<AtomicBool>,
    change: fn(&S),
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Self { stream, rate: LeastRate::new(patience), upgrade: None }
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
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = write(Pin::new(&mut self.stream), context);
        match written {
            Poll::Ready(written) => Poll::Ready(written.and_then(|bytes| self.rate.moved(bytes).map(|()| bytes))),
            Poll::Pending => self.rate.poll_silent(context).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(upgrade) = self.upgrade.take_if(|upgrade| upgrade.is_done.load(Ordering::Acquire)) {
            (upgrade.change)(&self.stream);
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |stream, context| stream.poll_write_vectored(context, bytes))
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
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::sleep,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Outcome of writing a million bytes to a peer that accepts so many per second.
    async fn written_to(bytes_per_second: usize) -> io::Result<()> {
        let (ours, mut theirs) = duplex(1_000);
        let mut limited = WriteTimeout::new(ours, PATIENCE);
        let mut taken = vec![0; bytes_per_second];
        let taking = async {
            while theirs.read_exact(&mut taken).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let writing = async move {
            limited.write_all(&vec![0; 1_000_000]).await?;
            limited.shutdown().await
        };
        tokio::join!(writing, taking).0
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_too_little_is_given_up() {
        assert_eq!(written_to(5_000).await.map_err(|error| error.kind()), Err(io::ErrorKind::TimedOut));
        assert!(written_to(20_000).await.is_ok());
    }
}
