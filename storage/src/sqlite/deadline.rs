//! Deadline of the statement that runs on a connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Deadline that SQLite's progress handler reads in the connection's thread, to interrupt a statement that outlasts it.
pub(super) struct Deadline {
    born: Instant,
    /// Microseconds since `born`; `u64::MAX` for none.
    at: AtomicU64,
}

impl Deadline {
    pub(super) fn new() -> Self {
        Self { born: Instant::now(), at: AtomicU64::new(u64::MAX) }
    }

    pub(super) fn set(&self, at: Instant) {
        self.at.store(micros_between(self.born, at), Ordering::Relaxed);
    }

    pub(super) fn clear(&self) {
        self.at.store(u64::MAX, Ordering::Relaxed);
    }

    /// Interrupts the statement that runs.
    pub(super) fn expire(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    pub(super) fn has_passed(&self) -> bool {
        micros_between(self.born, Instant::now()) >= self.at.load(Ordering::Relaxed)
    }
}

fn micros_between(born: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(born).as_micros()).unwrap_or(u64::MAX)
}
