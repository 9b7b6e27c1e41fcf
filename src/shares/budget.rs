//! Memory budget: bytes in use, with a limit for all parties and a share for each.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use super::{NoShare, Party};
use crate::metrics::Metrics;

/// Fraction of a budget that one party may use: an eighth.
const SHARES: usize = 8;
/// Fraction of a budget that all addresses without a user may use together: a half. Strangers have many addresses, so each share
/// is smaller than the one before, and there is always another one.
const STRANGERS: usize = 2;
/// Size of a charge that only the whole budget bounds, and the number of connections: a log-in fits beside any strangers.
const SMALL_BYTES: usize = 4096;
/// Longest wait for a share.
const PATIENCE: Duration = Duration::from_secs(10);

/// Memory budget. Clones are handles to the same.
#[derive(Clone)]
pub struct Budget(Arc<Pool>);

struct Pool {
    limit: &'static str,
    most: usize,
    used: Mutex<BudgetUsage>,
    freed: Notify,
    metrics: Metrics,
}

#[derive(Default)]
struct BudgetUsage {
    all: usize,
    /// Bytes of addresses without a user.
    strangers: usize,
    /// Only parties that use any.
    parties: HashMap<Party, usize>,
}

impl Budget {
    /// A budget of `most` bytes; 0 for no limit. `limit` is its name in the metrics.
    pub(super) fn new(limit: &'static str, most: usize, metrics: &Metrics) -> Self {
        let most = if most == 0 { usize::MAX } else { most };
        let metrics = metrics.clone();
        Self(Arc::new(Pool { limit, most, used: Mutex::default(), freed: Notify::new(), metrics }))
    }

    /// Opens an empty charge.
    pub fn open(&self, party: Party) -> Charge {
        Charge { pool: Arc::clone(&self.0), party, bytes: 0, is_reserved: false }
    }

    /// Charges `bytes`.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] if the share of the party or the budget is used up.
    pub fn charge(&self, party: Party, bytes: usize) -> Result<Charge, NoShare> {
        let mut charge = self.open(party);
        charge.set(bytes)?;
        Ok(charge)
    }

    /// Charges `bytes`, and waits until they fit. More than a whole share is charged in full once the party uses nothing else; more
    /// than the whole budget counts as the whole budget.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] after a wait of 10 seconds.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it charges nothing.
    pub async fn reserve(&self, party: Party, bytes: usize) -> Result<Charge, NoShare> {
        let bytes = bytes.min(self.0.most);
        let mut charge = self.open(party);
        charge.is_reserved = true;
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Registered before the check, so that memory freed in between is noticed.
            let freed = self.0.freed.notified();
            if charge.grows_to(bytes) {
                return Ok(charge);
            }
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                return Err(self.0.refuse());
            }
        }
    }

    /// Bytes in use by all parties.
    pub fn used(&self) -> usize {
        self.0.used.lock().all
    }
}

impl Pool {
    /// Share of an address without a user, beside the bytes of others of its kind.
    fn share_of_stranger(&self, others: usize) -> usize {
        (self.most / STRANGERS).saturating_sub(others) / (SHARES / STRANGERS)
    }

    fn refuse(&self) -> NoShare {
        self.metrics.refused(self.limit);
        NoShare::Memory
    }
}

/// Bytes in use; released when this is dropped.
pub struct Charge {
    pool: Arc<Pool>,
    party: Party,
    bytes: usize,
    /// True for a reservation, which may exceed the share of a party that uses nothing else.
    is_reserved: bool,
}

impl Charge {
    /// Changes the charge to `bytes`, up or down. A refusal leaves it unchanged. For a reservation, more than the whole budget counts
    /// as the whole budget.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] if the share of the party or the budget is used up.
    pub fn set(&mut self, bytes: usize) -> Result<(), NoShare> {
        let bytes = if self.is_reserved { bytes.min(self.pool.most) } else { bytes };
        if bytes <= self.bytes {
            self.shrink(bytes);
            return Ok(());
        }
        if self.grows_to(bytes) { Ok(()) } else { Err(self.pool.refuse()) }
    }

