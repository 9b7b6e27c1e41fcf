//! The recorder of a run: messages sent, acknowledgements, deliveries, and their latencies. Each latency counts from
//! the intended send time, so that a stall of the server is measured (no coordinated omission).

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::{sync::watch, time::Instant};

use crate::dialect::Dialect;

/// The number of a virtual user.
pub(crate) type UserNumber = usize;

/// The key at the beginning of each message text, by which receivers recognize the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) conversation: u32,
    pub(crate) number: u32,
    pub(crate) sender: UserNumber,
}

/// A conversation of several virtual users.
pub(crate) struct Conversation {
    number: u32,
    pub(crate) dialect: Dialect,
    members: Vec<UserNumber>,
    sent: Mutex<SentMessages>,
}

#[derive(Default)]
struct SentMessages {
    count: u32,
    /// Messages that wait for an acknowledgement or a delivery.
    open: BTreeMap<u32, Message>,
}

struct Message {
    due: Instant,
    sender: UserNumber,
    /// Members without a delivery yet.
    missing: Vec<UserNumber>,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Waiting,
    Acknowledged,
    Refused,
    /// No acknowledgement will come.
    Unknown,
}

/// Kind of a received message, for its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryKind {
    Own,
    First,
    Duplicate,
}

/// Counters of a dialect.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counters {
    /// Number of virtual users that have connected.
    pub visitors: u64,
    pub said: u64,
    /// Messages that were due, but not sent by the end of the run, because an earlier send was still unfinished.
    pub unsaid: u64,
    pub acknowledged: u64,
    pub refused: u64,
    /// Messages sent, but never acknowledged: it is unknown if they are stored.
    pub unconfirmed: u64,
    /// Number of deliveries, one for each message and receiver.
    pub delivered: u64,
    /// Number of deliveries missing for acknowledged messages, to receivers that were connected at the end.
    pub lost: u64,
    /// The same for receivers that had not reconnected by the end.
    pub unheard: u64,
    pub doubled: u64,
    pub out_of_order: u64,
    /// Number of planned disconnects.
    pub left: u64,
    /// Number of unplanned disconnects.
    pub cut_off: u64,
    pub errors: BTreeMap<String, u64>,
}

/// Counters and latency histograms of a dialect, in microseconds.
pub(crate) struct DialectStats {
    pub(crate) counters: Counters,
    /// From the intended send time until the sender receives its acknowledgement.
    pub(crate) acknowledgement: Histogram<u64>,
    /// From the intended send time until a receiver has the message.
    pub(crate) delivery: Histogram<u64>,
    /// From the intended time of the first connect until the virtual user is connected.
    pub(crate) arrival: Histogram<u64>,
    /// From the intended time of the reconnect, or from the unplanned disconnect, until the virtual user is connected
    /// again.
    pub(crate) comeback: Histogram<u64>,
}

impl Default for DialectStats {
    fn default() -> Self {
        let new = || Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("these are bounds that a histogram can have");
        Self { counters: Counters::default(), acknowledgement: new(), delivery: new(), arrival: new(), comeback: new() }
    }
}

/// Measurement window: latencies of messages due from `begin` on are recorded. No message is due from `end` on.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

/// The recorder of a run.
pub(crate) struct Recorder {
    /// Distinguishes messages of this run from those of other runs.
    run: u32,
    /// None until all virtual users are connected.
    window: watch::Sender<Option<Window>>,
    stats: [Mutex<DialectStats>; Dialect::ALL.len()],
    conversations: Mutex<Vec<Arc<Conversation>>>,
    away: Mutex<HashSet<UserNumber>>,
    /// Number of virtual users with messages still to send.
    users_sending: AtomicUsize,
    /// Number of outstanding acknowledgements and deliveries.
    outstanding: AtomicUsize,
}

