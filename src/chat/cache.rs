//! Read-through cache of rows of the store, with eviction by size and invalidation by the event log. A generation counter keeps
//! a read that an invalidation has overtaken out of the cache. Concurrent look-ups of one key share a read (single flight):
//! thousands of sockets look the same person up when it comes online.

use std::{
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering},
};

use super::Result;
use crate::weighed::{self, Weighed, WeighedCache};

/// The number of invalidations before a read began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u64);

/// A read-through cache. An entry is valid until the event log invalidates it.
pub(super) struct StoreCache<K, V> {
    /// Each value with the generation in which its read began.
    entries: WeighedCache<K, (V, Generation)>,
    /// Heap bytes of a value, beside the value itself.
    heap_bytes: fn(&V) -> usize,
    /// Counts invalidations, so that an overtaken read is not cached.
    generation: AtomicU64,
}

impl<K: Copy + Eq + Hash, V: Clone> StoreCache<K, V> {
    /// A cache with this capacity in entries, for values without heap memory.
    pub(super) fn new(capacity: usize) -> Self {
        let bytes = capacity * Weighed::<(V, Generation)>::size_of_plain();
        Self::weighed(capacity, bytes as u64, |_| 0)
    }

    /// A cache with this capacity in bytes, for about `values` values whose heap bytes `heap_bytes` gives.
    pub(super) fn weighed(values: usize, bytes: u64, heap_bytes: fn(&V) -> usize) -> Self {
        Self { entries: weighed::cache(values, bytes), heap_bytes, generation: AtomicU64::new(0) }
    }

    /// Gives the cached value, or else reads and caches it, or waits for a concurrent read of the same key. Absence is not cached.
    /// `read` looks up no other value of this cache.
    ///
    /// # Errors
    /// Those of `read`; nothing is cached then, and whoever waits reads in turn.
    ///
    /// # Cancel safety
    /// A dropped future caches nothing; whoever waits for it reads in its place.
    pub(super) async fn get(&self, key: K, read: impl Future<Output = Result<Option<V>>>) -> Result<Option<V>> {
        if let Some(Weighed { value: (value, _), .. }) = self.entries.get(&key) {
            return Ok(Some(value));
        }
        let asked = self.generation();
        let turn = match self.entries.get_value_or_guard_async(&key).await {
            Ok(Weighed { value: (value, began), .. }) if began >= asked => return Ok(Some(value)),
            // An invalidation came between the begin of that read and this look-up.
            Ok(_) => None,
            Err(turn) => Some(turn),
        };
        let generation = self.generation();
        // A turn that is dropped here passes to the next one who waits.
        let Some(value) = read.await? else { return Ok(None) };
        let entry = self.entry(value.clone(), generation);
        match turn {
            // Refused after an invalidation of the key; those who wait get the value all the same.
            Some(turn) => drop(turn.insert(entry)),
            None => self.entries.insert(key, entry),
        }
        self.drop_if_overtaken(&key, generation);
        Ok(Some(value))
    }

    fn entry(&self, value: V, read: Generation) -> Weighed<(V, Generation)> {
        let beside = (self.heap_bytes)(&value);
        Weighed::new((value, read), beside)
    }

    fn drop_if_overtaken(&self, key: &K, read: Generation) {
        if self.generation() != read {
            self.entries.remove(key);
        }
    }

    /// The generation to pass to [`StoreCache::put`] after the read that begins now.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Caches a value, unless an invalidation came after the generation `read`.
    pub(super) fn put(&self, key: K, value: V, read: Generation) {
        self.entries.insert(key, self.entry(value, read));
        self.drop_if_overtaken(&key, read);
    }

