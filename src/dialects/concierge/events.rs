use schemars::JsonSchema;
use serde::Serialize;
use storage::{ConversationId, Fact, Message, MessageId, SupportSession, Topic, UserId};
use uuid::Uuid;

use super::{
    REPLACED,
    voice::Talk,
    wire::{ChatMessage, ChatSession, Entity, Number, Pen, frame},
};
use crate::{
    chat::{self, Told},
    dialects::socket::{Close, Frame, Said},
    telemetry,
};

/// All who are told an event are told it in the same words.
const WORDS: &str = "concierge";

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pushed<P> {
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
pub(super) struct Session {
    chat_session: ChatSession,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Posted<'a> {
    chat_session_id: Uuid,
    chat_message: ChatMessage<'a>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Unsent {
    message_id: Number,
}

fn push(channel: String, (from, to): (Entity, Entity), payload: impl Serialize) -> Frame {
    frame(&Pushed {
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

impl Talk {
    /// How events are written.
    fn event_pen(&self) -> Pen<'_> {
        Pen { texts: !self.house.config.concierge.numbers_in_events, ..self.pen() }
    }

    /// What the client is told of an event: nothing if it has made it happen itself, but for the answer that has waited
    /// for it.
    pub(super) async fn tell_event(&mut self, told: &Told) -> Said {
        if self.has_heard(&told.event.fact) {
            return Ok(Vec::new());
        }
        let frame = match &told.event.fact {
            Fact::MessagePosted(message) => match self.made.take_sent(message.id) {
                Some(answer) => Some(answer),
                None if self.made.take_repeated(message.id) => None,
                None => self.push_message(told, message).await?,
            },
            Fact::MessageDeleted(message) if !self.made.take_unsent(message.id) => self.push_unsent(told, message).await?,
            Fact::SupportChanged { session, by } if !self.made.take_changed(session) => {
                Some(told.shared(WORDS, || self.changed(session, *by)))
            }
            // One's own waits for others.
            Fact::SupportWaits(session) if session.initiator.partner == self.caller.partner => None,
            Fact::SupportWaits(session) if !self.made.take_changed(session) => Some(self.waits(session)),
            Fact::DeviceConnected { device, connection } => {
                self.connected(device, connection)?;
                None
            }
            Fact::ParticipantLeft { conversation, .. } if matches!(told.event.topic, Topic::Partner(_)) => {
                return Ok(self.made.take_sent_in(*conversation));
            }
            _ => None,
        };
        Ok(frame.into_iter().collect())
    }

    /// Whether a fact of a session is only a copy of the last one, recorded for somebody who is both in the session and one of
    /// those who answer.
    fn has_heard(&mut self, fact: &Fact) -> bool {
        let is_of_session = matches!(fact, Fact::SupportChanged { .. } | Fact::SupportWaits(_));
        let is_copy = is_of_session && self.last_of_session.as_ref() == Some(fact);
        if is_of_session && !is_copy {
            self.last_of_session = Some(fact.clone());
        }
        is_copy
    }

    async fn push_message(&self, told: &Told, message: &Message) -> Result<Option<Frame>, Close> {
        let Some(session) = self.session(message.conversation).await? else { return Ok(None) };
        self.house.chat.hands_over(&self.caller, message);
        Ok(Some(told.shared(WORDS, || {
            let pen = self.event_pen();
            let payload = Posted { chat_session_id: session.uuid, chat_message: pen.pushed(&session, message) };
            push(format!("chat-message-{}", session.uuid), pen.correspondents(&session, message), payload)
        })))
    }

    async fn push_unsent(&self, told: &Told, message: &Message) -> Result<Option<Frame>, Close> {
        let Some(session) = self.session(message.conversation).await? else { return Ok(None) };
        Ok(Some(told.shared(WORDS, || {
            let pen = self.event_pen();
            let MessageId(id) = message.id;
            let payload = Unsent { message_id: pen.number(id) };
            push("chat-message-delete".into(), pen.correspondents(&session, message), payload)
        })))
    }

    fn changed(&self, session: &SupportSession, by: Option<UserId>) -> Frame {
        let pen = self.event_pen();
        let tenant = pen.tenant_entity(session);
        let sides = match by {
            None => (Entity { kind: None, id: None }, tenant),
            Some(user) if user == session.initiator.user => {
                (tenant, pen.agent_entity(session.joiner.map(|joiner| joiner.user.0)))
            }
            Some(user) => (pen.agent_entity(Some(user.0)), tenant),
        };
        push(format!("chat-session-update-{}", session.uuid), sides, Session { chat_session: pen.session(session) })
    }

    fn waits(&self, session: &SupportSession) -> Frame {
        let pen = self.event_pen();
        let sides = (pen.tenant_entity(session), pen.agent_entity(Some(self.caller.user.0)));
        push("chat-session-new".into(), sides, Session { chat_session: pen.session(session) })
    }

    /// A later connection of the same device takes this one's place.
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

    async fn session(&self, id: ConversationId) -> Result<Option<std::sync::Arc<SupportSession>>, Close> {
        self.house.chat.support_of(id).await.map_err(|error| {
            let away = matches!(error, chat::Error::Unavailable(_));
            telemetry::put_off("a socket is closed that cannot be told of a message", &error, away);
            Close::UNAVAILABLE
        })
    }
}
