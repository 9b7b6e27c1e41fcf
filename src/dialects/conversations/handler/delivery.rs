//! Delivery of events and signals to a socket of the `conversations` dialect.

use std::sync::Arc;

use storage::{ConversationId, Fact, MessageId, PartnerId, ReadRange, Timestamp, Topic};

use super::{
    super::{
        NO_SUCH_CONVERSATION, people,
        receipts::{self, DeliveryProgress},
        wire::{self, Member, MessageStatus, ServerFrame, UserStatus, time},
    },
    ConversationsHandler, Subscription, read, status,
};
use crate::{
    chat::{self, Error, PersonPresence},
    clock,
    error::chain,
    events::{DeliveredEvent, Encoding, PresenceState, RecentSignal, Signal},
    web::websocket::{Close, Frame},
};

/// Batch size for looking up the authors of messages.
const LOOKUP_BATCH: usize = 100;
/// Maximum number of participants listed for a conversation.
const MAX_LISTED: usize = 100;

/// Keys of lookups made once per event and shared by all receivers: presence of a new participant, and a joined conversation.
const PRESENCE_LOOKUP: &str = "conversations, arrivals";
const JOINED_LOOKUP: &str = "conversations, beginnings";

/// Frame for a conversation that the user has joined, and the participants online there.
#[derive(Clone)]
struct JoinedConversation {
    frame: Frame,
    online: Arc<[(PartnerId, i64)]>,
}

impl Encoding for JoinedConversation {
    fn bytes(&self) -> usize {
        self.frame.bytes() + size_of_val(&*self.online)
    }
}

/// Presence of a person who has joined a conversation.
#[derive(Clone)]
struct ParticipantPresence(Vec<PersonPresence>);

impl Encoding for ParticipantPresence {
    fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }
}

impl ConversationsHandler {
    pub(super) async fn deliver_event(&mut self, told: &DeliveredEvent, said: &mut Vec<Frame>) -> Result<(), Close> {
        match told.event.topic {
            Topic::Conversation(of) => self.deliver_conversation_event(of, told, said).await,
            Topic::Partner(_) => {
                if let Fact::ParticipantLeft { conversation, .. } = told.event.fact {
                    self.receipts.left(conversation);
                    said.push(ServerFrame::Left { conversation_id: conversation.to_string() }.frame());
                }
                Ok(())
            }
        }
    }

