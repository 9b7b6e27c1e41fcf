//! Byte rate limit of a socket's stream, as back-pressure. It bounds frames that never complete a message, such as endless
//! continuations, which no other limit counts.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::token_bucket::{Rate, TokenBucket};

/// Stream whose reads are limited by a token bucket. Unread bytes stay in the network.
pub(super) struct RateLimited<S> {
    stream: S,
    /// `None` once the limit is lifted.
    rate: Option<Rate>,
    bucket: TokenBucket,
    /// Pause between reads; allocated on demand, since most streams never need it.
    pause: Option<Pin<Box<Sleep>>>,
}

impl<S> RateLimited<S> {
    /// Allows a burst of one message of the maximum size, and as many bytes per second.
    pub(super) fn new(stream: S, message_bytes: usize) -> Self {
        let rate = Rate { burst: message_bytes as f64, per_second: message_bytes as f64 };
        Self { stream, rate: Some(rate), bucket: TokenBucket::full(rate, Instant::now()), pause: None }
    }

    /// Lifts the limit, before the remaining input is read and discarded.
    pub(super) fn lift(&mut self) {
        (self.rate, self.pause) = (None, None);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RateLimited<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(context));
            this.pause = None;
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
        let Some(rate) = this.rate else { return Poll::Ready(Ok(())) };
        let now = Instant::now();
        this.bucket.charge(rate, (into.filled().len() - before) as f64, now);
        let debt = this.bucket.debt(rate, now);
        if !debt.is_zero() {
            this.pause = Some(Box::pin(sleep(debt)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RateLimited<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
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
    use std::time::Duration;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_by_the_second() {
        let bytes = vec![7; 4_000];
        let begun = Instant::now();
        let mut stream = RateLimited::new(bytes.as_slice(), 1_000);
        let mut read = vec![0; 1_000];
        stream.read_exact(&mut read).await.expect("they are there");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("they are there");
        assert_eq!((read.len() + rest.len(), rest.last()), (bytes.len(), Some(&7)), "nothing is lost");
        // The last read is not delayed.
        assert!((Duration::from_secs(2)..=Duration::from_secs(4)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
}
