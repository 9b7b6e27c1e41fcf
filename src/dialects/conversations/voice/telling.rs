//! Delivery of events and signals to a socket of the `conversations` dialect.

use std::sync::Arc;

use storage::{ConversationId, Fact, MessageId, PartnerId, ReadRange, Timestamp, Topic};

use super::{
    super::{
        NOT_IN_IT, people,
        receipts::{self, Progress},
        wire::{self, Member, MessageStatus, UserStatus, Word, time},
    },
    Conversing, Of, read, status,
};
use crate::{
    chat::{self, Encoding, Error, PersonPresence, Signal, Signalled, Status, Told},
    clock,
    dialects::socket::{Close, Frame},
    telemetry,
};

/// Batch size for looking up the authors of messages.
const LOOKED_UP: usize = 100;
/// Maximum number of participants listed for a conversation.
const LISTED: usize = 100;

/// Keys of lookups made once per event and shared by all receivers: presence of a new participant, and a joined conversation.
const ARRIVALS: &str = "conversations, arrivals";
const BEGINNINGS: &str = "conversations, beginnings";

/// Frame for a conversation that the user has joined, and the participants online there.
#[derive(Clone)]
struct Beginning {
    frame: Frame,
    online: Arc<[(PartnerId, i64)]>,
}

impl Encoding for Beginning {
    fn bytes(&self) -> usize {
        self.frame.bytes() + size_of_val(&*self.online)
    }
}

/// Presence of a person who has joined a conversation.
#[derive(Clone)]
struct Arrival(Vec<PersonPresence>);

impl Encoding for Arrival {
    fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }
}

impl Conversing {
    pub(super) async fn tell_event(&mut self, told: &Told, said: &mut Vec<Frame>) -> Result<(), Close> {
        match told.event.topic {
            Topic::Conversation(of) => self.tell_event_of(of, told, said).await,
            Topic::Partner(_) => {
                if let Fact::ParticipantLeft { conversation, .. } = told.event.fact {
                    self.receipts.left(conversation);
                    said.push(Word::Left { conversation_id: conversation.to_string() }.frame());
                }
                Ok(())
            }
        }
    }

    async fn tell_event_of(&mut self, of: ConversationId, told: &Told, said: &mut Vec<Frame>) -> Result<(), Close> {
        let named = || self.of.named(of);
        let (words, reader, base_url) = (self.of.words(), self.caller.partner, &self.room.house.base_url);
        match &told.event.fact {
            Fact::MessagePosted(message) => {
                said.push(told.shared(words, || wire::posted(message, named(), reader, base_url)));
                if message.author.partner == self.caller.partner {
                    self.receipts.posted(message);
                    if let Some(early) = self.early.iter().position(|(early, _)| *early == message.id)
                        && let Some((id, at)) = self.early.remove(early)
                    {
                        said.push(wire::message_status(id, self.of.named(of), MessageStatus::Delivered, at));
                    }
                }
            }
            Fact::MessageEdited(message) => said.push(told.shared(words, || wire::edited(message, named(), reader, base_url))),
            Fact::MessageDeleted(message) => said.push(told.shared(words, || wire::deleted(message, named()))),
            Fact::MessageReacted { message, partner, content, removed, .. } => {
                let known = self.room.people.known(*partner).await.map_err(|error| self.lost(&error))?;
                let word = || {
                    let (message_id, user_id, removed) = (message.to_string(), known.id.as_str(), *removed);
                    Word::Reaction { conversation_id: named(), message_id, user_id, content, removed }.frame()
                };
                said.push(told.shared(words, word));
            }
            Fact::ReadUpTo { partner, seq, messages } => {
                let words = self.tell_read(of, told, *partner, *seq, messages).await.map_err(|error| self.lost(&error))?;
                said.extend(words);
            }
            Fact::ConversationCreated(_) => said.extend(self.tell_beginning(of, told).await?),
            Fact::ParticipantJoined { partner, .. } if *partner == self.caller.partner => {
                said.extend(self.tell_beginning(of, told).await?);
            }
            Fact::ParticipantJoined { partner, .. } => match self.arrival(told, *partner).await {
                Ok(words) => said.extend(words),
                Err(error) => tracing::debug!(error = %telemetry::chain(&error), "who has joined could not be told"),
            },
            Fact::ParticipantLeft { partner, .. } => match self.of {
                Of::One { .. } if *partner == self.caller.partner => return Err(NOT_IN_IT),
                Of::One { .. } => drop(self.online.remove(partner)),
                // The person may still share another conversation.
                Of::All => {}
            },
            Fact::MessageShown(_)
            | Fact::ConversationChanged(_)
            | Fact::PlaceChanged { .. }
            | Fact::AttachmentDeleted { .. }
            | Fact::SessionEnded { .. }
            | Fact::TokensRevoked { .. }
            | Fact::SupportWaits(_)
            | Fact::SupportChanged { .. }
            | Fact::DeviceConnected { .. }
            | Fact::UserChanged { .. }
            | Fact::MemberUnread { .. }
            | Fact::UserErased { .. }
            | Fact::StoreChanged
            | Fact::LogRestarted { .. }
            | Fact::EditSuperseded
            | Fact::Unknown => {}
        }
        Ok(())
    }

