//! Users and partners: look-up by id, walks over all of them, search, and profile pictures.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached. Walks and searches: `TooFast` beyond the caller's rate
//! limit of searches.
//!
//! # Cancel safety
//! All async methods only read: a dropped future leaves nothing behind but the tokens that it took from the rate limit.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    hash::Hash,
    ops::ControlFlow,
};

use storage::{Conversation, Partner, PartnerId, Person, Picture, User, UserId};

use super::{
    Chat, Error, Result,
    rates::Act,
    texts::{QUERY_BYTES, check_bytes},
};
use crate::auth::Caller;

/// Interpretation of an id that belongs both to a user and to another partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreferredId {
    User,
    Partner,
}

/// A partner with its account, if there is one, and the account's settings.
#[derive(Clone, Debug)]
pub struct Contact {
    pub partner: Partner,
    pub user: Option<User>,
}

/// Visibility of deactivated users, and of their partners, in a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deactivated {
    Hidden,
    Shown,
}

/// Most people that a request names, that a list of people has, and that are in an address book.
pub const LISTED_PEOPLE: usize = 10_000;

/// Memory of a person in a list while it is built, in bytes: its rows, and an ordinary name as JSON. Names may be longer; what is
/// written of them is charged as the answer.
pub(super) const PERSON_BYTES: usize = 1024;

/// Batch size of walks and look-ups: people read from the store at a time. Their rows are decoded within a millisecond.
pub(super) const PEOPLE_STEP: usize = 500;

/// Estimates the memory of a list of people while it is built, to reserve it before.
pub const fn people_bytes(people: usize) -> usize {
    people.saturating_mul(PERSON_BYTES)
}

/// Removes duplicates from the ids of a request, and keeps their order.
///
/// # Errors
/// [`Error::Invalid`] beyond [`LISTED_PEOPLE`].
pub(super) fn distinct<T: Copy + Eq + Hash>(field: &'static str, ids: &[T]) -> Result<Vec<T>> {
    let mut known = HashSet::new();
    let ids: Vec<_> = ids.iter().copied().filter(|id| known.insert(*id)).take(LISTED_PEOPLE + 1).collect();
    if ids.len() > LISTED_PEOPLE {
        return Err(Error::Invalid { field, reason: format!("must not name more than {LISTED_PEOPLE} people").into() });
    }
    Ok(ids)
}

