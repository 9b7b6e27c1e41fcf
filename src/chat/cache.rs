//! Read-through cache of rows of the store, with eviction by size and invalidation by the event log. A generation counter keeps
//! a read that an invalidation has overtaken out of the cache.

use std::{
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering},
};

use super::Result;
use crate::weighed::{self, Weighed, WeighedCache};

/// The number of invalidations before a read began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// A read-through cache. An entry is valid until the event log invalidates it.
pub(super) struct StoreCache<K, V> {
    entries: WeighedCache<K, V>,
    /// Heap bytes of a value, beside the value itself.
    heap_bytes: fn(&V) -> usize,
    /// Counts invalidations, so that an overtaken read is not cached.
    generation: AtomicU64,
}

impl<K: Copy + Eq + Hash, V: Clone> StoreCache<K, V> {
    /// A cache with this capacity in entries, for values without heap memory.
    pub(super) fn new(capacity: usize) -> Self {
        let bytes = capacity * Weighed::<V>::size_of_plain();
        Self::weighed(capacity, bytes as u64, |_| 0)
    }

    /// A cache with this capacity in bytes, for about `values` values whose heap bytes `heap_bytes` gives.
    pub(super) fn weighed(values: usize, bytes: u64, heap_bytes: fn(&V) -> usize) -> Self {
        Self { entries: weighed::cache(values, bytes), heap_bytes, generation: AtomicU64::new(0) }
    }

    /// Gives the cached value, or else reads and caches it. Absence is not cached.
    ///
    /// # Errors
    /// Those of `read`; nothing is cached then.
    ///
    /// # Cancel safety
    /// A dropped future caches nothing.
    pub(super) async fn get(&self, key: K, read: impl Future<Output = Result<Option<V>>>) -> Result<Option<V>> {
        if let Some(value) = self.entries.get(&key) {
            return Ok(Some(value.value));
        }
        let generation = self.generation();
        let Some(value) = read.await? else { return Ok(None) };
        self.put(key, value.clone(), generation);
        Ok(Some(value))
    }

    /// The generation to pass to [`StoreCache::put`] after the read that begins now.
    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Caches a value, unless an invalidation came after the generation `read`.
    pub(super) fn put(&self, key: K, value: V, read: Generation) {
        let beside = (self.heap_bytes)(&value);
        self.entries.insert(key, Weighed::new(value, beside));
        if self.generation() != read {
            self.entries.remove(&key);
        }
    }

    /// Invalidates an entry. To be called before any listener receives the event of the change.
    pub(super) fn invalidate(&self, key: &K) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.remove(key);
    }

    /// Invalidates all entries for which `is_stale` holds; see [`StoreCache::invalidate`].
    pub(super) fn invalidate_where(&self, is_stale: impl Fn(&K, &V) -> bool) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.retain(|key, value| !is_stale(key, &value.value));
    }

    /// Invalidates all entries; see [`StoreCache::invalidate`].
    pub(super) fn invalidate_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::StoreCache;

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
