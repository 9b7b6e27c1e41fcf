//! What happens in the chat, whichever dialect it happened in, as Odoo 8's bus tells it.
//!
//! A notification's id is its event's position in the log times [`STRIDE`], plus its place among that event's
//! notifications: ids rise, no two are the same, and whoever passes the largest one it has seen says with it how far in
//! the log it is. Signals are in no log; their ids are those that the last event told leaves free, so that passing one
//! passes over nothing.

use std::collections::{HashMap, HashSet};

use poem_openapi::Object;
use serde::Serialize;
use serde_json::{Value, json};
use storage::{ConversationId, Fact, Message as Stored, PartnerId, Person, Position, Timestamp, Topic};
use uuid::Uuid;

use super::{
    content::Kind,
    error::fault,
    view,
    wire::{Message, SessionInfo, im_status, to_id, user_of},
};
use crate::{
    auth::Caller,
    chat::{Batch, PreferredId, Signal, Told},
    dialects::{House, jsonrpc::Fault, odoo_time},
};

/// How many ids each event has for its notifications and for the signals that follow it: more than anybody types in
/// between, and few enough for 8 billion events below the 2^53 up to where JavaScript counts.
const STRIDE: i64 = 1 << 20;
/// The first of those for signals. An event makes no more than a few notifications.
const SIGNALS: i64 = 1 << 10;
/// How many events one answer tells at most; the next one goes on from there.
const MOST: usize = 500;
/// The type of the notification that somebody has read; Odoo 8's own client passes over it.
const READ: &str = "read";

/// Up to where in the log somebody is who has seen this id.
pub(super) fn position(last: i64) -> Position {
    Position(last.max(0) / STRIDE)
}

/// One thing told on one channel.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ImChatNotification")]
pub(super) struct Notification {
    /// Rises; the largest one seen is `last` of the next poll.
    pub id: i64,
    /// `[database, "im_chat.session", uid]`, `[database, "im_chat.presence"]`, or a session's uuid.
    pub channel: Value,
    pub message: Value,
}

/// Who polls, and what it listens to beside its own channel.
pub(super) struct Listener<'a> {
    pub house: &'a House,
    pub caller: &'a Caller,
    /// Only those of the caller's own sessions make a difference, since it hears of no others.
    pub uuids: HashSet<Uuid>,
    pub presence: bool,
    /// The largest id it has seen.
    pub last: i64,
}

/// What the notifications of one batch need to know, read together.
#[derive(Default)]
struct Known {
    infos: HashMap<ConversationId, SessionInfo>,
    people: HashMap<PartnerId, Person>,
    read: HashMap<(ConversationId, i64), Stored>,
}

