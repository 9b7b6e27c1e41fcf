//! Feeds: subscriptions to the event log and to signals, read batch by batch at a cursor.
//! A feed reads recent events from the ring of the hub, and older ones from the event log. It has no queue, so a slow reader
//! never overflows.

use std::sync::Arc;

use storage::{Error, Participant, PartnerId, Position, Result, Scope, Storage};
use tokio::time::Instant;

use super::{
    delivered_event::DeliveredEvent,
    hub::{Cursor, Hub, RingRead, Subscriber, SubscriptionStart},
    ring::BATCH_BYTES,
    signals::RecentSignal,
};
use crate::lifecycle::Lifecycle;

/// Limit of events in one read of the event log.
const LOG_PAGE: usize = 500;

/// A subscription with a cursor: every event in its scopes, from its start on. A slow reader only falls behind: there is no queue
/// to overflow. Waiting costs neither query nor timer.
///
/// For history and the events after it, begin the feed first and read the history second. Deduplicate by id what is in both.
///
/// # Ordering
/// Events come in the order of the event log; none is left out, except those beyond retention.
pub struct Feed {
    hub: Arc<Hub>,
    storage: Arc<dyn Storage>,
    scopes: Box<[Scope]>,
    subscriber: Arc<Subscriber>,
    /// Everything up to here was delivered.
    cursor: Cursor,
    /// Position where the next read starts, kept until that read has succeeded: cancellation loses nothing.
    unread: Option<Position>,
    /// The partner to which events are delivered.
    reader: Option<PartnerId>,
    /// Facts about messages up to this `seq` are hidden from the reader.
    visible_from_seq: i64,
    is_restarted: bool,
}

/// A batch of a feed, bounded in bytes: events in the order of the event log, and signals in the order of publication. No event
/// of a later batch was published before a signal of this one.
#[derive(Debug, Default)]
pub struct FeedBatch {
    pub events: Vec<Arc<DeliveredEvent>>,
    pub signals: Vec<Arc<RecentSignal>>,
}

impl Feed {
    pub(crate) fn new(
        hub: Arc<Hub>,
        storage: Arc<dyn Storage>,
        scopes: &[Scope],
        from: SubscriptionStart,
        hears: &[Scope],
    ) -> Self {
        let (subscriber, cursor) = hub.subscribe(scopes, from, hears);
        Self {
            hub,
            storage,
            scopes: scopes.into(),
            subscriber,
            cursor,
            unread: None,
            reader: None,
            visible_from_seq: 0,
            is_restarted: false,
        }
    }

    /// True once the event log was restarted during the feed, which fails from then on: the reader may know events that are lost.
    pub fn is_restarted(&self) -> bool {
        self.is_restarted
    }

    /// Sets the reader, so that authors receive delivery signals.
    pub(crate) fn read_by(mut self, reader: PartnerId) -> Self {
        self.reader = Some(reader);
        self
    }

    /// Filters out facts that are hidden from a participant. Only feeds of one conversation need it: the event log itself filters
    /// those of a partner.
    pub(crate) fn visible_from(mut self, participant: &Participant) -> Self {
        self.visible_from_seq = participant.status.visible_from_seq;
        self
    }

    /// Position of the cursor: everything in the scopes up to here was delivered, or preceded the feed.
    pub fn position(&self) -> Position {
        self.cursor.position
    }

