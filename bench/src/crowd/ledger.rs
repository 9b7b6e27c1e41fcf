//! What was said, who has heard it, and how long that took from the moment at which it was meant to be said.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::dialect::Dialect;

/// The number of a visitor.
pub(crate) type Name = usize;

/// What a message begins with, so that everybody who hears it knows which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) conversation: u32,
    pub(crate) number: u32,
    pub(crate) sender: Name,
}

/// A conversation of some visitors.
pub(crate) struct Conversation {
    number: u32,
    pub(crate) dialect: Dialect,
    members: Vec<Name>,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    count: u32,
    /// Those that wait for an answer or a reader.
    open: BTreeMap<u32, Message>,
}

struct Message {
    due: Instant,
    sender: Name,
    /// Who has not heard it.
    missing: Vec<Name>,
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Waiting,
    Acknowledged,
    Refused,
}

/// What a message is to whoever hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Own,
    First,
    Again,
}

/// What is counted of a dialect.
pub(crate) struct Counts {
    pub(crate) visitors: u64,
    pub(crate) said: u64,
    /// Due, and not said, because what was due before had not been taken.
    pub(crate) unsaid: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    /// Said, and never answered: nobody knows whether they are stored.
    pub(crate) unconfirmed: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    /// Acknowledged, and not heard by somebody who was away at the end.
    pub(crate) unheard: u64,
    pub(crate) doubled: u64,
    pub(crate) out_of_order: u64,
    pub(crate) left: u64,
    pub(crate) cut_off: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    /// From the intended moment to the sender's own confirmation.
    pub(crate) acknowledgement: Histogram<u64>,
    /// From the intended moment until a reader has it.
    pub(crate) delivery: Histogram<u64>,
    /// From the intended moment until somebody who comes is there.
    pub(crate) arrival: Histogram<u64>,
    /// From the moment at which somebody comes back, or is cut off, until it is there again.
    pub(crate) comeback: Histogram<u64>,
}

impl Default for Counts {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("these are bounds that a histogram can have");
        Self {
            visitors: 0,
            said: 0,
            unsaid: 0,
            acknowledged: 0,
            refused: 0,
            unconfirmed: 0,
            delivered: 0,
            lost: 0,
            unheard: 0,
            doubled: 0,
            out_of_order: 0,
            left: 0,
            cut_off: 0,
            errors: BTreeMap::new(),
            acknowledgement: histogram(),
            delivery: histogram(),
            arrival: histogram(),
            comeback: histogram(),
        }
    }
}

/// The book of a run.
pub(crate) struct Ledger {
    /// Tells this run's messages from those of others.
    run: u32,
    /// What is meant to be said before this is not measured.
    begin: Instant,
    counts: [Mutex<Counts>; Dialect::ALL.len()],
    conversations: Mutex<Vec<Arc<Conversation>>>,
    away: Mutex<HashSet<Name>>,
    /// Visitors who have something to say yet.
    speaking: AtomicUsize,
    /// Answers and deliveries that are waited for.
    waited_for: AtomicUsize,
}

impl Ledger {
    pub(crate) fn new(run: u32, begin: Instant) -> Self {
        Self {
            run,
            begin,
            counts: Default::default(),
            conversations: Mutex::default(),
            away: Mutex::default(),
            speaking: AtomicUsize::new(0),
            waited_for: AtomicUsize::new(0),
        }
    }

