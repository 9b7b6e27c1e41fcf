//! Delivered events: an event with its audience and its memoised encodings, shared by all listeners of a node.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use storage::{Conversation, Document, Event, Fact, Message, PartnerId, Scope, Topic};
use tokio::sync::OnceCell;

/// A delivered event, with its audience.
#[derive(Debug)]
pub struct DeliveredEvent {
    pub event: Event,
    /// In rising order.
    pub(crate) audience: Arc<[PartnerId]>,
    /// True once a reader other than the author has received the event.
    is_delivered: AtomicBool,
    encodings: Mutex<Encodings>,
}

/// Memoised encodings, by name.
#[derive(Debug, Default)]
struct Encodings {
    entries: Vec<(&'static str, Box<dyn Any + Send + Sync>)>,
    bytes: usize,
    /// The meter of the ring, while the ring holds the event.
    meter: Option<Arc<Meter>>,
}

/// An encoding that is memoised for all readers of an event.
pub trait Encoding: Clone + Send + Sync + 'static {
    /// Memory size in bytes.
    fn bytes(&self) -> usize;
}

/// Byte count of a ring, with the encodings of its events. Above its capacity, encodings are not memoised.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) held: AtomicUsize,
    pub(crate) capacity: usize,
}

impl Meter {
    fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.capacity
    }
}

impl Encodings {
    fn may_grow(&self) -> bool {
        self.meter.as_ref().is_none_or(|meter| !meter.is_full())
    }

    fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        if let Some(meter) = &self.meter {
            meter.held.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn find<T: Clone + 'static>(&self, encoding: &'static str) -> Option<T> {
        self.entries.iter().find(|(name, _)| *name == encoding).and_then(|(_, made)| made.downcast_ref::<T>()).cloned()
    }
}

impl DeliveredEvent {
    /// A delivered event for a reader of the event log itself: it needs no audience.
    pub(crate) fn from_log(event: Event) -> Self {
        Self::new(event, Arc::from([]))
    }

    pub(crate) fn new(event: Event, audience: Arc<[PartnerId]>) -> Self {
        Self { event, audience, is_delivered: AtomicBool::new(false), encodings: Mutex::default() }
    }

    /// The memoised encoding of this name, made by its first reader. A message with files is encoded for each reader, because
    /// the URLs of files hold a token of the reader.
    pub fn memoised<T: Encoding>(&self, encoding: &'static str, make: impl FnOnce() -> T) -> T {
        if self.is_reader_specific() {
            return make();
        }
        let mut encodings = self.encodings.lock();
        if let Some(known) = encodings.find(encoding) {
            return known;
        }
        let made = make();
        if encodings.may_grow() {
            encodings.entries.push((encoding, Box::new(made.clone())));
            encodings.grow(made.bytes());
        }
        made
    }

    /// As [`DeliveredEvent::memoised`], for an encoding that takes a query. Concurrent readers share one query.
    ///
    /// # Errors
    /// Those of `read`; nothing is memoised then.
    ///
    /// # Cancel safety
    /// A dropped reader leaves the query to the next one.
    pub async fn memoised_query<T: Encoding, E>(
        &self,
        encoding: &'static str,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if self.is_reader_specific() {
            return read.await;
        }
        let cell = {
            let mut encodings = self.encodings.lock();
            encodings.find(encoding).unwrap_or_else(|| {
                let cell = Arc::<OnceCell<T>>::default();
                if encodings.may_grow() {
                    encodings.entries.push((encoding, Box::new(Arc::clone(&cell))));
                }
                cell
            })
        };
        let reading = async {
            let made = read.await?;
            // Counted even if the encodings do not hold the cell: its readers do, and the event outlives them.
            self.encodings.lock().grow(made.bytes());
            Ok(made)
        };
        cell.get_or_try_init(|| reading).await.cloned()
    }

    fn is_reader_specific(&self) -> bool {
        self.event.fact.message().is_some_and(|message| !message.attachments.is_empty())
    }

    /// Records a delivery to a reader other than the author; true for the first one.
    pub(crate) fn is_first_delivery(&self) -> bool {
        !self.is_delivered.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn concerns(&self, scopes: &[Scope]) -> bool {
        scopes.iter().any(|scope| match scope {
            Scope::Everything => true,
            Scope::Conversation(id) => self.event.topic == Topic::Conversation(*id),
            Scope::Partner(partner) => self.audience.binary_search(partner).is_ok(),
        })
    }

    /// Memory size of the event without its audience and encodings, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        /// The counters of an `Arc`, and the slot in the ring.
        const AROUND: usize = 3 * size_of::<usize>();

        AROUND + size_of::<Self>() + fact_bytes(&self.event.fact)
    }

    /// Sets the meter that counts the encodings; `None` for no meter.
    pub(crate) fn set_meter(&self, meter: Option<Arc<Meter>>) {
        let mut encodings = self.encodings.lock();
        let bytes = encodings.bytes;
        if let Some(before) = std::mem::replace(&mut encodings.meter, meter) {
            before.held.fetch_sub(bytes, Ordering::Relaxed);
        }
        if let Some(now) = &encodings.meter {
            now.held.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// Heap bytes of a fact.
fn fact_bytes(fact: &Fact) -> usize {
    match fact {
        Fact::MessagePosted(message)
        | Fact::MessageEdited(message)
        | Fact::MessageDeleted(message)
        | Fact::MessageShown(message) => message_bytes(message),
        Fact::ReadUpTo { messages, .. } => size_of_val(messages.as_slice()),
        Fact::ConversationCreated(conversation) | Fact::ConversationChanged(conversation) => conversation_bytes(conversation),
        Fact::SessionEnded { session } => session.len(),
        Fact::DeviceConnected { device, connection } => device.len() + connection.len(),
        Fact::MessageReacted { content, .. } => content.len(),
        Fact::EditSuperseded
        | Fact::ParticipantJoined { .. }
        | Fact::ParticipantLeft { .. }
        | Fact::PlaceChanged { .. }
        | Fact::AttachmentDeleted { .. }
        | Fact::TokensRevoked { .. }
        | Fact::UserChanged { .. }
        | Fact::SupportWaits(_)
        | Fact::SupportChanged { .. }
        | Fact::MemberUnread { .. }
        | Fact::UserErased { .. }
        | Fact::StoreChanged
        | Fact::LogRestarted { .. }
        | Fact::Unknown => 0,
    }
}

fn message_bytes(message: &Message) -> usize {
    let files = message.attachments.iter().map(|file| {
        let texts = file.object.len() + file.name.len() + file.mimetype.len() + file.access_token.len();
        size_of_val(file) + texts + file.media.sha256.as_ref().map_or(0, String::len)
    });
    let short = [&message.client_key, &message.external_id].into_iter().flatten().map(String::len);
    let metadata = message.metadata.as_ref().map_or(0, |metadata| metadata.json().len());
    message.body.len() + message.author.name.len() + metadata + short.sum::<usize>() + files.sum::<usize>()
}

fn conversation_bytes(conversation: &Conversation) -> usize {
    let document = |document: &Document| size_of::<Document>() + document.model.len();
    let documents = conversation.documents.iter().map(document).sum::<usize>();
    conversation.name.len() + conversation.external_id.as_ref().map_or(0, String::len) + documents
}
