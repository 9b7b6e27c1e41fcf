//! Delay of refusals by a token bucket for each party.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Party;
use crate::{
    pruning_map::PruningMap,
    token_bucket::{Rate, TokenBucket},
};

/// Rate of refusals for one party.
const RATE: Rate = Rate { burst: 20.0, per_second: 1_000.0 };
/// Longest delay of a refusal.
const LONGEST: Duration = Duration::from_secs(2);

/// Rate limit of refusals: a client that retries at once, on many connections, would otherwise take as much processor time as a
/// served one. Clones are handles to the same.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<PruningMap<Party, TokenBucket>>>);

impl Refusals {
    /// Waits until the party's token bucket admits a refusal.
    ///
    /// # Cancel safety
    ///
    /// Dropped, its token stays taken.
    pub async fn delay(&self, party: Party) {
        let wait = self.wait(party, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    fn wait(&self, party: Party, now: Instant) -> Duration {
        let mut buckets = self.0.lock();
        let bucket = buckets.entry(party, |_, bucket| bucket.is_full(RATE, now)).or_insert_with(|| TokenBucket::full(RATE, now));
        bucket.take_delayed(RATE, LONGEST, now)
    }
}

#[cfg(test)]
mod tests {
    use storage::UserId;

    use super::*;

    #[test]
    fn many_refusals_take_their_turns() {
        let refusals = Refusals::default();
        let (now, party) = (Instant::now(), Party::User(UserId(1)));
        assert!((0..20).all(|_| refusals.wait(party, now).is_zero()), "a few are answered at once");
        let waits: Vec<_> = (0..5_000).map(|_| refusals.wait(party, now)).collect();
        assert_eq!(waits[0], Duration::from_millis(1));
        assert_eq!(waits[999], Duration::from_secs(1), "a thousand are answered in a second");
        assert_eq!(waits[4_999], LONGEST);
        assert!(refusals.wait(Party::User(UserId(2)), now).is_zero(), "another party has a pace of its own");
        assert!(refusals.wait(party, now + Duration::from_secs(5)).is_zero());
    }
}
