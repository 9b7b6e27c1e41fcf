//! WebSocket session of the `conversations` dialect: handles a client's frames and delivers events of one conversation, or of
//! all.

mod delivery;

use std::collections::{HashMap, VecDeque};

use storage::{ChangeKey, ConversationId, Message, MessageId, MessageType, Page, PartnerId, Timestamp};
use uuid::Uuid;

use super::{
    ConversationAddress, ConversationsDialect,
    client_frame::{ClientAction, ClientFrame, SEND, unparsed},
    error::ActionError,
    people,
    receipts::{self, Receipts},
    wire::{self, ConversationIdField, ServerFrame, UserStatus, time},
};
use crate::{
    auth::Caller,
    chat::{self, ChangedMessages, Chat, Draft, EditPermission, Error, PersonPresence, ReactionChange, ResourceKind},
    clock,
    error::chain,
    events::{FeedBatch, PresenceState},
    shares::Charge,
    web::{
        body,
        page::truncated_to_page,
        websocket::{Close, Frame, FramesOrClose, SocketHandler},
    },
};

/// Maximum number of people whose presence is sent right after connecting. Of others only changes are sent.
const MAX_INITIAL_PRESENCES: usize = 1_000;
/// Maximum number of people tracked as online per socket. Presence of further people is not sent.
const MAX_ONLINE: usize = 10_000;

/// Subscription of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subscription {
    One {
        id: ConversationId,
        uuid: Uuid,
    },
    /// All conversations of the caller, also those joined later. Frames name their conversation.
    All,
}

impl Subscription {
    /// Key of the memoised encoding of an event, shared by all sockets of one kind.
    fn encoding(self) -> &'static str {
        match self {
            Self::One { .. } => "conversations",
            Self::All => "conversations, named",
        }
    }

    fn conversation_id(self, id: ConversationId) -> ConversationIdField {
        match self {
            Self::One { .. } => None,
            Self::All => Some(id.to_string()),
        }
    }
}

/// Session of one participant on one socket.
pub(super) struct ConversationsHandler {
    dialect: ConversationsDialect,
    caller: Caller,
    of: Subscription,
    /// Delivery receipts that arrived before their message's event, with their time, which happens between nodes. Each is sent
    /// right after its message.
    early: VecDeque<(MessageId, Timestamp)>,
    receipts: Receipts,
    /// People shown as online to the client, with the id under which the client knows each.
    online: HashMap<PartnerId, i64>,
    /// The fetch under way, if any.
    fetching: Option<PendingFetch>,
    caught_up: FetchCursors,
}

/// A fetch of the page after a message. It is preceded by the changes of messages up to that one.
struct PendingFetch {
    of: ConversationId,
    after: MessageId,
    limit: usize,
    /// Cursor in the changes: the last one read; `None` at their beginning.
    cursor: Option<ChangeKey>,
    /// True if all changes were sent.
    is_all: bool,
    conversation_id: ConversationIdField,
}

/// Capacity of [`FetchCursors`], in conversations.
const MAX_CURSORS: usize = 100;

/// Position of a client that fetches page after page, for each conversation, least recent first: the last message of its last
/// page, and the cursor of the last change it knows of the messages up to there.
#[derive(Default)]
struct FetchCursors(VecDeque<(ConversationId, MessageId, ChangeKey)>);

impl FetchCursors {
    /// Cursor for a client that continues after this message; `None` if the message does not end its last page.
    fn cursor(&self, of: ConversationId, after: MessageId) -> Option<ChangeKey> {
        self.0.iter().find(|(known, upto, _)| (*known, *upto) == (of, after)).map(|(.., place)| *place)
    }

    fn remember(&mut self, of: ConversationId, upto: MessageId, place: ChangeKey) {
        self.0.retain(|(known, ..)| *known != of);
        if self.0.len() == MAX_CURSORS {
            self.0.pop_front();
        }
        self.0.push_back((of, upto, place));
    }
}

