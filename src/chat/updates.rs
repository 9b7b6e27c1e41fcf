use std::collections::BTreeSet;

use storage::{ConversationId, Fact, InboxEntry, InboxFilter, Position, Scope, Timestamp, Topic, UnreadTotals};
use tokio::time::Instant;

use super::{Chat, Result, Told};
use crate::auth::Caller;

/// What has changed of the caller's unread messages.
#[derive(Clone, Debug)]
pub struct Updates {
    /// The conversations in which somebody else has posted or deleted, or in which the caller has read, most recent
    /// first; empty if nothing has changed.
    pub changed: Vec<InboxEntry>,
    pub unread: UnreadTotals,
    /// From here the next call goes on.
    pub position: Position,
}

impl Chat {
    /// Waits until the caller's unread messages are others than they were at `after`, or than now; gives an empty
    /// change at the deadline or when the server stops. With `since`, what others have posted after that time is a
    /// change. `waits` is called once nothing more is asked of the store until then.
    pub async fn updates(
        &self,
        caller: &Caller,
        after: Option<Position>,
        since: Option<Timestamp>,
        deadline: Instant,
        waits: impl FnOnce(),
    ) -> Result<Updates> {
        let after = if since.is_some() { None } else { after };
        if let Some(after) = after {
            self.reach(after).await?;
        }
        let mut feed = self.follow(Scope::Partner(caller.partner), after);
        let mut changed = BTreeSet::new();
        if let Some(since) = since {
            changed.extend(self.0.storage.conversations_with_news(caller.partner, since).await?);
        }
        let _place = self.take_place_until(caller, deadline, waits)?;
        while changed.is_empty() {
            let Some(batch) = feed.next_for(caller, &self.0.requests, deadline).await? else { break };
            changed.extend(batch.events.iter().filter_map(|told| changes(caller, told)));
        }
        let changed: Vec<_> = changed.into_iter().collect();
        let entries = if changed.is_empty() {
            Vec::new()
        } else {
            self.0.storage.inbox(caller.partner, InboxFilter { only: Some(&changed), ..InboxFilter::default() }).await?
        };
        let unread = self.unread_totals(caller).await?;
        Ok(Updates { changed: entries, unread, position: feed.position() })
    }
}

/// The conversation whose unread messages an event changes for the caller.
fn changes(caller: &Caller, told: &Told) -> Option<ConversationId> {
    let Topic::Conversation(conversation) = told.event.topic else { return None };
    match &told.event.fact {
        Fact::MessagePosted(message) | Fact::MessageDeleted(message) if message.author.partner != caller.partner => {
            Some(conversation)
        }
        Fact::ReadUpTo { partner, .. } if *partner == caller.partner => Some(conversation),
        _ => None,
    }
}