    /// Closes a socket that missed an event. The client reconnects and fetches what it has missed.
    fn lost(&self, error: &Error) -> Close {
        let what = "what has happened could not be told";
        match error {
            Error::Unavailable(_) => telemetry::unavailable(what, error),
            _ => telemetry::failed(what, error),
        };
        Close::UNAVAILABLE
    }

    async fn tell_read(
        &mut self,
        of: ConversationId,
        told: &Told,
        reader: PartnerId,
        seq: i64,
        named: &[MessageId],
    ) -> chat::Result<Vec<Frame>> {
        let people = Arc::clone(&self.room.people);
        let known = people.known(reader).await?;
        let newest = match named {
            [] => Some(people.message_at(of, seq).await?),
            _ => None,
        };
        let named = newest.as_ref().map_or(named, std::slice::from_ref);
        let mut said = vec![told.shared(self.of.words(), || read(self.of.named(of), &known.id, named))];
        if reader != self.caller.partner {
            let after = self.chat().hidden_from(reader, of, told).await?;
            let (unknown, known) = self.receipts.read(of, ReadRange { after, upto: seq });
            let mut own = self.own_at(unknown.into_iter().map(|seq| (of, seq)).collect()).await?;
            own.extend(known);
            let status = |id: &MessageId| wire::message_status(*id, self.of.named(of), MessageStatus::Read, told.event.at);
            said.extend(own[own.len().saturating_sub(receipts::MOST)..].iter().map(status));
        }
        Ok(said)
    }

    /// Messages of the caller among those at these positions, oldest first.
    async fn own_at(&self, places: Vec<(ConversationId, i64)>) -> chat::Result<Vec<MessageId>> {
        let mut own = Vec::new();
        for places in places.chunks(LOOKED_UP) {
            let messages = self.chat().messages_at(places).await?;
            let mine = messages.iter().filter(|message| message.author == self.caller.partner);
            own.extend(mine.map(|message| message.id));
        }
        own.sort_unstable();
        Ok(own)
    }

    /// Presence of a person who has joined, looked up once per event for all receivers.
    async fn arrival(&mut self, told: &Told, partner: PartnerId) -> chat::Result<Vec<Frame>> {
        let find = async {
            let contacts = self.chat().contacts_by_id(&[partner]).await?;
            self.chat().presence(contacts.iter().map(chat::Contact::person).collect()).await.map(Arrival)
        };
        let Arrival(people) = told.shared_read(ARRIVALS, find).await?;
        Ok(self.presences(&people))
    }

    /// Frame for a conversation that the user has joined, on a socket of all conversations.
    async fn tell_beginning(&mut self, of: ConversationId, told: &Told) -> Result<Option<Frame>, Close> {
        if let Of::One { .. } = self.of {
            return Ok(None);
        }
        let Beginning { frame, online } = match told.shared_read(BEGINNINGS, self.beginning(of)).await {
            Ok(beginning) => beginning,
            // The user has left meanwhile; the next event says so.
            Err(Error::NotFound(_) | Error::Forbidden) => return Ok(None),
            Err(error) => return Err(self.lost(&error)),
        };
        for (partner, number) in online.iter() {
            self.comes_online(*partner, *number);
        }
        Ok(Some(frame))
    }

