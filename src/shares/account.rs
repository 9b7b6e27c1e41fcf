//! Account of one request: its turn in the store, and its charges to the memory budgets.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Charge, NoShare, Party, Shares, StoreTurn};

/// The account of one request. Clones are handles to the same.
#[derive(Clone)]
pub struct Account(Arc<AccountParts>);

struct AccountParts {
    shares: Shares,
    party: Party,
    turn: Mutex<Option<StoreTurn>>,
    reserved: Mutex<Option<Charge>>,
}

impl Account {
    pub fn new(shares: Shares, party: Party) -> Self {
        Self(Arc::new(AccountParts { shares, party, turn: Mutex::default(), reserved: Mutex::default() }))
    }

    /// Opens an empty charge for the request's body.
    pub fn body(&self) -> Charge {
        self.0.shares.bodies.open(self.0.party)
    }

    /// Waits for a turn in the store, which lasts until it is given back or the request is answered.
    ///
    /// # Errors
    ///
    /// [`NoShare::Requests`] as [`super::StoreTurns::take`] has it.
    pub async fn take_turn(&self) -> Result<(), NoShare> {
        let turn = self.0.shares.turns.take(self.0.party).await?;
        *self.0.turn.lock() = Some(turn);
        Ok(())
    }

    /// Releases the turn: the request is answered, or waits for something else than the store.
    pub fn give_turn_back(&self) {
        drop(self.0.turn.lock().take());
    }

    /// Delays a refusal, as [`Refusals`](super::Refusals) has it.
    pub async fn delay_refusal(&self) {
        self.0.shares.refusals.delay(self.0.party).await;
    }

    /// Reserves memory for a response of up to `bytes`, and waits for it.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] as [`super::Budget::reserve`] has it.
    pub async fn reserve(&self, bytes: usize) -> Result<(), NoShare> {
        let reserved = self.0.shares.answers.reserve(self.0.party, bytes).await?;
        *self.0.reserved.lock() = Some(reserved);
        Ok(())
    }

    /// Charges a response's body until it is written, in place of its reservation. Only a body with a reservation may exceed a
    /// share, and counts as a whole share.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] if the share of the party or the budget is used up.
    pub fn charged(&self, answer: Bytes) -> Result<Bytes, NoShare> {
        let charge = match self.0.reserved.lock().take() {
            Some(reserved) => reserved,
            None => self.0.shares.answers.charge(self.0.party, answer.len())?,
        };
        charge.attach(answer)
    }
}

#[cfg(test)]
mod tests {
    use storage::UserId;

    use super::*;
    use crate::{metrics::Metrics, shares::Sizes};

    #[tokio::test]
    async fn what_was_reserved_becomes_the_answer() {
        let sizes = Sizes { bodies_bytes: 0, answers_bytes: 800, requests_per_user: 0, requests_per_address: 0 };
        let shares = Shares::new(sizes, &Metrics::default());
        let account = || Account::new(shares.clone(), Party::User(UserId(1)));
        let text = |bytes| Bytes::from(vec![b'x'; bytes]);
        let page = account();
        page.reserve(1_000).await.expect("nothing else is used");
        assert_eq!(shares.answers.used(), 100);
        let written = page.charged(text(40)).expect("it was reserved");
        assert_eq!((written.len(), shares.answers.used()), (40, 40));
        assert_eq!(account().charged(text(61)).err(), Some(NoShare::Memory));
        drop(written);
        assert_eq!(shares.answers.used(), 0, "it is written");
        assert_eq!(account().charged(text(101)).err(), Some(NoShare::Memory), "nothing was reserved for it");
        page.reserve(1).await.expect("nothing else is used");
        page.charged(text(101)).expect("it counts as a whole share");
    }
}
