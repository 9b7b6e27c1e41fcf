//! Weights of cache entries: caches of texts, and of lists, are bounded in bytes.

use quick_cache::{Weighter, sync::Cache};

/// A value with its size in bytes, as it was when it was cached.
#[derive(Clone, Debug)]
pub struct Weighed<V> {
    pub value: V,
    bytes: usize,
}

impl<V> Weighed<V> {
    /// `beside` is what the value holds elsewhere in memory.
    pub fn new(value: V, beside: usize) -> Self {
        Self { bytes: Self::size_of_plain() + beside, value }
    }

    /// The size of a value that holds nothing elsewhere.
    pub const fn size_of_plain() -> usize {
        /// Bytes that a cache needs for an entry.
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

/// A cache that holds so many bytes, and about so many entries.
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
