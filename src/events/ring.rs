//! Ring buffer of recent events, bounded in number and in bytes. Listeners read from it instead of the event log.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use storage::{AttachmentId, Event, Fact, Message, PartnerId, Position, Scope};

use super::delivered_event::{DeliveredEvent, Meter};

/// Size of a batch in bytes, exceeded only by a batch of one event. It bounds the memory of a listener.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;
/// Divisor of the ring's bytes that an append keeps free for encodings of the newest events.
const ENCODING_SHARE: usize = 8;

/// Capacity of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) events: usize,
    /// Bytes of events, their audiences, and their memoised encodings.
    pub(crate) bytes: usize,
}

/// The ring: events without a gap, up to the newest one delivered on this node.
pub(crate) struct Ring {
    events: VecDeque<Arc<DeliveredEvent>>,
    capacity: Capacity,
    meter: Arc<Meter>,
    /// Reference count of each audience, by its address in memory: shared audiences count once.
    audiences: HashMap<usize, usize>,
}

/// A batch of events, in order of position.
#[derive(Default)]
pub(crate) struct RingBatch {
    pub(crate) events: Vec<Arc<DeliveredEvent>>,
    /// Position of the first matching event that does not fit.
    pub(crate) rest: Option<Position>,
}

impl Ring {
    pub(crate) fn new(capacity: Capacity) -> Self {
        let meter = Arc::new(Meter { held: AtomicUsize::new(0), capacity: capacity.bytes });
        Self { events: VecDeque::new(), capacity, meter, audiences: HashMap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.meter.held.load(Ordering::Relaxed)
    }

    /// Appends an event, with eviction of the oldest ones.
    pub(crate) fn push(&mut self, event: Event, audience: Arc<[PartnerId]>) {
        let told = Arc::new(DeliveredEvent::new(event, audience));
        self.count(&told);
        self.events.push_back(told);
        let bytes = self.capacity.bytes - self.capacity.bytes / ENCODING_SHARE;
        while self.len() > self.capacity.events || (self.bytes() > bytes && !self.events.is_empty()) {
            self.evict_oldest();
        }
    }

    pub(crate) fn clear(&mut self) {
        while !self.events.is_empty() {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) {
        let oldest = self.events.pop_front();
        oldest.into_iter().for_each(|told| self.discount(&told));
    }

    /// A batch of the events in these scopes, without the oldest `passed` of the ring.
    pub(crate) fn batch(&self, passed: usize, scopes: &[Scope]) -> RingBatch {
        let (mut batch, mut bytes) = (RingBatch::default(), 0);
        for told in self.events.range(passed.min(self.len())..).filter(|told| told.concerns(scopes)) {
            bytes += told.bytes();
            if bytes > BATCH_BYTES && !batch.events.is_empty() {
                batch.rest = Some(told.event.position);
                break;
            }
            batch.events.push(Arc::clone(told));
        }
        batch
    }

    /// Rewrites the copies of a message to its present content, as the store does in the event log, and drops their memoised
    /// encodings. The search goes from the newest event back, and ends at the message's own post or an earlier one of its
    /// conversation.
    pub(crate) fn rewrite_copies(&mut self, now: &Message) {
        for place in (0..self.len()).rev() {
            let Some(copy) = self.events[place].event.fact.message() else { continue };
            if copy.id == now.id {
                self.rewrite(place, |copy| copy.clone_from(now));
                // A message with many edits has many copies, which grow together.
                if self.bytes() > self.capacity.bytes {
                    return (0..place).for_each(|_| self.evict_oldest());
                }
            }
            let fact = &self.events[place].event.fact;
            let is_before = |of: &Message| of.conversation == now.conversation && of.seq <= now.seq;
            if matches!(fact, Fact::MessagePosted(posted) if is_before(posted)) {
                return;
            }
        }
    }

    /// Removes an attachment from all copies of messages.
    pub(crate) fn remove_attachment(&mut self, attachment: AttachmentId) {
        for place in 0..self.len() {
            let message = self.events[place].event.fact.message();
            if message.is_some_and(|message| message.attachments.iter().any(|held| held.id == attachment)) {
                self.rewrite(place, |copy| copy.attachments.retain(|held| held.id != attachment));
            }
        }
    }

    fn rewrite(&mut self, place: usize, rewrite: impl Fn(&mut Message)) {
        let before = Arc::clone(&self.events[place]);
        let mut event = before.event.clone();
        event.fact.message_mut().into_iter().for_each(rewrite);
        let told = Arc::new(DeliveredEvent::new(event, Arc::clone(&before.audience)));
        self.count(&told);
        self.discount(&before);
        self.events[place] = told;
    }

    fn count(&mut self, told: &DeliveredEvent) {
        told.set_meter(Some(Arc::clone(&self.meter)));
        let shared = self.audiences.entry(told.audience.as_ptr().addr()).or_default();
        *shared += 1;
        let audience = if *shared == 1 { size_of_val(&*told.audience) } else { 0 };
        self.meter.held.fetch_add(told.bytes() + audience, Ordering::Relaxed);
    }

    fn discount(&mut self, told: &DeliveredEvent) {
        told.set_meter(None);
        let address = told.audience.as_ptr().addr();
        let shared = self.audiences.get_mut(&address).expect("each event in the ring is counted");
        *shared -= 1;
        let is_last = *shared == 0;
        let audience = if is_last { size_of_val(&*told.audience) } else { 0 };
        self.meter.held.fetch_sub(told.bytes() + audience, Ordering::Relaxed);
        if is_last {
            self.audiences.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use storage::{MessageId, Topic};

    use super::{super::delivered_event::Encoding, *};
    use crate::events::fixtures::{ANN, ROOM, event, message};

    const KIB: usize = 1024;

    /// An encoding of this size in bytes.
    #[derive(Clone)]
    struct Encoded(usize);

    impl Encoding for Encoded {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    fn ring(bytes: usize) -> Ring {
        Ring::new(Capacity { events: 1_000, bytes })
    }

    fn push(ring: &mut Ring, position: i64, fact: Fact, audience: &Arc<[PartnerId]>) {
        ring.push(event(position, Topic::Conversation(ROOM), fact), Arc::clone(audience));
    }

    fn posted(id: i64, bytes: usize) -> Fact {
        Fact::MessagePosted(message(id, &"x".repeat(bytes), &[]))
    }

    fn bodies(ring: &Ring) -> Vec<usize> {
        ring.events.iter().filter_map(|told| Some(told.event.fact.message()?.body.len())).collect()
    }

    #[test]
    fn it_holds_no_more_bytes_than_it_may() {
        let mut ring = ring(64 * KIB);
        let audience = Arc::from(vec![ANN.1; KIB]);
        for position in 1..=100 {
            push(&mut ring, position, posted(position, 4 * KIB), &audience);
            assert!(ring.bytes() <= 56 * KIB, "{}", ring.bytes());
        }
        // The shared audience counts once.
        assert!((9..=12).contains(&ring.len()), "{}", ring.len());
        push(&mut ring, 101, posted(101, 100 * KIB), &audience);
        assert_eq!((ring.len(), ring.bytes()), (0, 0), "what is larger than all is read from the log");
    }

    #[test]
    fn encodings_count_and_are_not_kept_where_there_is_no_room() {
        let mut ring = ring(64 * KIB);
        let audience = Arc::from([ANN.1]);
        for position in 1..=2 {
            push(&mut ring, position, posted(position, KIB), &audience);
        }
        let (first, second) = (Arc::clone(&ring.events[0]), Arc::clone(&ring.events[1]));
        let before = ring.bytes();
        let encode = |told: &DeliveredEvent, bytes| told.memoised("test", || Encoded(bytes)).0;
        assert_eq!((encode(&first, 70 * KIB), encode(&first, 1)), (70 * KIB, 70 * KIB));
        assert_eq!(ring.bytes(), before + 70 * KIB);
        assert_eq!((encode(&second, 1), encode(&second, 2)), (1, 2), "there is no room");
        push(&mut ring, 3, posted(3, KIB), &audience);
        assert_eq!((ring.len(), ring.bytes()), (2, before));
        assert_eq!(first.memoised("other", || Encoded(KIB)).0, KIB);
        assert_eq!(ring.bytes(), before, "what has left the ring does not count");
        ring.clear();
        assert_eq!(ring.bytes(), 0);
    }

    #[test]
    fn copies_that_grow_push_older_ones_out() {
        let mut ring = ring(64 * KIB);
        let audience = Arc::from([ANN.1]);
        for position in 1..=30 {
            push(&mut ring, position, Fact::MessageEdited(message(1, "x", &[])), &audience);
        }
        ring.rewrite_copies(&message(1, &"y".repeat(4 * KIB), &[]));
        assert!((12..=16).contains(&ring.len()), "{}", ring.len());
        assert!(bodies(&ring).iter().all(|bytes| *bytes == 4 * KIB));
        assert!(ring.bytes() < 70 * KIB);
    }

    #[test]
    fn copies_are_sought_no_further_than_the_message() {
        let mut ring = ring(64 * KIB);
        let audience = Arc::from([ANN.1]);
        // Out of order, unlike any event log, to show where the search ends.
        for (position, (id, bytes)) in (1..).zip([(2, 1), (1, 2), (2, 3), (3, 4)]) {
            push(&mut ring, position, posted(id, bytes), &audience);
        }
        ring.rewrite_copies(&message(2, &"y".repeat(10), &[]));
        assert_eq!(bodies(&ring), [1, 2, 10, 4]);
        assert_eq!(ring.events[2].event.fact.message().map(|message| message.id), Some(MessageId(2)));
    }
}