impl Recorder {
    pub(crate) fn new(run: u32) -> Self {
        Self {
            run,
            window: watch::Sender::new(None),
            stats: Default::default(),
            conversations: Mutex::default(),
            away: Mutex::default(),
            users_sending: AtomicUsize::new(0),
            outstanding: AtomicUsize::new(0),
        }
    }

    pub(crate) fn stats(&self, dialect: Dialect) -> MutexGuard<'_, DialectStats> {
        lock(&self.stats[dialect as usize])
    }

    pub(crate) fn count(&self, dialect: Dialect, update: impl FnOnce(&mut Counters)) {
        update(&mut self.stats(dialect).counters);
    }

    pub(crate) fn error(&self, dialect: Dialect, kind: &str) {
        self.count(dialect, |tally| *tally.errors.entry(kind.to_owned()).or_default() += 1);
    }

    /// Registers a new conversation of these members.
    pub(crate) fn add_conversation(&self, dialect: Dialect, members: Vec<UserNumber>) -> Arc<Conversation> {
        let mut conversations = lock(&self.conversations);
        let number = u32::try_from(conversations.len()).expect("there are not so many");
        let conversation = Arc::new(Conversation { number, dialect, members, sent: Mutex::default() });
        conversations.push(Arc::clone(&conversation));
        conversation
    }

    /// Records a send, and returns the marker for its text.
    pub(crate) fn record_send(&self, conversation: &Conversation, sender: UserNumber, due: Instant) -> Marker {
        let missing: Vec<_> = conversation.members.iter().copied().filter(|member| *member != sender).collect();
        self.outstanding.fetch_add(1 + missing.len(), Ordering::Relaxed);
        self.count(conversation.dialect, |tally| tally.said += 1);
        let mut said = lock(&conversation.sent);
        let number = said.count;
        said.count += 1;
        said.open.insert(number, Message { due, sender, missing, answer: Answer::Waiting });
        Marker { conversation: conversation.number, number, sender }
    }

    /// Records the acknowledgement of a message. Idempotent.
    pub(crate) fn record_acknowledgement(&self, conversation: &Conversation, number: u32) {
        let mut said = lock(&conversation.sent);
        let Some(message) = said.open.get_mut(&number) else { return };
        match std::mem::replace(&mut message.answer, Answer::Acknowledged) {
            Answer::Waiting => self.outstanding.fetch_sub(1, Ordering::Relaxed),
            // A late acknowledgement after all: deliveries of the message are outstanding again.
            Answer::Unknown => self.outstanding.fetch_add(message.missing.len(), Ordering::Relaxed),
            known @ (Answer::Acknowledged | Answer::Refused) => {
                message.answer = known;
                return;
            }
        };
        let mut counts = self.stats(conversation.dialect);
        counts.counters.acknowledged += 1;
        self.measure(&mut counts.acknowledgement, message.due);
        if message.missing.is_empty() {
            said.open.remove(&number);
        }
    }

    /// Records the refusal of a message: the one with this number, or else the sender's oldest unacknowledged one.
    pub(crate) fn record_refusal(&self, conversation: &Conversation, number: Option<u32>, sender: UserNumber, why: &str) {
        self.error(conversation.dialect, why);
        let mut said = lock(&conversation.sent);
        let mut waiting =
            said.open.iter_mut().filter(|(_, message)| message.sender == sender && message.answer == Answer::Waiting);
        let Some((_, message)) = waiting.find(|(each, _)| number.is_none_or(|number| number == **each)) else { return };
        message.answer = Answer::Refused;
        self.outstanding.fetch_sub(1 + message.missing.len(), Ordering::Relaxed);
        self.count(conversation.dialect, |tally| tally.refused += 1);
    }

    /// Records that a message will not be acknowledged. Deliveries of it stay possible.
    pub(crate) fn record_unconfirmed(&self, conversation: &Conversation, number: u32) {
        let mut said = lock(&conversation.sent);
        let Some(message) = said.open.get_mut(&number).filter(|message| message.answer == Answer::Waiting) else { return };
        message.answer = Answer::Unknown;
        self.outstanding.fetch_sub(1 + message.missing.len(), Ordering::Relaxed);
    }

    /// Records a delivery. `since` is the intended time of the receiver's last planned reconnect, if there was one.
    pub(crate) fn record_delivery(
        &self,
        conversation: &Conversation,
        marker: Marker,
        reader: UserNumber,
        since: Option<Instant>,
    ) -> DeliveryKind {
        if marker.sender == reader {
            return DeliveryKind::Own;
        }
        let mut said = lock(&conversation.sent);
        let Some(message) = said.open.get_mut(&marker.number) else { return DeliveryKind::Duplicate };
        let Some(place) = message.missing.iter().position(|missing| *missing == reader) else { return DeliveryKind::Duplicate };
        message.missing.swap_remove(place);
        match message.answer {
            Answer::Waiting | Answer::Acknowledged => drop(self.outstanding.fetch_sub(1, Ordering::Relaxed)),
            Answer::Unknown => {}
            Answer::Refused => self.error(conversation.dialect, "refused, and delivered"),
        }
        let mut counts = self.stats(conversation.dialect);
        counts.counters.delivered += 1;
        // A planned absence is not part of the delivery latency.
        if since.is_none_or(|since| since <= message.due) {
            self.measure(&mut counts.delivery, message.due);
        }
        if message.missing.is_empty() && message.answer == Answer::Acknowledged {
            said.open.remove(&marker.number);
        }
        DeliveryKind::First
    }

    fn measure(&self, histogram: &mut Histogram<u64>, due: Instant) {
        if self.window.borrow().is_some_and(|window| window.begin <= due) {
            histogram.saturating_record(elapsed_micros(due));
        }
    }

    pub(crate) fn set_window(&self, window: Window) {
        self.window.send_replace(Some(window));
    }

    /// End of the measurement window, once it is known.
    pub(crate) fn end(&self) -> Option<Instant> {
        self.window.borrow().map(|window| window.end)
    }

    /// Waits until the window is known to end at or before this moment.
    pub(crate) async fn wait_until_end_before(&self, moment: Instant) {
        let mut window = self.window.subscribe();
        // An error means that the sender is dropped, but `self` holds it.
        let _ = window.wait_for(|window| window.is_some_and(|window| window.end <= moment)).await;
    }

    /// The sender's messages without an answer.
    pub(crate) fn unanswered(&self, conversation: &Conversation, sender: UserNumber) -> Vec<Marker> {
        let said = lock(&conversation.sent);
        let waiting = said.open.iter().filter(|(_, message)| message.sender == sender && message.answer == Answer::Waiting);
        waiting.map(|(number, _)| Marker { conversation: conversation.number, number: *number, sender }).collect()
    }

    /// Text of a message: its key, filled up to this many bytes. It is longer if the key is.
    pub(crate) fn text(&self, marker: Marker, bytes: usize) -> String {
        let key = self.key(marker);
        let words = "A message of a usual length, neither short nor long. ".chars().cycle();
        let text: String = key.chars().chain([' ']).chain(words).take(bytes.max(key.len())).collect();
        text.trim_end().to_owned()
    }

    /// Idempotency key of a message, the same for each retry.
    pub(crate) fn key(&self, marker: Marker) -> String {
        format!("{:08x}.{}.{}.{}", self.run, marker.conversation, marker.number, marker.sender)
    }

    /// Parses the marker at the beginning of a text; None for text of other runs and other origin.
    pub(crate) fn marker(&self, text: &str) -> Option<Marker> {
        let mut parts = text.split_whitespace().next()?.split('.');
        let run = u32::from_str_radix(parts.next()?, 16).ok()?;
        let conversation = parts.next()?.parse().ok()?;
        let marker = Marker { conversation, number: parts.next()?.parse().ok()?, sender: parts.next()?.parse().ok()? };
        (run == self.run && parts.next().is_none()).then_some(marker)
    }

    pub(crate) fn set_sending(&self, begins: bool) {
        if begins {
            self.users_sending.fetch_add(1, Ordering::Relaxed);
        } else {
            self.users_sending.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_away(&self, visitor: UserNumber, away: bool) {
        let mut all = lock(&self.away);
        if away {
            all.insert(visitor);
        } else {
            all.remove(&visitor);
        }
    }

    /// True if no messages are left to send, and no acknowledgements or deliveries are outstanding.
    pub(crate) fn is_complete(&self) -> bool {
        self.users_sending.load(Ordering::Relaxed) == 0 && self.outstanding.load(Ordering::Relaxed) == 0
    }

    /// Counts messages without acknowledgement and missing deliveries, at the end of the run.
    pub(crate) fn close(&self) {
        let away = lock(&self.away);
        for conversation in lock(&self.conversations).iter() {
            for message in lock(&conversation.sent).open.values() {
                let mut counts = self.stats(conversation.dialect);
                match message.answer {
                    Answer::Waiting | Answer::Unknown => counts.counters.unconfirmed += 1,
                    Answer::Acknowledged => {
                        for reader in &message.missing {
                            if away.contains(reader) { counts.counters.unheard += 1 } else { counts.counters.lost += 1 }
                        }
                    }
                    Answer::Refused => {}
                }
            }
        }
    }
}

impl Conversation {
    pub(crate) fn contains(&self, marker: Marker) -> bool {
        self.number == marker.conversation
    }
}

/// Microseconds elapsed since then.
pub(crate) fn elapsed_micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Locks a mutex, and ignores poison: counters stay usable after a panic elsewhere.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ROOM: Dialect = Dialect::Room;

    /// A conversation of the virtual users 0, 1 and 2, within the measurement window.
    fn recorder_with_conversation() -> (Recorder, Arc<Conversation>) {
        let recorder = Recorder::new(7);
        let now = Instant::now();
        recorder.set_window(Window { begin: now - Duration::from_secs(60), end: now + Duration::from_secs(60) });
        let conversation = recorder.add_conversation(ROOM, vec![0, 1, 2]);
        (recorder, conversation)
    }

    fn tally(recorder: &Recorder) -> Counters {
        recorder.close();
        recorder.stats(ROOM).counters.clone()
    }

    #[test]
    fn a_message_is_known_by_its_text() {
        let (recorder, conversation) = recorder_with_conversation();
        let marker = recorder.record_send(&conversation, 1, Instant::now());
        assert_eq!(recorder.marker(&recorder.text(marker, 100)), Some(marker));
        assert_eq!(recorder.marker(&recorder.key(marker)), Some(marker));
        assert_eq!(recorder.text(marker, 100).len(), 100);
        assert_eq!(recorder.text(marker, 1), recorder.key(marker));
        assert_eq!(Recorder::new(8).marker(&recorder.key(marker)), None, "another run's");
        for other in ["", "hello", "00000007.0.0", "00000007.0.0.1.2", "7.x.0.1"] {
            assert_eq!(recorder.marker(other), None, "{other}");
        }
    }

    #[test]
    fn what_goes_well_is_counted() {
        let (recorder, conversation) = recorder_with_conversation();
        let marker = recorder.record_send(&conversation, 0, Instant::now());
        assert!(!recorder.is_complete());
        assert_eq!(recorder.record_delivery(&conversation, marker, 0, None), DeliveryKind::Own);
        assert_eq!(recorder.record_delivery(&conversation, marker, 1, None), DeliveryKind::First);
        recorder.record_acknowledgement(&conversation, marker.number);
        recorder.record_acknowledgement(&conversation, marker.number);
        assert!(!recorder.is_complete(), "one has not heard it");
        assert_eq!(recorder.record_delivery(&conversation, marker, 2, None), DeliveryKind::First);
        assert!(recorder.is_complete());
        assert_eq!(recorder.record_delivery(&conversation, marker, 0, None), DeliveryKind::Own, "at any time");
        let tally = tally(&recorder);
        assert_eq!((tally.said, tally.acknowledged, tally.delivered), (1, 1, 2));
        assert_eq!((tally.lost, tally.unheard, tally.unconfirmed, tally.refused), (0, 0, 0, 0));
    }

    #[test]
    fn hearing_again_is_noticed_before_and_after_everybody_has_heard() {
        let (recorder, conversation) = recorder_with_conversation();
        let marker = recorder.record_send(&conversation, 0, Instant::now());
        recorder.record_acknowledgement(&conversation, marker.number);
        assert_eq!(recorder.record_delivery(&conversation, marker, 1, None), DeliveryKind::First);
        assert_eq!(recorder.record_delivery(&conversation, marker, 1, None), DeliveryKind::Duplicate);
        assert_eq!(recorder.record_delivery(&conversation, marker, 2, None), DeliveryKind::First);
        assert_eq!(recorder.record_delivery(&conversation, marker, 2, None), DeliveryKind::Duplicate);
    }

    #[test]
    fn lost_is_what_was_acknowledged_and_not_heard_by_who_was_there() {
        let (recorder, conversation) = recorder_with_conversation();
        let [lost, unknown, unanswered] = [0, 0, 0].map(|sender| recorder.record_send(&conversation, sender, Instant::now()));
        recorder.record_acknowledgement(&conversation, lost.number);
        recorder.record_unconfirmed(&conversation, unknown.number);
        assert_eq!(recorder.record_delivery(&conversation, unknown, 1, None), DeliveryKind::First, "it was stored after all");
        let late = recorder.record_send(&conversation, 1, Instant::now());
        recorder.record_unconfirmed(&conversation, late.number);
        recorder.record_acknowledgement(&conversation, late.number);
        for reader in [0, 2] {
            assert_eq!(recorder.record_delivery(&conversation, late, reader, None), DeliveryKind::First);
        }
        assert_eq!(recorder.unanswered(&conversation, 0), [unanswered]);
        recorder.set_away(2, true);
        let tally = tally(&recorder);
        assert_eq!((tally.lost, tally.unheard, tally.unconfirmed), (1, 1, 2));
    }

    #[test]
    fn what_was_refused_is_not_waited_for_and_not_to_be_heard() {
        let (recorder, conversation) = recorder_with_conversation();
        let [first, second] = [1, 1].map(|sender| recorder.record_send(&conversation, sender, Instant::now()));
        recorder.record_refusal(&conversation, None, 1, "no");
        recorder.record_refusal(&conversation, Some(second.number), 1, "no");
        assert!(recorder.is_complete());
        assert_eq!(recorder.record_delivery(&conversation, first, 2, None), DeliveryKind::First);
        assert!(recorder.is_complete());
        let tally = tally(&recorder);
        assert_eq!((tally.refused, tally.lost), (2, 0));
        assert_eq!((tally.errors["no"], tally.errors["refused, and delivered"]), (2, 1));
    }

    #[test]
    fn who_was_away_by_its_own_will_measures_nothing() {
        let (recorder, conversation) = recorder_with_conversation();
        let due = Instant::now() - Duration::from_secs(1);
        let marker = recorder.record_send(&conversation, 0, due);
        recorder.record_delivery(&conversation, marker, 1, Some(Instant::now()));
        assert_eq!(recorder.stats(ROOM).delivery.len(), 0);
        recorder.record_delivery(&conversation, marker, 2, Some(due));
        assert_eq!(recorder.stats(ROOM).delivery.len(), 1);
        assert!(recorder.stats(ROOM).delivery.max() >= 1_000_000, "from the intended moment on");
    }
}
