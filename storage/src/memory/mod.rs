//! In-memory backend, for trials and tests. Its data is gone with the process.
//!
//! The state is one immutable value of persistent maps: snapshot isolation. A reader keeps its snapshot, so each read is
//! consistent. A single writer changes a copy that shares all unchanged parts with the original; a commit replaces the original,
//! a drop discards the copy.

mod accounts;
mod conversations;
mod dump;
mod events;
mod import;
mod messages;
mod nodes;
mod presence;
mod ranking;
mod workspace;

use std::{fmt::Display, sync::Arc};

use async_trait::async_trait;
use imbl::OrdMap;
use parking_lot::RwLock;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    Error, Event, Fact, Lane, Position, Result, Storage, Timestamp, Topic, Tx, Workspace, Writability,
    conversations::memberships::InitialParticipants, import::ImportedMembers,
};

/// Committed state; `None` once the store is closed.
type Current = Arc<RwLock<Option<Arc<State>>>>;

/// In-memory store. Clones share one state.
#[derive(Clone)]
pub struct Memory {
    current: Current,
    /// Writer lock: held from before the copy of `current` until its replacement.
    writer: Arc<Mutex<()>>,
}

/// State of the store. A copy costs a few reference counts.
#[derive(Clone, Default)]
struct State {
    users: accounts::users::Table,
    books: accounts::address_book::Table,
    pictures: accounts::pictures::Table,
    groups: accounts::groups::Table,
    sessions: accounts::sessions::Table,
    tokens: accounts::tokens::Table,
    conversations: conversations::Table,
    messages: messages::Table,
    attachments: messages::attachments::Table,
    attendances: messages::held_messages::Table,
    audit: accounts::audit::Table,
    nodes: nodes::Table,
    reactions: messages::reactions::Table,
    workspace: Workspace,
    uploads: messages::uploads::Table,
    presences: presence::Table,
    support: conversations::support::Table,
    devices: accounts::devices::Table,
    log: events::Log,
    demo: bool,
    secrets: OrdMap<String, String>,
}

/// Transaction: a draft of the next state.
struct MemoryTx {
    draft: State,
    recorded: Vec<(Topic, Fact, Timestamp)>,
    founders: InitialParticipants,
    imported: ImportedMembers,
    current: Current,
    _writer: OwnedMutexGuard<()>,
}

impl Memory {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self { current: Arc::new(RwLock::new(Some(Arc::default()))), writer: Arc::default() }
    }

    fn snapshot(&self) -> Result<Arc<State>> {
        self.current.read().clone().ok_or_else(|| Error::Unavailable("the store is closed".into()))
    }

    async fn draft(&self) -> Result<MemoryTx> {
        let writer = Arc::clone(&self.writer).lock_owned().await;
        let draft = State::clone(&*self.snapshot()?);
        let current = Arc::clone(&self.current);
        let (founders, imported) = (InitialParticipants::new(), ImportedMembers::new());
        Ok(MemoryTx { draft, recorded: Vec::new(), founders, imported, current, _writer: writer })
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryTx {
    fn publish(mut self) -> Vec<Event> {
        let events = self.draft.log.append(self.recorded, &self.founders, &self.imported);
        // Bound to a name, so that the old state is freed after the lock is released: readers wait less.
        let _old = self.current.write().replace(Arc::new(self.draft));
        events
    }
}

#[async_trait]
impl Storage for Memory {
    async fn begin(&self) -> Result<Box<dyn Tx>> {
        Ok(Box::new(self.draft().await?))
    }

    async fn writability(&self) -> Result<Writability> {
        self.snapshot().map(|_| Writability::Writable)
    }

    async fn now(&self, here: Timestamp) -> Result<Timestamp> {
        Ok(here)
    }

    async fn is_empty(&self) -> Result<bool> {
        Ok(self.snapshot()?.users.is_empty())
    }

    async fn is_demo(&self) -> Result<bool> {
        Ok(self.snapshot()?.demo)
    }

    fn lane(&self, _: Lane) -> Arc<dyn Storage> {
        // No connections, so no budgets.
        Arc::new(self.clone())
    }

    fn accept_timeline(&self, _timeline: Option<i64>) {}

    async fn close(&self) {
        let _writer = self.writer.lock().await;
        *self.current.write() = None;
    }
}

#[async_trait]
impl Tx for MemoryTx {
    fn record(&mut self, topic: Topic, fact: Fact, at: Timestamp) {
        self.recorded.push((topic, fact, at));
    }

    async fn mark_demo(&mut self) -> Result<bool> {
        Ok(!std::mem::replace(&mut self.draft.demo, true))
    }

    async fn secret(&mut self, name: &str, fresh: &str) -> Result<String> {
        Ok(self.draft.secrets.entry(name.to_owned()).or_insert_with(|| fresh.to_owned()).clone())
    }

    async fn skip_positions(&mut self, known: Position, by: i64) -> Result<(Position, Position)> {
        let State { users, groups, conversations, messages, attachments, audit, devices, log, .. } = &mut self.draft;
        let sequences = [
            &mut users.ids,
            &mut groups.ids,
            &mut conversations.ids,
            &mut messages.ids,
            &mut attachments.ids,
            &mut audit.ids,
            &mut devices.ids,
        ];
        sequences.into_iter().for_each(|sequence| sequence.0 += by);
        Ok(log.leave_gap(known, by))
    }

    async fn commit(self: Box<Self>) -> Result<Vec<Event>> {
        Ok(self.publish())
    }
}

/// Id sequence: the last id given out.
#[derive(Clone, Default)]
struct Sequence(i64);

impl Sequence {
    /// Draws the wanted id, above which the sequence then continues, or the next one.
    fn draw(&mut self, wanted: Option<i64>) -> i64 {
        let id = wanted.unwrap_or(self.0 + 1);
        self.0 = self.0.max(id);
        id
    }
}

/// Error of a write with an id that is taken.
fn taken(what: &str, id: impl Display) -> Error {
    Error::Internal(format!("there is a {what} {id} already").into())
}

/// Error of a write that refers to a missing row.
fn missing(what: &str, id: impl Display) -> Error {
    Error::Internal(format!("there is no {what} {id}").into())
}