impl SocketHandler for ConversationsHandler {
    const DIALECT: &'static str = "conversations";

    async fn on_open(&mut self) -> FramesOrClose {
        self.initial_state().await.map_err(|error| super::error::subscribe_close(&error))
    }

    async fn on_message(&mut self, text: &str, charge: &mut Charge) -> FramesOrClose {
        if let Err(why) = body::charge_tree(text, charge) {
            return Ok(vec![self.failed(&ClientFrame::without_tree(text), &unparsed(why))]);
        }
        let asking = match ClientFrame::read(text) {
            Ok(asking) => asking,
            Err(wrong) => return Ok(vec![invalid_frame(&wrong)]),
        };
        let failure = match self.answer(&asking).await {
            Ok(said) => return Ok(said),
            Err(failure) => failure.message()?,
        };
        self.fetching = None;
        Ok(vec![self.failed(&asking, &failure)])
    }

    fn has_more(&self) -> bool {
        self.fetching.is_some()
    }

    async fn next_part(&mut self) -> FramesOrClose {
        let conversation_id = self.fetching.as_ref().and_then(|fetching| fetching.conversation_id.clone());
        match self.fetch_on().await {
            Ok(said) => Ok(said),
            Err(failure) => {
                self.fetching = None;
                let error = &failure.message()?;
                Ok(vec![ServerFrame::Error { conversation_id, action: Some("fetch_messages"), error }.frame()])
            }
        }
    }

    async fn on_events(&mut self, batch: &FeedBatch) -> FramesOrClose {
        let mut said = Vec::with_capacity(batch.events.len() + batch.signals.len());
        for told in &batch.events {
            if let Err(close) = self.deliver_event(told, &mut said).await {
                return Err(Close { last_frames: said, ..close });
            }
        }
        for signalled in &batch.signals {
            match self.deliver_signal(signalled).await {
                Ok(word) => said.extend(word),
                // Signals are best effort.
                Err(error) => tracing::debug!(error = %chain(&error), "a signal could not be told"),
            }
        }
        Ok(said)
    }

    async fn on_ping(&mut self) -> FramesOrClose {
        Ok(vec![ServerFrame::Heartbeat { timestamp: time(clock::now()) }.frame()])
    }

    fn on_binary(&self) -> Frame {
        invalid_frame("A frame must be text, not binary")
    }
}

impl ConversationsHandler {
    pub(super) fn new(dialect: ConversationsDialect, caller: Caller, of: Subscription) -> Self {
        let (early, receipts, online) = (VecDeque::new(), Receipts::default(), HashMap::new());
        Self { dialect, caller, of, early, receipts, online, fetching: None, caught_up: FetchCursors::default() }
    }

    fn chat(&self) -> &Chat {
        &self.dialect.app.chat
    }

    /// Sends the presence and the typing state of the people in the subscribed conversations. Initialises the read receipts.
    async fn initial_state(&mut self) -> chat::Result<Vec<Frame>> {
        let (of, typists) = match self.of {
            Subscription::One { id, .. } => {
                let (conversation, _) = self.chat().conversation(&self.caller, id).await?;
                let read = self.chat().read_by_others(&self.caller, id).await?;
                self.receipts.initialise(id, read, conversation.last_seq);
                let typists = self.chat().typists(&self.caller, id).await?;
                (Some(id), typists.into_iter().map(|typist| (id, typist.partner.id)).collect())
            }
            Subscription::All => {
                for unread in self.chat().unread_by_others(&self.caller, receipts::MAX_CONVERSATIONS).await? {
                    self.receipts.initialise(unread.conversation, unread.read, unread.own_seq);
                }
                (None, self.chat().typists_around(&self.caller).await?)
            }
        };
        let people = self.chat().presence_around(&self.caller, of, MAX_INITIAL_PRESENCES).await?;
        let mut said = self.presences(&people);
        for (id, typist) in typists {
            said.push(self.typing(id, typist, true).await?);
        }
        Ok(said)
    }

