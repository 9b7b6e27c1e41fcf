use std::{
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering},
};

use quick_cache::sync::Cache;

use super::Result;

/// What was read from the store and holds until the log says that it has changed, so that asking again costs no query.
pub(super) struct Remembered<K, V> {
    entries: Cache<K, V>,
    /// Counts what was forgotten, so that a read that was overtaken by it is not remembered.
    generation: AtomicU64,
}

impl<K: Copy + Eq + Hash, V: Clone> Remembered<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Cache::new(capacity), generation: AtomicU64::new(0) }
    }

    /// What is remembered, or else what is read now. That there is nothing is not remembered.
    pub(super) async fn get(&self, key: K, read: impl Future<Output = Result<Option<V>>>) -> Result<Option<V>> {
        if let Some(value) = self.entries.get(&key) {
            return Ok(Some(value));
        }
        let generation = self.generation.load(Ordering::Acquire);
        let Some(value) = read.await? else { return Ok(None) };
        self.entries.insert(key, value.clone());
        if self.generation.load(Ordering::Acquire) != generation {
            self.entries.remove(&key);
        }
        Ok(Some(value))
    }

    /// To be called for what has changed, before anybody is told that it has.
    pub(super) fn forget(&self, key: &K) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.entries.remove(key);
    }
}