    async fn deliver_conversation_event(
        &mut self,
        of: ConversationId,
        told: &DeliveredEvent,
        said: &mut Vec<Frame>,
    ) -> Result<(), Close> {
        let named = || self.of.conversation_id(of);
        let (words, reader, base_url) = (self.of.encoding(), self.caller.partner, &self.dialect.app.base_url);
        match &told.event.fact {
            Fact::MessagePosted(message) => {
                said.push(told.memoised(words, || wire::posted(message, named(), reader, base_url)));
                if message.author.partner == self.caller.partner {
                    self.receipts.posted(message);
                    if let Some(early) = self.early.iter().position(|(early, _)| *early == message.id)
                        && let Some((id, at)) = self.early.remove(early)
                    {
                        said.push(wire::message_status(id, self.of.conversation_id(of), MessageStatus::Delivered, at));
                    }
                }
            }
            Fact::MessageEdited(message) => said.push(told.memoised(words, || wire::edited(message, named(), reader, base_url))),
            Fact::MessageDeleted(message) => said.push(told.memoised(words, || wire::deleted(message, named()))),
            Fact::MessageReacted { message, partner, content, removed, .. } => {
                let known = self.dialect.people.person(*partner).await.map_err(|error| self.close_after_failure(&error))?;
                let word = || {
                    let (message_id, user_id, removed) = (message.to_string(), known.id.as_str(), *removed);
                    ServerFrame::Reaction { conversation_id: named(), message_id, user_id, content, removed }.frame()
                };
                said.push(told.memoised(words, word));
            }
            Fact::ReadUpTo { partner, seq, messages } => {
                let words = self
                    .read_frames(of, told, *partner, *seq, messages)
                    .await
                    .map_err(|error| self.close_after_failure(&error))?;
                said.extend(words);
            }
            Fact::ConversationCreated(_) => said.extend(self.joined_frame(of, told).await?),
            Fact::ParticipantJoined { partner, .. } if *partner == self.caller.partner => {
                said.extend(self.joined_frame(of, told).await?);
            }
            Fact::ParticipantJoined { partner, .. } => match self.arrival(told, *partner).await {
                Ok(words) => said.extend(words),
                Err(error) => tracing::debug!(error = %chain(&error), "who has joined could not be told"),
            },
            Fact::ParticipantLeft { partner, .. } => match self.of {
                Subscription::One { .. } if *partner == self.caller.partner => return Err(NO_SUCH_CONVERSATION),
                Subscription::One { .. } => drop(self.online.remove(partner)),
                // The person may still share another conversation.
                Subscription::All => {}
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
    fn close_after_failure(&self, error: &Error) -> Close {
        error.log("event not delivered");
        Close::UNAVAILABLE
    }

    async fn read_frames(
        &mut self,
        of: ConversationId,
        told: &DeliveredEvent,
        reader: PartnerId,
        seq: i64,
        named: &[MessageId],
    ) -> chat::Result<Vec<Frame>> {
        let people = Arc::clone(&self.dialect.people);
        let known = people.person(reader).await?;
        let newest = match named {
            [] => Some(people.message_at(of, seq).await?),
            _ => None,
        };
        let named = newest.as_ref().map_or(named, std::slice::from_ref);
        let mut said = vec![told.memoised(self.of.encoding(), || read(self.of.conversation_id(of), &known.id, named))];
        if reader != self.caller.partner {
            let after = self.chat().hidden_from(reader, of, told).await?;
            let (unknown, known) = self.receipts.read(of, ReadRange { after, upto: seq });
            let mut own = self.own_at(unknown.into_iter().map(|seq| (of, seq)).collect()).await?;
            own.extend(known);
            let status =
                |id: &MessageId| wire::message_status(*id, self.of.conversation_id(of), MessageStatus::Read, told.event.at);
            said.extend(own[own.len().saturating_sub(receipts::MAX_RECEIPTS)..].iter().map(status));
        }
        Ok(said)
    }

    /// Messages of the caller among those at these positions, oldest first.
    async fn own_at(&self, places: Vec<(ConversationId, i64)>) -> chat::Result<Vec<MessageId>> {
        let mut own = Vec::new();
        for places in places.chunks(LOOKUP_BATCH) {
            let messages = self.chat().messages_at(places).await?;
            let mine = messages.iter().filter(|message| message.author == self.caller.partner);
            own.extend(mine.map(|message| message.id));
        }
        own.sort_unstable();
        Ok(own)
    }

    /// Presence of a person who has joined, looked up once per event for all receivers.
    async fn arrival(&mut self, told: &DeliveredEvent, partner: PartnerId) -> chat::Result<Vec<Frame>> {
        let find = async {
            let contacts = self.chat().contacts_by_id(&[partner]).await?;
            self.chat().presence(contacts.iter().map(chat::Contact::person).collect()).await.map(ParticipantPresence)
        };
        let ParticipantPresence(people) = told.memoised_query(PRESENCE_LOOKUP, find).await?;
        Ok(self.presences(&people))
    }

    /// Frame for a conversation that the user has joined, on a socket of all conversations.
    async fn joined_frame(&mut self, of: ConversationId, told: &DeliveredEvent) -> Result<Option<Frame>, Close> {
        if let Subscription::One { .. } = self.of {
            return Ok(None);
        }
        let JoinedConversation { frame, online } = match told.memoised_query(JOINED_LOOKUP, self.beginning(of)).await {
            Ok(beginning) => beginning,
            // The user has left meanwhile; the next event says so.
            Err(Error::NotFound(_) | Error::Forbidden) => return Ok(None),
            Err(error) => return Err(self.close_after_failure(&error)),
        };
        for (partner, number) in online.iter() {
            self.track_online(*partner, *number);
        }
        Ok(Some(frame))
    }

    async fn beginning(&self, of: ConversationId) -> chat::Result<JoinedConversation> {
        let (conversation, participants) = self.chat().participants(&self.caller, of).await?;
        let participant_count = participants.len();
        let people = participants.into_iter().take(MAX_LISTED).map(|participant| participant.person).collect();
        let presences = self.chat().presence(people).await?;
        let partners: Vec<_> = presences.iter().map(|presence| presence.person.partner.id).collect();
        let contacts = self.chat().contacts_by_id(&partners).await?;
        let (mut listed, mut online) = (Vec::with_capacity(presences.len()), Vec::new());
        for presence in &presences {
            let partner = &presence.person.partner;
            let Some(contact) = contacts.iter().find(|contact| contact.partner.id == partner.id) else { continue };
            let (number, (status, timestamp)) = (people::person_id(&presence.person), status(presence));
            if let UserStatus::Online = status {
                online.push((partner.id, number));
            }
            let (username, name) = (people::username(contact), partner.name.clone());
            listed.push(Member { user_id: number.to_string(), username, name, status, timestamp });
        }
        let word = ServerFrame::Joined {
            conversation_id: of.to_string(),
            uuid: conversation.uuid.to_string(),
            kind: conversation.kind.into(),
            name: conversation.name,
            participants: listed,
            participant_count,
        };
        Ok(JoinedConversation { frame: word.frame(), online: online.into() })
    }

    pub(super) async fn deliver_signal(&mut self, signalled: &RecentSignal) -> chat::Result<Option<Frame>> {
        let is_here = |conversation: &ConversationId| match self.of {
            Subscription::One { id, .. } => *conversation == id,
            Subscription::All => true,
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
                    DeliveryProgress::Delivered => {
                        let named = self.of.conversation_id(*conversation);
                        Some(wire::message_status(*message, named, MessageStatus::Delivered, *at))
                    }
                    DeliveryProgress::Read => None,
                    DeliveryProgress::Untracked => {
                        // Signals are best effort, so a receipt may wait for a message that never comes.
                        if self.early.len() == receipts::MAX_RECEIPTS {
                            self.early.pop_front();
                        }
                        self.early.push_back((*message, *at));
                        None
                    }
                }
            }
            Signal::Presence { partner, status } => {
                let is_of_company = match self.of {
                    Subscription::One { id, .. } => self.chat().is_participant(*partner, id).await?,
                    Subscription::All => signalled.shares_conversation(self.caller.partner),
                };
                match is_of_company {
                    true => self.presence_frame(*partner, *status, clock::now()).await?,
                    false => {
                        self.online.remove(partner);
                        None
                    }
                }
            }
        })
    }

    /// Presence frame for a change. Away counts as online in this dialect, so some changes produce no frame.
    async fn presence_frame(&mut self, partner: PartnerId, status: PresenceState, at: Timestamp) -> chat::Result<Option<Frame>> {
        // Going offline needs no query, however many people disconnect at once.
        let (number, status) = match status {
            PresenceState::Online | PresenceState::Away if self.online.contains_key(&partner) => return Ok(None),
            PresenceState::Online | PresenceState::Away => {
                let number = self.dialect.people.person(partner).await?.number;
                if !self.track_online(partner, number) {
                    return Ok(None);
                }
                (number, UserStatus::Online)
            }
            PresenceState::Offline => match self.online.remove(&partner) {
                Some(number) => (number, UserStatus::Offline),
                None => return Ok(None),
            },
        };
        Ok(Some(ServerFrame::UserStatus { user_id: &number.to_string(), status, timestamp: Some(time(at)) }.frame()))
    }
}
