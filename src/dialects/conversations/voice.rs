//! What is said on one socket.

mod telling;

use std::collections::HashMap;

use storage::{Conversation, ConversationId, MessageId, MessageType, PartnerId, Person, Timestamp};
use uuid::Uuid;

use super::{
    Room,
    asking::{Action, Asking, SEND},
    error::Failure,
    people,
    receipts::Receipts,
    wire::{self, UserStatus, Word, time},
};
use crate::{
    auth::Caller,
    chat::{self, Batch, Chat, Draft, PersonPresence, Right, Status},
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
    /// Messages that were delivered before they were told, as one node hears of another's, and when: each is told to have
    /// been once it was told itself.
    early: Vec<(MessageId, Timestamp)>,
    receipts: Receipts,
    /// Whom the client takes to be online, and as whom it knows them.
    online: HashMap<PartnerId, Box<str>>,
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
        Ok(vec![failed(&asking, &failure)])
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

    fn refuse(&self, refusal: Refusal<'_>) -> Frame {
        let (frame, error) = match refusal {
            Refusal::NotText => (None, "A frame must be text, not binary"),
            Refusal::TooFast(frame) => (frame, "Too many frames, please slow down"),
        };
        match frame.and_then(|frame| Asking::read(frame).ok()) {
            Some(asking) => failed(&asking, error),
            None => Word::Error { action: None, error }.frame(),
        }
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
            early: Vec::new(),
            receipts: Receipts::new(conversation.last_seq),
            online: HashMap::new(),
        }
    }

    fn chat(&self) -> &Chat {
        &self.room.house.chat
    }

    /// Who is in the conversation, whether they are there, and who of them is typing.
    async fn look_around(&mut self) -> chat::Result<Vec<Frame>> {
        let (_, participants) = self.chat().participants(&self.caller, self.id).await?;
        self.receipts.read_before(self.chat().read_by_others(&self.caller, self.id).await?);
        let mut said = self.presence(participants.into_iter().map(|participant| participant.person).collect()).await?;
        for typist in self.chat().typists(&self.caller, self.id).await? {
            said.push(self.typing(typist.partner.id, true).await?);
        }
        Ok(said)
    }

    async fn typing(&self, who: PartnerId, is_typing: bool) -> chat::Result<Frame> {
        let known = self.room.people.known(who).await?;
        Ok(Word::Typing { user_id: &known.id, username: &known.username, is_typing }.frame())
    }

    async fn presence(&mut self, people: Vec<Person>) -> chat::Result<Vec<Frame>> {
        let mut said = Vec::with_capacity(people.len());
        for PersonPresence { person, status, last_seen } in self.chat().presence(people).await? {
            let now = clock::now();
            let (status, at) = match status {
                Status::Online | Status::Away => (UserStatus::Online, now),
                Status::Offline => (UserStatus::Offline, last_seen.unwrap_or(now)),
            };
            let id = people::id(&person);
            if let UserStatus::Online = status {
                self.online.insert(person.partner.id, id.clone().into());
            }
            said.push(Word::UserStatus { user_id: &id, status, timestamp: time(at) }.frame());
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
                let message = self.chat().edit_message(&self.caller, Right::Author, self.id, message, &content).await?;
                let again = message.edited_at.is_none_or(|at| at < asked);
                Ok(Vec::from_iter(again.then(|| wire::edited(&message, &self.room.house.base_url))))
            }
            Action::Delete(message) => {
                let asked = clock::now();
                let message = self.chat().delete_message(&self.caller, Right::Author, self.id, message).await?;
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
}

/// How it is said that something asked for was not done.
fn failed(asking: &Asking<'_>, error: &str) -> Frame {
    match asking.name().as_deref() {
        Some(SEND) => Word::Failed { local_id: asking.local_id().as_deref(), error }.frame(),
        action => Word::Error { action, error }.frame(),
    }
}

fn read(user_id: &str, messages: &[MessageId]) -> Frame {
    Word::Read { user_id, message_ids: messages.iter().map(ToString::to_string).collect() }.frame()
}
