use std::sync::Arc;

use storage::{Participant, PartnerId, Position, Scope, Storage};
use tokio::time::Instant;

use super::{
    error::{Error, Result},
    hub::{Cursor, Hub, Listener, Recent, Start, Told},
    signals::Signalled,
};
use crate::{auth::Caller, lifecycle::Lifecycle};

/// How many events one read of the log brings at most.
const LOG_PAGE: usize = 500;

/// A cursor with a bell: everything in its scopes, in the order of the log, from where it was begun. There is nothing to
/// overflow; whoever is slow is only further behind. Waiting costs neither query nor timer.
///
/// Whoever wants history and what follows begins the feed first and reads the history second; what is in both must be
/// harmless, which ids make it.
pub struct Feed {
    hub: Arc<Hub>,
    storage: Arc<dyn Storage>,
    scopes: Box<[Scope]>,
    listener: Arc<Listener>,
    /// Everything up to here was given.
    cursor: Cursor,
    /// From where there is something to read; kept until it is read, so that being cancelled loses nothing.
    unread: Option<Position>,
    /// To whom all this is handed.
    reader: Option<PartnerId>,
    /// Facts about messages up to this `seq` are hidden from the reader.
    visible_from_seq: i64,
}

/// What a feed gives at a time: events in the order of the log, and signals as they came. No event of a later batch was
/// told before a signal of this one.
#[derive(Debug, Default)]
pub struct Batch {
    pub events: Vec<Arc<Told>>,
    pub signals: Vec<Arc<Signalled>>,
}

impl Feed {
    pub(super) fn new(hub: Arc<Hub>, storage: Arc<dyn Storage>, scopes: &[Scope], from: Start, hears: &[Scope]) -> Self {
        let (listener, cursor) = hub.listen(scopes, from, hears);
        Self { hub, storage, scopes: scopes.into(), listener, cursor, unread: None, reader: None, visible_from_seq: 0 }
    }

    /// Whoever has written a message learns that this reader was handed it.
    pub(super) fn read_by(mut self, caller: &Caller) -> Self {
        self.reader = Some(caller.partner);
        self
    }

    /// Passes over what is hidden from a participant. Only feeds of one conversation need it: in those of a partner the log
    /// itself leaves it out.
    pub(super) fn visible_from(mut self, participant: &Participant) -> Self {
        self.visible_from_seq = participant.standing.visible_from_seq;
        self
    }

    /// Everything in the scopes up to here was given, or was there when the feed began.
    pub fn position(&self) -> Position {
        self.cursor.position
    }

    /// Whether everything in the scopes up to there was given.
    pub fn has_reached(&self, position: Position) -> bool {
        self.cursor.position >= position || (self.unread.is_none() && !self.listener.is_rung())
    }

    /// Waits until there is something, then gives all of it. Safe to cancel: no event is lost. After an error the next
    /// call tries the same again.
    pub async fn next(&mut self) -> Result<Batch> {
        loop {
            if self.unread.is_none() {
                self.listener.rung().await;
            }
            if let Some(batch) = self.look().await? {
                return Ok(batch);
            }
        }
    }

    /// What there is by now, part by part until there is nothing: it waits for the log where that has to be read, and for
    /// nothing to happen. Safe to cancel, and to be called again after an error, as [`Feed::next`] is.
    pub async fn by_now(&mut self) -> Result<Option<Batch>> {
        while self.unread.is_some() || self.listener.is_rung() {
            if let Some(batch) = self.look().await? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    async fn look(&mut self) -> Result<Option<Batch>> {
        let mut batch = match self.hub.recent(&self.scopes, &self.listener, self.cursor, self.unread) {
            Recent::All { events, signals, cursor } => {
                self.cursor = cursor;
                self.unread = None;
                Batch { events, signals }
            }
            Recent::Older(from) => {
                self.unread = Some(from);
                // Rarely; who waits need not have the room for it.
                Box::pin(self.older(from)).await?
            }
        };
        batch.events.retain(|told| told.event.fact.seq().is_none_or(|seq| seq > self.visible_from_seq));
        if batch.events.is_empty() && batch.signals.is_empty() {
            return Ok(None);
        }
        if let Some(reader) = self.reader {
            batch.events.iter().for_each(|told| self.hub.handed_told(told, reader));
        }
        Ok(Some(batch))
    }

    /// As [`Feed::next`], but gives nothing at the deadline or when `requests` stop, and fails once the caller's session
    /// has ended: nobody goes on listening after that.
    pub(super) async fn next_for(&mut self, caller: &Caller, requests: &Lifecycle, deadline: Instant) -> Result<Option<Batch>> {
        tokio::select! {
            biased;
            () = caller.ended.cancelled() => Err(Error::Ended),
            batch = self.next() => batch.map(Some),
            () = tokio::time::sleep_until(deadline) => Ok(None),
            () = requests.stopping() => Ok(None),
        }
    }

    async fn older(&mut self, from: Position) -> Result<Batch> {
        let head = self.hub.head();
        let (mut events, mut upto) = (Vec::new(), head);
        for scope in &self.scopes {
            let found = self.storage.events(Position(from.0 - 1), *scope, LOG_PAGE).await?;
            if let Some(last) = found.last().filter(|_| found.len() == LOG_PAGE) {
                upto = upto.min(last.position);
            }
            events.extend(found);
        }
        // What this node has not told yet rings when it does, and what follows a page is in the next one.
        events.retain(|event| event.position <= upto);
        events.sort_unstable_by_key(|event| event.position);
        events.dedup_by_key(|event| event.position);
        self.cursor.position = upto;
        self.unread = Some(Position(self.cursor.position.0 + 1));
        let (signals, cursor) = self.hub.recent_signals(&self.listener, self.cursor);
        self.cursor = cursor;
        Ok(Batch { events: events.into_iter().map(Told::from_log).map(Arc::new).collect(), signals })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hub.leave(&self.scopes, &self.listener);
    }
}
