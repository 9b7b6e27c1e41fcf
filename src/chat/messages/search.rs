//! Substring search in messages: a merge of conversations by keyset pagination, newest first, within a budget per search.

use std::{cmp::Reverse, collections::BinaryHeap};

use storage::{ConversationId, MessageForReader, MessageId, PAGE_BYTES, SearchScan, page_length};

use crate::{
    auth::Caller,
    chat::{
        Chat, Error, Result,
        rates::Act,
        texts::{QUERY_BYTES, check_bytes},
    },
};

/// Minimum length of a query, in characters: shorter ones match every other message.
const SHORTEST: usize = 3;
/// Budget of one search: messages that it reads.
const MESSAGE_BUDGET: usize = 50_000;
/// Batch size: messages of one conversation per read.
const BATCH: usize = 250;
/// Budget of one search: bytes of message bodies, and batches.
const BYTE_BUDGET: usize = 64 * 1024 * 1024;
const BATCH_BUDGET: usize = 2_000;

/// A search query.
#[derive(Clone, Debug)]
pub struct MessageQuery {
    /// The text that a message must contain, case-insensitively.
    pub text: String,
    /// One of the caller's conversations; `None` for all of them.
    pub of: Option<ConversationId>,
    /// Keyset cursor: only messages with a smaller id.
    pub before: Option<MessageId>,
    /// Page size.
    pub limit: usize,
}

/// A page of search results.
#[derive(Clone, Debug, Default)]
pub struct MessageMatches {
    /// Newest first. The page contains every match that is newer than its last one.
    pub messages: Vec<MessageForReader>,
    /// True if the search reached the end of the page or of the conversations within its budget.
    pub is_complete: bool,
}

impl Chat {
    /// Finds a page of the caller's messages that contain a text, newest first. The budget is 50,000 messages, 64 MiB of bodies
    /// and 2,000 batches; a search that exceeds it gives an incomplete page.
    ///
    /// The conversations are merged in a heap by their newest unread message. Each step reads one batch of the first, so at
    /// most one batch of each conversation is read beyond the page.
    ///
    /// # Errors
    /// `Invalid` for a query that is too short or too long; `NotFound` and `Forbidden` for a conversation that is not the
    /// caller's; `TooFast` beyond the rate limit of searches; `Unavailable` if the store cannot be reached.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind but the token that it took from the rate limit.
    pub async fn search_messages(&self, caller: &Caller, query: MessageQuery) -> Result<MessageMatches> {
        check_bytes("query", &query.text, QUERY_BYTES)?;
        if query.text.chars().nth(SHORTEST - 1).is_none() {
            return Err(Error::Invalid { field: "query", reason: format!("must have {SHORTEST} characters or more").into() });
        }
        self.charge(caller, Act::Search)?;
        if let Some(of) = query.of {
            self.conversation(caller, of).await?;
        }
        let newest = self.0.storage.newest_messages(caller.partner, query.of, query.before);
        let mut unread = BinaryHeap::from(newest.await?);
        let (mut page, mut left, mut bytes, mut stretches) = (MatchPage::new(query.limit), MESSAGE_BUDGET, 0, 0);
        while let Some(newest) = unread.pop() {
            if page.ends_before(newest.message) {
                break;
            }
            if left == 0 || bytes >= BYTE_BUDGET || stretches == BATCH_BUDGET {
                page.messages.retain(|seen| seen.message.id > newest.message);
                return Ok(MessageMatches { messages: page.messages, is_complete: false });
            }
            let walk = SearchScan { messages: BATCH.min(left), query: &query.text, limit: query.limit, bytes: PAGE_BYTES };
            let walked = self.0.storage.search_messages(newest, caller.partner, walk).await?;
            left -= walked.messages;
            bytes += walked.bytes;
            stretches += 1;
            page.merge(walked.matches);
            unread.extend(walked.next);
            // A store in memory never yields: without this, other tasks would starve, and a cancelled search would run on.
            tokio::task::yield_now().await;
        }
        Ok(MessageMatches { messages: page.messages, is_complete: true })
    }
}

/// The newest matches so far.
struct MatchPage {
    /// Newest first.
    messages: Vec<MessageForReader>,
    limit: usize,
    is_full: bool,
}

impl MatchPage {
    fn new(limit: usize) -> Self {
        Self { messages: Vec::new(), limit, is_full: false }
    }

    /// True if the page is full and all its messages are newer than this one.
    fn ends_before(&self, next: MessageId) -> bool {
        self.is_full && self.messages.last().is_none_or(|last| last.message.id > next)
    }

    /// Merges matches. Truncation is final: later matches only push these further beyond the end.
    fn merge(&mut self, matches: Vec<MessageForReader>) {
        self.messages.extend(matches);
        self.messages.sort_unstable_by_key(|seen| Reverse(seen.message.id));
        self.messages.truncate(self.limit);
        self.messages.truncate(page_length(self.messages.iter().map(|seen| seen.message.bytes())));
        let bytes: usize = self.messages.iter().map(|seen| seen.message.bytes()).sum();
        self.is_full = bytes >= PAGE_BYTES || self.messages.len() == self.limit;
    }
}
