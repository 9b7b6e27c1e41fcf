//! What is said on one socket.

use std::{collections::HashSet, sync::Arc};

use storage::{Conversation, ConversationId, Fact, MessageId, MessageType, PartnerId, Person, Timestamp};
use uuid::Uuid;

use super::{
    NOT_IN_IT, Room,
    asking::{Action, Asking, SEND},
    error::Failure,
    people,
    receipts::Receipts,
    wire::{self, MessageStatus, UserStatus, Word, time},
};
use crate::{
    auth::Caller,
    chat::{self, Batch, Chat, Draft, PersonPresence, Signal, Status, Told},
    clock,
    dialects::socket::{Close, Frame, Refusal, Said, Voice},
    telemetry,
};

/// The words of this dialect, which all who are told of an event share.
const WORDS: &str = "conversations";

/// One participant on one socket of one conversation.
pub(super) struct Conversing {
    room: Room,
    caller: Caller,
    id: ConversationId,
    uuid: Uuid,
    /// The newest message that was told, or was there before.
    told: MessageId,
    /// Messages that were sent again before they were told: each is told once more, when its turn has come.
    owed: Vec<MessageId>,
    receipts: Receipts,
    /// Whom the client takes to be online.
    online: HashSet<PartnerId>,
}

impl Voice for Conversing {
    const DIALECT: &'static str = "conversations";

    async fn greet(&mut self) -> Said {
        self.look_around().await.map_err(|error| super::error::not_opened(&error))
    }

    async fn hear(&mut self, text: &str) -> Said {
        let asking = match Asking::read(text) {
            Ok(asking) => asking,
            Err(wrong) => return Ok(vec![Word::Error { action: None, error: &wrong }.frame()]),
        };
        let failure = match self.answer(&asking).await {
            Ok(said) => return Ok(said),
            Err(failure) => failure.words()?,
        };
        let (action, error) = (asking.name(), failure.as_str());
        let word = match action.as_deref() {
            Some(SEND) => Word::Failed { local_id: asking.local_id().as_deref(), error }.frame(),
            action => Word::Error { action, error }.frame(),
        };
        Ok(vec![word])
    }

    async fn tell(&mut self, batch: &Batch) -> Said {
        let mut said = Vec::with_capacity(batch.events.len() + batch.signals.len());
        for told in &batch.events {
            if let Err(close) = self.tell_event(told, &mut said).await {
                return Err(Close { last: said, ..close });
            }
        }
        for signal in &batch.signals {
            match self.tell_signal(&signal.signal).await {
                Ok(word) => said.extend(word),
                // A signal may be lost.
                Err(error) => tracing::debug!(error = %telemetry::chain(&error), "a signal could not be told"),
            }
        }
        Ok(said)
    }

    async fn beat(&mut self) -> Said {
        Ok(vec![Word::Heartbeat { timestamp: time(clock::now()) }.frame()])
    }

    fn refuse(&self, refusal: Refusal) -> Frame {
        let error = match refusal {
            Refusal::NotText => "A frame must be text, not binary",
            Refusal::TooFast => "Too many frames, please slow down",
        };
        Word::Error { action: None, error }.frame()
    }
}

impl Conversing {
    pub(super) fn new(room: Room, caller: Caller, conversation: &Conversation) -> Self {
        Self {
            room,
            caller,
            id: conversation.id,
            uuid: conversation.uuid,
            told: conversation.last_message.unwrap_or(MessageId(0)),
            owed: Vec::new(),
            receipts: Receipts::new(conversation.last_seq),
            online: HashSet::new(),
        }
    }

    fn chat(&self) -> &Chat {
        &self.room.house.chat
    }

    /// Who is in the conversation and whether they are there.
    async fn look_around(&mut self) -> chat::Result<Vec<Frame>> {
        let (_, participants) = self.chat().participants(&self.caller, self.id).await?;
        let others = participants.iter().filter(|participant| participant.person.partner.id != self.caller.partner);
        self.receipts.begin(others.map(|other| other.read_seq).max().unwrap_or(0));
        self.presence(participants.into_iter().map(|participant| participant.person).collect()).await
    }

    async fn presence(&mut self, people: Vec<Person>) -> chat::Result<Vec<Frame>> {
        let mut said = Vec::with_capacity(people.len());
        for PersonPresence { person, status, last_seen } in self.chat().presence(people).await? {
            let now = clock::now();
            let (status, at) = match status {
                Status::Online | Status::Away => (UserStatus::Online, now),
                Status::Offline => (UserStatus::Offline, last_seen.unwrap_or(now)),
            };
            if let UserStatus::Online = status {
                self.online.insert(person.partner.id);
            }
            said.push(Word::UserStatus { user_id: &people::id(&person), status, timestamp: time(at) }.frame());
        }
        Ok(said)
    }

