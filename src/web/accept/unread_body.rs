//! Unread-body drain: reads the rest of a request's body before the response is sent, within limits.
//!
//! Closing a connection with unread input resets it, which loses the response; a client that pipelines its next request would get
//! none.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::least_rate::LeastRate;
use crate::{
    metrics::Metrics,
    shares::Charge,
    web::body::{self, BodyLimit, FullBody},
};

/// Size limit of the drain; beyond it the connection is closed.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Time-out of the drain.
const PATIENCE: Duration = Duration::from_secs(1);

pub type BytesBody = BoxBody<Bytes, std::io::Error>;

/// Slot for the unread rest of a request's body. Clones share it.
#[derive(Clone, Default)]
pub struct UnreadBody(Arc<Mutex<Option<BytesBody>>>);

impl UnreadBody {
    /// Wraps a body: enforces the least rate and the read time-out `patience`, and puts the unread rest into the slot when it is
    /// dropped.
    pub fn track(&self, body: BytesBody, patience: Duration, metrics: &Metrics) -> BytesBody {
        let rate = LeastRate::new(patience, "body_seconds", metrics);
        BoxBody::new(TrackedBody { body: Some(body), rate, rest: self.clone() })
    }

    /// Reads the unread rest as a whole; `None` if it fails or exceeds `limit`.
    pub async fn bytes(&self, limit: BodyLimit, charge: Charge) -> Option<FullBody> {
        let body = self.0.lock().take()?;
        body::read_within(body.into(), limit.bytes, limit.time, charge).await.ok()
    }

    /// Drains the unread rest, unless the client `waits` for `100 Continue`. Returns true if nothing is left.
    pub async fn drain(&self, waits: bool) -> bool {
        let Some(mut body) = self.0.lock().take() else { return true };
        if waits {
            return false;
        }
        let reading = async {
            let mut read = 0;
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => read += frame.data_ref().map_or(0, Bytes::len),
                    Err(_) => return false,
                }
                if read > MOST_BYTES {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or(false)
    }
}

struct TrackedBody {
    /// `None` once it was read to its end, or has failed.
    body: Option<BytesBody>,
    rate: LeastRate,
    rest: UnreadBody,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self { body: lent, rate, .. } = &mut *self;
        let Some(body) = lent else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
            // The body stays in place, since its remaining bytes must not be parsed as a request.
            return rate.poll_silent(context).map(|error| Some(Err(error)));
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(rate.moved(frame.data_ref().map_or(0, Bytes::len)).map(|()| frame)),
            ended => {
                *lent = None;
                ended
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for TrackedBody {
    fn drop(&mut self) {
        *self.rest.0.lock() = self.body.take().filter(|body| !body.is_end_stream());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use poem::Body as PoemBody;
    use tokio::time::sleep;

    use super::*;

    /// Outcome of reading a body that arrives with so many bytes per second.
    async fn read_of(bytes_per_second: usize) -> Result<usize, std::io::ErrorKind> {
        let pieces = stream::iter(0..200).then(move |_| async move {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![0; bytes_per_second]))
        });
        let rest = UnreadBody::default();
        let mut body = rest.track(PoemBody::from_bytes_stream(pieces).into(), Duration::from_secs(20), &Metrics::default());
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame.map_err(|error| error.kind())?.data_ref().map_or(0, Bytes::len);
        }
        Ok(read)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_comes_too_slowly_is_given_up() {
        assert_eq!(read_of(100).await, Err(std::io::ErrorKind::TimedOut));
        assert_eq!(read_of(20_000).await, Ok(200 * 20_000));
    }
}
