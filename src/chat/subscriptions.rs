//! Subscriptions: feeds of events and signals for sockets and polls, by caller, by conversation, or for support agents; long polling
//! for unread messages; delivery receipts, and catch-up after a reconnect.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! All async methods only read: a dropped future leaves nothing behind.

use std::collections::BTreeSet;

use storage::{
    ChangeKey, Conversation, ConversationId, Fact, Message, MessageForReader, MessageId, PAGE_BYTES, Page, PartnerId, Position,
    SUPPORT_AGENTS, Scope, Timestamp, Topic,
};
use tokio::time::Instant;

use super::{Chat, Error, PersonPresence, PollSlot, Result, support};
use crate::{
    auth::Caller,
    events::{DeliveredEvent, Feed, FeedBatch, SignalMark, SubscriptionStart},
    lifecycle::Lifecycle,
};

/// Batch size of a read of changes, and the page size of changed messages.
const CHANGES_READ: usize = 1_000;
const CHANGES_PAGE: usize = 100;

/// A page of changed messages.
pub struct ChangedMessages {
    /// Ordered by their last change.
    pub messages: Vec<Message>,
    /// Keyset cursor of the next page; `None` if the caller can have no changed messages.
    pub cursor: Option<ChangeKey>,
    /// True if no change follows yet.
    pub is_complete: bool,
}

impl Chat {
    /// Subscribes to the caller's events and signals from now on. The connection reports each delivered message itself, by
    /// [`Chat::record_delivery`].
    pub fn subscribe_caller(&self, caller: &Caller) -> Feed {
        let own = Scope::Partner(caller.partner);
        self.subscribe_with_signals(&[own], SubscriptionStart::Now, &[own])
    }

    /// Subscribes as [`Chat::subscribe_caller`] and, for support agents, to the events of all support sessions.
    pub fn subscribe_with_support(&self, caller: &Caller) -> Feed {
        let (own, desk) = (Scope::Partner(caller.partner), Scope::Partner(SUPPORT_AGENTS));
        let scopes = [own, desk];
        let scopes = if support::is_agent_role(caller.role) { &scopes[..] } else { &scopes[..1] };
        self.subscribe_with_signals(scopes, SubscriptionStart::Now, &[own])
    }

    /// Subscribes as [`Chat::subscribe_caller`]; every event that the feed gives counts as delivered.
    pub fn subscribe_delivering(&self, caller: &Caller) -> Feed {
        self.subscribe_caller(caller).read_by(caller.partner)
    }

    /// Records the delivery of a message from a feed to the caller.
    pub fn record_delivery(&self, caller: &Caller, message: &Message) {
        self.0.hub.record_delivery(message, caller.partner);
    }

    /// Subscribes to a conversation of the caller: its events and signals, and the presence signals for the caller.
    ///
    /// # Errors
    /// `NotFound` or `Forbidden` as for [`Chat::conversation`].
    ///
    /// # Ordering
    /// The subscription begins before the conversation is read: a caller that reads the history afterwards misses no event.
    pub async fn subscribe_conversation(&self, caller: &Caller, id: ConversationId) -> Result<(Feed, Conversation)> {
        let scope = Scope::Conversation(id);
        let hears = [scope, Scope::Partner(caller.partner)];
        let feed = self.subscribe_with_signals(&[scope], SubscriptionStart::Now, &hears).read_by(caller.partner);
        let (conversation, participant) = self.conversation(caller, id).await?;
        Ok((feed.visible_from(&participant), conversation))
    }

    /// Waits until this node has delivered all events that are in the event log now.
    ///
    /// # Errors
    /// `Unavailable` if the tail does not get there in time.
    ///
    /// # Ordering
    /// A feed that is read afterwards contains every event that any node has confirmed before the call.
    pub async fn catch_up(&self) -> Result<()> {
        let end = self.0.storage.position().await?;
        self.wait_for_position(end).await
    }

    /// Records the delivery of messages of the history to the caller. Only unread ones count: read ones were delivered before.
    pub fn record_history_delivery(&self, caller: &Caller, messages: &[MessageForReader]) {
        let unread = messages.iter().filter(|seen| !seen.is_read);
        unread.for_each(|seen| self.0.hub.record_delivery(&seen.message, caller.partner));
    }

