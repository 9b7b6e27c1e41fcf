//! Upload quota of a user: concurrent uploads, and bytes per day. Also the size limit of a file.
//!
//! Each node counts arriving bytes in memory, whether the file is stored or not: they are the cost of a flood. The store knows
//! only complete uploads, and would need a sum before each one. The count is lost at a restart, and separate on each node.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use storage::UserId;
use tokio::time::Instant;

use crate::{
    chat::{Chat, Error, Result},
    pruning_map::PruningMap,
};

/// Quota window; it begins with the first upload.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Retry interval after the limit of concurrent uploads.
const SOON: Duration = Duration::from_secs(1);
/// The limits of one user; 0 for no limit.
#[derive(Clone, Copy, Debug)]
pub struct UploadQuota {
    pub bytes_per_day: u64,
    pub at_once: usize,
}

/// Size limit of a file.
#[derive(Clone, Copy)]
pub(in crate::chat) struct FileLimit {
    pub(in crate::chat) bytes: u64,
    /// The setting, as the metrics name it.
    pub(in crate::chat) setting: &'static str,
}

/// Counters of the uploads at this node. Clones are handles to the same.
#[derive(Clone)]
pub(in crate::chat) struct UploadCounters(Arc<UploadCountersInner>);

struct UploadCountersInner {
    quota: UploadQuota,
    users: Mutex<PruningMap<UserId, UploadUsage>>,
}

struct UploadUsage {
    at_once: usize,
    bytes: u64,
    since: Instant,
}

impl UploadUsage {
    fn is_over(&self, now: Instant) -> bool {
        self.at_once == 0 && now.saturating_duration_since(self.since) >= DAY
    }
}

/// The exhausted part of the quota.
#[derive(Debug)]
enum ExhaustedQuota {
    AtOnce,
    Day,
}

/// Permit for one upload, released when it is dropped.
pub(in crate::chat) struct UploadPermit {
    uploading: UploadCounters,
    user: UserId,
    is_exhausted: Arc<AtomicBool>,
}

impl UploadCounters {
    pub(in crate::chat) fn new(quota: UploadQuota) -> Self {
        Self(Arc::new(UploadCountersInner { quota, users: Mutex::default() }))
    }

    fn begin(&self, user: UserId, now: Instant) -> Result<UploadPermit, ExhaustedQuota> {
        let UploadQuota { bytes_per_day, at_once } = self.0.quota;
        let mut users = self.0.users.lock();
        let used = users.entry(user, |_, used| used.is_over(now)).or_insert(UploadUsage { at_once: 0, bytes: 0, since: now });
        if now.saturating_duration_since(used.since) >= DAY {
            (used.bytes, used.since) = (0, now);
        }
        if at_once > 0 && used.at_once >= at_once {
            return Err(ExhaustedQuota::AtOnce);
        }
        if bytes_per_day > 0 && used.bytes >= bytes_per_day {
            return Err(ExhaustedQuota::Day);
        }
        used.at_once += 1;
        Ok(UploadPermit { uploading: self.clone(), user, is_exhausted: Arc::default() })
    }

    /// Counts arrived bytes; false beyond the quota of the day.
    fn arrived(&self, user: UserId, bytes: u64) -> bool {
        let mut users = self.0.users.lock();
        let Some(used) = users.get_mut(&user) else { return true };
        used.bytes = used.bytes.saturating_add(bytes);
        self.0.quota.bytes_per_day == 0 || used.bytes <= self.0.quota.bytes_per_day
    }

    fn until_next_window(&self, user: UserId, now: Instant) -> Duration {
        let users = self.0.users.lock();
        let since = users.get(&user).map_or(now, |used| used.since);
        DAY.saturating_sub(now.saturating_duration_since(since))
    }
}

impl UploadPermit {
    /// Counts a stream of bytes. The result fails beyond the quota of the day.
    pub(in crate::chat) fn counted<S: Stream<Item = io::Result<Bytes>> + Send + Unpin>(
        &self,
        bytes: S,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin + use<S> {
        let (uploading, user, is_exhausted) = (self.uploading.clone(), self.user, Arc::clone(&self.is_exhausted));
        bytes.map(move |piece| {
            let piece = piece?;
            if uploading.arrived(user, piece.len() as u64) {
                return Ok(piece);
            }
            is_exhausted.store(true, Ordering::Relaxed);
            Err(io::Error::other("daily upload quota used up"))
        })
    }
}

impl Drop for UploadPermit {
    fn drop(&mut self) {
        if let Some(used) = self.uploading.0.users.lock().get_mut(&self.user) {
            used.at_once -= 1;
        }
    }
}

impl Chat {
    /// Acquires the permit for an upload of the user.
    ///
    /// # Errors
    /// [`Error::TooFast`] beyond the limit of concurrent uploads, or the quota of the day.
    pub(in crate::chat) fn acquire_upload_permit(&self, user: UserId) -> Result<UploadPermit> {
        self.0.uploading.begin(user, Instant::now()).map_err(|full| self.refused_upload(user, full))
    }