    /// Invalidates an entry. To be called before any listener receives the event of the change.
    pub(super) fn invalidate(&self, key: &K) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.remove(key);
    }

    /// Invalidates all entries for which `is_stale` holds; see [`StoreCache::invalidate`].
    pub(super) fn invalidate_where(&self, is_stale: impl Fn(&K, &V) -> bool) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.retain(|key, entry| !is_stale(key, &entry.value.0));
    }

    /// Invalidates all entries; see [`StoreCache::invalidate`].
    pub(super) fn invalidate_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{FutureExt, future::join_all};

    use super::StoreCache;
    use crate::chat::Error;

    #[tokio::test]
    async fn a_read_that_was_overtaken_is_not_cached() {
        let cache = StoreCache::new(10);
        let overtaken = async {
            cache.invalidate(&1);
            Ok(Some("old"))
        };
        assert_eq!(cache.get(1, overtaken).await.expect("it is read"), Some("old"));
        assert_eq!(cache.get(1, async { Ok(Some("new")) }).await.expect("it is read"), Some("new"));
        assert_eq!(cache.get(1, async { Ok(Some("newer")) }).await.expect("it is cached"), Some("new"));

        let generation = cache.generation();
        cache.invalidate_all();
        cache.put(2, "old", generation);
        assert_eq!(cache.get(2, async { Ok(None) }).await.expect("it is read"), None);
    }

    #[tokio::test]
    async fn concurrent_look_ups_share_a_read() {
        let (cache, reads) = (StoreCache::new(10), AtomicUsize::new(0));
        let read = async || {
            reads.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(Some("value"))
        };
        let crowd = join_all((0..100).map(|_| cache.get(1, read()))).await;
        assert!(crowd.into_iter().all(|got| got.is_ok_and(|got| got == Some("value"))));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn one_who_waits_reads_in_place_of_a_failed_or_dropped_read() {
        let cache = StoreCache::new(10);
        let mut dropped = Box::pin(cache.get(1, std::future::pending()));
        assert!((&mut dropped).now_or_never().is_none());
        let mut waiting = Box::pin(cache.get(1, async { Ok(Some("value")) }));
        assert!((&mut waiting).now_or_never().is_none());
        drop(dropped);
        assert_eq!(waiting.await.expect("it reads by itself"), Some("value"));

        let (fail, failure) = tokio::sync::oneshot::channel();
        let mut failed = Box::pin(cache.get(2, async { Err(failure.await.expect("it is sent")) }));
        assert!((&mut failed).now_or_never().is_none());
        let mut waiting = Box::pin(cache.get(2, async { Ok(Some("value")) }));
        assert!((&mut waiting).now_or_never().is_none());
        fail.send(Error::internal("the store failed")).expect("it waits");
        assert!(failed.await.is_err());
        assert_eq!(waiting.await.expect("it reads by itself"), Some("value"));
    }

    #[tokio::test]
    async fn a_look_up_after_an_invalidation_does_not_wait_for_a_read_from_before() {
        let cache = StoreCache::new(10);
        let (finish, finished) = tokio::sync::oneshot::channel();
        let mut old = Box::pin(cache.get(1, async { Ok(finished.await.ok()) }));
        assert!((&mut old).now_or_never().is_none());
        // It finds nothing: the read is under way.
        cache.invalidate_where(|_, _| true);
        let mut new = Box::pin(cache.get(1, async { Ok(Some("new")) }));
        assert!((&mut new).now_or_never().is_none());
        finish.send("old").expect("it is read");
        assert_eq!(old.await.expect("it is read"), Some("old"));
        assert_eq!(new.await.expect("it is read"), Some("new"));
        assert_eq!(cache.get(1, async { Ok(Some("newer")) }).await.expect("it is cached"), Some("new"));
    }

    #[tokio::test]
    async fn all_that_is_stale_is_forgotten() {
        let cache = StoreCache::new(10);
        let fill = || (1..=3).for_each(|key| cache.put(key, "old", cache.generation()));
        let known = async || {
            let mut known = Vec::new();
            for key in 1..=3 {
                known.extend(cache.get(key, async { Ok(None) }).await.expect("it is read").map(|_| key));
            }
            known
        };
        fill();
        cache.invalidate_where(|key, _| *key == 2);
        assert_eq!(known().await, [1, 3]);
        fill();
        cache.invalidate_all();
        assert_eq!(known().await, [0; 0]);
    }
}
