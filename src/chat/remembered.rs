use std::{
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering},
};

use super::Result;
use crate::weighed::{self, Weighed, WeighedCache};

/// How far a cache had forgotten when a read began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// What was read from the store and holds until the log says that it has changed, so that asking again costs no query.
pub(super) struct Remembered<K, V> {
    entries: WeighedCache<K, V>,
    /// Bytes that a value holds elsewhere in memory.
    beside: fn(&V) -> usize,
    /// Counts what was forgotten, so that a read that was overtaken by it is not remembered.
    generation: AtomicU64,
}

impl<K: Copy + Eq + Hash, V: Clone> Remembered<K, V> {
    /// A cache of so many values that hold nothing beside themselves.
    pub(super) fn new(capacity: usize) -> Self {
        let bytes = capacity * Weighed::<V>::size_of_plain();
        Self::weighed(capacity, bytes as u64, |_| 0)
    }

    /// A cache of so many bytes, in about so many values that hold what `beside` says elsewhere in memory.
    pub(super) fn weighed(values: usize, bytes: u64, beside: fn(&V) -> usize) -> Self {
        Self { entries: weighed::cache(values, bytes), beside, generation: AtomicU64::new(0) }
    }

    /// What is remembered, or else what is read now. That there is nothing is not remembered.
    pub(super) async fn get(&self, key: K, read: impl Future<Output = Result<Option<V>>>) -> Result<Option<V>> {
        if let Some(value) = self.entries.get(&key) {
            return Ok(Some(value.value));
        }
        let generation = self.generation();
        let Some(value) = read.await? else { return Ok(None) };
        self.put(key, value.clone(), generation);
        Ok(Some(value))
    }

    /// The generation of what is read from now on, for [`Remembered::put`].
    pub(super) fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Caches what was read since then, unless something was forgotten meanwhile.
    pub(super) fn put(&self, key: K, value: V, read: Generation) {
        let beside = (self.beside)(&value);
        self.entries.insert(key, Weighed::new(value, beside));
        if self.generation() != read {
            self.entries.remove(&key);
        }
    }

    /// To be called for what has changed, before anybody is told that it has.
    pub(super) fn forget(&self, key: &K) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.remove(key);
    }

    /// As [`Remembered::forget`], for all entries for which `is_stale` holds.
    pub(super) fn forget_where(&self, is_stale: impl Fn(&K, &V) -> bool) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.retain(|key, value| !is_stale(key, &value.value));
    }

    /// As [`Remembered::forget`], for everything.
    pub(super) fn forget_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Remembered;

    #[tokio::test]
    async fn a_read_that_was_overtaken_is_not_cached() {
        let cache = Remembered::new(10);
        let overtaken = async {
            cache.forget(&1);
            Ok(Some("old"))
        };
        assert_eq!(cache.get(1, overtaken).await.expect("it is read"), Some("old"));
        assert_eq!(cache.get(1, async { Ok(Some("new")) }).await.expect("it is read"), Some("new"));
        assert_eq!(cache.get(1, async { Ok(Some("newer")) }).await.expect("it is cached"), Some("new"));

        let generation = cache.generation();
        cache.forget_all();
        cache.put(2, "old", generation);
        assert_eq!(cache.get(2, async { Ok(None) }).await.expect("it is read"), None);
    }

    #[tokio::test]
    async fn all_that_is_stale_is_forgotten() {
        let cache = Remembered::new(10);
        let fill = || (1..=3).for_each(|key| cache.put(key, "old", cache.generation()));
        let known = async || {
            let mut known = Vec::new();
            for key in 1..=3 {
                known.extend(cache.get(key, async { Ok(None) }).await.expect("it is read").map(|_| key));
            }
            known
        };
        fill();
        cache.forget_where(|key, _| *key == 2);
        assert_eq!(known().await, [1, 3]);
        fill();
        cache.forget_all();
        assert_eq!(known().await, [0; 0]);
    }
}
