use async_trait::async_trait;

use crate::{ConversationId, PartnerId, Result};

/// A part of a conversation that somebody has read: the places after one `seq`, up to and including another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadRange {
    pub after: i64,
    pub upto: i64,
}

impl ReadRange {
    /// True if the place is in it.
    pub fn contains(&self, seq: i64) -> bool {
        self.after < seq && seq <= self.upto
    }
}

/// A conversation in which nobody else has read its author's newest message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadByOthers {
    pub conversation: ConversationId,
    /// As [`Reads::read_by_others`] has them.
    pub read: Vec<ReadRange>,
    /// The `seq` of the author's newest message.
    pub own_seq: i64,
}

/// How far people have read. Whoever joins has read nothing of what was there, and never reads what is hidden from it.
#[async_trait]
pub trait Reads {
    /// The parts of a conversation that anybody but `reader` has read itself, be it somebody who has left: by rising place, apart
    /// from each other. There are several only where newcomers, from whom older messages are hidden, have read on, and others
    /// have not.
    async fn read_by_others(&self, of: ConversationId, reader: PartnerId) -> Result<Vec<ReadRange>>;
    /// The author's conversations in which its newest message is not read by all of those from whom nothing is hidden: the
    /// `limit` with the newest such messages, in no particular order.
    async fn unread_by_others(&self, author: PartnerId, limit: usize) -> Result<Vec<UnreadByOthers>>;
}

/// Joins ranges that overlap or touch, in rising order; empty ones go.
pub(crate) fn joined(mut ranges: Vec<ReadRange>) -> Vec<ReadRange> {
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
        assert_eq!(joined(ranges(&[(5, 9), (0, 3), (9, 9), (8, 12), (3, 4), (20, 15)])), ranges(&[(0, 4), (5, 12)]));
        assert_eq!(joined(Vec::new()), []);
    }
}