    async fn typing(&self, of: ConversationId, who: PartnerId, is_typing: bool) -> chat::Result<Frame> {
        let known = self.dialect.people.person(who).await?;
        let (conversation_id, user_id, username) = (self.of.conversation_id(of), known.id.as_str(), known.username.as_str());
        Ok(ServerFrame::Typing { conversation_id, user_id, username, is_typing }.frame())
    }

    /// Frames for the presence of people. Skips people who exceed [`MAX_ONLINE`].
    fn presences(&mut self, people: &[PersonPresence]) -> Vec<Frame> {
        let mut said = Vec::with_capacity(people.len());
        for presence in people {
            let (status, timestamp) = status(presence);
            let number = people::person_id(&presence.person);
            if let UserStatus::Online = status
                && !self.track_online(presence.person.partner.id, number)
            {
                continue;
            }
            said.push(ServerFrame::UserStatus { user_id: &number.to_string(), status, timestamp }.frame());
        }
        said
    }

    /// Records a person as online. False if the limit is reached.
    fn track_online(&mut self, partner: PartnerId, number: i64) -> bool {
        let has_room = self.online.len() < MAX_ONLINE || self.online.contains_key(&partner);
        if has_room {
            self.online.insert(partner, number);
        }
        has_room
    }

    async fn answer(&mut self, asking: &ClientFrame<'_>) -> Result<Vec<Frame>, ActionError> {
        let action = asking.action()?;
        let named = self.conversation(asking).await?;
        if action == ClientAction::Heartbeat {
            return Ok(Vec::new());
        }
        let id = named.ok_or_else(|| ActionError::Invalid("conversation_id is missing".into()))?;
        match self.act(asking, id, action).await {
            // Answers a conversation of others like an unknown one, so that ids cannot be probed.
            Err(ActionError::Chat(Error::Forbidden)) => match self.chat().conversation(&self.caller, id).await {
                Err(Error::NotFound(_) | Error::Forbidden) => Err(no_such_conversation()),
                Ok(_) | Err(_) => Err(Error::Forbidden.into()),
            },
            answer => answer,
        }
    }

    /// Conversation that a frame is about. A socket of one conversation needs no `conversation_id` and refuses any other.
    async fn conversation(&self, asking: &ClientFrame<'_>) -> Result<Option<ConversationId>, ActionError> {
        let named = asking.conversation()?;
        let named = named.as_deref().map(ConversationAddress::read);
        match self.of {
            Subscription::One { id, uuid } => match named {
                None => Ok(Some(id)),
                Some(Some(ConversationAddress::Id(named))) if named == id => Ok(Some(id)),
                Some(Some(ConversationAddress::Uuid(named))) if named == uuid => Ok(Some(id)),
                Some(_) => Err(ActionError::Invalid("conversation_id must be this socket's own".into())),
            },
            Subscription::All => match named {
                None => Ok(None),
                Some(None) => Err(no_such_conversation()),
                Some(Some(ConversationAddress::Id(id))) => Ok(Some(id)),
                Some(Some(ConversationAddress::Uuid(uuid))) => match self.chat().conversation_by_uuid(&self.caller, uuid).await {
                    Ok((conversation, _)) => Ok(Some(conversation.id)),
                    Err(Error::Forbidden) => Err(no_such_conversation()),
                    Err(error) => Err(error.into()),
                },
            },
        }
    }