    /// A page of the messages of a conversation, up to the id `upto`, that were edited or deleted after `upto` was posted or
    /// after a cursor: at most 100 messages, and hardly more than 1 MiB. A page may be empty.
    ///
    /// # Errors
    /// `NotFound` or `Forbidden` as for [`Chat::conversation`].
    pub async fn changed_since(
        &self,
        caller: &Caller,
        of: ConversationId,
        upto: MessageId,
        after: Option<ChangeKey>,
    ) -> Result<ChangedMessages> {
        let (_, participant) = self.conversation(caller, of).await?;
        let storage = &self.0.storage;
        let mut place = match after {
            Some(place) => place,
            None => {
                // A client may name a message of another conversation: the newest one here before that id takes its place.
                let newest = Page::Before { id: MessageId(upto.0.saturating_add(1)), limit: 1 };
                let Some(known) = storage.messages(of, caller.partner, newest).await?.pop() else {
                    return Ok(ChangedMessages { messages: Vec::new(), cursor: None, is_complete: true });
                };
                ChangeKey::since(known.message.id)
            }
        };
        let changes = storage.changes(of, place, CHANGES_READ).await?;
        let (mut told, mut bytes, mut is_all) = (Vec::new(), 0, changes.len() < CHANGES_READ);
        for change in changes {
            if told.len() == CHANGES_PAGE || bytes >= PAGE_BYTES {
                is_all = false;
                break;
            }
            place = change.key;
            if place.message <= upto {
                told.push(place.message);
                bytes += change.bytes;
            }
        }
        let mut messages = storage.messages_by_id(&told).await?;
        messages.retain(|message| message.seq > participant.status.visible_from_seq);
        messages.sort_by_key(|message| told.iter().position(|id| *id == message.id));
        Ok(ChangedMessages { messages, cursor: Some(place), is_complete: is_all })
    }

    /// True if the partner is a participant of the conversation.
    pub async fn is_participant(&self, partner: PartnerId, id: ConversationId) -> Result<bool> {
        Ok(self.0.members.of(id).await?.partners.binary_search(&partner).is_ok())
    }

    /// The presence of the members of a conversation by rising id, the caller included, or of all who share one with the caller: the
    /// caller first, then by rising id. `most` limits the count to the latest heartbeats. Does not check access.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached.
    pub async fn presence_around(&self, caller: &Caller, of: Option<ConversationId>, most: usize) -> Result<Vec<PersonPresence>> {
        let mut others = match of {
            Some(id) => self.0.members.of(id).await?.partners.to_vec(),
            None => self.0.storage.contacts(&[caller.partner]).await?.into_iter().flat_map(|(_, others)| others).collect(),
        };
        others.retain(|partner| *partner != caller.partner);
        let mut company = self.seen_last(others, most.saturating_sub(1)).await?;
        company.push(caller.partner);
        let mut people = self.0.storage.people(&company).await?;
        people.sort_unstable_by_key(|person| (of.is_none() && person.partner.id != caller.partner, person.partner.id));
        self.presence(people).await
    }
}

/// Start of a subscription.
#[derive(Clone, Copy, Debug)]
pub enum SubscribeSince {
    /// After this mark; a mark beyond the newest counts as the newest.
    Seen(SignalMark),
    /// After this time.
    Time(Timestamp),
}

/// Subscription to the events and signals that concern one user, in the order of the event log. Holds one of the user's slots for
/// waiting polls.
pub struct UserSubscription {
    feed: Feed,
    caller: Caller,
    requests: Lifecycle,
    _place: PollSlot,
}

