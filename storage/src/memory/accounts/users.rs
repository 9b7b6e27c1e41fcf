//! In-memory users and partners.

use std::{
    collections::BTreeSet,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use async_trait::async_trait;
use imbl::{HashMap, OrdMap};
use uuid::Uuid;

use crate::{
    Error, NewPartner, NewUser, Partner, PartnerId, PasswordHash, Person, Result, User, UserChange, UserId, Users, WriteUsers,
    fold::{fold, fold_person},
    memory::{Memory, MemoryTx, Sequence, missing, taken},
};

#[derive(Clone, Default)]
pub(crate) struct Table {
    /// Id sequence of partners and users together.
    pub(crate) ids: Sequence,
    pub(crate) people: OrdMap<PartnerId, Arc<Person>>,
    /// Folded texts of partners, for search.
    pub(crate) folded: OrdMap<PartnerId, Arc<str>>,
    pub(crate) users: OrdMap<UserId, Arc<User>>,
    pub(crate) logins: HashMap<String, UserId>,
    pub(crate) uuids: HashMap<Uuid, UserId>,
    pub(crate) external_ids: HashMap<String, UserId>,
}

impl Table {
    pub(crate) fn is_empty(&self) -> bool {
        self.people.is_empty()
    }

    pub(crate) fn user(&self, id: UserId) -> Option<User> {
        self.users.get(&id).map(|user| User::clone(user))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &User> {
        self.users.values().map(AsRef::as_ref)
    }

    /// Finds a person to which a write or a stored row refers. Fails if it is missing.
    pub(crate) fn person(&self, id: PartnerId) -> Result<&Person> {
        self.people.get(&id).map(AsRef::as_ref).ok_or_else(|| missing("partner", id))
    }

    /// Fails if a write refers to a missing user.
    pub(crate) fn expect_user(&self, id: UserId) -> Result<()> {
        if self.users.contains_key(&id) { Ok(()) } else { Err(missing("user", id)) }
    }

    fn insert_partner(&mut self, new: NewPartner, user: Option<UserId>) -> Result<Partner> {
        if let Some(id) = new.id.filter(|id| self.people.contains_key(id)) {
            return Err(taken("partner", id));
        }
        let id = PartnerId(self.ids.draw(new.id.map(|id| id.0)));
        let partner = new.stored(id);
        let folded = fold_person(&partner.name, partner.email.as_deref(), partner.phone.as_deref());
        self.folded.insert(id, folded.into());
        self.people.insert(id, Arc::new(Person { partner: partner.clone(), user }));
        Ok(partner)
    }

    fn insert_user(&mut self, new: NewUser) -> Result<User> {
        if new.login.as_ref().is_some_and(|login| self.logins.contains_key(login)) {
            return Err(Error::Conflict("users_login"));
        }
        if new.external_id.as_ref().is_some_and(|id| self.external_ids.contains_key(id)) {
            return Err(Error::Conflict("users_external_id"));
        }
        if let Some(id) = new.id.filter(|id| self.users.contains_key(id)) {
            return Err(taken("user", id));
        }
        if self.uuids.contains_key(&new.uuid) {
            return Err(Error::Conflict("users_uuid"));
        }
        let id = UserId(self.ids.draw(new.id.map(|id| id.0)));
        let partner = self.insert_partner(new.partner.clone(), Some(id))?.id;
        let user = new.stored(id, partner);
        self.uuids.insert(user.uuid, id);
        self.logins.extend(user.login.clone().map(|login| (login, id)));
        self.external_ids.extend(user.external_id.clone().map(|external_id| (external_id, id)));
        self.users.insert(id, Arc::new(user.clone()));
        Ok(user)
    }

    fn is_findable(&self, person: &Person) -> bool {
        person.user.and_then(|id| self.users.get(&id)).is_none_or(|user| user.active)
    }
}

#[async_trait]
impl Users for Memory {
    async fn user(&self, id: UserId) -> Result<Option<User>> {
        Ok(self.snapshot()?.users.user(id))
    }

    async fn user_by_login(&self, login: &str) -> Result<Option<User>> {
        let table = &self.snapshot()?.users;
        Ok(table.logins.get(login).and_then(|id| table.user(*id)))
    }

    async fn user_by_uuid(&self, uuid: Uuid) -> Result<Option<User>> {
        let table = &self.snapshot()?.users;
        Ok(table.uuids.get(&uuid).and_then(|id| table.user(*id)))
    }

    async fn user_by_external_id(&self, id: &str) -> Result<Option<User>> {
        let table = &self.snapshot()?.users;
        Ok(table.external_ids.get(id).and_then(|id| table.user(*id)))
    }

    async fn has_external_ids(&self) -> Result<bool> {
        Ok(!self.snapshot()?.users.external_ids.is_empty())
    }

    async fn password_kinds(&self, limit: usize) -> Result<Vec<String>> {
        let state = self.snapshot()?;
        let hashes = state.users.all().filter(|user| user.active).filter_map(|user| user.password.as_ref());
        let kinds: BTreeSet<_> = hashes.filter_map(PasswordHash::kind).map(str::to_owned).collect();
        Ok(kinds.into_iter().take(limit).collect())
    }

    async fn users(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>> {
        let from = after.map_or(Unbounded, Excluded);
        let state = self.snapshot()?;
        Ok(state.users.users.range((from, Unbounded)).take(limit).map(|(_, user)| User::clone(user)).collect())
    }

    async fn users_by_id(&self, ids: &[UserId]) -> Result<Vec<User>> {
        let state = self.snapshot()?;
        let mut found: Vec<_> = ids.iter().filter_map(|id| state.users.user(*id)).collect();
        found.sort_unstable_by_key(|user| user.id);
        found.dedup_by_key(|user| user.id);
        Ok(found)
    }

    async fn people_after(&self, after: Option<PartnerId>, limit: usize) -> Result<Vec<Person>> {
        let from = after.map_or(Unbounded, Excluded);
        let state = self.snapshot()?;
        Ok(state.users.people.range((from, Unbounded)).take(limit).map(|(_, person)| Person::clone(person)).collect())
    }

    async fn people(&self, partners: &[PartnerId]) -> Result<Vec<Person>> {
        let state = self.snapshot()?;
        let mut found: Vec<_> = partners.iter().filter_map(|id| state.users.person(*id).ok().cloned()).collect();
        found.sort_unstable_by_key(|person| person.partner.id);
        found.dedup_by_key(|person| person.partner.id);
        Ok(found)
    }

    async fn people_of_users(&self, users: &[UserId]) -> Result<Vec<Person>> {
        let state = self.snapshot()?;
        let mut found: Vec<_> = users.iter().filter_map(|id| state.users.users.get(id)).map(|user| user.person()).collect();
        found.sort_unstable_by_key(|person| person.user);
        found.dedup_by_key(|person| person.user);
        Ok(found)
    }

    async fn search_people(&self, query: &str, limit: usize) -> Result<Vec<Person>> {
        let query = fold(query);
        let table = &self.snapshot()?.users;
        let folded = table.folded.iter().filter(|(_, folded)| folded.contains(&query));
        let mut found: Vec<&Person> = folded
            .filter_map(|(id, _)| table.people.get(id).map(AsRef::as_ref))
            .filter(|person| table.is_findable(person))
            .collect();
        found.sort_unstable_by_key(|person| (&person.partner.name, person.partner.id));
        Ok(found.into_iter().take(limit).cloned().collect())
    }

    async fn fold_people(&self, _: usize) -> Result<u64> {
        Ok(0)
    }
}

#[async_trait]
impl WriteUsers for MemoryTx {
    async fn insert_partner(&mut self, new: NewPartner) -> Result<Partner> {
        self.draft.users.insert_partner(new, None)
    }

    async fn insert_user(&mut self, new: NewUser) -> Result<User> {
        self.draft.users.insert_user(new)
    }

    async fn lock_user(&mut self, id: UserId) -> Result<Option<User>> {
        Ok(self.draft.users.users.get(&id).map(|user| User::clone(user)))
    }

    async fn update_user(&mut self, id: UserId, change: UserChange) -> Result<Option<User>> {
        let table = &mut self.draft.users;
        let Some(user) = table.users.get_mut(&id).map(Arc::make_mut) else { return Ok(None) };
        let UserChange { password, active, external_id, can_moderate } = change;
        if let Some(new) = external_id {
            if new.as_ref().and_then(|new| table.external_ids.get(new)).is_some_and(|whose| *whose != id) {
                return Err(Error::Conflict("users_external_id"));
            }
            user.external_id.take().map(|old| table.external_ids.remove(&old));
            table.external_ids.extend(new.clone().map(|new| (new, id)));
            user.external_id = new;
        }
        user.password = password.or(user.password.take());
        user.active = active.unwrap_or(user.active);
        user.can_moderate = can_moderate.unwrap_or(user.can_moderate);
        Ok(Some(user.clone()))
    }
}
