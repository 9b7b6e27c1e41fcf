use std::sync::Arc;

use storage::{Participant, PartnerId, Position, Scope, Storage};
use tokio::time::Instant;

use super::{
    error::{Error, Result},
    hub::{Cursor, Hub, Listener, Recent, Start},
    ring::BATCH_BYTES,
    signals::Signalled,
    told::Told,
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
    is_over: bool,
}

/// A part of a feed, bounded in bytes: events in the order of the log, and signals as they came. No event of a later
/// batch was told before a signal of this one.
#[derive(Debug, Default)]
pub struct Batch {
    pub events: Vec<Arc<Told>>,
    pub signals: Vec<Arc<Signalled>>,
}

impl Feed {
    pub(super) fn new(hub: Arc<Hub>, storage: Arc<dyn Storage>, scopes: &[Scope], from: Start, hears: &[Scope]) -> Self {
        let (listener, cursor) = hub.listen(scopes, from, hears);
        Self {
            hub,
            storage,
            scopes: scopes.into(),
            listener,
            cursor,
            unread: None,
            reader: None,
            visible_from_seq: 0,
            is_over: false,
        }
    }

    /// True once the log was restarted since the feed began, which fails from then on: the reader may know what is lost.
    pub fn is_over(&self) -> bool {
        self.is_over
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

    /// True once everything in the scopes up to there was given.
    pub fn has_reached(&self, position: Position) -> bool {
        self.cursor.position >= position || (self.unread.is_none() && !self.listener.is_rung())
    }

    /// Waits until there is something, then gives it, part by part. Safe to cancel: no event is lost. After an error the next
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
            Recent::Batch { events, signals, cursor, rest } => {
                self.cursor = cursor;
                self.unread = rest;
                Batch { events, signals }
            }
            Recent::Older(from) => {
                self.unread = Some(from);
                // Rarely; who waits need not have the room for it.
                Box::pin(self.older(from)).await?
            }
            Recent::Restarted => {
                self.is_over = true;
                let cause: Box<dyn std::error::Error + Send + Sync> = "the event log was restarted".into();
                return Err(Error::Unavailable(cause.into()));
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

    /// As [`Feed::next`], but gives nothing at the deadline, when `requests` stop, or once the log was restarted, and fails once
    /// the caller's session has ended: nobody goes on listening after that.
    pub(super) async fn next_for(&mut self, caller: &Caller, requests: &Lifecycle, deadline: Instant) -> Result<Option<Batch>> {
        tokio::select! {
            biased;
            () = caller.ended.cancelled() => Err(Error::Ended),
            batch = self.next() => match batch {
                Err(_) if self.is_over => Ok(None),
                batch => batch.map(Some),
            },
            () = tokio::time::sleep_until(deadline) => Ok(None),
            () = requests.stopping() => Ok(None),
        }
    }

    async fn older(&mut self, from: Position) -> Result<Batch> {
        let head = self.hub.head();
        let (mut events, mut upto) = (Vec::new(), head);
        for scope in &self.scopes {
            let page = self.storage.log(Position(from.0 - 1), *scope, LOG_PAGE, BATCH_BYTES).await?;
            if let Some(last) = page.events.last().filter(|_| page.more) {
                upto = upto.min(last.position);
            }
            events.extend(page.events);
        }
        // What this node has not told yet rings when it does, and what follows a page is in the next one.
        events.retain(|event| event.position <= upto);
        events.sort_unstable_by_key(|event| event.position);
        events.dedup_by_key(|event| event.position);
        let mut events: Vec<_> = events.into_iter().map(Told::from_log).collect();
        // Those of several scopes may be more than a batch.
        if let Some(many) = too_many(&events) {
            upto = Position(events[many].event.position.0 - 1);
            events.truncate(many);
        }
        self.cursor.position = upto;
        self.unread = Some(Position(self.cursor.position.0 + 1));
        let (signals, cursor) = self.hub.recent_signals(&self.listener, self.cursor);
        self.cursor = cursor;
        Ok(Batch { events: events.into_iter().map(Arc::new).collect(), signals })
    }
}

/// The number of events that make a batch, if they are too many for one.
fn too_many(events: &[Told]) -> Option<usize> {
    let mut bytes = 0;
    let beyond = events.iter().position(|told| {
        bytes += told.bytes();
        bytes > BATCH_BYTES
    });
    beyond.map(|many| many.max(1)).filter(|many| *many < events.len())
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hub.leave(&self.scopes, &self.listener);
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use storage::{Fact, Message, Topic, memory::Memory};

    use super::{
        super::{
            fixtures::{ANN, ROOM, event, message},
            ring::Capacity,
            signals::{Audience, Signal, SignalMark},
        },
        *,
    };
    use crate::bus::Link;

    const TEXT_BYTES: usize = 60_000;

    fn hub() -> Arc<Hub> {
        Arc::new(Hub::new((Position(0), DateTime::UNIX_EPOCH), Capacity { events: 1_000, bytes: 64 << 20 }, Link::alone()))
    }

    fn feed(hub: &Arc<Hub>) -> Feed {
        let from = Start::Seen(SignalMark { position: Position(0), count: 0 });
        Feed::new(Arc::clone(hub), Arc::new(Memory::new()), &[Scope::Conversation(ROOM)], from, &[Scope::Partner(ANN.1)])
    }

    fn long(id: i64) -> Message {
        message(id, &"x".repeat(TEXT_BYTES), &[])
    }

    fn happens(hub: &Hub, id: i64) {
        let fact = Fact::MessagePosted(long(id));
        hub.append(vec![(event(id, Topic::Conversation(ROOM), fact), Arc::from([ANN.1]))]);
    }

    /// No batch is larger, nothing is lost, and no signal comes before what was told before it.
    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes() {
        let hub = hub();
        let mut feed = feed(&hub);
        for id in 1..=20 {
            happens(&hub, id);
            let signal = Signal::Typing { conversation: ROOM, partner: ANN.1, typing: true, post: None };
            hub.signal(signal, Audience::of_author(ANN.1));
        }
        let (mut told, mut signals, mut batches) = (Vec::new(), Vec::new(), 0);
        while let Some(batch) = feed.by_now().await.expect("the ring has it") {
            assert!(batch.events.iter().map(|told| told.bytes()).sum::<usize>() <= BATCH_BYTES);
            batches += 1;
            told.extend(batch.events.iter().map(|told| told.event.position.0));
            signals.extend(batch.signals.iter().map(|signalled| signalled.mark.position.0));
            assert_eq!(signals.last(), told.last(), "they come with the events after which they were told");
            assert_eq!(feed.position().0, *told.last().expect("a batch is never empty"));
            assert_eq!(feed.has_reached(Position(20)), told.len() == 20);
        }
        assert_eq!((&told, &signals), (&(1..=20).collect(), &(1..=20).collect()));
        assert_eq!(batches, 5);
    }

    #[tokio::test]
    async fn what_is_larger_than_a_batch_comes_alone() {
        let hub = hub();
        let mut feed = feed(&hub);
        for id in 1..=2 {
            let fact = Fact::MessagePosted(message(id, &"x".repeat(2 * BATCH_BYTES), &[]));
            hub.append(vec![(event(id, Topic::Conversation(ROOM), fact), Arc::from([ANN.1]))]);
        }
        for id in 1..=2 {
            let batch = feed.by_now().await.expect("the ring has it").expect("there is more");
            assert_eq!(batch.events.iter().map(|told| told.event.position.0).collect::<Vec<_>>(), [id]);
        }
        assert!(feed.by_now().await.expect("the ring has it").is_none());
    }

    #[test]
    fn a_page_of_the_log_is_cut_where_a_batch_ends() {
        let page = |many: i64| (1..=many).map(|id| event(id, Topic::Conversation(ROOM), Fact::MessagePosted(long(id))));
        let too_many = |many| too_many(&page(many).map(Told::from_log).collect::<Vec<_>>());
        assert_eq!([0, 1, 4, 5, 500].map(too_many), [None, None, None, Some(4), Some(4)]);
    }
}