    async fn act(
        &mut self,
        asking: &ClientFrame<'_>,
        id: ConversationId,
        action: ClientAction,
    ) -> Result<Vec<Frame>, ActionError> {
        match action {
            ClientAction::Send { content, client_key } => self.send(id, content, client_key).await,
            ClientAction::Typing(true) => self.no_answer(self.chat().start_typing(&self.caller, id).await),
            ClientAction::Typing(false) => self.no_answer(self.chat().stop_typing(&self.caller, id).await),
            ClientAction::Read(messages) => self.read(id, &messages).await,
            ClientAction::Fetch(page) => self.fetch(asking, id, page).await,
            ClientAction::Edit { message, content } => {
                let asked = clock::now();
                let message = self.chat().edit_message(&self.caller, EditPermission::Author, id, message, &content).await?;
                let again = message.edited_at.is_none_or(|at| at < asked);
                Ok(Vec::from_iter(again.then(|| {
                    wire::edited(&message, self.of.conversation_id(id), self.caller.partner, &self.dialect.app.base_url)
                })))
            }
            ClientAction::Delete(message) => {
                let asked = clock::now();
                let message = self.chat().delete_message(&self.caller, EditPermission::Author, id, message).await?;
                let again = message.deleted_at.is_none_or(|at| at < asked);
                Ok(Vec::from_iter(again.then(|| wire::deleted(&message, self.of.conversation_id(id)))))
            }
            ClientAction::React { message, content, remove } => self.react(id, message, &content, remove).await,
            ClientAction::Heartbeat => Ok(Vec::new()),
        }
    }

    fn no_answer(&self, done: chat::Result<()>) -> Result<Vec<Frame>, ActionError> {
        done.map(|()| Vec::new()).map_err(ActionError::from)
    }

    /// Sends a message. Every subscriber, the author included, gets it as an event. An idempotent retry is answered with the
    /// message in its current form.
    async fn send(&mut self, to: ConversationId, content: String, client_key: Option<String>) -> Result<Vec<Frame>, ActionError> {
        let draft = Draft { client_key, ..Draft::new(MessageType::Text, content) };
        let sent = self.chat().send(&self.caller, to, draft).await?;
        if !sent.is_retry {
            return Ok(Vec::new());
        }
        // Delivers pending events before the answer, so that messages keep one order.
        self.chat().catch_up().await?;
        Ok(vec![wire::posted(&sent.message, self.of.conversation_id(to), self.caller.partner, &self.dialect.app.base_url)])
    }

    /// Marks messages as read. A change is delivered as an event; a call without effect is answered directly.
    async fn read(&mut self, of: ConversationId, messages: &[MessageId]) -> Result<Vec<Frame>, ActionError> {
        let (named, changed) = self.chat().mark_read_in(&self.caller, of, messages).await?;
        let again = (!changed).then(|| read(self.of.conversation_id(of), &self.caller.user.to_string(), &named));
        Ok(Vec::from_iter(again))
    }

    /// Fetches a page. A page after a message is preceded by all changes since of the messages that the client has. They go out
    /// in parts, with back-pressure, and each change only once over consecutive pages.
    async fn fetch(&mut self, asking: &ClientFrame<'_>, of: ConversationId, page: Page) -> Result<Vec<Frame>, ActionError> {
        if let Page::After { id, limit } = page {
            let conversation_id = self.named_by(asking);
            let place = self.caught_up.cursor(of, id);
            self.fetching = Some(PendingFetch { of, after: id, limit, cursor: place, is_all: false, conversation_id });
            return self.fetch_on().await;
        }
        Ok(vec![self.page(of, page).await?.0])
    }

    /// Sends the next part of the fetch under way. Returns no frame if there is none.
    async fn fetch_on(&mut self) -> Result<Vec<Frame>, ActionError> {
        while let Some(PendingFetch { of, after, limit, cursor: place, is_all, .. }) = &self.fetching {
            let (of, after, limit, place) = (*of, *after, *limit, *place);
            if *is_all {
                self.fetching = None;
                let (page, last) = self.page(of, Page::After { id: after, limit }).await?;
                if let Some(place) = place {
                    // The page was read after that change and includes it.
                    self.caught_up.remember(of, last.unwrap_or(after), place);
                }
                return Ok(vec![page]);
            }
            let ChangedMessages { messages, cursor: place, is_complete: is_all } =
                self.chat().changed_since(&self.caller, of, after, place).await?;
            if let Some(fetching) = &mut self.fetching {
                (fetching.cursor, fetching.is_all) = (place, is_all);
            }
            if !messages.is_empty() {
                return Ok(messages.iter().filter_map(|message| self.changed(message)).collect());
            }
        }
        Ok(Vec::new())
    }

