//! Search in messages.

use std::{cmp::Reverse, collections::BinaryHeap};

use storage::{ConversationId, MessageId, PAGE_BYTES, Seen, Walk, fitting};

use super::{
    Chat, Error, Result,
    rates::Act,
    texts::{QUERY_BYTES, short},
};
use crate::auth::Caller;

/// The shortest query, in characters. What is shorter is in every other message.
const SHORTEST: usize = 3;
/// How many messages one search looks at.
const BUDGET: usize = 50_000;
/// How many messages of a conversation are looked at a time.
const STRETCH: usize = 250;
/// Budget of one search: bytes of texts that it looks at, and stretches.
const BYTES: usize = 64 * 1024 * 1024;
const STRETCHES: usize = 2_000;

/// What to search for, and where.
#[derive(Clone, Debug)]
pub struct Query {
    /// A message contains it, whatever the case.
    pub text: String,
    /// One of the caller's conversations; all of them if none is given.
    pub of: Option<ConversationId>,
    /// Only messages with a smaller id.
    pub before: Option<MessageId>,
    /// The most messages to find.
    pub limit: usize,
}

/// A page of what a search has found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Newest first. A page is never short of a match that is newer than its last.
    pub messages: Vec<Seen>,
    /// Whether the search went as far as it had to: to the end of the page, or of the conversations.
    pub complete: bool,
}

impl Chat {
    /// A page of the caller's messages that contain a text, newest first. Looks at the newest 50,000 messages, of very long
    /// ones, or of very many conversations, at fewer.
    ///
    /// The conversations are merged by their newest message that was not looked at: only the one with the newest is
    /// walked, stretch by stretch, so that no more is read than one stretch of each beyond what there is to look at.
    ///
    /// # Errors
    /// `Invalid` for a text that is too short or too long; `NotFound` and `Forbidden` for a conversation that is not the
    /// caller's.
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn search_messages(&self, caller: &Caller, query: Query) -> Result<Found> {
        short("query", &query.text, QUERY_BYTES)?;
        if query.text.chars().nth(SHORTEST - 1).is_none() {
            return Err(Error::Invalid { field: "query", reason: format!("must have {SHORTEST} characters or more").into() });
        }
        self.charge(caller, Act::Search)?;
        if let Some(of) = query.of {
            self.conversation(caller, of).await?;
        }
        let newest = self.0.storage.newest_messages(caller.partner, query.of, query.before);
        let mut unread = BinaryHeap::from(newest.await?);
        let (mut page, mut left, mut bytes, mut stretches) = (Page::new(query.limit), BUDGET, 0, 0);
        while let Some(newest) = unread.pop() {
            if page.ends_before(newest.message) {
                break;
            }
            if left == 0 || bytes >= BYTES || stretches == STRETCHES {
                page.messages.retain(|seen| seen.message.id > newest.message);
                return Ok(Found { messages: page.messages, complete: false });
            }
            let walk = Walk { messages: STRETCH.min(left), query: &query.text, limit: query.limit, bytes: PAGE_BYTES };
            let walked = self.0.storage.search_messages(newest, caller.partner, walk).await?;
            left -= walked.messages;
            bytes += walked.bytes;
            stretches += 1;
            page.merge(walked.matches);
            unread.extend(walked.next);
            // A store in memory never waits: without this, others would, and who has gone away would be searched for.
            tokio::task::yield_now().await;
        }
        Ok(Found { messages: page.messages, complete: true })
    }
}

/// The newest matches so far.
struct Page {
    /// Newest first.
    messages: Vec<Seen>,
    limit: usize,
    is_full: bool,
}

impl Page {
    fn new(limit: usize) -> Self {
        Self { messages: Vec::new(), limit, is_full: false }
    }

    /// Whether nothing belongs to it that is not newer than this message.
    fn ends_before(&self, next: MessageId) -> bool {
        self.is_full && self.messages.last().is_none_or(|last| last.message.id > next)
    }

    /// Takes up matches. What they push beyond the end cannot come back: others only push it further.
    fn merge(&mut self, matches: Vec<Seen>) {
        self.messages.extend(matches);
        self.messages.sort_unstable_by_key(|seen| Reverse(seen.message.id));
        self.messages.truncate(self.limit);
        self.messages.truncate(fitting(self.messages.iter().map(|seen| seen.message.bytes())));
        let bytes: usize = self.messages.iter().map(|seen| seen.message.bytes()).sum();
        self.is_full = bytes >= PAGE_BYTES || self.messages.len() == self.limit;
    }
}