    /// True once everything in the scopes up to that position was delivered.
    pub fn has_reached(&self, position: Position) -> bool {
        self.cursor.position >= position || (self.unread.is_none() && !self.subscriber.is_notified())
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    /// `Unavailable` if the event log cannot be read. A repeat continues at the same cursor, unless [`Feed::is_restarted`].
    ///
    /// # Cancel safety
    /// No event is lost.
    pub async fn next(&mut self) -> Result<FeedBatch> {
        loop {
            if self.unread.is_none() {
                self.subscriber.notified().await;
            }
            if let Some(batch) = self.read().await? {
                return Ok(batch);
            }
        }
    }

    /// Reads the next batch without waiting for new events; `None` if there is none. It may wait for a read of the event log.
    ///
    /// # Errors
    /// As [`Feed::next`].
    ///
    /// # Cancel safety
    /// No event is lost.
    pub async fn try_next(&mut self) -> Result<Option<FeedBatch>> {
        while self.unread.is_some() || self.subscriber.is_notified() {
            if let Some(batch) = self.read().await? {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    async fn read(&mut self) -> Result<Option<FeedBatch>> {
        let mut batch = match self.hub.read(&self.scopes, &self.subscriber, self.cursor, self.unread) {
            RingRead::Batch { events, signals, cursor, rest } => {
                self.cursor = cursor;
                self.unread = rest;
                FeedBatch { events, signals }
            }
            RingRead::Older(from) => {
                self.unread = Some(from);
                // Boxed because it is rare: a waiting feed saves its memory.
                Box::pin(self.read_event_log(from)).await?
            }
            RingRead::Restarted => {
                self.is_restarted = true;
                return Err(Error::Unavailable("event log restarted".into()));
            }
        };
        batch.events.retain(|told| told.event.fact.seq().is_none_or(|seq| seq > self.visible_from_seq));
        if batch.events.is_empty() && batch.signals.is_empty() {
            return Ok(None);
        }
        if let Some(reader) = self.reader {
            batch.events.iter().for_each(|told| self.hub.record_event_delivery(told, reader));
        }
        Ok(Some(batch))
    }

    /// Waits for the next batch, as [`Feed::next`]; `None` at the deadline, when `requests` stop, or once the event log was
    /// restarted.
    ///
    /// # Errors
    /// As [`Feed::next`].
    ///
    /// # Cancel safety
    /// No event is lost.
    pub(crate) async fn next_until(&mut self, requests: &Lifecycle, deadline: Instant) -> Result<Option<FeedBatch>> {
        tokio::select! {
            biased;
            batch = self.next() => match batch {
                Err(_) if self.is_restarted => Ok(None),
                batch => batch.map(Some),
            },
            () = tokio::time::sleep_until(deadline) => Ok(None),
            () = requests.stopping() => Ok(None),
        }
    }

    async fn read_event_log(&mut self, from: Position) -> Result<FeedBatch> {
        let head = self.hub.head();
        let (mut events, mut upto) = (Vec::new(), head);
        for scope in &self.scopes {
            let page = self.storage.log(Position(from.0 - 1), *scope, LOG_PAGE, BATCH_BYTES).await?;
            if let Some(last) = page.events.last().filter(|_| page.more) {
                upto = upto.min(last.position);
            }
            events.extend(page.events);
        }
        // Events beyond `upto` come later: those after the head wake the feed, those after a page are in the next one.
        events.retain(|event| event.position <= upto);
        events.sort_unstable_by_key(|event| event.position);
        events.dedup_by_key(|event| event.position);
        let mut events: Vec<_> = events.into_iter().map(DeliveredEvent::from_log).collect();
        // Pages of several scopes may exceed a batch together.
        if let Some(many) = batch_len_if_exceeded(&events) {
            upto = Position(events[many].event.position.0 - 1);
            events.truncate(many);
        }
        self.cursor.position = upto;
        self.unread = Some(Position(self.cursor.position.0 + 1));
        let (signals, cursor) = self.hub.read_signals(&self.subscriber, self.cursor);
        self.cursor = cursor;
        Ok(FeedBatch { events: events.into_iter().map(Arc::new).collect(), signals })
    }
}

/// The number of events that fit into one batch, if there are more.
fn batch_len_if_exceeded(events: &[DeliveredEvent]) -> Option<usize> {
    let mut bytes = 0;
    let beyond = events.iter().position(|told| {
        bytes += told.bytes();
        bytes > BATCH_BYTES
    });
    beyond.map(|many| many.max(1)).filter(|many| *many < events.len())
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.hub.unsubscribe(&self.scopes, &self.subscriber);
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use storage::{Fact, Message, Topic, memory::Memory};

    use super::{
        super::{
            ring::Capacity,
            signals::{Signal, SignalAudience, SignalMark},
        },
        *,
    };
    use crate::{
        bus::BusSender,
        events::fixtures::{ANN, ROOM, event, message},
    };

    const TEXT_BYTES: usize = 60_000;

    fn hub() -> Arc<Hub> {
        Arc::new(Hub::new(
            (Position(0), DateTime::UNIX_EPOCH),
            Capacity { events: 1_000, bytes: 64 << 20 },
            BusSender::single_node(),
        ))
    }

    fn feed(hub: &Arc<Hub>) -> Feed {
        let from = SubscriptionStart::Seen(SignalMark { position: Position(0), count: 0 });
        Feed::new(Arc::clone(hub), Arc::new(Memory::new()), &[Scope::Conversation(ROOM)], from, &[Scope::Partner(ANN.1)])
    }

    fn long(id: i64) -> Message {
        message(id, &"x".repeat(TEXT_BYTES), &[])
    }

    fn happens(hub: &Hub, id: i64) {
        let fact = Fact::MessagePosted(long(id));
        hub.append(vec![(event(id, Topic::Conversation(ROOM), fact), Arc::from([ANN.1]))]);
    }

    /// Batches are bounded, no event is lost, and no signal precedes the events published before it.
    #[tokio::test]
    async fn a_batch_is_bounded_in_bytes() {
        let hub = hub();
        let mut feed = feed(&hub);
        for id in 1..=20 {
            happens(&hub, id);
            let signal = Signal::Typing { conversation: ROOM, partner: ANN.1, typing: true, post: None };
            hub.publish_signal(signal, SignalAudience::of_author(ANN.1));
        }
        let (mut told, mut signals, mut batches) = (Vec::new(), Vec::new(), 0);
        while let Some(batch) = feed.try_next().await.expect("the ring has it") {
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
            let batch = feed.try_next().await.expect("the ring has it").expect("there is more");
            assert_eq!(batch.events.iter().map(|told| told.event.position.0).collect::<Vec<_>>(), [id]);
        }
        assert!(feed.try_next().await.expect("the ring has it").is_none());
    }

    #[test]
    fn a_page_of_the_log_is_cut_where_a_batch_ends() {
        let page = |many: i64| (1..=many).map(|id| event(id, Topic::Conversation(ROOM), Fact::MessagePosted(long(id))));
        let too_many = |many| batch_len_if_exceeded(&page(many).map(DeliveredEvent::from_log).collect::<Vec<_>>());
        assert_eq!([0, 1, 4, 5, 500].map(too_many), [None, None, None, Some(4), Some(4)]);
    }
}
