//! What is said on one socket.

mod telling;

use std::collections::{HashMap, VecDeque};

use storage::{ChangePlace, ConversationId, Message, MessageId, MessageType, Page, PartnerId, Timestamp};
use uuid::Uuid;

use super::{
    Address, Room,
    asking::{Action, Asking, SEND},
    error::Failure,
    people,
    receipts::{self, Receipts},
    wire::{self, Named, UserStatus, Word, time},
};
use crate::{
    auth::Caller,
    chat::{self, Batch, Changed, Chat, Draft, Error, PersonPresence, Reacting, Right, Status, Thing},
    clock,
    dialects::{
        page::fitting,
        socket::{Close, Frame, Said, Voice},
    },
    telemetry,
};

/// People of whom is told right after connecting whether they are there, on a socket of all conversations. Of others only
/// changes are told.
const COMPANY: usize = 1_000;
/// People who are taken for online on one socket; of more, nothing is told.
const ONLINE: usize = 10_000;

/// The conversations of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    One {
        id: ConversationId,
        uuid: Uuid,
    },
    /// All of the caller's, those included that it joins meanwhile. Frames name theirs.
    All,
}

impl Of {
    /// The names of the words that all sockets of this kind share, for the memoised frames of an event.
    fn words(self) -> &'static str {
        match self {
            Self::One { .. } => "conversations",
            Self::All => "conversations, named",
        }
    }

    fn named(self, id: ConversationId) -> Named {
        match self {
            Self::One { .. } => None,
            Self::All => Some(id.to_string()),
        }
    }
}

/// One participant on one socket.
pub(super) struct Conversing {
    room: Room,
    caller: Caller,
    of: Of,
    /// Messages that were delivered before they were told, as one node hears of another's, and when: each is told to have
    /// been once it was told itself.
    early: VecDeque<(MessageId, Timestamp)>,
    receipts: Receipts,
    /// Whom the client takes to be online, and as whom it knows them.
    online: HashMap<PartnerId, i64>,
    /// What is still to be told of the last fetch.
    fetching: Option<Fetching>,
    caught_up: CaughtUp,
}

/// A fetch of what came after a message, with the changes of what is up to it before.
struct Fetching {
    of: ConversationId,
    after: MessageId,
    limit: usize,
    /// The last change that was looked at; `None` at their beginning.
    place: Option<ChangePlace>,
    /// Whether all changes were told.
    is_all: bool,
    conversation_id: Named,
}

/// Conversations of which it is remembered how far a client has come that fetches page after page.
const CAUGHT_UP: usize = 100;

/// How far a client has come in each conversation, the latest last: the last message of the page that it was given, and the last
/// change that it knows of what is up to there.
#[derive(Default)]
struct CaughtUp(VecDeque<(ConversationId, MessageId, ChangePlace)>);

impl CaughtUp {
    /// The last change that a client knows which goes on after this message; `None` if it does not go on from a page.
    fn place(&self, of: ConversationId, after: MessageId) -> Option<ChangePlace> {
        self.0.iter().find(|(known, upto, _)| (*known, *upto) == (of, after)).map(|(.., place)| *place)
    }

    fn note(&mut self, of: ConversationId, upto: MessageId, place: ChangePlace) {
        self.0.retain(|(known, ..)| *known != of);
        if self.0.len() == CAUGHT_UP {
            self.0.pop_front();
        }
        self.0.push_back((of, upto, place));
    }
}

impl Voice for Conversing {
    const DIALECT: &'static str = "conversations";

    async fn greet(&mut self) -> Said {
        self.look_around().await.map_err(|error| super::error::not_opened(&error))
    }

    async fn hear(&mut self, text: &str) -> Said {
        let asking = match Asking::read(text) {
            Ok(asking) => asking,
            Err(wrong) => return Ok(vec![not_understood(&wrong)]),
        };
        let failure = match self.answer(&asking).await {
            Ok(said) => return Ok(said),
            Err(failure) => failure.words()?,
        };
        self.fetching = None;
        Ok(vec![self.failed(&asking, &failure)])
    }

    fn goes_on(&self) -> bool {
        self.fetching.is_some()
    }

    async fn go_on(&mut self) -> Said {
        let conversation_id = self.fetching.as_ref().and_then(|fetching| fetching.conversation_id.clone());
        match self.fetch_on().await {
            Ok(said) => Ok(said),
            Err(failure) => {
                self.fetching = None;
                let error = &failure.words()?;
                Ok(vec![Word::Error { conversation_id, action: Some("fetch_messages"), error }.frame()])
            }
        }
    }

