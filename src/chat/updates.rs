//! Long polling for the caller's unread messages.

use std::collections::BTreeSet;

use storage::{ConversationId, Fact, InboxEntry, InboxFilter, Position, Scope, Timestamp, Topic, UnreadTotals};
use tokio::time::Instant;

use super::{Chat, Result, bus::next_until};
use crate::{auth::Caller, events::DeliveredEvent};

/// A change of the caller's unread messages.
#[derive(Clone, Debug)]
pub struct UnreadUpdates {
    /// The conversations with new or deleted messages of others, or with a read mark of the caller, most recent first; empty
    /// without a change.
    pub changed: Vec<InboxEntry>,
    pub unread: UnreadTotals,
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
        let changed: Vec<_> = changed.into_iter().collect();
        let entries = if changed.is_empty() {
            Vec::new()
        } else {
            self.0.storage.inbox(caller.partner, InboxFilter { only: Some(&changed), ..InboxFilter::default() }).await?
        };
        let unread = self.unread_totals(caller).await?;
        Ok(UnreadUpdates { changed: entries, unread, position: feed.position() })
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
