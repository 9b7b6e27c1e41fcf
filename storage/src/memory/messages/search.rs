//! In-memory message search.

use async_trait::async_trait;

use crate::{
    ConversationId, MessageId, PartnerId, Result, Search, SearchScan, SearchScanResult, SearchStart,
    fold::lower,
    memory::{Memory, conversations::Row},
};

/// Number of a conversation's messages that are hidden from a participant; `None` if the reader is none.
fn hidden(row: &Row, reader: PartnerId) -> Option<usize> {
    row.standing(reader).map(|standing| usize::try_from(standing.visible_from_seq).expect("a seq is not negative"))
}

/// Search cursor at the message with this index.
fn point(row: &Row, index: usize) -> SearchStart {
    let message = &row.messages[index];
    SearchStart { message: message.id, conversation: message.conversation, seq: message.seq }
}

#[async_trait]
impl Search for Memory {
    async fn newest_messages(
        &self,
        partner: PartnerId,
        only: Option<ConversationId>,
        before: Option<MessageId>,
    ) -> Result<Vec<SearchStart>> {
        let state = self.snapshot()?;
        let newest = |row: &Row| {
            let (Ok(end) | Err(end)) = match before {
                Some(before) => row.messages.binary_search_by_key(&before, |message| message.id),
                None => Ok(row.messages.len()),
            };
            (end > hidden(row, partner)?).then(|| point(row, end - 1))
        };
        Ok(match only {
            Some(only) => state.conversations.get(only).and_then(newest).into_iter().collect(),
            None => state.conversations.rows_of(partner).filter_map(newest).collect(),
        })
    }

    async fn search_messages(&self, from: SearchStart, reader: PartnerId, walk: SearchScan<'_>) -> Result<SearchScanResult> {
        let state = self.snapshot()?;
        let Some(row) = state.conversations.get(from.conversation) else { return Ok(SearchScanResult::default()) };
        let Some(hidden) = hidden(row, reader) else { return Ok(SearchScanResult::default()) };
        let end = usize::try_from(from.seq).expect("a seq is not negative").max(hidden);
        let begin = end.saturating_sub(walk.messages).max(hidden);
        let query = lower(walk.query);
        let (mut matches, mut bytes) = (Vec::new(), 0);
        for message in (begin..end).rev().map(|index| &row.messages[index]) {
            if matches.len() == walk.limit || bytes >= walk.bytes {
                break;
            }
            if lower(&message.body).contains(&query) {
                bytes += message.bytes();
                matches.push(state.seen(row, message, reader));
            }
        }
        let next = (begin > hidden).then(|| point(row, begin - 1));
        let bytes = (begin..end).map(|index| row.messages[index].body.len()).sum();
        Ok(SearchScanResult { matches, messages: end - begin, bytes, next })
    }
}
