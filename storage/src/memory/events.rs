use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    iter,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use async_trait::async_trait;
use imbl::{HashMap, OrdMap, OrdSet};

use super::{Memory, State};
use crate::{Event, EventLog, Fact, Position, Result, Scope, Timestamp, Topic};

#[derive(Clone, Default)]
pub(super) struct Log {
    head: Position,
    events: OrdMap<Position, Arc<Event>>,
    topics: HashMap<Topic, OrdSet<Position>>,
}

impl Log {
    pub(super) fn append(&mut self, topic: Topic, fact: Fact, at: Timestamp) -> Event {
        self.head = Position(self.head.0 + 1);
        let event = Event { position: self.head, topic, fact, at };
        self.events.insert(self.head, Arc::new(event.clone()));
        self.topics.entry(topic).or_default().insert(self.head);
        event
    }

    fn of_topic(&self, topic: Topic, after: Position) -> impl Iterator<Item = Position> {
        self.topics.get(&topic).into_iter().flat_map(move |positions| positions.range((Excluded(after), Unbounded)).copied())
    }

    fn at(&self, position: Position) -> Event {
        self.events.get(&position).map(|event| Event::clone(event)).expect("a topic names only positions of the log")
    }
}

#[async_trait]
impl EventLog for Memory {
    async fn events(&self, after: Position, scope: Scope, limit: usize) -> Result<Vec<Event>> {
        let state = self.snapshot()?;
        let State { log, conversations, .. } = &*state;
        Ok(match scope {
            Scope::Everything => {
                log.events.range((Excluded(after), Unbounded)).take(limit).map(|(_, event)| Event::clone(event)).collect()
            }
            Scope::Conversation(id) => {
                log.of_topic(Topic::Conversation(id), after).take(limit).map(|position| log.at(position)).collect()
            }
            Scope::Partner(id) => {
                let topics = iter::once(Topic::Partner(id)).chain(conversations.of(id).map(Topic::Conversation));
                merge(topics.map(|topic| log.of_topic(topic, after))).take(limit).map(|position| log.at(position)).collect()
            }
        })
    }

    async fn position(&self) -> Result<Position> {
        Ok(self.snapshot()?.log.head)
    }

    async fn position_at(&self, time: Timestamp) -> Result<Position> {
        let log = &self.snapshot()?.log;
        let (mut low, mut high) = (0, log.head.0);
        while low < high {
            let middle = low + (high - low + 1) / 2;
            if log.at(Position(middle)).at <= time { low = middle } else { high = middle - 1 }
        }
        Ok(Position(low))
    }
}

/// The positions of several rising lists without one in common, rising. Looks only as far ahead as it is asked.
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
