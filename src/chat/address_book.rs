//! Address books of users, and the acquaintances of a user: its address book and everybody in its conversations.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! A dropped read leaves nothing behind. A write dropped before its commit changes nothing; dropped during it, all or nothing.

use std::{collections::HashMap, ops::ControlFlow};

use storage::{ConversationKind, InboxFilter, Message, PartnerId, User, UserId};

use super::{
    Chat, Deactivated, Error, Result,
    people::{LISTED_PEOPLE, PEOPLE_STEP, distinct},
    rates::Act,
};
use crate::auth::Caller;

/// Another user that the caller knows.
#[derive(Clone, Debug)]
pub struct Acquaintance {
    pub user: User,
    /// The newest message between the two, or else the newest message of this user that the caller may read.
    pub last_message: Option<Message>,
}

impl Chat {
    /// Charges a list of the caller's address book as a look-up of people, and returns their ids, by rising id. A book that an
    /// earlier version has let grow further is cut. The memory for the people must be reserved before they are read.
    ///
    /// # Errors
    /// `TooFast` beyond the rate limit of searches.
    pub async fn admit_address_book(&self, caller: &Caller) -> Result<Vec<UserId>> {
        let mut ids = self.0.storage.address_book(caller.user).await?;
        ids.truncate(LISTED_PEOPLE);
        self.charge_for_people(caller, Act::Search, ids.len())?;
        Ok(ids)
    }

    /// Lists the active users of an address book, in its order.
    pub async fn address_book(&self, book: &[UserId]) -> Result<Vec<User>> {
        let contacts = self.users_by_id(book).await?;
        Ok(contacts.into_iter().filter_map(|contact| contact.user.filter(|user| user.active)).collect())
    }

    /// Lists the active users that are not in the caller's address book, without the caller, by rising id: the first
    /// [`LISTED_PEOPLE`].
    ///
    /// # Errors
    /// `TooFast` beyond the rate limit of searches.
    pub async fn users_not_in_address_book(&self, caller: &Caller) -> Result<Vec<User>> {
        let book = self.0.storage.address_book(caller.user).await?;
        let mut others = Vec::new();
        let unknown = |id: UserId| id != caller.user && book.binary_search(&id).is_err();
        self.walk_users(caller, Deactivated::Hidden, 1, |contact| {
            others.extend(contact.user.filter(|user| unknown(user.id)));
            if others.len() < LISTED_PEOPLE { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
        .await?;
        Ok(others)
    }

    /// Adds users to an address book. Ignores unknown and deactivated users, and the owner; returns the number of the others.
    /// Does not check access: the caller must be the owner or an administrator.
    ///
    /// # Errors
    /// `TooFast` beyond the rate limit, of which each started 100 users cost a change; `Invalid` for more than [`LISTED_PEOPLE`]
    /// users, and if the book would have more.
    pub async fn add_to_address_book(&self, caller: &Caller, owner: UserId, users: &[UserId]) -> Result<usize> {
        let users = distinct("user_ids", users)?;
        self.charge_for_people(caller, Act::Write, users.len())?;
        let mut known = Vec::new();
        // In steps that are not kept: only the ids are needed.
        for users in users.chunks(PEOPLE_STEP) {
            let users = self.0.storage.users_by_id(users).await?;
            known.extend(users.into_iter().filter(|user| user.active && user.id != owner).map(|user| user.id));
            tokio::task::yield_now().await;
        }
        if !known.is_empty() {
            self.transaction(|mut tx| async {
                // Of concurrent additions to one book, each counts those before it.
                tx.lock_user(owner).await?;
                if tx.insert_into_address_book(owner, &known).await? > LISTED_PEOPLE {
                    let reason = format!("must not have more than {LISTED_PEOPLE} people").into();
                    return Err(Error::Invalid { field: "address book", reason });
                }
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
    /// `TooFast` beyond the rate limit, of which each started 100 users cost a change; `Invalid` for more than [`LISTED_PEOPLE`]
    /// users.
    pub async fn remove_from_address_book(&self, caller: &Caller, users: &[UserId]) -> Result<()> {
        let users = distinct("user_ids", users)?;
        self.charge_for_people(caller, Act::Write, users.len())?;
        self.transaction(|mut tx| async {
            tx.delete_from_address_book(caller.user, &users).await?;
            self.0.publisher.commit(tx).await?;
            Ok(())
        })
        .await
    }

    /// Lists the active users in the caller's address book `book`, or among the people that the caller's lists of conversations show, by
    /// rising id.
    pub async fn acquaintances(&self, caller: &Caller, book: Vec<UserId>) -> Result<Vec<Acquaintance>> {
        let mut ids = book;
        let inbox = self.inbox_entries(caller, InboxFilter::default()).await?;
        let people = self.listed_people(caller, &inbox).await?;
        ids.extend(people.iter().filter_map(|(_, person)| person.user).filter(|user| *user != caller.user));
        ids.sort_unstable();
        ids.dedup();
        let contacts = self.users_by_id(&ids).await?;

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
        let known = contacts.into_iter().filter_map(|contact| contact.user.filter(|user| user.active));
        Ok(known
            .map(|user| {
                let partner = user.partner.id;
                Acquaintance { last_message: between.remove(&partner).or_else(|| anywhere.remove(&partner)), user }
            })
            .collect())
    }
}
