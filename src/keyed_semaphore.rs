//! Counting semaphore by key, such as a user or an address. Keys without permits take no memory.

use std::{collections::HashMap, hash::Hash, sync::Arc};

use parking_lot::Mutex;

/// Permits taken, by owner. Clones are handles to the same.
#[derive(Clone)]
pub struct KeyedSemaphore<K>(Arc<Mutex<HashMap<K, usize>>>);

impl<K> Default for KeyedSemaphore<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Copy + Eq + Hash> KeyedSemaphore<K> {
    /// Takes a permit; `None` if the owner has `most` already.
    pub fn take(&self, owner: K, most: usize) -> Option<KeyedPermit<K>> {
        let mut places = self.0.lock();
        let taken = places.get(&owner).copied().unwrap_or(0);
        if taken >= most {
            return None;
        }
        places.insert(owner, taken + 1);
        Some(KeyedPermit { tally: self.clone(), owner })
    }

    /// Permits of one owner.
    pub fn of(&self, owner: K) -> usize {
        self.0.lock().get(&owner).copied().unwrap_or(0)
    }

    /// Owners with permits.
    #[cfg(test)]
    pub fn owners(&self) -> usize {
        self.0.lock().len()
    }

    /// Permits of all owners.
    pub fn taken(&self) -> usize {
        self.0.lock().values().sum()
    }
}

/// A permit, released when it is dropped.
pub struct KeyedPermit<K: Copy + Eq + Hash> {
    tally: KeyedSemaphore<K>,
    owner: K,
}

impl<K: Copy + Eq + Hash> Drop for KeyedPermit<K> {
    fn drop(&mut self) {
        let mut places = self.tally.0.lock();
        let taken = places.get_mut(&self.owner).expect("an owner has an entry while it holds a permit");
        *taken -= 1;
        if *taken == 0 {
            places.remove(&self.owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_so_many_and_only_who_has_some_is_remembered() {
        let tally = KeyedSemaphore::default();
        let one = tally.take(1, 2).expect("it is the first");
        let two = tally.take(1, 2).expect("it is the second");
        assert!(tally.take(1, 2).is_none());
        let other = tally.take(2, 1).expect("another one has places of its own");
        assert_eq!(tally.taken(), 3);
        drop(one);
        assert!(tally.take(1, 2).is_some());
        drop((two, other));
        assert_eq!(tally.owners(), 0);
    }
}
