//! In-memory membership intervals.

use imbl::{OrdMap, OrdSet};

use crate::{ConversationId, Member, PartnerId, Position, conversations::memberships::MembershipInterval};

/// Membership intervals as half-open ranges of event log positions: the start is included, the end is not.
#[derive(Clone, Default)]
pub(crate) struct Memberships {
    /// Intervals by conversation, partner and start; a current membership has no end.
    spans: OrdMap<(ConversationId, PartnerId, Position), Span>,
    of_partner: OrdSet<(PartnerId, ConversationId, Position)>,
    ended: OrdSet<(Position, ConversationId, PartnerId, Position)>,
}

#[derive(Clone, Copy)]
struct Span {
    until: Option<Position>,
    visible_from_seq: i64,
}

/// Membership interval of a partner in a conversation.
pub(crate) struct Membership {
    pub conversation: ConversationId,
    pub from: Position,
    /// End, excluded; above all positions for a current membership.
    pub until: Position,
    pub visible_from_seq: i64,
}

/// Bounds below and above all keys of a range.
const FIRST: Position = Position(i64::MIN);
const LAST: Position = Position(i64::MAX);

impl Memberships {
    /// Applies a membership change of a transaction; `at` maps the index of a fact to its position.
    pub(crate) fn apply(&mut self, stay: &MembershipInterval, at: impl Fn(usize) -> Position) {
        let MembershipInterval { conversation, partner, from, until, visible_from_seq } = *stay;
        let mut begun = from.map(&at);
        if let Some(from) = begun {
            self.spans.insert((conversation, partner, from), Span { until: None, visible_from_seq });
            self.of_partner.insert((partner, conversation, from));
        } else {
            let spans = self.spans.range((conversation, partner, FIRST)..=(conversation, partner, LAST));
            begun = spans.filter(|(_, span)| span.until.is_none()).map(|((.., from), _)| *from).next_back();
        }
        if let (Some(from), Some(until)) = (begun, until.map(at))
            && let Some(span) = self.spans.get_mut(&(conversation, partner, from))
        {
            span.until = Some(until);
            self.ended.insert((until, conversation, partner, from));
        }
    }

    /// Members of the conversation at that position, by rising id.
    pub(crate) fn at(&self, conversation: ConversationId, position: Position) -> Vec<Member> {
        let (first, last) = ((conversation, PartnerId(i64::MIN), FIRST), (conversation, PartnerId(i64::MAX), LAST));
        let was_in = |from: Position, until: Option<Position>| from <= position && until.is_none_or(|until| position < until);
        let spans = self.spans.range(first..=last).filter(|((.., from), span)| was_in(*from, span.until));
        spans.map(|((_, partner, _), span)| Member { partner: *partner, visible_from_seq: span.visible_from_seq }).collect()
    }

    /// Membership intervals of the partner.
    pub(crate) fn of(&self, partner: PartnerId) -> impl Iterator<Item = Membership> {
        let (first, last) = ((partner, ConversationId(i64::MIN), FIRST), (partner, ConversationId(i64::MAX), LAST));
        self.of_partner.range(first..=last).map(|&(partner, conversation, from)| {
            let Span { until, visible_from_seq } = self.spans[&(conversation, partner, from)];
            Membership { conversation, from, until: until.unwrap_or(LAST), visible_from_seq }
        })
    }

    /// Forgets at most `limit` intervals that ended at `oldest` or before. Returns the number of forgotten ones.
    pub(crate) fn forget(&mut self, oldest: Position, limit: usize) -> usize {
        let gone: Vec<_> = self.ended.iter().take_while(|(until, ..)| *until <= oldest).take(limit).copied().collect();
        for entry @ (_, conversation, partner, from) in &gone {
            self.ended.remove(entry);
            self.spans.remove(&(*conversation, *partner, *from));
            self.of_partner.remove(&(*partner, *conversation, *from));
        }
        gone.len()
    }
}
