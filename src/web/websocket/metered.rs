//! Stream of one socket that meters its input: a byte rate limit, as back-pressure, and the memory of an unfinished message. Both
//! bound frames that never complete a message, such as endless continuations, which no other limit counts.

use std::{
    future::Future,
    io::{self, ErrorKind, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::{
    shares::Charge,
    token_bucket::{Rate, TokenBucket},
};

/// Size up to which every socket may hold an unfinished message. A larger one is charged.
pub(super) const UNCHARGED_BYTES: usize = 4096;
/// Header of a client's control frame: opcode, length and mask.
const CONTROL_HEADER_BYTES: usize = 6;
/// Buffer for input that is discarded.
const DISCARD_BYTES: usize = 1024;

/// Stream whose reads are limited by a token bucket, and charged until they complete a message. Unread bytes stay in the network.
pub(super) struct MeteredStream<S> {
    stream: S,
    /// `None` once the limit is lifted.
    rate: Option<Rate>,
    bucket: TokenBucket,
    /// Pause between reads; allocated on demand, since most streams never need it.
    pause: Option<Pin<Box<Sleep>>>,
    /// Bytes read since the last message, which the WebSocket's buffers hold.
    unfinished: usize,
    /// Charge of the unfinished message.
    charge: Charge,
    /// False once the input is only discarded.
    gathers: bool,
}

impl<S> MeteredStream<S> {
    /// Allows a burst of `message_bytes`, and as many bytes per second.
    pub(super) fn new(stream: S, message_bytes: usize, charge: Charge) -> Self {
        let rate = Rate { burst: message_bytes as f64, per_second: message_bytes as f64 };
        let bucket = TokenBucket::full(rate, Instant::now());
        Self { stream, rate: Some(rate), bucket, pause: None, unfinished: 0, charge, gathers: true }
    }

    /// Lifts the rate limit, before the remaining input is read and discarded.
    pub(super) fn lift(&mut self) {
        (self.rate, self.pause) = (None, None);
    }

    /// Fails all further reads that make an unfinished message larger than [`UNCHARGED_BYTES`].
    pub(super) fn stop_gathering(&mut self) {
        self.gathers = false;
    }

    /// Ends a message, and returns its charge.
    pub(super) fn end_message(&mut self) -> Charge {
        self.unfinished = 0;
        let next = self.charge.another();
        mem::replace(&mut self.charge, next)
    }

    /// Ends a control frame, which may come within a message.
    pub(super) fn end_control_frame(&mut self, payload: usize) {
        self.unfinished = self.unfinished.saturating_sub(CONTROL_HEADER_BYTES + payload);
    }

    /// Notes bytes of an unfinished message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::QuotaExceeded`] if they must not be held.
    fn gathered(&mut self, bytes: usize) -> io::Result<()> {
        self.unfinished = self.unfinished.saturating_add(bytes);
        if self.unfinished <= UNCHARGED_BYTES || (self.gathers && self.charge.set(self.unfinished).is_ok()) {
            return Ok(());
        }
        Err(ErrorKind::QuotaExceeded.into())
    }
}

impl<S: AsyncRead + Unpin> MeteredStream<S> {
    /// Reads and discards bytes up to the end of the stream.
    pub(super) async fn discard(&mut self) {
        let mut bytes = [0; DISCARD_BYTES];
        loop {
            self.unfinished = 0;
            let Ok(1..) = self.read(&mut bytes).await else { return };
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(context));
            this.pause = None;
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
        let bytes = into.filled().len() - before;
        if let Some(rate) = this.rate {
            let now = Instant::now();
            this.bucket.charge(rate, bytes as f64, now);
            let debt = this.bucket.debt(rate, now);
            if !debt.is_zero() {
                this.pause = Some(Box::pin(sleep(debt)));
            }
        }
        Poll::Ready(this.gathered(bytes))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
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

    use storage::UserId;

    use super::*;
    use crate::{
        metrics::Metrics,
        shares::{Budget, Party, Shares, Sizes},
    };

    /// Share of one party in the budget of the tests.
    const SHARE: usize = 10_000;
    const PARTY: Party = Party::User(UserId(1));

    fn bodies() -> Budget {
        let sizes = Sizes { bodies_bytes: 8 * SHARE, answers_bytes: 0, requests_per_user: 0, requests_per_address: 0 };
        Shares::new(sizes, &Metrics::default()).bodies
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_by_the_second() {
        let bytes = vec![7; 4_000];
        let begun = Instant::now();
        let mut stream = MeteredStream::new(bytes.as_slice(), 1_000, bodies().open(PARTY));
        let mut read = vec![0; 1_000];
        stream.read_exact(&mut read).await.expect("they are there");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("they are there");
        assert_eq!((read.len() + rest.len(), rest.last()), (bytes.len(), Some(&7)), "nothing is lost");
        // The last read is not delayed.
        assert!((Duration::from_secs(2)..=Duration::from_secs(4)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn an_unfinished_message_is_charged_until_its_share_is_used() {
        let (bodies, bytes) = (bodies(), vec![7; 100_000]);
        let mut stream = MeteredStream::new(bytes.as_slice(), 1 << 20, bodies.open(PARTY));
        let mut small = [0; UNCHARGED_BYTES];
        stream.read_exact(&mut small).await.expect("it is small");
        assert_eq!(bodies.used(), 0);
        stream.read_exact(&mut small[..106]).await.expect("there is a share");
        assert_eq!(bodies.used(), UNCHARGED_BYTES + 106);
        stream.end_control_frame(100);
        stream.read_exact(&mut small[..106]).await.expect("there is a share");
        assert_eq!(bodies.used(), UNCHARGED_BYTES + 106, "a control frame is not part of the message");
        let charge = stream.end_message();
        assert_eq!((charge.bytes(), bodies.used()), (UNCHARGED_BYTES + 106, UNCHARGED_BYTES + 106), "until it is handled");
        drop(charge);
        assert_eq!(bodies.used(), 0);
        let other = bodies.charge(PARTY, SHARE - UNCHARGED_BYTES - 1).expect("nothing else is used");
        stream.read_exact(&mut small).await.expect("it is small");
        let refused = stream.read(&mut small).await.map_err(|error| error.kind());
        assert_eq!(refused, Err(ErrorKind::QuotaExceeded));
        drop(other);
    }

    #[tokio::test]
    async fn a_closing_stream_holds_no_message_and_takes_everything() {
        let (bodies, bytes) = (bodies(), vec![7; 100_000]);
        let mut stream = MeteredStream::new(bytes.as_slice(), 1 << 20, bodies.open(PARTY));
        let mut small = [0; UNCHARGED_BYTES];
        stream.stop_gathering();
        stream.read_exact(&mut small).await.expect("it is small");
        assert_eq!(stream.read(&mut small).await.map_err(|error| error.kind()), Err(ErrorKind::QuotaExceeded));
        stream.discard().await;
        assert_eq!((stream.stream.len(), bodies.used()), (0, 0));
    }
}
