//! Self-pruning map: expired entries are removed at an insertion once the map has doubled, so that it needs no timer.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

/// Size up to which the map is never pruned.
const FEW: usize = 1_024;

/// A map that is pruned whenever it has doubled since the last pruning.
pub struct PruningMap<K, V> {
    entries: HashMap<K, V>,
    /// Size at which the map is pruned next.
    prune_at: usize,
}

impl<K, V> Default for PruningMap<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), prune_at: FEW }
    }
}

impl<K: Eq + Hash, V> PruningMap<K, V> {
    /// Entry of a key. Prunes the entries that `is_over` first, if the map has grown enough.
    pub fn entry(&mut self, key: K, mut is_over: impl FnMut(&K, &mut V) -> bool) -> Entry<'_, K, V> {
        if self.entries.len() >= self.prune_at {
            self.entries.retain(|key, value| !is_over(key, value));
            self.prune_at = FEW.max(2 * self.entries.len());
        }
        self.entries.entry(key)
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
