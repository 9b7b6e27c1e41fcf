//! Address books of users, and the acquaintances of a user: its address book and everybody in its conversations.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! A dropped read leaves nothing behind. A write dropped before its commit changes nothing; dropped during it, all or nothing.

use std::collections::{BTreeMap, HashMap};

use storage::{ConversationKind, InboxFilter, Message, PartnerId, User, UserId};

use super::{Chat, Deactivated, Result, rates::Act};
use crate::auth::Caller;

/// Another user that the caller knows.
#[derive(Clone, Debug)]
pub struct Acquaintance {
    pub user: User,
    /// The newest message between the two, or else the newest message of this user that the caller may read.
    pub last_message: Option<Message>,
}

impl Chat {
    /// Lists the active users in the caller's address book, by rising id.
    pub async fn address_book(&self, caller: &Caller) -> Result<Vec<User>> {
        let ids = self.0.storage.address_book(caller.user).await?;
        let mut users = self.0.storage.users_by_id(&ids).await?;
        users.retain(|user| user.active);
        users.sort_unstable_by_key(|user| user.id);
        Ok(users)
    }

    /// Lists the active users that are not in the caller's address book, without the caller, by rising id.
    ///
    /// # Errors
    /// `TooFast` beyond the rate limit of searches.
    pub async fn users_not_in_address_book(&self, caller: &Caller) -> Result<Vec<User>> {
        let book = self.0.storage.address_book(caller.user).await?;
        let mut others = Vec::new();
        let unknown = |id: UserId| id != caller.user && book.binary_search(&id).is_err();
        self.walk_users(caller, Deactivated::Hidden, 1, |contact| others.extend(contact.user.filter(|user| unknown(user.id))))
            .await?;
        Ok(others)
    }

    /// Adds users to an address book. Ignores unknown and deactivated users, and the owner; returns the number of the others.
    /// Does not check access: the caller must be the owner or an administrator.
    ///
    /// # Errors
    /// `TooFast` beyond the rate limit, of which each started 100 users cost a change.
    pub async fn add_to_address_book(&self, caller: &Caller, owner: UserId, users: &[UserId]) -> Result<usize> {
        self.charge_for_people(caller, Act::Write, users.len())?;
        let known = self.0.storage.users_by_id(users).await?;
        let known: Vec<_> = known.into_iter().filter(|user| user.active && user.id != owner).map(|user| user.id).collect();
        if !known.is_empty() {
            self.transaction(|mut tx| async {
                tx.insert_into_address_book(owner, &known).await?;
                self.0.publisher.commit(tx).await?;
                Ok(())
            })
            .await?;
        }
        Ok(known.len())
    }

    /// Removes users from the caller's address book. Idempotent.
    ///
    /// # Errors
    /// `TooFast` beyond the rate limit, of which each started 100 users cost a change.
    pub async fn remove_from_address_book(&self, caller: &Caller, users: &[UserId]) -> Result<()> {
        self.charge_for_people(caller, Act::Write, users.len())?;
        self.transaction(|mut tx| async {
            tx.delete_from_address_book(caller.user, users).await?;
            self.0.publisher.commit(tx).await?;
            Ok(())
        })
        .await
    }

    /// Lists the active users in the caller's address book, or among the people that the caller's lists of conversations show, by
    /// rising id.
    pub async fn acquaintances(&self, caller: &Caller) -> Result<Vec<Acquaintance>> {
        let mut ids = self.0.storage.address_book(caller.user).await?;
        let inbox = self.inbox_entries(caller, InboxFilter::default()).await?;
        let people = self.listed_people(caller, &inbox).await?;
        ids.extend(people.iter().filter_map(|(_, person)| person.user).filter(|user| *user != caller.user));
        let users = self.0.storage.users_by_id(&ids).await?;

        let mut between: HashMap<PartnerId, Message> = HashMap::new();
        let mut note = |with: PartnerId, message: &Message| match between.get_mut(&with) {
            Some(newest) if newest.id >= message.id => {}
            Some(newest) => *newest = message.clone(),
            None => drop(between.insert(with, message.clone())),
        };
        let direct = |entry: &&storage::InboxEntry| entry.conversation.kind == ConversationKind::Direct;
        let direct: HashMap<_, _> =
            inbox.iter().filter(direct).filter_map(|entry| Some((entry.conversation.id, entry.last_message.as_ref()?))).collect();
        for (conversation, person) in &people {
            if let Some(message) = direct.get(conversation) {
                note(person.partner.id, message);
            }
        }
        let mut anywhere: HashMap<PartnerId, Message> = HashMap::new();
        let participants: Vec<_> = people.iter().map(|(conversation, person)| (*conversation, person.partner.id)).collect();
        for message in self.0.storage.last_messages(&participants, caller.partner).await? {
            let newest = anywhere.entry(message.author.partner).or_insert_with(|| message.clone());
            if newest.id < message.id {
                *newest = message;
            }
        }
        let known: BTreeMap<_, _> = users.into_iter().filter(|user| user.active).map(|user| (user.id, user)).collect();
        Ok(known
            .into_values()
            .map(|user| {
                let partner = user.partner.id;
                Acquaintance { last_message: between.remove(&partner).or_else(|| anywhere.remove(&partner)), user }
            })
            .collect())
    }
}