    /// Replaces the error of an upload that the quota of the day has ended.
    pub(in crate::chat) fn within_quota<T>(&self, place: &UploadPermit, outcome: Result<T>) -> Result<T> {
        match outcome {
            Err(_) if place.is_exhausted.load(Ordering::Relaxed) => Err(self.refused_upload(place.user, ExhaustedQuota::Day)),
            outcome => outcome,
        }
    }

    /// Refusal of a file beyond its size limit.
    pub(in crate::chat) fn too_large(&self, limit: FileLimit) -> Error {
        self.0.metrics.refused(limit.setting);
        Error::TooLarge { limit_bytes: limit.bytes }
    }

    fn refused_upload(&self, user: UserId, full: ExhaustedQuota) -> Error {
        let (limit, what, retry_after) = match full {
            ExhaustedQuota::AtOnce => ("user.uploads_at_once", "uploads at once", SOON),
            ExhaustedQuota::Day => (
                "user.upload_bytes_per_day",
                "bytes uploaded within a day",
                self.0.uploading.until_next_window(user, Instant::now()),
            ),
        };
        self.0.metrics.refused(limit);
        Error::TooFast { what, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const ANN: UserId = UserId(1);
    const BEN: UserId = UserId(2);

    fn uploading(bytes_per_day: u64, at_once: usize) -> UploadCounters {
        UploadCounters::new(UploadQuota { bytes_per_day, at_once })
    }

    async fn taken(place: &UploadPermit, pieces: &[usize]) -> Vec<bool> {
        let pieces: Vec<_> = pieces.iter().map(|bytes| Ok(Bytes::from(vec![0; *bytes]))).collect();
        place.counted(stream::iter(pieces)).map(|piece| piece.is_ok()).collect().await
    }

    #[tokio::test]
    async fn a_day_has_so_many_bytes_whatever_becomes_of_them() {
        let (uploading, now) = (uploading(100, 0), Instant::now());
        let Ok(place) = uploading.begin(ANN, now) else { panic!("there is room") };
        assert_eq!(taken(&place, &[60, 40]).await, [true, true]);
        assert!(!place.is_exhausted.load(Ordering::Relaxed));
        assert_eq!(taken(&place, &[1]).await, [false]);
        assert!(place.is_exhausted.load(Ordering::Relaxed));
        drop(place);
        assert!(matches!(uploading.begin(ANN, now), Err(ExhaustedQuota::Day)), "none is begun");
        assert!(uploading.begin(BEN, now).is_ok(), "it is nobody else's day");
        assert_eq!(uploading.until_next_window(ANN, now + Duration::from_secs(60)), DAY - Duration::from_secs(60));
        let Ok(place) = uploading.begin(ANN, now + DAY) else { panic!("it is another day") };
        assert_eq!(taken(&place, &[100]).await, [true]);
    }

    #[test]
    fn so_many_are_under_way_and_no_more() {
        let (uploading, now) = (uploading(0, 2), Instant::now());
        let places = [uploading.begin(ANN, now), uploading.begin(ANN, now)];
        assert!(matches!(uploading.begin(ANN, now), Err(ExhaustedQuota::AtOnce)));
        assert!(uploading.begin(BEN, now).is_ok());
        drop(places);
        assert!(uploading.begin(ANN, now).is_ok());
    }

    #[test]
    fn those_whose_day_is_over_are_forgotten() {
        let (uploading, now) = (uploading(100, 2), Instant::now());
        for user in 0..10_000 {
            drop(uploading.begin(UserId(user), now));
        }
        assert_eq!(uploading.0.users.lock().len(), 10_000);
        for user in 10_000..30_000 {
            drop(uploading.begin(UserId(user), now + DAY));
        }
        assert_eq!(uploading.0.users.lock().len(), 20_000);
    }
}