/// Looks up ids in steps, between which other tasks run.
async fn in_steps<'a, I, T, F>(ids: &'a [I], look_up: impl Fn(&'a [I]) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<Vec<T>>>,
{
    let mut found = Vec::new();
    for (nth, step) in ids.chunks(PEOPLE_STEP).enumerate() {
        if nth > 0 {
            tokio::task::yield_now().await;
        }
        found.extend(look_up(step).await?);
    }
    Ok(found)
}

impl Contact {
    /// True if the partner has no account, or its account is active.
    pub fn is_active(&self) -> bool {
        self.user.as_ref().is_none_or(|user| user.active)
    }

    /// The participant's view of the contact, without settings.
    pub fn person(&self) -> Person {
        Person { partner: self.partner.clone(), user: self.user.as_ref().map(|user| user.id) }
    }

    fn of_user(user: User) -> Self {
        Self { partner: user.partner.clone(), user: Some(user) }
    }

    fn is_shown(&self, deactivated: Deactivated) -> bool {
        deactivated == Deactivated::Shown || self.is_active()
    }
}

impl Chat {
    /// Admits a look-up of people whose ids a request names in `field`: removes duplicates, and charges it to the rate of
    /// searches. The memory for those that are left must be reserved before they are read.
    ///
    /// # Errors
    /// `Invalid` beyond [`LISTED_PEOPLE`]; `TooFast` beyond the rate, of which a look-up of more than 100 people costs a token for
    /// each started 1,000.
    pub fn admit_look_up(&self, caller: &Caller, field: &'static str, ids: &[i64]) -> Result<Vec<i64>> {
        let ids = distinct(field, ids)?;
        self.charge_for_people(caller, Act::Search, ids.len())?;
        Ok(ids)
    }

    /// Reads users by id, deactivated ones included, in the order given; unknown ids are absent.
    pub async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<Contact>> {
        in_steps(ids, |ids| async move {
            let found = self.0.storage.users_by_id(ids).await?;
            let mut found: HashMap<_, _> = found.into_iter().map(|user| (user.id, user)).collect();
            Ok(ids.iter().filter_map(|id| found.remove(id)).map(Contact::of_user).collect())
        })
        .await
    }

    /// Reads partners by id, those of deactivated users included, in the order given; unknown ids are absent.
    pub async fn people(&self, ids: &[PartnerId]) -> Result<Vec<Person>> {
        in_steps(ids, |ids| async move {
            let found = self.0.storage.people(ids).await?;
            let mut found: HashMap<_, _> = found.into_iter().map(|person| (person.partner.id, person)).collect();
            Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
        })
        .await
    }

    /// Reads partners with their accounts by id, as [`Chat::people`].
    pub async fn contacts_by_id(&self, ids: &[PartnerId]) -> Result<Vec<Contact>> {
        in_steps(ids, |ids| async move { self.contacts(self.people(ids).await?).await }).await
    }

    /// Walks over all users by rising uid and passes each to `visit`, which evaluates `terms` terms, until it breaks. Keyset
    /// pagination bounds the memory to one batch. The walk costs a token of the rate of searches for each started 50,000 people
    /// times terms, and waits for tokens, for 30 s at most.
    pub async fn walk_users(
        &self,
        caller: &Caller,
        deactivated: Deactivated,
        terms: usize,
        mut visit: impl FnMut(Contact) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        let mut walk = self.begin_walk(caller, terms)?;
        let mut after = None;
        loop {
            let users = self.0.storage.users(after, PEOPLE_STEP).await?;
            let Some(last) = users.last() else { return Ok(()) };
            after = Some(last.id);
            for contact in users.into_iter().map(Contact::of_user).filter(|contact| contact.is_shown(deactivated)) {
                self.step(&mut walk).await?;
                if visit(contact).is_break() {
                    return Ok(());
                }
            }
        }
    }

    /// Walks over all partners by rising id, as [`Chat::walk_users`].
    pub async fn walk_contacts(
        &self,
        caller: &Caller,
        deactivated: Deactivated,
        terms: usize,
        mut visit: impl FnMut(Contact) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        let mut walk = self.begin_walk(caller, terms)?;
        let mut after = None;
        loop {
            let people = self.0.storage.people_after(after, PEOPLE_STEP).await?;
            let Some(last) = people.last() else { return Ok(()) };
            after = Some(last.partner.id);
            for contact in self.contacts(people).await?.into_iter().filter(|contact| contact.is_shown(deactivated)) {
                self.step(&mut walk).await?;
                if visit(contact).is_break() {
                    return Ok(());
                }
            }
        }
    }

    async fn contacts(&self, people: Vec<Person>) -> Result<Vec<Contact>> {
        let ids: Vec<_> = people.iter().filter_map(|person| person.user).collect();
        let users = self.0.storage.users_by_id(&ids).await?;
        let mut users: HashMap<_, _> = users.into_iter().map(|user| (user.id, user)).collect();
        let with_user = |Person { partner, user }| Contact { partner, user: user.and_then(|id| users.remove(&id)) };
        Ok(people.into_iter().map(with_user).collect())
    }

    /// Resolves ids, each of a user or of a partner, to people: in the order given, without duplicates; unknown ids are absent.
    pub async fn people_by_id(&self, ids: &[i64], preferred: PreferredId) -> Result<Vec<Person>> {
        let mut people = in_steps(ids, |ids| self.resolve(ids, preferred)).await?;
        let mut named = HashSet::new();
        people.retain(|person| named.insert(person.partner.id));
        Ok(people)
    }

    async fn resolve(&self, ids: &[i64], preferred: PreferredId) -> Result<Vec<Person>> {
        let users: Vec<_> = ids.iter().copied().map(UserId).collect();
        let partners: Vec<_> = ids.iter().copied().map(PartnerId).collect();
        let of_users = self.0.storage.people_of_users(&users).await?;
        let of_users: HashMap<_, _> = of_users.into_iter().filter_map(|person| Some((person.user?.0, person))).collect();
        let of_partners = self.0.storage.people(&partners).await?;
        let of_partners: HashMap<_, _> = of_partners.into_iter().map(|person| (person.partner.id.0, person)).collect();
        let (first, second) = match preferred {
            PreferredId::User => (&of_users, &of_partners),
            PreferredId::Partner => (&of_partners, &of_users),
        };
        Ok(ids.iter().filter_map(|id| first.get(id).or_else(|| second.get(id))).cloned().collect())
    }

    /// Searches people whose name, email or phone contains `query`, case-insensitively; by name.
    ///
    /// # Errors
    /// `Invalid` for a query that is too long.
    pub async fn search_people(&self, caller: &Caller, query: &str, limit: usize) -> Result<Vec<Person>> {
        check_bytes("query", query, QUERY_BYTES)?;
        self.charge(caller, Act::Search)?;
        Ok(self.0.storage.search_people(query, limit).await?)
    }
}

impl Chat {
    /// Reads the picture of a participant, as a PNG; `None` if the user has none or does not take part. The caller's own
    /// membership is not checked.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    pub async fn picture(&self, of: &Conversation, user: UserId) -> Result<Option<Picture>> {
        let storage = &self.0.storage;
        let Some(person) = storage.people_of_users(&[user]).await?.pop() else { return Ok(None) };
        match storage.conversation_seen_by(of.id, person.partner.id).await? {
            Some((_, Some(_))) => Ok(storage.picture(user).await?),
            Some((_, None)) | None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn other_tasks_run_between_the_steps_of_a_look_up() {
        let ids: Vec<_> = (0..2 * PEOPLE_STEP + 1).collect();
        let mut look_up = Box::pin(in_steps(&ids, |ids| async move { Ok(ids.to_vec()) }));
        for _ in 0..2 {
            assert!(look_up.as_mut().now_or_never().is_none(), "it yields");
        }
        let found = look_up.now_or_never().expect("three steps are enough").expect("nothing fails");
        assert_eq!(found, ids);
    }
}
