//! How what has happened is told.

use std::sync::Arc;

use storage::{ConversationId, Fact, MessageId, PartnerId, Timestamp};

use super::{
    super::{
        NOT_IN_IT, receipts,
        wire::{self, MessageStatus, UserStatus, Word, time},
    },
    Conversing, WORDS, read,
};
use crate::{
    chat::{self, Signal, Status, Told},
    clock,
    dialects::socket::{Close, Frame},
    telemetry,
};

/// How many messages are read at a time of which no more is wanted than whose they are.
const LOOKED_UP: usize = 100;

impl Conversing {
    pub(super) async fn tell_event(&mut self, told: &Told, said: &mut Vec<Frame>) -> Result<(), Close> {
        match &told.event.fact {
            Fact::MessagePosted(message) => {
                let frame = told.shared(WORDS, || wire::posted(message, &self.room.house.base_url));
                let times = 1 + self.owed.extract_if(.., |owed| *owed == message.id).count();
                said.extend(std::iter::repeat_n(frame, times));
                let delivered =
                    self.early.extract_if(.., |(early, _)| *early <= message.id).filter(|(early, _)| *early == message.id);
                said.extend(delivered.map(|(id, at)| wire::message_status(id, MessageStatus::Delivered, at)));
                self.told = self.told.max(message.id);
                if message.author.partner == self.caller.partner {
                    self.receipts.posted(message);
                }
            }
            Fact::MessageEdited(message) => said.push(told.shared(WORDS, || wire::edited(message, &self.room.house.base_url))),
            Fact::MessageDeleted(message) => said.push(told.shared(WORDS, || wire::deleted(message))),
            Fact::ReadUpTo { partner, seq, messages } => {
                let words = self.tell_read(told, *partner, *seq, messages).await.map_err(|error| self.lost(&error))?;
                said.extend(words);
            }
            Fact::ParticipantJoined { partner, .. } => match self.arrival(*partner).await {
                Ok(words) => said.extend(words),
                Err(error) => tracing::debug!(error = %telemetry::chain(&error), "who has joined could not be told"),
            },
            Fact::ParticipantLeft { partner, .. } if *partner == self.caller.partner => return Err(NOT_IN_IT),
            Fact::ParticipantLeft { partner, .. } => {
                self.online.remove(partner);
            }
            Fact::MessageShown(_)
            | Fact::ConversationCreated(_)
            | Fact::ConversationChanged(_)
            | Fact::PlaceChanged { .. }
            | Fact::AttachmentDeleted { .. }
            | Fact::SessionEnded { .. }
            | Fact::TokensRevoked { .. }
            | Fact::SupportWaits(_)
            | Fact::SupportChanged { .. }
            | Fact::DeviceConnected { .. }
            | Fact::UserChanged { .. }
            | Fact::MessageReacted { .. }
            | Fact::MemberUnread { .. }
            | Fact::UserErased { .. }
            | Fact::StoreChanged
            | Fact::LogRestarted { .. }
            | Fact::Unknown => {}
        }
        Ok(())
    }

    /// A socket that could not tell everything is closed: whoever comes back asks for what it has missed.
    fn lost(&self, error: &chat::Error) -> Close {
        let what = "what has happened could not be told";
        match error {
            chat::Error::Unavailable(_) => telemetry::unavailable(what, error),
            _ => telemetry::failed(what, error),
        };
        Close::UNAVAILABLE
    }

    async fn tell_read(&mut self, told: &Told, reader: PartnerId, seq: i64, named: &[MessageId]) -> chat::Result<Vec<Frame>> {
        let people = Arc::clone(&self.room.people);
        let known = people.known(reader).await?;
        let newest = match named {
            [] => Some(people.message_at(self.id, seq).await?),
            _ => None,
        };
        let named = newest.as_ref().map_or(named, std::slice::from_ref);
        let mut said = vec![told.shared(WORDS, || read(&known.id, named))];
        if reader != self.caller.partner {
            let (unknown, known) = self.receipts.read(seq);
            let mut own = self.own_at(unknown.map(|seq| (self.id, seq)).collect()).await?;
            own.extend(known);
            let status = |id: &MessageId| wire::message_status(*id, MessageStatus::Read, told.event.at);
            said.extend(own[own.len().saturating_sub(receipts::MOST)..].iter().map(status));
        }
        Ok(said)
    }

    /// Those of the messages at these places that are the caller's, oldest first.
    async fn own_at(&self, places: Vec<(ConversationId, i64)>) -> chat::Result<Vec<MessageId>> {
        let mut own = Vec::new();
        for places in places.chunks(LOOKED_UP) {
            let messages = self.chat().messages_at(places).await?;
            let mine = messages.iter().filter(|message| message.author.partner == self.caller.partner);
            own.extend(mine.map(|message| message.id));
        }
        own.sort_unstable();
        Ok(own)
    }

    async fn arrival(&mut self, partner: PartnerId) -> chat::Result<Vec<Frame>> {
        let contacts = self.chat().contacts_by_id(&[partner]).await?;
        self.presence(contacts.iter().map(chat::Contact::person).collect()).await
    }

    pub(super) async fn tell_signal(&mut self, signal: &Signal) -> chat::Result<Option<Frame>> {
        Ok(match signal {
            Signal::Typing { conversation, partner, typing, .. }
                if *conversation == self.id && *partner != self.caller.partner =>
            {
                Some(self.typing(*partner, *typing).await?)
            }
            Signal::Delivered { conversation, message, seq, author, at }
                if *conversation == self.id && *author == self.caller.partner && !self.receipts.is_read(*seq) =>
            {
                if *message > self.told {
                    // Signals may be lost.
                    if self.early.len() < receipts::MOST {
                        self.early.push((*message, *at));
                    }
                    return Ok(None);
                }
                Some(wire::message_status(*message, MessageStatus::Delivered, *at))
            }
            Signal::Presence { partner, status } => self.tell_presence(*partner, *status, clock::now()).await?,
            Signal::Typing { .. } | Signal::Delivered { .. } => None,
        })
    }

    /// Whoever is away is online here, so not every change is one.
    async fn tell_presence(&mut self, partner: PartnerId, status: Status, at: Timestamp) -> chat::Result<Option<Frame>> {
        if !self.chat().is_in(partner, self.id).await? {
            self.online.remove(&partner);
            return Ok(None);
        }
        // Of those who go nothing is asked, however many they are.
        let (id, status) = match status {
            Status::Online | Status::Away if self.online.contains_key(&partner) => return Ok(None),
            Status::Online | Status::Away => {
                let id: Box<str> = self.room.people.known(partner).await?.id.as_str().into();
                self.online.insert(partner, id.clone());
                (id, UserStatus::Online)
            }
            Status::Offline => match self.online.remove(&partner) {
                Some(id) => (id, UserStatus::Offline),
                None => return Ok(None),
            },
        };
        Ok(Some(Word::UserStatus { user_id: &id, status, timestamp: time(at) }.frame()))
    }
}
