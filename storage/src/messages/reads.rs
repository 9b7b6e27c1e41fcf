//! Read receipts: the `seq` ranges of a conversation that others have read.

use async_trait::async_trait;

use crate::{ConversationId, PartnerId, Result};

/// Range of a conversation that a participant has read: the `seq` numbers after one, up to and including another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadRange {
    pub after: i64,
    pub upto: i64,
}

impl ReadRange {
    /// True if the range contains this `seq`.
    pub fn contains(&self, seq: i64) -> bool {
        self.after < seq && seq <= self.upto
    }
}

/// Conversation in which no other partner with full history has read the author's newest message. Newcomers may have read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadByOthers {
    pub conversation: ConversationId,
    /// Ranges read by others, as [`Reads::read_by_others`] returns them.
    pub read: Vec<ReadRange>,
    /// The `seq` of the author's newest message.
    pub own_seq: i64,
}

/// Queries of read receipts. A newcomer counts as having read none of the earlier messages, and never reads messages hidden from
/// it. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Reads {
    /// Ranges of a conversation that any partner but `reader` has read, former participants included: disjoint, by rising `seq`.
    /// There are several only if newcomers, from whom older messages are hidden, have read further than the others.
    async fn read_by_others(&self, of: ConversationId, reader: PartnerId) -> Result<Vec<ReadRange>>;
    /// The author's conversations in which no other partner with full history has read its newest message: the `limit` with the
    /// newest such messages, in no particular order.
    async fn unread_by_others(&self, author: PartnerId, limit: usize) -> Result<Vec<UnreadByOthers>>;
}

/// Merges ranges that overlap or touch, in rising order; drops empty ones.
pub(crate) fn merged(mut ranges: Vec<ReadRange>) -> Vec<ReadRange> {
    ranges.retain(|range| range.after < range.upto);
    ranges.sort_unstable();
    let mut joined: Vec<ReadRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.after <= last.upto => last.upto = last.upto.max(range.upto),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_where_they_meet() {
        let ranges =
            |pairs: &[(i64, i64)]| pairs.iter().map(|(after, upto)| ReadRange { after: *after, upto: *upto }).collect::<Vec<_>>();
        assert_eq!(merged(ranges(&[(5, 9), (0, 3), (9, 9), (8, 12), (3, 4), (20, 15)])), ranges(&[(0, 4), (5, 12)]));
        assert_eq!(merged(Vec::new()), []);
    }
}