    async fn tell(&mut self, batch: &Batch) -> Said {
        let mut said = Vec::with_capacity(batch.events.len() + batch.signals.len());
        for told in &batch.events {
            if let Err(close) = self.tell_event(told, &mut said).await {
                return Err(Close { last: said, ..close });
            }
        }
        for signalled in &batch.signals {
            match self.tell_signal(signalled).await {
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

    fn not_text(&self) -> Frame {
        not_understood("A frame must be text, not binary")
    }
}

impl Conversing {
    pub(super) fn new(room: Room, caller: Caller, of: Of) -> Self {
        let (early, receipts, online) = (VecDeque::new(), Receipts::default(), HashMap::new());
        Self { room, caller, of, early, receipts, online, fetching: None, caught_up: CaughtUp::default() }
    }

    fn chat(&self) -> &Chat {
        &self.room.house.chat
    }

    /// Who is there of those in the conversations, and who of them is typing. Takes note of what nobody else has read.
    async fn look_around(&mut self) -> chat::Result<Vec<Frame>> {
        let (people, typists) = match self.of {
            Of::One { id, .. } => {
                let (conversation, participants) = self.chat().participants(&self.caller, id).await?;
                let read = self.chat().read_by_others(&self.caller, id).await?;
                self.receipts.before(id, read, conversation.last_seq);
                let people = participants.into_iter().map(|participant| participant.person).collect();
                let typists = self.chat().typists(&self.caller, id).await?;
                let typists = typists.into_iter().map(|typist| (id, typist.partner.id)).collect();
                (self.chat().presence(people).await?, typists)
            }
            Of::All => {
                for unread in self.chat().unread_by_others(&self.caller, receipts::CONVERSATIONS).await? {
                    self.receipts.before(unread.conversation, unread.read, unread.own_seq);
                }
                let people = self.chat().presence_around(&self.caller, COMPANY).await?;
                (people, self.chat().typists_around(&self.caller).await?)
            }
        };
        let mut said = self.presences(&people);
        for (id, typist) in typists {
            said.push(self.typing(id, typist, true).await?);
        }
        Ok(said)
    }

    async fn typing(&self, of: ConversationId, who: PartnerId, is_typing: bool) -> chat::Result<Frame> {
        let known = self.room.people.known(who).await?;
        let (conversation_id, user_id, username) = (self.of.named(of), known.id.as_str(), known.username.as_str());
        Ok(Word::Typing { conversation_id, user_id, username, is_typing }.frame())
    }

    /// How it is told whether people are there.
    fn presences(&mut self, people: &[PersonPresence]) -> Vec<Frame> {
        let mut said = Vec::with_capacity(people.len());
        for presence in people {
            let (status, timestamp) = status(presence);
            let number = people::number(&presence.person);
            if let UserStatus::Online = status
                && !self.comes_online(presence.person.partner.id, number)
            {
                continue;
            }
            said.push(Word::UserStatus { user_id: &number.to_string(), status, timestamp }.frame());
        }
        said
    }

    /// Takes note that the client is told of somebody to be online, unless they are too many.
    fn comes_online(&mut self, partner: PartnerId, number: i64) -> bool {
        let has_room = self.online.len() < ONLINE || self.online.contains_key(&partner);
        if has_room {
            self.online.insert(partner, number);
        }
        has_room
    }

    async fn answer(&mut self, asking: &Asking<'_>) -> Result<Vec<Frame>, Failure> {
        let action = asking.action()?;
        let named = self.conversation(asking).await?;
        if action == Action::Heartbeat {
            return Ok(Vec::new());
        }
        let id = named.ok_or_else(|| Failure::Wrong("conversation_id is missing".into()))?;
        match self.act(asking, id, action).await {
            // A conversation of others is as if it were not: ids cannot be probed.
            Err(Failure::Chat(Error::Forbidden)) => match self.chat().conversation(&self.caller, id).await {
                Err(Error::NotFound(_) | Error::Forbidden) => Err(no_such_conversation()),
                Ok(_) | Err(_) => Err(Error::Forbidden.into()),
            },
            answer => answer,
        }
    }

    /// The conversation that a frame is about. On a socket of one it need not be named, and must not be another.
    async fn conversation(&self, asking: &Asking<'_>) -> Result<Option<ConversationId>, Failure> {
        let named = asking.conversation()?;
        let named = named.as_deref().map(Address::read);
        match self.of {
            Of::One { id, uuid } => match named {
                None => Ok(Some(id)),
                Some(Some(Address::Id(named))) if named == id => Ok(Some(id)),
                Some(Some(Address::Uuid(named))) if named == uuid => Ok(Some(id)),
                Some(_) => Err(Failure::Wrong("conversation_id must be this socket's own".into())),
            },
            Of::All => match named {
                None => Ok(None),
                Some(None) => Err(no_such_conversation()),
                Some(Some(Address::Id(id))) => Ok(Some(id)),
                Some(Some(Address::Uuid(uuid))) => match self.chat().conversation_by_uuid(&self.caller, uuid).await {
                    Ok((conversation, _)) => Ok(Some(conversation.id)),
                    Err(Error::Forbidden) => Err(no_such_conversation()),
                    Err(error) => Err(error.into()),
                },
            },
        }
    }

    async fn act(&mut self, asking: &Asking<'_>, id: ConversationId, action: Action) -> Result<Vec<Frame>, Failure> {
        match action {
            Action::Send { content, client_key } => self.send(id, content, client_key).await,
            Action::Typing(true) => self.nothing(self.chat().start_typing(&self.caller, id).await),
            Action::Typing(false) => self.nothing(self.chat().stop_typing(&self.caller, id).await),
            Action::Read(messages) => self.read(id, &messages).await,
            Action::Fetch(page) => self.fetch(asking, id, page).await,
            Action::Edit { message, content } => {
                let asked = clock::now();
                let message = self.chat().edit_message(&self.caller, Right::Author, id, message, &content).await?;
                let again = message.edited_at.is_none_or(|at| at < asked);
                Ok(Vec::from_iter(
                    again.then(|| wire::edited(&message, self.of.named(id), self.caller.partner, &self.room.house.base_url)),
                ))
            }
            Action::Delete(message) => {
                let asked = clock::now();
                let message = self.chat().delete_message(&self.caller, Right::Author, id, message).await?;
                let again = message.deleted_at.is_none_or(|at| at < asked);
                Ok(Vec::from_iter(again.then(|| wire::deleted(&message, self.of.named(id)))))
            }
            Action::React { message, content, remove } => self.react(id, message, &content, remove).await,
            Action::Heartbeat => Ok(Vec::new()),
        }
    }

    fn nothing(&self, done: chat::Result<()>) -> Result<Vec<Frame>, Failure> {
        done.map(|()| Vec::new()).map_err(Failure::from)
    }

    /// What is new is told in its turn, to its author as to everybody. A retry is answered with the message as it reads now.
    async fn send(&mut self, to: ConversationId, content: String, client_key: Option<String>) -> Result<Vec<Frame>, Failure> {
        let draft = Draft { client_key, ..Draft::new(MessageType::Text, content) };
        let sent = self.chat().send(&self.caller, to, draft).await?;
        if !sent.again {
            return Ok(Vec::new());
        }
        // If this socket was not told of it yet, it is before it is answered: messages are told in one order.
        self.chat().catch_up().await?;
        Ok(vec![wire::posted(&sent.message, self.of.named(to), self.caller.partner, &self.room.house.base_url)])
    }

    /// What has changed is told in its turn; what was read before is answered all the same.
    async fn read(&mut self, of: ConversationId, messages: &[MessageId]) -> Result<Vec<Frame>, Failure> {
        let (named, changed) = self.chat().mark_read_in(&self.caller, of, messages).await?;
        let again = (!changed).then(|| read(self.of.named(of), &self.caller.user.to_string(), &named));
        Ok(Vec::from_iter(again))
    }

    /// Whoever comes back after a while first hears which of the messages that it knows have changed meanwhile, however many:
    /// part by part, as it reads them, and each change once, however many pages it fetches.
    async fn fetch(&mut self, asking: &Asking<'_>, of: ConversationId, page: Page) -> Result<Vec<Frame>, Failure> {
        if let Page::After { id, limit } = page {
            let conversation_id = self.named_by(asking);
            let place = self.caught_up.place(of, id);
            self.fetching = Some(Fetching { of, after: id, limit, place, is_all: false, conversation_id });
            return self.fetch_on().await;
        }
        Ok(vec![self.page(of, page).await?.0])
    }

    /// The next part of a fetch, or none if there is none under way.
    async fn fetch_on(&mut self) -> Result<Vec<Frame>, Failure> {
        while let Some(Fetching { of, after, limit, place, is_all, .. }) = &self.fetching {
            let (of, after, limit, place) = (*of, *after, *limit, *place);
            if *is_all {
                self.fetching = None;
                let (page, last) = self.page(of, Page::After { id: after, limit }).await?;
                if let Some(place) = place {
                    // The page itself was read after that change, and so says what its messages said then.
                    self.caught_up.note(of, last.unwrap_or(after), place);
                }
                return Ok(vec![page]);
            }
            let Changed { messages, place, is_all } = self.chat().changed_since(&self.caller, of, after, place).await?;
            if let Some(fetching) = &mut self.fetching {
                (fetching.place, fetching.is_all) = (place, is_all);
            }
            if !messages.is_empty() {
                return Ok(messages.iter().filter_map(|message| self.changed(message)).collect());
            }
        }
        Ok(Vec::new())
    }

    fn changed(&self, message: &Message) -> Option<Frame> {
        let named = self.of.named(message.conversation);
        match (message.deleted_at, message.edited_at) {
            (Some(_), _) => Some(wire::deleted(message, named)),
            (None, Some(_)) => Some(wire::edited(message, named, self.caller.partner, &self.room.house.base_url)),
            (None, None) => None,
        }
    }

    /// A page, and its last message.
    async fn page(&self, of: ConversationId, page: Page) -> Result<(Frame, Option<MessageId>), Failure> {
        let (_, messages) = self.chat().history(&self.caller, of, page).await?;
        let base_url = &self.room.house.base_url;
        let fetched = messages.iter().map(|seen| wire::fetched(seen, self.caller.partner, base_url)).collect();
        let fetched = fitting(fetched, 1);
        let shown = &messages[..fetched.len()];
        self.chat().hands(&self.caller, shown);
        let last = shown.last().map(|seen| seen.message.id);
        Ok((Word::MessagesFetched { conversation_id: of.to_string(), messages: fetched }.frame(), last))
    }

    /// What has changed is told in its turn; what was so before is answered all the same.
    async fn react(
        &mut self,
        of: ConversationId,
        message: MessageId,
        content: &str,
        removed: bool,
    ) -> Result<Vec<Frame>, Failure> {
        let reacting = if removed { Reacting::Remove } else { Reacting::Add };
        let reacted = self.chat().react(&self.caller, of, message, content, reacting).await?;
        let again = || {
            let (user_id, message_id) = (&self.caller.user.to_string(), message.to_string());
            Word::Reaction { conversation_id: self.of.named(of), message_id, user_id, content, removed }.frame()
        };
        Ok(Vec::from_iter((!reacted.changed).then(again)))
    }

    /// The conversation as the client has named it, on a socket of all.
    fn named_by(&self, asking: &Asking<'_>) -> Named {
        match self.of {
            Of::One { .. } => None,
            Of::All => asking.conversation().ok().flatten(),
        }
    }

    /// How it is said that something asked for was not done. The conversation is named as the client has named it.
    fn failed(&self, asking: &Asking<'_>, error: &str) -> Frame {
        let conversation_id = self.named_by(asking);
        match asking.name().as_deref() {
            Some(SEND) => Word::Failed { conversation_id, local_id: asking.local_id().ok().flatten(), error }.frame(),
            action => Word::Error { conversation_id, action, error }.frame(),
        }
    }
}

/// Whether somebody is there, and when somebody who is not was last seen.
fn status(PersonPresence { status, last_seen, .. }: &PersonPresence) -> (UserStatus, Option<String>) {
    match status {
        Status::Online | Status::Away => (UserStatus::Online, Some(time(clock::now()))),
        Status::Offline => (UserStatus::Offline, last_seen.map(time)),
    }
}

fn no_such_conversation() -> Failure {
    Failure::Chat(Error::NotFound(Thing::Conversation))
}

fn not_understood(error: &str) -> Frame {
    Word::Error { conversation_id: None, action: None, error }.frame()
}

fn read(conversation_id: Named, user_id: &str, messages: &[MessageId]) -> Frame {
    Word::Read { conversation_id, user_id, message_ids: messages.iter().map(ToString::to_string).collect() }.frame()
}