impl Listener<'_> {
    /// The notifications of a batch; `upto` is where in the log the batch ends. May be none.
    pub(super) async fn notifications(&self, batch: &Batch, upto: Position) -> Result<Vec<Notification>, Fault> {
        let events = &batch.events[..batch.events.len().min(MOST)];
        let upto = if events.len() < batch.events.len() { events[events.len() - 1].event.position } else { upto };
        let known = self.know(events, &batch.signals).await?;
        let mut told = Vec::new();
        for event in events {
            let first = event.event.position.0 * STRIDE;
            let messages = self.tell(event, &known).await?;
            told.extend((first..).zip(messages).map(|(id, (channel, message))| Notification { id, channel, message }));
        }
        let mut id = told.last().map_or(self.last, |last: &Notification| last.id);
        for signal in &batch.signals {
            for (channel, message) in self.pass_on(signal, &known).await? {
                id = id.saturating_add(1).clamp(upto.0 * STRIDE + SIGNALS, upto.0 * STRIDE + STRIDE - 1);
                told.push(Notification { id, channel, message });
            }
        }
        Ok(told)
    }

    async fn know(&self, events: &[std::sync::Arc<Told>], signals: &[std::sync::Arc<Signal>]) -> Result<Known, Fault> {
        let (mut sessions, mut people, mut places) = (HashSet::new(), HashSet::new(), HashSet::new());
        for told in events {
            match (told.event.topic, &told.event.fact) {
                (Topic::Conversation(id), Fact::ReadUpTo { partner, seq, .. }) if *partner != self.caller.partner => {
                    people.insert(*partner);
                    places.insert((id, *seq));
                }
                (Topic::Conversation(id), fact) if changes_session(fact) => drop(sessions.insert(id)),
                (_, Fact::PlaceChanged { conversation, .. }) => drop(sessions.insert(*conversation)),
                _ => {}
            }
        }
        people.extend(signals.iter().filter_map(|signal| match signal.as_ref() {
            Signal::Typing { partner, .. } | Signal::Presence { partner, .. } => Some(*partner),
            Signal::Delivered { .. } => None,
        }));
        let mut known = Known::default();
        if !sessions.is_empty() {
            let sessions: Vec<_> = sessions.into_iter().collect();
            let infos = view::infos(self.house, self.caller, Some(&sessions)).await?;
            known.infos = infos.into_iter().map(|(kept, info)| (kept.conversation().id, info)).collect();
        }
        let chat = &self.house.chat;
        let ids: Vec<_> = people.iter().map(|partner| partner.0).collect();
        let people = chat.people_by_id(&ids, PreferredId::Partner).await.map_err(fault)?;
        known.people = people.into_iter().map(|person| (person.partner.id, person)).collect();
        if !places.is_empty() {
            let places: Vec<_> = places.into_iter().collect();
            let read = chat.messages_at(&places).await.map_err(fault)?;
            known.read = read.into_iter().map(|message| ((message.conversation, message.seq), message)).collect();
        }
        Ok(known)
    }

    /// The channels and messages of one event.
    async fn tell(&self, told: &Told, known: &Known) -> Result<Vec<(Value, Value)>, Fault> {
        let event = &told.event;
        Ok(match (event.topic, &event.fact) {
            (Topic::Conversation(id), Fact::MessagePosted(message)) => {
                let uuid = self.uuid(id).await?;
                self.to_members(uuid, json(&Message::plain(message, uuid)))
            }
            (Topic::Conversation(id), Fact::ReadUpTo { partner, seq, .. }) if *partner != self.caller.partner => {
                let uuid = self.uuid(id).await?;
                let Some(person) = known.people.get(partner) else { return Ok(Vec::new()) };
                let last = known.read.get(&(id, *seq)).map_or(0, |message| message.id.0);
                self.to_members(uuid, like_message(READ, last, "", event.at, id, uuid, person))
            }
            // What one reads or puts away is shown to its own clients alone.
            (Topic::Conversation(id), Fact::ReadUpTo { .. }) => self.to_caller(known.infos.get(&id)),
            (_, Fact::PlaceChanged { conversation, .. }) => self.to_caller(known.infos.get(conversation)),
            (Topic::Conversation(id), Fact::ParticipantJoined { .. } | Fact::ParticipantLeft { .. }) => {
                let uuid = self.uuid(id).await?;
                known.infos.get(&id).map(|info| self.to_members(uuid, json(info))).unwrap_or_default()
            }
            (Topic::Partner(_), Fact::ParticipantLeft { conversation, .. }) => {
                // Who is in it is no longer this caller's to know.
                let uuid = self.uuid(*conversation).await?.to_string();
                let (state, status) = ("closed".into(), "active".into());
                let info = SessionInfo { uuid, users: Vec::new(), state, status, is_read: true };
                self.to_caller(Some(&info))
            }
            _ => Vec::new(),
        })
    }

    /// The channels and messages of one signal.
    async fn pass_on(&self, signal: &Signal, known: &Known) -> Result<Vec<(Value, Value)>, Fault> {
        Ok(match signal {
            Signal::Typing { conversation, partner, typing: true, post } if *partner != self.caller.partner => {
                let Some(person) = known.people.get(partner) else { return Ok(Vec::new()) };
                let uuid = self.uuid(*conversation).await?;
                // Whoever types in another dialect has posted nothing that would have an id.
                let (id, body, at) = match post {
                    Some(post) => (post.id.0, post.body.as_str(), post.at),
                    None => (0, "", crate::clock::now()),
                };
                self.to_members(uuid, like_message(Kind::Typing.as_str(), id, body, at, *conversation, uuid, person))
            }
            Signal::Presence { partner, status } if self.presence => {
                let Some(user) = known.people.get(partner).and_then(|person| person.user) else { return Ok(Vec::new()) };
                let channel = json!([self.house.config.database, "im_chat.presence"]);
                vec![(channel, json!({"id": user, "im_status": im_status(*status)}))]
            }
            Signal::Typing { .. } | Signal::Presence { .. } | Signal::Delivered { .. } => Vec::new(),
        })
    }

    fn own_channel(&self) -> Value {
        json!([self.house.config.database, "im_chat.session", self.caller.user])
    }

    fn to_caller(&self, info: Option<&SessionInfo>) -> Vec<(Value, Value)> {
        info.map(|info| (self.own_channel(), json(info))).into_iter().collect()
    }

    /// To the session's own channel, for those who listen to it, and to the caller's.
    fn to_members(&self, uuid: Uuid, message: Value) -> Vec<(Value, Value)> {
        let session = self.uuids.contains(&uuid).then(|| (uuid.to_string().into(), message.clone()));
        session.into_iter().chain([(self.own_channel(), message)]).collect()
    }

    async fn uuid(&self, id: ConversationId) -> Result<Uuid, Fault> {
        self.house.chat.conversation_uuid(id).await.map_err(fault)
    }
}

/// Whether its notification is the session's header.
fn changes_session(fact: &Fact) -> bool {
    matches!(fact, Fact::ReadUpTo { .. } | Fact::ParticipantJoined { .. } | Fact::ParticipantLeft { .. })
}

/// What is told like a message and is none.
fn like_message(kind: &str, id: i64, body: &str, at: Timestamp, session: ConversationId, uuid: Uuid, by: &Person) -> Value {
    json(&Message {
        create_date: odoo_time(at),
        to_id: to_id(session, uuid),
        message: body.into(),
        kind: kind.into(),
        id,
        from_id: user_of(by),
        from_partner_id: None,
    })
}

fn json(wire: &impl Serialize) -> Value {
    serde_json::to_value(wire).expect("texts and numbers can be written as JSON")
}
