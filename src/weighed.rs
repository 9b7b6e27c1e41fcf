//! Caches with a capacity in bytes: each entry carries its weight.

use quick_cache::{Weighter, sync::Cache};

/// A value with its size in bytes at the time of caching.
#[derive(Clone, Debug)]
pub struct Weighed<V> {
    pub value: V,
    bytes: usize,
}

impl<V> Weighed<V> {
    /// `beside`: bytes that the value holds on the heap.
    pub fn new(value: V, beside: usize) -> Self {
        Self { bytes: Self::size_of_plain() + beside, value }
    }

    /// Size of a value without heap memory.
    pub const fn size_of_plain() -> usize {
        /// Overhead of the cache per entry, in bytes.
        const AROUND: usize = 64;

        AROUND + size_of::<Self>()
    }
}

/// Weighs entries in bytes.
#[derive(Clone, Debug)]
pub struct InBytes;

impl<K, V> Weighter<K, Weighed<V>> for InBytes {
    fn weight(&self, _: &K, value: &Weighed<V>) -> u64 {
        value.bytes as u64
    }
}

/// A cache with a capacity in bytes; the number of entries is an estimate.
pub type WeighedCache<K, V> = Cache<K, Weighed<V>, InBytes>;

pub fn cache<K: Eq + std::hash::Hash, V: Clone>(entries: usize, bytes: u64) -> WeighedCache<K, V> {
    Cache::with_weighter(entries, bytes, InBytes)
}

#[cfg(test)]
mod tests {
    use super::{Weighed, cache};

    #[test]
    fn a_cache_holds_no_more_bytes_than_it_may() {
        let texts = cache(1_000, 100_000);
        for key in 0..1_000 {
            texts.insert(key, Weighed::new("x".repeat(10_000), 10_000));
        }
        assert!(texts.len() < 10, "{}", texts.len());
        texts.insert(0, Weighed::new("x".repeat(200_000), 200_000));
        assert!(texts.get(&0).is_none(), "what is larger than all is not kept");
    }
}
