//! In-memory event log, with indexes by conversation, partner and message.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    iter,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use async_trait::async_trait;
use imbl::{HashMap, OrdMap, OrdSet};

use super::{Memory, State, conversations::memberships::Memberships};
use crate::{
    ConversationId, Event, EventLog, Fact, LogPage, LogState, Member, Message, MessageId, Position, Result, Scope, Timestamp,
    Topic,
    conversations::memberships::{InitialParticipants, membership_intervals},
    import::ImportedMembers,
};

#[derive(Clone, Default)]
pub(super) struct Log {
    head: Position,
    events: OrdMap<Position, Arc<Event>>,
    topics: HashMap<Topic, OrdSet<Position>>,
    /// Positions of the facts with a copy of each message.
    copies: HashMap<MessageId, OrdSet<Position>>,
    memberships: Memberships,
}

impl Log {
    pub(super) fn append(
        &mut self,
        facts: Vec<(Topic, Fact, Timestamp)>,
        founders: &InitialParticipants,
        imported: &ImportedMembers,
    ) -> Vec<Event> {
        let first = self.head.0 + 1;
        for stay in membership_intervals(&facts, founders, imported) {
            self.memberships.apply(&stay, |place| Position(first + place as i64));
        }
        let event = |(topic, fact, at)| {
            self.head = Position(self.head.0 + 1);
            let event = Event { position: self.head, topic, fact, at };
            if let Some(message) = event.fact.message() {
                self.copies.entry(message.id).or_default().insert(self.head);
            }
            self.events.insert(self.head, Arc::new(event.clone()));
            self.topics.entry(topic).or_default().insert(self.head);
            event
        };
        facts.into_iter().map(event).collect()
    }

    /// Advances the head to `by` above the higher of its own value and `known`. Returns the first and the last skipped position.
    pub(super) fn leave_gap(&mut self, known: Position, by: i64) -> (Position, Position) {
        let first = Position(self.head.0 + 1);
        self.head = Position(self.head.max(known).0 + by);
        (first, self.head)
    }

    /// Turns the earlier edits of a message into superseded ones, which are delivered to no client.
    pub(super) fn supersede_edits(&mut self, of: MessageId) {
        let Some(positions) = self.copies.get_mut(&of) else { return };
        let is_edit = |fact: &Fact| matches!(fact, Fact::MessageEdited(_));
        let edits: Vec<_> = positions.iter().copied().filter(|at| is_edit(&self.events[at].fact)).collect();
        for position in edits {
            positions.remove(&position);
            Arc::make_mut(&mut self.events[&position]).fact = Fact::EditSuperseded;
        }
    }

    /// Rewrites the copies of a message in the event log.
    pub(super) fn rewrite(&mut self, message: &Message) {
        for position in self.copies.get(&message.id).into_iter().flatten() {
            let event = self.events.get_mut(position).expect("copies are in the log");
            if let Some(copy) = Arc::make_mut(event).fact.message_mut() {
                copy.clone_from(message);
            }
        }
    }

    fn of_topic(&self, topic: Topic, after: Position, until: Position) -> impl Iterator<Item = Position> {
        let positions = self.topics.get(&topic).into_iter();
        positions
            .flat_map(move |positions| positions.range((Excluded(after), Unbounded)).copied())
            .take_while(move |at| *at < until)
    }

    /// Position of the oldest event, or of the next one if there is none.
    fn oldest(&self) -> Position {
        self.events.get_min().map_or(Position(self.head.0 + 1), |(position, _)| *position)
    }

    fn forget_oldest(&mut self) {
        let Some((position, event)) = self.events.get_min().cloned() else { return };
        self.events.remove(&position);
        if let Some(message) = event.fact.message()
            && let Some(positions) = self.copies.get_mut(&message.id)
        {
            positions.remove(&position);
            if positions.is_empty() {
                self.copies.remove(&message.id);
            }
        }
        if let Some(positions) = self.topics.get_mut(&event.topic) {
            positions.remove(&position);
            if positions.is_empty() {
                self.topics.remove(&event.topic);
            }
        }
    }

