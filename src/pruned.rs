//! A map of those who were active of late. Entries that are over are removed in passing, so that it needs no timer.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
};

/// A number of entries that is never looked through.
const FEW: usize = 1_024;

/// A map that is looked through whenever it has doubled since the last look.
pub struct Pruned<K, V> {
    entries: HashMap<K, V>,
    /// The number of entries at which it is looked through.
    most: usize,
}

impl<K, V> Default for Pruned<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), most: FEW }
    }
}

impl<K: Eq + Hash, V> Pruned<K, V> {
    /// The entry of a key, after those that `is_over` were removed, if it is time to.
    pub fn entry(&mut self, key: K, mut is_over: impl FnMut(&K, &mut V) -> bool) -> Entry<'_, K, V> {
        if self.entries.len() >= self.most {
            self.entries.retain(|key, value| !is_over(key, value));
            self.most = FEW.max(2 * self.entries.len());
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