    fn changed(&self, message: &Message) -> Option<Frame> {
        let named = self.of.conversation_id(message.conversation);
        match (message.deleted_at, message.edited_at) {
            (Some(_), _) => Some(wire::deleted(message, named)),
            (None, Some(_)) => Some(wire::edited(message, named, self.caller.partner, &self.dialect.app.base_url)),
            (None, None) => None,
        }
    }

    /// A page of messages, and the id of its last one.
    async fn page(&self, of: ConversationId, page: Page) -> Result<(Frame, Option<MessageId>), ActionError> {
        let (_, messages) = self.chat().history(&self.caller, of, page).await?;
        let base_url = &self.dialect.app.base_url;
        let fetched = messages.iter().map(|seen| wire::fetched(seen, self.caller.partner, base_url)).collect();
        let fetched = truncated_to_page(fetched, 1);
        let shown = &messages[..fetched.len()];
        self.chat().record_history_delivery(&self.caller, shown);
        let last = shown.last().map(|seen| seen.message.id);
        Ok((ServerFrame::MessagesFetched { conversation_id: of.to_string(), messages: fetched }.frame(), last))
    }

    /// Adds or removes a reaction. A change is delivered as an event; a call without effect is answered directly.
    async fn react(
        &mut self,
        of: ConversationId,
        message: MessageId,
        content: &str,
        removed: bool,
    ) -> Result<Vec<Frame>, ActionError> {
        let reacting = if removed { ReactionChange::Remove } else { ReactionChange::Add };
        let reacted = self.chat().react(&self.caller, of, message, content, reacting).await?;
        let again = || {
            let (user_id, message_id) = (&self.caller.user.to_string(), message.to_string());
            ServerFrame::Reaction { conversation_id: self.of.conversation_id(of), message_id, user_id, content, removed }.frame()
        };
        Ok(Vec::from_iter((!reacted.changed).then(again)))
    }

    /// `conversation_id` as the client spelled it, on a socket of all conversations.
    fn named_by(&self, asking: &ClientFrame<'_>) -> ConversationIdField {
        match self.of {
            Subscription::One { .. } => None,
            Subscription::All => asking.conversation().ok().flatten(),
        }
    }

    /// Error frame for a failed action, with `conversation_id` as the client spelled it.
    fn failed(&self, asking: &ClientFrame<'_>, error: &str) -> Frame {
        let conversation_id = self.named_by(asking);
        match asking.name().as_deref() {
            Some(SEND) => ServerFrame::Failed { conversation_id, local_id: asking.local_id().ok().flatten(), error }.frame(),
            action => ServerFrame::Error { conversation_id, action, error }.frame(),
        }
    }
}

/// Presence in this dialect's terms, with the time of the last activity of an offline person.
fn status(PersonPresence { status, last_seen, .. }: &PersonPresence) -> (UserStatus, Option<String>) {
    match status {
        PresenceState::Online | PresenceState::Away => (UserStatus::Online, Some(time(clock::now()))),
        PresenceState::Offline => (UserStatus::Offline, last_seen.map(time)),
    }
}

fn no_such_conversation() -> ActionError {
    ActionError::Chat(Error::NotFound(ResourceKind::Conversation))
}

fn invalid_frame(error: &str) -> Frame {
    ServerFrame::Error { conversation_id: None, action: None, error }.frame()
}

fn read(conversation_id: ConversationIdField, user_id: &str, messages: &[MessageId]) -> Frame {
    ServerFrame::Read { conversation_id, user_id, message_ids: messages.iter().map(ToString::to_string).collect() }.frame()
}