    /// Opens another empty charge of the same party.
    pub fn another(&self) -> Self {
        Self { pool: Arc::clone(&self.pool), party: self.party, bytes: 0, is_reserved: false }
    }

    /// Attaches the charge to `text`, until the last clone of the text is dropped. A reserved charge grows as
    /// [`Budget::reserve`] has it, without a wait.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] if the share of the party or the budget is used up.
    pub fn attach(mut self, text: Bytes) -> Result<Bytes, NoShare> {
        self.set(text.len())?;
        Ok(Bytes::from_owner(ChargedText { text, _charge: self }))
    }

    /// Counts a refusal by `limit`, another one than the budget, as [`Metrics::refused`] names it.
    pub fn count_refusal(&self, limit: &'static str) {
        self.pool.metrics.refused(limit);
    }

    /// Bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn grows_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return true;
        }
        let mut used = self.pool.used.lock();
        let all = used.all.saturating_add(more);
        let before = used.parties.get(&self.party).copied().unwrap_or(0);
        let own = before.saturating_add(more);
        let exceeds_share = match self.party {
            Party::User(_) => own > self.pool.most / SHARES,
            Party::Address(_) => bytes > SMALL_BYTES && own > self.pool.share_of_stranger(used.strangers - before),
        };
        let is_alone = own == bytes;
        if all > self.pool.most || (exceeds_share && !(self.is_reserved && is_alone)) {
            return false;
        }
        used.all = all;
        if let Party::Address(_) = self.party {
            used.strangers = used.strangers.saturating_add(more);
        }
        used.parties.insert(self.party, own);
        self.bytes = bytes;
        true
    }

    fn shrink(&mut self, bytes: usize) {
        let less = self.bytes - bytes;
        if less == 0 {
            return;
        }
        let mut used = self.pool.used.lock();
        used.all -= less;
        if let Party::Address(_) = self.party {
            used.strangers -= less;
        }
        if let Some(own) = used.parties.get_mut(&self.party) {
            *own -= less;
            if *own == 0 {
                used.parties.remove(&self.party);
            }
        }
        drop(used);
        self.bytes = bytes;
        self.pool.freed.notify_waiters();
    }
}