    pub(crate) fn counts(&self, dialect: Dialect) -> MutexGuard<'_, Counts> {
        locked(&self.counts[dialect as usize])
    }

    pub(crate) fn error(&self, dialect: Dialect, kind: &str) {
        *self.counts(dialect).errors.entry(kind.to_owned()).or_default() += 1;
    }

    /// A new conversation of these.
    pub(crate) fn converse(&self, dialect: Dialect, members: Vec<Name>) -> Arc<Conversation> {
        let mut conversations = locked(&self.conversations);
        let number = u32::try_from(conversations.len()).expect("there are not so many");
        let conversation = Arc::new(Conversation { number, dialect, members, said: Mutex::default() });
        conversations.push(Arc::clone(&conversation));
        conversation
    }

    /// Notes that somebody says something now, and gives what its message begins with.
    pub(crate) fn say(&self, conversation: &Conversation, sender: Name, due: Instant) -> Marker {
        let missing: Vec<_> = conversation.members.iter().copied().filter(|member| *member != sender).collect();
        self.waited_for.fetch_add(1 + missing.len(), Ordering::Relaxed);
        self.counts(conversation.dialect).said += 1;
        let mut said = locked(&conversation.said);
        let number = said.count;
        said.count += 1;
        said.open.insert(number, Message { due, sender, missing, answer: Answer::Waiting });
        Marker { conversation: conversation.number, number, sender }
    }

    /// Notes that the sender was told that its message was taken. Being told so again changes nothing.
    pub(crate) fn acknowledge(&self, conversation: &Conversation, number: u32) {
        let mut said = locked(&conversation.said);
        let Some(message) = said.open.get_mut(&number).filter(|message| message.answer == Answer::Waiting) else { return };
        message.answer = Answer::Acknowledged;
        self.waited_for.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.counts(conversation.dialect);
        counts.acknowledged += 1;
        self.measure(&mut counts.acknowledgement, message.due);
        if message.missing.is_empty() {
            said.open.remove(&number);
        }
    }

    /// Notes that a message was not taken: this one, or else the oldest of the sender's that waits for its answer.
    pub(crate) fn refuse(&self, conversation: &Conversation, number: Option<u32>, sender: Name, why: &str) {
        self.error(conversation.dialect, why);
        let mut said = locked(&conversation.said);
        let mut waiting =
            said.open.iter_mut().filter(|(_, message)| message.sender == sender && message.answer == Answer::Waiting);
        let Some((_, message)) = waiting.find(|(each, _)| number.is_none_or(|number| number == **each)) else { return };
        message.answer = Answer::Refused;
        self.waited_for.fetch_sub(1 + message.missing.len(), Ordering::Relaxed);
        self.counts(conversation.dialect).refused += 1;
    }

    /// Notes that somebody hears a message; `since` is when it was there at the earliest.
    pub(crate) fn hear(&self, conversation: &Conversation, marker: Marker, reader: Name, since: Option<Instant>) -> News {
        if marker.sender == reader {
            return News::Own;
        }
        let mut said = locked(&conversation.said);
        let Some(message) = said.open.get_mut(&marker.number) else { return News::Again };
        let Some(place) = message.missing.iter().position(|missing| *missing == reader) else { return News::Again };
        message.missing.swap_remove(place);
        if message.answer == Answer::Refused {
            self.error(conversation.dialect, "refused, and delivered");
            return News::First;
        }
        self.waited_for.fetch_sub(1, Ordering::Relaxed);
        let mut counts = self.counts(conversation.dialect);
        counts.delivered += 1;
        // Who was away by its own will could not have it earlier.
        if since.is_none_or(|since| since <= message.due) {
            self.measure(&mut counts.delivery, message.due);
        }
        if message.missing.is_empty() && message.answer == Answer::Acknowledged {
            said.open.remove(&marker.number);
        }
        News::First
    }

    fn measure(&self, histogram: &mut Histogram<u64>, due: Instant) {
        if due >= self.begin {
            histogram.saturating_record(micros(due));
        }
    }

    /// What this visitor has said without knowing what became of it.
    pub(crate) fn unanswered(&self, conversation: &Conversation, sender: Name) -> Vec<Marker> {
        let said = locked(&conversation.said);
        let waiting = said.open.iter().filter(|(_, message)| message.sender == sender && message.answer == Answer::Waiting);
        waiting.map(|(number, _)| Marker { conversation: conversation.number, number: *number, sender }).collect()
    }

    /// The text of a message, so many bytes long if that is enough.
    pub(crate) fn text(&self, marker: Marker, bytes: usize) -> String {
        let key = self.key(marker);
        let words = "A message of a usual length, neither short nor long. ".chars().cycle();
        let text: String = key.chars().chain([' ']).chain(words).take(bytes.max(key.len())).collect();
        text.trim_end().to_owned()
    }

    /// A message's name, the same for each try.
    pub(crate) fn key(&self, marker: Marker) -> String {
        format!("{:08x}.{}.{}.{}", self.run, marker.conversation, marker.number, marker.sender)
    }

    /// Which message of this run this is, if it is one.
    pub(crate) fn marker(&self, text: &str) -> Option<Marker> {
        let mut parts = text.split_whitespace().next()?.split('.');
        let run = u32::from_str_radix(parts.next()?, 16).ok()?;
        let conversation = parts.next()?.parse().ok()?;
        let marker = Marker { conversation, number: parts.next()?.parse().ok()?, sender: parts.next()?.parse().ok()? };
        (run == self.run && parts.next().is_none()).then_some(marker)
    }

    pub(crate) fn speaks(&self, begins: bool) {
        if begins {
            self.speaking.fetch_add(1, Ordering::Relaxed);
        } else {
            self.speaking.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_away(&self, visitor: Name, away: bool) {
        let mut all = locked(&self.away);
        if away {
            all.insert(visitor);
        } else {
            all.remove(&visitor);
        }
    }

    /// Whether nobody has anything to say, and nothing is waited for.
    pub(crate) fn is_complete(&self) -> bool {
        self.speaking.load(Ordering::Relaxed) == 0 && self.waited_for.load(Ordering::Relaxed) == 0
    }

    /// Counts what never came, at the end.
    pub(crate) fn close(&self) {
        let away = locked(&self.away);
        for conversation in locked(&self.conversations).iter() {
            for message in locked(&conversation.said).open.values() {
                let mut counts = self.counts(conversation.dialect);
                match message.answer {
                    Answer::Waiting => counts.unconfirmed += 1,
                    Answer::Acknowledged => {
                        for reader in &message.missing {
                            if away.contains(reader) { counts.unheard += 1 } else { counts.lost += 1 }
                        }
                    }
                    Answer::Refused => {}
                }
            }
        }
    }
}

impl Conversation {
    pub(crate) fn is(&self, marker: Marker) -> bool {
        self.number == marker.conversation
    }
}

/// How long ago that was, in microseconds.
pub(crate) fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Counts stay usable if somebody panics while it counts.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