    async fn answer(&mut self, asking: &Asking<'_>) -> Result<Vec<Frame>, Failure> {
        let action = asking.action()?;
        if asking.conversation()?.is_some_and(|named| !self.is_called(&named)) {
            return Err(Failure::Wrong("conversation_id must be this socket's own".into()));
        }
        match action {
            Action::Send { content, local_id } => self.send(content, local_id).await,
            Action::Typing(true) => self.nothing(self.chat().start_typing(&self.caller, self.id).await),
            Action::Typing(false) => self.nothing(self.chat().stop_typing(&self.caller, self.id).await),
            Action::Read(messages) => self.read(&messages).await,
            Action::Fetch(page) => {
                let (_, messages) = self.chat().history(&self.caller, self.id, page).await?;
                self.chat().hands(&self.caller, &messages);
                let messages = messages.iter().map(|seen| wire::fetched(seen, &self.room.house.base_url)).collect();
                Ok(vec![Word::MessagesFetched { conversation_id: self.id.to_string(), messages }.frame()])
            }
            Action::Edit { message, content } => {
                let asked = clock::now();
                let message = self.chat().edit_message(&self.caller, self.id, message, &content).await?;
                let again = message.edited_at.is_none_or(|at| at < asked);
                Ok(Vec::from_iter(again.then(|| wire::edited(&message, &self.room.house.base_url))))
            }
            Action::Delete(message) => {
                let asked = clock::now();
                let message = self.chat().delete_message(&self.caller, self.id, message).await?;
                let again = message.deleted_at.is_none_or(|at| at < asked);
                Ok(Vec::from_iter(again.then(|| wire::deleted(&message))))
            }
            Action::Heartbeat => Ok(Vec::new()),
        }
    }

    fn nothing(&self, done: chat::Result<()>) -> Result<Vec<Frame>, Failure> {
        done.map(|()| Vec::new()).map_err(Failure::from)
    }

    fn is_called(&self, name: &str) -> bool {
        name.parse() == Ok(self.id.0) || Uuid::try_parse(name) == Ok(self.uuid)
    }

    /// What is new is told in its turn, to its author as to everybody.
    async fn send(&mut self, content: String, local_id: Option<String>) -> Result<Vec<Frame>, Failure> {
        let draft = Draft { client_key: local_id, ..Draft::new(MessageType::Text, content) };
        let sent = self.chat().send(&self.caller, self.id, draft).await?;
        if !sent.again {
            return Ok(Vec::new());
        }
        if sent.message.id > self.told {
            self.owed.push(sent.message.id);
            return Ok(Vec::new());
        }
        Ok(vec![wire::posted(&sent.message, &self.room.house.base_url)])
    }

    /// What has changed is told in its turn; what was read before is answered all the same.
    async fn read(&mut self, messages: &[MessageId]) -> Result<Vec<Frame>, Failure> {
        let (named, changed) = self.chat().mark_read_in(&self.caller, self.id, messages).await?;
        let again = (!changed).then(|| read(&self.caller.user.to_string(), &named));
        Ok(Vec::from_iter(again))
    }

    async fn tell_event(&mut self, told: &Told, said: &mut Vec<Frame>) -> Result<(), Close> {
        match &told.event.fact {
            Fact::MessagePosted(message) => {
                let frame = told.shared(WORDS, || wire::posted(message, &self.room.house.base_url));
                let times = 1 + self.owed.extract_if(.., |owed| *owed == message.id).count();
                said.extend(std::iter::repeat_n(frame, times));
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
            Fact::ParticipantJoined { partner } => match self.arrival(*partner).await {
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
            | Fact::UserChanged { .. } => {}
        }
        Ok(())
    }

    /// A socket that could not tell everything is closed: whoever comes back asks for what it has missed.
    fn lost(&self, error: &chat::Error) -> Close {
        telemetry::failed("what has happened could not be told", error);
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
            said.extend(own[own.len().saturating_sub(super::receipts::MOST)..].iter().map(status));
        }
        Ok(said)
    }

    /// Those of the messages at these places that are the caller's, oldest first.
    async fn own_at(&self, places: Vec<(ConversationId, i64)>) -> chat::Result<Vec<MessageId>> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let messages = self.chat().messages_at(&places).await?;
        let own = messages.iter().filter(|message| message.author.partner == self.caller.partner);
        let mut own: Vec<_> = own.map(|message| message.id).collect();
        own.sort_unstable();
        Ok(own)
    }

    async fn arrival(&mut self, partner: PartnerId) -> chat::Result<Vec<Frame>> {
        let contacts = self.chat().contacts_by_id(&[partner]).await?;
        self.presence(contacts.iter().map(chat::Contact::person).collect()).await
    }

    async fn tell_signal(&mut self, signal: &Signal) -> chat::Result<Option<Frame>> {
        Ok(match signal {
            Signal::Typing { conversation, partner, typing, .. }
                if *conversation == self.id && *partner != self.caller.partner =>
            {
                let known = self.room.people.known(*partner).await?;
                Some(Word::Typing { user_id: &known.id, username: &known.username, is_typing: *typing }.frame())
            }
            Signal::Delivered { conversation, message, author, at }
                if *conversation == self.id && *author == self.caller.partner =>
            {
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
        let known = self.room.people.known(partner).await?;
        let (status, changed) = match status {
            Status::Online | Status::Away => (UserStatus::Online, self.online.insert(partner)),
            Status::Offline => (UserStatus::Offline, self.online.remove(&partner)),
        };
        Ok(changed.then(|| Word::UserStatus { user_id: &known.id, status, timestamp: time(at) }.frame()))
    }
}

fn read(user_id: &str, messages: &[MessageId]) -> Frame {
    Word::Read { user_id, message_ids: messages.iter().map(ToString::to_string).collect() }.frame()
}