/// Text with its charge, which lasts as long as the text.
struct ChargedText {
    text: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for ChargedText {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;
    use storage::UserId;

    use super::*;

    const ONE: Party = Party::User(UserId(1));
    const OTHER: Party = Party::User(UserId(2));

    fn budget() -> Budget {
        Budget::new("answers_bytes", 800, &Metrics::default())
    }

    #[test]
    fn a_party_uses_no_more_than_its_share() {
        let budget = budget();
        let mut charge = budget.charge(ONE, 60).expect("there is room");
        assert_eq!(budget.charge(ONE, 41).err(), Some(NoShare::Memory));
        assert_eq!(charge.set(101).err(), Some(NoShare::Memory));
        assert_eq!(charge.bytes(), 60, "a refusal changes nothing");
        let other = budget.charge(OTHER, 100).expect("another party has a share of its own");
        charge.set(10).expect("less is always possible");
        let more = budget.charge(ONE, 90).expect("what was given back is there again");
        assert_eq!(budget.used(), 200);
        drop((charge, other, more));
        assert_eq!(budget.used(), 0);
        assert!(budget.0.used.lock().parties.is_empty(), "who uses nothing is not remembered");
    }

    #[test]
    fn all_together_use_no_more_than_there_is() {
        let budget = budget();
        let charges: Vec<_> =
            (0..8).map(|user| budget.charge(Party::User(UserId(user)), 100).expect("it is its share")).collect();
        assert!(budget.charge(Party::User(UserId(8)), 1).is_err());
        drop(charges);
        assert!(budget.charge(Party::User(UserId(8)), 1).is_ok());
    }

    #[test]
    fn strangers_leave_half_to_users_and_a_share_to_the_next_stranger() {
        let budget = Budget::new("bodies_bytes", 8 << 20, &Metrics::default());
        let stranger = |number: u32| Party::at(Ipv4Addr::from_bits(number << 8).into());
        let mut held = Vec::new();
        for number in 0..16 {
            let (mut most, mut charge) = (0, budget.open(stranger(number)));
            while charge.set(most + 1024).is_ok() {
                most += 1024;
            }
            assert!(most > SMALL_BYTES, "{number}: {most}");
            assert!(number > 0 || most == 1 << 20, "the first one has an eighth");
            held.push(charge);
        }
        assert!(budget.used() <= 4 << 20);
        let users = (0..4).map(|user| budget.charge(Party::User(UserId(user)), 1 << 20));
        held.extend(users.map(|user| user.expect("strangers take nothing of its share")));
        drop(held);
        let used = budget.0.used.lock();
        assert_eq!((used.all, used.strangers), (0, 0));
    }

    #[test]
    fn small_charges_of_strangers_fit_beside_any_number_of_others() {
        let budget = Budget::new("bodies_bytes", 8 << 20, &Metrics::default());
        let address = |number: u32| Party::at(Ipv4Addr::from_bits(number << 8).into());
        let mut held = Vec::new();
        for number in 0..1_000 {
            let mut charge = budget.open(address(number));
            while charge.set(charge.bytes() + 512).is_ok() {}
            held.push(charge);
        }
        assert!(budget.charge(address(1_001), SMALL_BYTES).is_ok());
        assert!(budget.charge(address(1_001), SMALL_BYTES + 1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reservation_waits_for_its_share_but_not_for_ever() {
        let budget = budget();
        let held = budget.charge(ONE, 60).expect("there is room");
        let mut waiting = Box::pin(budget.reserve(ONE, 300));
        assert!(waiting.as_mut().now_or_never().is_none(), "more than a share needs a party that uses nothing else");
        drop(held);
        let large = waiting.await.expect("nothing else is used");
        assert_eq!((large.bytes(), budget.used()), (300, 300), "it is charged in full");
        assert_eq!(budget.reserve(ONE, 1).await.err(), Some(NoShare::Memory));
        assert_eq!(budget.charge(OTHER, 101).err(), Some(NoShare::Memory), "only a reservation may exceed a share");

        let mut waiting = Box::pin(budget.reserve(OTHER, 600));
        assert!(waiting.as_mut().now_or_never().is_none(), "both together exceed the budget");
        drop(large);
        assert_eq!(waiting.await.map(|charge| charge.bytes()), Ok(600));
        assert_eq!(budget.reserve(OTHER, 10_000).await.map(|charge| charge.bytes()), Ok(800), "there is no more");
    }

    #[tokio::test]
    async fn an_answer_is_charged_in_full() {
        let budget = budget();
        let text = |bytes| Bytes::from(vec![b'x'; bytes]);
        let page = budget.reserve(ONE, 300).await.expect("nothing else is used").attach(text(250)).expect("it was reserved");
        assert_eq!((page.len(), budget.used()), (250, 250), "the rest of the reservation is released");
        drop(page);
        let longer = budget.reserve(ONE, 50).await.expect("nothing else is used").attach(text(150)).expect("it is alone");
        assert_eq!(budget.used(), 150, "a reservation that was too small grows");
        let second = budget.charge(OTHER, 10).expect("there is room");
        let beside = budget.reserve(OTHER, 50).await.expect("there is room");
        assert_eq!(beside.attach(text(150)).err(), Some(NoShare::Memory), "the party uses something else");
        drop((longer, second));
        assert_eq!(budget.open(ONE).attach(text(101)).err(), Some(NoShare::Memory), "nothing was reserved for it");
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn without_a_limit_everything_fits() {
        let budget = Budget::new("answers_bytes", 0, &Metrics::default());
        assert!(budget.charge(ONE, 1 << 40).is_ok());
    }
}
