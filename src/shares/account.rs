//! Account of one request: its turn in the store, and its charges to the memory budgets.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use storage::UserId;

use super::{Charge, NoShare, Party, Shares, StoreTurn};

/// The account of one request. Clones are handles to the same.
#[derive(Clone)]
pub struct Account(Arc<AccountParts>);

struct AccountParts {
    shares: Shares,
    party: Mutex<Party>,
    turn: Mutex<Option<StoreTurn>>,
    reserved: Mutex<Option<Charge>>,
}

impl Account {
    pub fn new(shares: Shares, party: Party) -> Self {
        Self(Arc::new(AccountParts { shares, party: Mutex::new(party), turn: Mutex::default(), reserved: Mutex::default() }))
    }

    /// Opens an empty charge for the request's body.
    pub fn body(&self) -> Charge {
        self.0.shares.bodies.open(self.party())
    }

    /// Makes the account the user's, once a route has authenticated its caller: a turn of the address is released in exchange for
    /// one of the user, and memory that is charged from now on is the user's.
    ///
    /// # Errors
    ///
    /// [`NoShare::Requests`] as [`super::StoreTurns::take`] has it. The account is the user's then, without a turn.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the account is the user's, without a turn.
    pub async fn transfer_to(&self, user: UserId) -> Result<(), NoShare> {
        let party = Party::User(user);
        if std::mem::replace(&mut *self.0.party.lock(), party) == party {
            return Ok(());
        }
        if self.0.turn.lock().take().is_none() {
            return Ok(());
        }
        self.take_turn().await
    }

    /// Counts a refusal by `limit`, as [`Metrics::refused`](crate::metrics::Metrics::refused) names it.
    pub fn count_refusal(&self, limit: &'static str) {
        self.0.shares.metrics.refused(limit);
    }

    /// Waits for a turn in the store, which lasts until it is given back or the request is answered.
    ///
    /// # Errors
    ///
    /// [`NoShare::Requests`] as [`super::StoreTurns::take`] has it.
    pub async fn take_turn(&self) -> Result<(), NoShare> {
        let turn = self.0.shares.turns.take(self.party()).await?;
        *self.0.turn.lock() = Some(turn);
        Ok(())
    }

    /// Releases the turn: the request is answered, or waits for something else than the store.
    pub fn give_turn_back(&self) {
        drop(self.0.turn.lock().take());
    }

    /// Delays a refusal, as [`Refusals`](super::Refusals) has it.
    pub async fn delay_refusal(&self) {
        self.0.shares.refusals.delay(self.party()).await;
    }

    /// Reserves memory for a response of up to `bytes`, and waits for it. An earlier reservation is released first.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] as [`super::Budget::reserve`] has it.
    pub async fn reserve(&self, bytes: usize) -> Result<(), NoShare> {
        drop(self.0.reserved.lock().take());
        let reserved = self.0.shares.answers.reserve(self.party(), bytes).await?;
        *self.0.reserved.lock() = Some(reserved);
        Ok(())
    }

    /// Raises the reservation to `bytes` if it is smaller, without a wait: for a response that turns out larger while it is built.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] if the share of the party or the budget is used up.
    pub fn raise(&self, bytes: usize) -> Result<(), NoShare> {
        match &mut *self.0.reserved.lock() {
            Some(reserved) if bytes > reserved.bytes() => reserved.set(bytes),
            Some(_) | None => Ok(()),
        }
    }

    /// Charges a response's body until it is written, in place of its reservation. Only a body with a reservation may exceed a
    /// share, if the party uses nothing else.
    ///
    /// # Errors
    ///
    /// [`NoShare::Memory`] if the share of the party or the budget is used up.
    pub fn charged(&self, answer: Bytes) -> Result<Bytes, NoShare> {
        let charge = match self.0.reserved.lock().take() {
            Some(reserved) => reserved,
            None => self.0.shares.answers.charge(self.party(), answer.len())?,
        };
        charge.attach(answer)
    }

    fn party(&self) -> Party {
        *self.0.party.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures_util::FutureExt;

    use super::*;
    use crate::{metrics::Metrics, shares::Sizes};

    #[tokio::test]
    async fn what_was_reserved_becomes_the_answer() {
        let sizes = Sizes { bodies_bytes: 0, answers_bytes: 800, requests_per_user: 0, requests_per_address: 0 };
        let shares = Shares::new(sizes, &Metrics::default());
        let account = || Account::new(shares.clone(), Party::User(UserId(1)));
        let text = |bytes| Bytes::from(vec![b'x'; bytes]);
        let page = account();
        page.reserve(300).await.expect("nothing else is used");
        assert_eq!(shares.answers.used(), 300);
        let written = page.charged(text(40)).expect("it was reserved");
        assert_eq!((written.len(), shares.answers.used()), (40, 40));
        assert_eq!(account().charged(text(61)).err(), Some(NoShare::Memory));
        drop(written);
        assert_eq!(shares.answers.used(), 0, "it is written");
        assert_eq!(account().charged(text(101)).err(), Some(NoShare::Memory), "nothing was reserved for it");
        page.raise(50).expect("nothing is reserved");
        assert_eq!(shares.answers.used(), 0);
        page.reserve(1).await.expect("nothing else is used");
        page.reserve(200).await.expect("the earlier reservation is released");
        assert_eq!(shares.answers.used(), 200);
        page.reserve(1).await.expect("nothing else is used");
        page.raise(101).expect("nothing else is used");
        page.raise(7).expect("it is less");
        assert_eq!(shares.answers.used(), 101, "it grows with the response");
        let large = page.charged(text(101)).expect("nothing else is used");
        assert_eq!(shares.answers.used(), 101, "it is charged in full");
        drop(large);
    }

    #[tokio::test]
    async fn an_account_becomes_that_of_its_user() {
        let sizes = Sizes { bodies_bytes: 80_000, answers_bytes: 800, requests_per_user: 1, requests_per_address: 1 };
        let shares = Shares::new(sizes, &Metrics::default());
        let (address, user) = (Party::at(Ipv4Addr::LOCALHOST.into()), UserId(1));
        let account = Account::new(shares.clone(), address);
        let mut before = account.body();
        before.set(10_000).expect("it is the share of the address");
        account.take_turn().await.expect("it is free");
        account.transfer_to(user).await.expect("it is free");
        let of_address = shares.turns.take(address).now_or_never().expect("it is free again");
        assert!(shares.turns.take(Party::User(user)).now_or_never().is_none(), "the account has it");
        account.body().set(10_000).expect("it is the share of the user");
        assert!(shares.bodies.charge(address, 5_000).is_err(), "earlier memory stays charged to the address");
        account.reserve(100).await.expect("it is the share of the user");
        assert!(shares.answers.charge(Party::User(user), 1).is_err() && shares.answers.charge(address, 100).is_ok());

        for (account, why) in [(Account::new(shares.clone(), address), "it has no turn"), (account, "it is the user's already")] {
            assert_eq!(account.transfer_to(user).now_or_never(), Some(Ok(())), "{why}");
        }
        drop((before, of_address));
    }
}
