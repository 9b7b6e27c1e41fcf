//! Delivery of events to a connection of the `concierge` dialect, without the events that the connection caused itself.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use storage::{ConversationId, Fact, Message, PartnerId, SupportSession, Topic, UserId};
use uuid::Uuid;

use super::{
    REPLACED,
    handler::ConciergeHandler,
    wire::{ChatMessage, ChatSession, Encoder, Entity, Number, frame},
};
use crate::{
    chat::{self, SupportMessage},
    config::NumbersInEvents,
    events::{DeliveredEvent, Encoding},
    telemetry,
    web::websocket::{Close, Frame, FramesOrClose},
};

/// Key of the memoised encoding of an event, shared by its receivers.
const ENCODING: &str = "concierge";
/// Key of the lookup of newly seen messages, made once per read event for all receivers.
const SEEN_LOOKUP: &str = "concierge, seen";

/// Messages seen by one read event. Each receiver has an encoding of its own, since addresses of files are signed per reader.
#[derive(Clone)]
struct NewlySeen(Arc<[SupportMessage]>);

impl Encoding for NewlySeen {
    fn bytes(&self) -> usize {
        let texts = |seen: &SupportMessage| seen.message.bytes() + seen.message.metadata.as_ref().map_or(0, |m| m.json().len());
        size_of_val(&*self.0) + self.0.iter().map(texts).sum::<usize>()
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventEnvelope<P> {
    channel: String,
    payload: P,
    /// Always empty.
    actions: [(); 0],
    sender_type: Option<&'static str>,
    sender_id: Option<Number>,
    receiver_type: Option<&'static str>,
    receiver_id: Option<Number>,
    socket_message_id: Uuid,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PushedSession {
    chat_session: ChatSession,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PushedMessage<'a> {
    chat_session_id: Uuid,
    chat_message: ChatMessage<'a>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PushedDeletion {
    message_id: Number,
}

fn push(channel: String, (from, to): (Entity, Entity), payload: impl Serialize) -> Frame {
    frame(&EventEnvelope {
        channel,
        payload,
        actions: [],
        sender_type: from.kind,
        sender_id: from.id,
        receiver_type: to.kind,
        receiver_id: to.id,
        socket_message_id: Uuid::new_v4(),
    })
}

impl ConciergeHandler {
    fn numbers_in_events(&self) -> NumbersInEvents {
        self.app.config.concierge.numbers_in_events
    }

    /// Encoder for events.
    fn event_encoder(&self) -> Encoder<'_> {
        Encoder { numbers_as_text: self.numbers_in_events() != NumbersInEvents::All, ..self.encoder() }
    }

    /// Frames for an event. An event that the client caused itself yields only the delayed answer, if any.
    pub(super) async fn deliver_event(&mut self, told: &DeliveredEvent) -> FramesOrClose {
        if self.is_duplicate(&told.event.fact) {
            return Ok(Vec::new());
        }
        let frame = match &told.event.fact {
            Fact::ReadUpTo { partner, seq, .. } => {
                let Topic::Conversation(of) = told.event.topic else { return Ok(Vec::new()) };
                let is_own = *partner == self.caller.partner && self.own_changes.take_seen(of, *seq);
                return if is_own { Ok(Vec::new()) } else { self.push_seen(told, of, *partner, *seq).await };
            }
            Fact::MessagePosted(message) => match self.own_changes.take_sent(message.id) {
                Some(answer) => Some(answer),
                None if self.own_changes.take_repeated(message.id) => None,
                None => self.push_message(told, message).await?,
            },
            Fact::MessageDeleted(message) if !self.own_changes.take_deleted(message.id) => {
                self.push_deleted(told, message).await?
            }
            Fact::SupportChanged { session, by } if !self.own_changes.take_changed(session) => {
                Some(told.memoised(ENCODING, || self.changed(session, *by)))
            }
            // The caller's own session waits for agents, not for the caller.
            Fact::SupportWaits(session) if session.initiator.partner == self.caller.partner => None,
            Fact::SupportWaits(session) if !self.own_changes.take_changed(session) => Some(self.session_waits(session)),
            Fact::DeviceConnected { device, connection } => {
                self.connected(device, connection)?;
                None
            }
            Fact::ParticipantLeft { conversation, .. } if matches!(told.event.topic, Topic::Partner(_)) => {
                return Ok(self.own_changes.take_sent_in(*conversation));
            }
            Fact::MessageEdited(_)
            | Fact::EditSuperseded
            | Fact::MessageDeleted(_)
            | Fact::MessageShown(_)
            | Fact::ConversationCreated(_)
            | Fact::ConversationChanged(_)
            | Fact::ParticipantJoined { .. }
            | Fact::ParticipantLeft { .. }
            | Fact::PlaceChanged { .. }
            | Fact::AttachmentDeleted { .. }
            | Fact::SessionEnded { .. }
            | Fact::TokensRevoked { .. }
            | Fact::UserChanged { .. }
            | Fact::SupportWaits(_)
            | Fact::SupportChanged { .. }
            | Fact::MessageReacted { .. }
            | Fact::MemberUnread { .. }
            | Fact::UserErased { .. }
            | Fact::StoreChanged
            | Fact::LogRestarted { .. }
            | Fact::Unknown => None,
        };
        Ok(frame.into_iter().collect())
    }

    /// True if an event of a session is a duplicate of the last one, recorded for a user who is both a participant and an agent.
    fn is_duplicate(&mut self, fact: &Fact) -> bool {
        let is_of_session = matches!(fact, Fact::SupportChanged { .. } | Fact::SupportWaits(_));
        let is_copy = is_of_session && self.last_of_session.as_ref() == Some(fact);
        if is_of_session && !is_copy {
            self.last_of_session = Some(fact.clone());
        }
        is_copy
    }

    async fn push_message(&self, told: &DeliveredEvent, message: &Message) -> Result<Option<Frame>, Close> {
        let Some(session) = self.session(message.conversation).await? else { return Ok(None) };
        self.app.chat.record_delivery(&self.caller, message);
        let frame = told.memoised_query(ENCODING, async {
            let file = self.app.chat.sent_file(message).await?;
            let posted = self.event_encoder().message(&session, message, None, file.as_ref());
            Ok(self.posted(&session, message, posted))
        });
        frame.await.map(Some).map_err(|error| close_after_failure(&error))
    }

    /// Pushes messages again after the other side has seen them: `chat-message-...` with the new status and `seenAt`.
    async fn push_seen(&self, told: &DeliveredEvent, of: ConversationId, reader: PartnerId, seq: i64) -> FramesOrClose {
        let Some(session) = self.session(of).await? else { return Ok(Vec::new()) };
        let seen = told.memoised_query(SEEN_LOOKUP, async {
            self.app.chat.newly_seen(&session, reader, seq, told.event.at).await.map(|seen| NewlySeen(seen.into()))
        });
        let NewlySeen(seen) = seen.await.map_err(|error| close_after_failure(&error))?;
        let pen = self.event_encoder();
        Ok(seen.iter().map(|seen| self.posted(&session, &seen.message, pen.seen(&session, seen))).collect())
    }

    fn posted(&self, session: &SupportSession, message: &Message, posted: ChatMessage<'_>) -> Frame {
        let payload = PushedMessage { chat_session_id: session.uuid, chat_message: posted.pushed() };
        push(format!("chat-message-{}", session.uuid), self.event_encoder().correspondents(session, message), payload)
    }

    async fn push_deleted(&self, told: &DeliveredEvent, message: &Message) -> Result<Option<Frame>, Close> {
        let Some(session) = self.session(message.conversation).await? else { return Ok(None) };
        Ok(Some(told.memoised(ENCODING, || {
            let pen = self.event_encoder();
            let ids = Encoder { numbers_as_text: self.numbers_in_events() == NumbersInEvents::None, ..pen };
            let payload = PushedDeletion { message_id: ids.number(message.id.0) };
            push("chat-message-delete".into(), pen.correspondents(&session, message), payload)
        })))
    }

    fn changed(&self, session: &SupportSession, by: Option<UserId>) -> Frame {
        let pen = self.event_encoder();
        let tenant = pen.tenant_entity(session);
        let sides = match by {
            None => (Entity { kind: None, id: None }, tenant),
            Some(user) if user == session.initiator.user => {
                (tenant, pen.agent_entity(session.joiner.map(|joiner| joiner.user.0)))
            }
            Some(user) => (pen.agent_entity(Some(user.0)), tenant),
        };
        push(format!("chat-session-update-{}", session.uuid), sides, PushedSession { chat_session: pen.session(session) })
    }

    fn session_waits(&self, session: &SupportSession) -> Frame {
        let pen = self.event_encoder();
        let sides = (pen.tenant_entity(session), pen.agent_entity(Some(self.caller.user.0)));
        push("chat-session-new".into(), sides, PushedSession { chat_session: pen.session(session) })
    }

    /// Closes the connection if a later connection of the same device replaces it.
    fn connected(&mut self, device: &str, connection: &str) -> Result<(), Close> {
        let link = self.link();
        if link.device.name == device {
            let is_this = link.device.connection == connection;
            if link.is_newest && !is_this {
                return Err(REPLACED);
            }
            link.is_newest |= is_this;
        }
        Ok(())
    }

    async fn session(&self, id: ConversationId) -> Result<Option<Arc<SupportSession>>, Close> {
        self.app.chat.support_of(id).await.map_err(|error| close_after_failure(&error))
    }
}

/// Closes a connection that missed an event. The client reconnects and reads the history.
fn close_after_failure(error: &chat::Error) -> Close {
    let away = matches!(error, chat::Error::Unavailable(_));
    telemetry::deferred("a socket is closed that cannot be told of a message", error, away);
    Close::UNAVAILABLE
}
