use imbl::{OrdMap, OrdSet};

use crate::{ConversationId, PartnerId, Position, memberships::Stay};

/// Who was in which conversation: from one position of the log, which is included, to another, which is not.
#[derive(Clone, Default)]
pub(super) struct Memberships {
    /// By conversation, partner and beginning; without an end for who is in still.
    spans: OrdMap<(ConversationId, PartnerId, Position), Option<Position>>,
    of_partner: OrdSet<(PartnerId, ConversationId, Position)>,
    ended: OrdSet<(Position, ConversationId, PartnerId, Position)>,
}

/// Before all and behind all that there can be.
const FIRST: Position = Position(i64::MIN);
const LAST: Position = Position(i64::MAX);

impl Memberships {
    /// Takes in what a transaction changes; `at` gives the position of its fact at a place.
    pub(super) fn change(&mut self, stay: &Stay, at: impl Fn(usize) -> Position) {
        let Stay { conversation, partner, from, until } = *stay;
        let mut begun = from.map(&at);
        if let Some(from) = begun {
            self.spans.insert((conversation, partner, from), None);
            self.of_partner.insert((partner, conversation, from));
        } else {
            let spans = self.spans.range((conversation, partner, FIRST)..=(conversation, partner, LAST));
            begun = spans.filter(|(_, end)| end.is_none()).map(|((.., from), _)| *from).next_back();
        }
        if let (Some(from), Some(until)) = (begun, until.map(at)) {
            self.spans.insert((conversation, partner, from), Some(until));
            self.ended.insert((until, conversation, partner, from));
        }
    }

    /// Who was in the conversation at that position, by rising id.
    pub(super) fn at(&self, conversation: ConversationId, position: Position) -> Vec<PartnerId> {
        let (first, last) = ((conversation, PartnerId(i64::MIN), FIRST), (conversation, PartnerId(i64::MAX), LAST));
        let was_in = |from: Position, until: Option<Position>| from <= position && until.is_none_or(|until| position < until);
        let spans = self.spans.range(first..=last).filter(|((.., from), until)| was_in(*from, **until));
        spans.map(|((_, partner, _), _)| *partner).collect()
    }

    /// The conversations that a partner was in, each with the positions of the beginning and of the end.
    pub(super) fn of(&self, partner: PartnerId) -> impl Iterator<Item = (ConversationId, Position, Position)> {
        let (first, last) = ((partner, ConversationId(i64::MIN), FIRST), (partner, ConversationId(i64::MAX), LAST));
        self.of_partner.range(first..=last).map(|&(partner, conversation, from)| {
            (conversation, from, self.spans[&(conversation, partner, from)].unwrap_or(LAST))
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
