use imbl::{OrdMap, OrdSet};

use crate::{ConversationId, Member, PartnerId, Position, memberships::Stay};

/// Who was in which conversation: from one position of the log, which is included, to another, which is not.
#[derive(Clone, Default)]
pub(super) struct Memberships {
    /// By conversation, partner and beginning; without an end for who is in still.
    spans: OrdMap<(ConversationId, PartnerId, Position), Span>,
    of_partner: OrdSet<(PartnerId, ConversationId, Position)>,
    ended: OrdSet<(Position, ConversationId, PartnerId, Position)>,
}

#[derive(Clone, Copy)]
struct Span {
    until: Option<Position>,
    visible_from_seq: i64,
}

/// A partner's stay in a conversation.
pub(super) struct Membership {
    pub conversation: ConversationId,
    pub from: Position,
    /// Behind all positions for who is in still.
    pub until: Position,
    pub visible_from_seq: i64,
}

/// Before all and behind all that there can be.
const FIRST: Position = Position(i64::MIN);
const LAST: Position = Position(i64::MAX);

impl Memberships {
    /// Takes in what a transaction changes; `at` gives the position of its fact at a place.
    pub(super) fn change(&mut self, stay: &Stay, at: impl Fn(usize) -> Position) {
        let Stay { conversation, partner, from, until, visible_from_seq } = *stay;
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

    /// Who was in the conversation at that position, by rising id.
    pub(super) fn at(&self, conversation: ConversationId, position: Position) -> Vec<Member> {
        let (first, last) = ((conversation, PartnerId(i64::MIN), FIRST), (conversation, PartnerId(i64::MAX), LAST));
        let was_in = |from: Position, until: Option<Position>| from <= position && until.is_none_or(|until| position < until);
        let spans = self.spans.range(first..=last).filter(|((.., from), span)| was_in(*from, span.until));
        spans.map(|((_, partner, _), span)| Member { partner: *partner, visible_from_seq: span.visible_from_seq }).collect()
    }

    /// The partner's stays in conversations.
    pub(super) fn of(&self, partner: PartnerId) -> impl Iterator<Item = Membership> {
        let (first, last) = ((partner, ConversationId(i64::MIN), FIRST), (partner, ConversationId(i64::MAX), LAST));
        self.of_partner.range(first..=last).map(|&(partner, conversation, from)| {
            let Span { until, visible_from_seq } = self.spans[&(conversation, partner, from)];
            Membership { conversation, from, until: until.unwrap_or(LAST), visible_from_seq }
        })
    }

    /// Forgets at most `limit` of those that ended before there was anything at `oldest`; gives how many.
    pub(super) fn forget(&mut self, oldest: Position, limit: usize) -> usize {
        let gone: Vec<_> = self.ended.iter().take_while(|(until, ..)| *until <= oldest).take(limit).copied().collect();
        for entry @ (_, conversation, partner, from) in &gone {
            self.ended.remove(entry);
            self.spans.remove(&(*conversation, *partner, *from));
            self.of_partner.remove(&(*partner, *conversation, *from));
        }
        gone.len()
    }
}