    /// The `seq` of the message that the event at a position is about.
    fn seq(&self, position: Position) -> Option<i64> {
        self.events.get(&position)?.fact.seq()
    }

    fn at(&self, position: Position) -> Event {
        self.events.get(&position).map(|event| Event::clone(event)).expect("a topic names only positions of the log")
    }
}

#[async_trait]
impl EventLog for Memory {
    async fn log(&self, after: Position, scope: Scope, limit: usize, bytes: usize) -> Result<LogPage> {
        let state = self.snapshot()?;
        let State { log, .. } = &*state;
        let end = Position(i64::MAX);
        let positions: Box<dyn Iterator<Item = Position>> = match scope {
            Scope::Everything => Box::new(log.events.range((Excluded(after), Unbounded)).map(|(position, _)| *position)),
            Scope::Conversation(id) => Box::new(log.of_topic(Topic::Conversation(id), after, end)),
            Scope::Partner(id) => {
                let stays = log.memberships.of(id).filter(|stay| stay.until > after).map(|stay| {
                    let events =
                        log.of_topic(Topic::Conversation(stay.conversation), after.max(Position(stay.from.0 - 1)), stay.until);
                    let is_visible = move |at: &Position| log.seq(*at).is_none_or(|seq| seq > stay.visible_from_seq);
                    Box::new(events.filter(is_visible)) as Box<dyn Iterator<Item = Position>>
                });
                let own = Box::new(log.of_topic(Topic::Partner(id), after, end)) as Box<dyn Iterator<Item = Position>>;
                Box::new(merge(iter::once(own).chain(stays)))
            }
        };
        let (mut events, mut read) = (Vec::new(), 0);
        for position in positions {
            if events.len() == limit || read >= bytes {
                return Ok(LogPage { events, more: true });
            }
            let event = log.at(position);
            read += event.fact.message().map_or(0, |message| message.body.len());
            events.push(event);
        }
        Ok(LogPage { events, more: false })
    }

    async fn members_at(&self, conversation: ConversationId, position: Position) -> Result<Vec<Member>> {
        Ok(self.snapshot()?.log.memberships.at(conversation, position))
    }

    async fn position(&self) -> Result<Position> {
        Ok(self.snapshot()?.log.head)
    }

    async fn log_state(&self, _asked: Position) -> Result<LogState> {
        // No marks: this event log never loses events.
        Ok(LogState { head: self.snapshot()?.log.head, ..LogState::default() })
    }

    async fn position_at(&self, time: Timestamp) -> Result<Position> {
        let log = &self.snapshot()?.log;
        let (mut low, mut high) = (log.oldest().0 - 1, log.head.0);
        while low < high {
            let middle = low + (high - low + 1) / 2;
            let next = log.events.range(Position(middle)..).next();
            match next.filter(|(_, event)| event.at <= time) {
                Some((position, _)) => low = position.0,
                None => high = middle - 1,
            }
        }
        Ok(Position(low))
    }

    async fn forget_events(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let mut tx = self.draft().await?;
        let log = &mut tx.draft.log;
        let old = log.events.values().take(limit).take_while(|event| event.at < before).count();
        (0..old).for_each(|_| log.forget_oldest());
        tx.publish();
        Ok(old as u64)
    }

    async fn forget_memberships(&self, limit: usize) -> Result<u64> {
        let mut tx = self.draft().await?;
        let oldest = tx.draft.log.oldest();
        let forgotten = tx.draft.log.memberships.forget(oldest, limit);
        tx.publish();
        Ok(forgotten as u64)
    }
}

/// Merges rising, disjoint lists of positions into one rising list, lazily.
fn merge<I: Iterator<Item = Position>>(lists: impl Iterator<Item = I>) -> impl Iterator<Item = Position> {
    let mut lists: Vec<I> = lists.collect();
    let mut heads: BinaryHeap<_> =
        lists.iter_mut().enumerate().filter_map(|(list, rest)| Some(Reverse((rest.next()?, list)))).collect();
    iter::from_fn(move || {
        let Reverse((position, list)) = heads.pop()?;
        heads.extend(lists[list].next().map(|next| Reverse((next, list))));
        Some(position)
    })
}
