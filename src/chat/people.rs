//! Users and partners: look-up by id, walks over all of them, search, and profile pictures.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached. Walks and searches: `TooFast` beyond the caller's rate
//! limit of searches.
//!
//! # Cancel safety
//! All async methods only read: a dropped future leaves nothing behind but the tokens that it took from the rate limit.

use std::collections::{HashMap, HashSet};

use storage::{Conversation, Partner, PartnerId, Person, Picture, User, UserId};

use super::{
    Chat, Result,
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

/// Batch size of a walk: rows read from the store at a time.
const WALK_STEP: usize = 500;

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
    /// Reads users by id, deactivated ones included, in no particular order; unknown ids are absent.
    pub async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<Contact>> {
        Ok(self.0.storage.users_by_id(ids).await?.into_iter().map(Contact::of_user).collect())
    }

    /// Reads partners by id, those of deactivated users included, in no particular order; unknown ids are absent.
    pub async fn contacts_by_id(&self, ids: &[PartnerId]) -> Result<Vec<Contact>> {
        let people = self.0.storage.people(ids).await?;
        self.contacts(people).await
    }

    /// Walks over all users by rising uid and passes each to `visit`, which evaluates `terms` terms. Keyset pagination bounds the
    /// memory to one batch. The walk costs a token of the rate of searches for each started 50,000 people times terms, and waits
    /// for tokens, for 30 s at most.
    pub async fn walk_users(
        &self,
        caller: &Caller,
        deactivated: Deactivated,
        terms: usize,
        mut visit: impl FnMut(Contact) + Send,
    ) -> Result<()> {
        let mut walk = self.begin_walk(caller, terms)?;
        let mut after = None;
        loop {
            let users = self.0.storage.users(after, WALK_STEP).await?;
            let Some(last) = users.last() else { return Ok(()) };
            after = Some(last.id);
            for contact in users.into_iter().map(Contact::of_user).filter(|contact| contact.is_shown(deactivated)) {
                self.step(&mut walk).await?;
                visit(contact);
            }
        }
    }

    /// Walks over all partners by rising id, as [`Chat::walk_users`].
    pub async fn walk_contacts(
        &self,
        caller: &Caller,
        deactivated: Deactivated,
        terms: usize,
        mut visit: impl FnMut(Contact) + Send,
    ) -> Result<()> {
        let mut walk = self.begin_walk(caller, terms)?;
        let mut after = None;
        loop {
            let people = self.0.storage.people_after(after, WALK_STEP).await?;
            let Some(last) = people.last() else { return Ok(()) };
            after = Some(last.partner.id);
            for contact in self.contacts(people).await?.into_iter().filter(|contact| contact.is_shown(deactivated)) {
                self.step(&mut walk).await?;
                visit(contact);
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
        if ids.is_empty() {
            return Ok(Vec::new());
        }
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
        let mut named = HashSet::new();
        Ok(ids
            .iter()
            .filter_map(|id| first.get(id).or_else(|| second.get(id)))
            .filter(|person| named.insert(person.partner.id))
            .cloned()
            .collect())
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