impl Chat {
    /// Subscribes to everything that concerns the caller.
    ///
    /// # Errors
    /// `Unavailable` if this node does not catch up in time with a position from another node; `TooFast` beyond the limit of
    /// waiting polls.
    ///
    /// # Cancel safety
    /// The subscription ends.
    pub async fn subscribe_user(&self, caller: &Caller, since: SubscribeSince) -> Result<UserSubscription> {
        let from = match since {
            SubscribeSince::Seen(mark) => {
                self.wait_for_position(mark.position).await?;
                SubscriptionStart::Seen(mark)
            }
            SubscribeSince::Time(time) => SubscriptionStart::Time { time, position: self.0.storage.position_at(time).await? },
        };
        let own = Scope::Partner(caller.partner);
        let feed = self.subscribe_with_signals(&[own], from, &[own]).read_by(caller.partner);
        // The subscription precedes the slot: a poll that is counted as waiting misses nothing.
        let place = self.take_poll_slot(caller)?;
        Ok(UserSubscription { feed, caller: caller.clone(), requests: self.0.requests.clone(), _place: place })
    }
}

impl UserSubscription {
    /// Waits for the next batch; `None` at the deadline, when the server stops, or once the event log was restarted.
    ///
    /// # Errors
    /// `Ended` once the session of the caller has ended, `Unavailable` if the event log cannot be read.
    ///
    /// # Cancel safety
    /// No event is lost.
    pub async fn next(&mut self, deadline: Instant) -> Result<Option<FeedBatch>> {
        next_until(&mut self.feed, &self.caller, &self.requests, deadline).await
    }
}

/// Waits for the next batch of a feed, as [`Feed::next_until`], as long as the caller's session lasts.
///
/// # Errors
/// `Ended` once the session has ended; `Unavailable` if the event log cannot be read.
///
/// # Cancel safety
/// No event is lost.
pub(super) async fn next_until(
    feed: &mut Feed,
    caller: &Caller,
    requests: &Lifecycle,
    deadline: Instant,
) -> Result<Option<FeedBatch>> {
    tokio::select! {
        biased;
        () = caller.ended.cancelled() => Err(Error::Ended),
        batch = feed.next_until(requests, deadline) => Ok(batch?),
    }
}

/// A change of the caller's unread messages.
#[derive(Clone, Debug)]
pub struct UnreadUpdates {
    /// The conversations with new or deleted messages of others, or with a read mark of the caller, by rising id; empty without a
    /// change.
    pub changed: Vec<ConversationId>,
    /// Cursor of the next call.
    pub position: Position,
}

impl Chat {
    /// Waits for a change of the caller's unread messages after the cursor `after`, by default from now on. Returns an empty
    /// change at the deadline, when the server stops, or after a restart of the event log. With `since`, messages of others
    /// after that time are a change. `waits` is called when the wait begins.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached, `TooFast` beyond the caller's waiting polls on this node, `Ended` once the
    /// caller's session ends.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    ///
    /// # Ordering
    /// The subscription begins before the store is read: no change between two calls is lost.
    pub async fn updates(
        &self,
        caller: &Caller,
        after: Option<Position>,
        since: Option<Timestamp>,
        deadline: Instant,
        waits: impl FnOnce(),
    ) -> Result<UnreadUpdates> {
        let after = if since.is_some() { None } else { after };
        if let Some(after) = after {
            self.wait_for_position(after).await?;
        }
        let mut feed = self.subscribe(Scope::Partner(caller.partner), after);
        let mut changed = BTreeSet::new();
        if let Some(since) = since {
            changed.extend(self.0.storage.conversations_with_new_messages(caller.partner, since).await?);
        }
        let _place = self.take_poll_slot_until(caller, deadline, waits)?;
        while changed.is_empty() {
            let Some(batch) = next_until(&mut feed, caller, &self.0.requests, deadline).await? else { break };
            changed.extend(batch.events.iter().filter_map(|told| changed_conversation(caller, told)));
        }
        Ok(UnreadUpdates { changed: changed.into_iter().collect(), position: feed.position() })
    }
}

/// The conversation whose unread count an event changes for the caller.
fn changed_conversation(caller: &Caller, told: &DeliveredEvent) -> Option<ConversationId> {
    let Topic::Conversation(conversation) = told.event.topic else { return None };
    match &told.event.fact {
        Fact::MessagePosted(message) | Fact::MessageDeleted(message) if message.author.partner != caller.partner => {
            Some(conversation)
        }
        Fact::ReadUpTo { partner, .. } if *partner == caller.partner => Some(conversation),
        _ => None,
    }
}