    async fn beginning(&self, of: ConversationId) -> chat::Result<Beginning> {
        let (conversation, participants) = self.chat().participants(&self.caller, of).await?;
        let participant_count = participants.len();
        let people = participants.into_iter().take(LISTED).map(|participant| participant.person).collect();
        let presences = self.chat().presence(people).await?;
        let partners: Vec<_> = presences.iter().map(|presence| presence.person.partner.id).collect();
        let contacts = self.chat().contacts_by_id(&partners).await?;
        let (mut listed, mut online) = (Vec::with_capacity(presences.len()), Vec::new());
        for presence in &presences {
            let partner = &presence.person.partner;
            let Some(contact) = contacts.iter().find(|contact| contact.partner.id == partner.id) else { continue };
            let (number, (status, timestamp)) = (people::number(&presence.person), status(presence));
            if let UserStatus::Online = status {
                online.push((partner.id, number));
            }
            let (username, name) = (people::username(contact), partner.name.clone());
            listed.push(Member { user_id: number.to_string(), username, name, status, timestamp });
        }
        let word = Word::Joined {
            conversation_id: of.to_string(),
            uuid: conversation.uuid.to_string(),
            kind: conversation.kind.into(),
            name: conversation.name,
            participants: listed,
            participant_count,
        };
        Ok(Beginning { frame: word.frame(), online: online.into() })
    }

    pub(super) async fn tell_signal(&mut self, signalled: &Signalled) -> chat::Result<Option<Frame>> {
        let is_here = |conversation: &ConversationId| match self.of {
            Of::One { id, .. } => *conversation == id,
            Of::All => true,
        };
        Ok(match &signalled.signal {
            Signal::Typing { conversation, partner, typing, .. } => match *partner != self.caller.partner {
                true if is_here(conversation) => Some(self.typing(*conversation, *partner, *typing).await?),
                _ => None,
            },
            Signal::Delivered { conversation, message, seq, author, at } => {
                if *author != self.caller.partner || !is_here(conversation) {
                    return Ok(None);
                }
                match self.receipts.progress(*conversation, *seq) {
                    Progress::Told => {
                        let named = self.of.named(*conversation);
                        Some(wire::message_status(*message, named, MessageStatus::Delivered, *at))
                    }
                    Progress::Read => None,
                    Progress::Unheard => {
                        // Signals are best effort, so a receipt may wait for a message that never comes.
                        if self.early.len() == receipts::MOST {
                            self.early.pop_front();
                        }
                        self.early.push_back((*message, *at));
                        None
                    }
                }
            }
            Signal::Presence { partner, status } => {
                let is_of_company = match self.of {
                    Of::One { id, .. } => self.chat().is_in(*partner, id).await?,
                    Of::All => signalled.is_for_company(self.caller.partner),
                };
                match is_of_company {
                    true => self.tell_presence(*partner, *status, clock::now()).await?,
                    false => {
                        self.online.remove(partner);
                        None
                    }
                }
            }
        })
    }

    /// Presence frame for a change. Away counts as online in this dialect, so some changes produce no frame.
    async fn tell_presence(&mut self, partner: PartnerId, status: Status, at: Timestamp) -> chat::Result<Option<Frame>> {
        // Going offline needs no query, however many people disconnect at once.
        let (number, status) = match status {
            Status::Online | Status::Away if self.online.contains_key(&partner) => return Ok(None),
            Status::Online | Status::Away => {
                let number = self.room.people.known(partner).await?.number;
                if !self.comes_online(partner, number) {
                    return Ok(None);
                }
                (number, UserStatus::Online)
            }
            Status::Offline => match self.online.remove(&partner) {
                Some(number) => (number, UserStatus::Offline),
                None => return Ok(None),
            },
        };
        Ok(Some(Word::UserStatus { user_id: &number.to_string(), status, timestamp: Some(time(at)) }.frame()))
    }
}
