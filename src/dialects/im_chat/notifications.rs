//! Notifications of Odoo 8's bus, made from the event log and from signals of all dialects. Reactions are left out: Odoo 8's
//! protocol has no message and no field for them.
//!
//! A notification's id is the event's position in the event log times [`STRIDE`], plus the notification's index within that
//! event. Ids rise and are unique, so the largest id that a client has seen is its cursor in the event log. Signals are not in
//! the event log. Their ids come from the range that the newest event leaves free, numbered per node in order of arrival, so that
//! a cursor names exactly the events and signals seen. The numbers also rise with the time since that event, so that the ids of
//! another node, or of this node after a restart, are larger than all earlier ids.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use poem_openapi::Object;
use serde::Serialize;
use serde_json::{Value, json};
use storage::{ConversationId, Fact, InboxFilter, MessageId, PAGE_BYTES, PartnerId, Person, Position, Topic};
use uuid::Uuid;

use super::{
    content::MessageKind,
    error::fault,
    view::Headers,
    wire::{Message, SessionInfo, im_status, partner_of, to_id, user_of},
};
use crate::{
    auth::Caller,
    events::{DeliveredEvent, FeedBatch, RecentSignal, Signal, SignalMark},
    web::{AppContext, jsonrpc::Fault, odoo_time, page::json_len},
};

/// Ids per event, for its notifications and for the signals that follow it: more than clients send signals between two events,
/// and few enough for 8 billion events below 2^53, the largest exact integer in JavaScript.
const STRIDE: i64 = 1 << 20;
/// Offset of the first signal id. An event makes only a few notifications.
const SIGNAL_OFFSET: i64 = 1 << 10;
/// Ids per signal: the most channels that carry one signal.
const CHANNELS_PER_SIGNAL: i64 = 2;
/// Most events per response; the next poll continues from there.
const MAX_EVENTS: usize = 500;

/// Cursor of a client that has seen this id.
pub(super) fn cursor_mark(last: i64) -> SignalMark {
    let last = last.max(0);
    let signals = last % STRIDE - SIGNAL_OFFSET;
    SignalMark { position: Position(last / STRIDE), count: if signals < 0 { 0 } else { signals / CHANNELS_PER_SIGNAL + 1 } }
}

/// First id of a signal's notifications; `None` if the signals since the last event have used up all ids.
fn first_id(of: SignalMark) -> Option<i64> {
    let place = (of.count - 1).checked_mul(CHANNELS_PER_SIGNAL)?.checked_add(SIGNAL_OFFSET)?;
    (place + CHANNELS_PER_SIGNAL <= STRIDE).then_some(of.position.0 * STRIDE + place)
}

/// A notification on one channel.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "ImChatNotification")]
pub(super) struct Notification {
    /// Rises. The largest id seen is `last` of the next poll.
    pub id: i64,
    /// `[database, "im_chat.session", uid]`, `[database, "im_chat.presence"]`, or a session's uuid.
    pub channel: Value,
    pub message: Value,
}

/// A polling client and its channels beside its own.
pub(super) struct BusListener<'a> {
    pub app: &'a AppContext,
    pub caller: &'a Caller,
    /// Session channels. Only sessions of the caller matter: no other session's events arrive here.
    pub uuids: HashSet<Uuid>,
    pub presence: bool,
}

/// Data for the notifications of one batch, read together.
#[derive(Default)]
struct NotificationData {
    headers: Option<Headers>,
    people: HashMap<PartnerId, Person>,
    read: HashMap<(ConversationId, i64), MessageId>,
}

impl NotificationData {
    fn header(&self, of: ConversationId) -> Option<SessionInfo> {
        let headers = self.headers.as_ref()?;
        headers.conversations.iter().find(|kept| kept.conversation().id == of).map(|kept| headers.header(kept))
    }
}

/// An item of a batch to notify of.
enum BatchItem<'a> {
    Event(&'a DeliveredEvent),
    Signal(&'a Signal),
}

impl BusListener<'_> {
    /// Returns the first notifications of a batch, by rising id; the next poll returns the rest. The list ends before
    /// [`PAGE_BYTES`], except that a single larger item is returned alone. Empty if nothing in the whole batch makes a
    /// notification.
    pub(super) async fn notifications(&self, batch: &FeedBatch) -> Result<Vec<Notification>, Fault> {
        let (mut events, mut signals) = (batch.events.as_slice(), batch.signals.as_slice());
        while !events.is_empty() || !signals.is_empty() {
            let (some, rest) = events.split_at(events.len().min(MAX_EVENTS));
            // Signals after an event that is left for the next poll are left as well.
            let end = rest.first().map(|told| told.event.position);
            let before = signals.partition_point(|signalled| end.is_none_or(|end| signalled.mark.position < end));
            let (some_signals, rest_signals) = signals.split_at(before.min(MAX_EVENTS));
            // Events after a signal that is left are left as well.
            let next = rest_signals.first().map(|signalled| signalled.mark.position);
            let some = &some[..some.partition_point(|told| next.is_none_or(|next| told.event.position <= next))];
            let told = self.notifications_of(some, some_signals).await?;
            if !told.is_empty() {
                return Ok(told);
            }
            (events, signals) = (&events[some.len()..], rest_signals);
        }
        Ok(Vec::new())
    }

    async fn notifications_of(
        &self,
        events: &[Arc<DeliveredEvent>],
        signals: &[Arc<RecentSignal>],
    ) -> Result<Vec<Notification>, Fault> {
        let known = self.load(events, signals).await?;
        let events = events.iter().map(|told| (told.event.position.0 * STRIDE, BatchItem::Event(told)));
        let signals = signals.iter().filter_map(|told| Some((first_id(told.mark)?, BatchItem::Signal(&told.signal))));
        let mut happened: Vec<_> = events.chain(signals).collect();
        happened.sort_by_key(|(first, _)| *first);
        let (mut told, mut bytes) = (Vec::new(), 0);
        for (first, happened) in happened {
            let messages = match happened {
                BatchItem::Event(event) => self.event_notifications(event, &known).await?,
                BatchItem::Signal(signal) => self.signal_notifications(signal, &known).await?,
            };
            let more: usize = messages.iter().map(|(channel, message)| json_len(channel) + json_len(message)).sum();
            if bytes > 0 && bytes + more > PAGE_BYTES {
                break;
            }
            bytes += more;
            told.extend((first..).zip(messages).map(|(id, (channel, message))| Notification { id, channel, message }));
        }
        Ok(told)
    }

    async fn load(&self, events: &[Arc<DeliveredEvent>], signals: &[Arc<RecentSignal>]) -> Result<NotificationData, Fault> {
        let (mut sessions, mut people, mut places) = (HashSet::new(), HashSet::new(), HashSet::new());
        for told in events {
            match (told.event.topic, &told.event.fact) {
                (Topic::Conversation(id), fact) if changes_session(fact) => {
                    sessions.insert(id);
                    if let Fact::ReadUpTo { partner, seq, .. } = fact
                        && *partner != self.caller.partner
                    {
                        people.insert(*partner);
                        places.insert((id, *seq));
                    }
                }
                (_, Fact::PlaceChanged { conversation, .. }) => drop(sessions.insert(*conversation)),
                (Topic::Conversation(_) | Topic::Partner(_), _) => {}
            }
        }
        people.extend(signals.iter().filter_map(|signalled| match &signalled.signal {
            Signal::Typing { partner, typing: true, .. } if *partner != self.caller.partner => Some(*partner),
            Signal::Presence { partner, .. } if self.presence => Some(*partner),
            Signal::Typing { .. } | Signal::Presence { .. } | Signal::Delivered { .. } => None,
        }));
        let mut known = NotificationData::default();
        if !sessions.is_empty() {
            let sessions: Vec<_> = sessions.into_iter().collect();
            let filter = InboxFilter { only: Some(&sessions), ..InboxFilter::default() };
            known.headers = Some(Headers::of(self.app, self.caller, filter, |_| true).await?);
        }
        let chat = &self.app.chat;
        let people: Vec<_> = people.into_iter().collect();
        let people = chat.people(&people).await.map_err(fault)?;
        known.people = people.into_iter().map(|person| (person.partner.id, person)).collect();
        if !places.is_empty() {
            let places: Vec<_> = places.into_iter().collect();
            let read = chat.messages_at(&places).await.map_err(fault)?;
            known.read = read.into_iter().map(|message| ((message.conversation, message.seq), message.id)).collect();
        }
        Ok(known)
    }

    /// Channels and messages of one event.
    async fn event_notifications(&self, told: &DeliveredEvent, known: &NotificationData) -> Result<Vec<(Value, Value)>, Fault> {
        let event = &told.event;
        Ok(match (event.topic, &event.fact) {
            (Topic::Conversation(id), Fact::MessagePosted(message)) => {
                let uuid = self.uuid(id).await?;
                self.to_members(uuid, json(&Message::of(message, uuid, self.caller.partner)))
            }
            (Topic::Conversation(id), Fact::MessageEdited(message) | Fact::MessageDeleted(message)) => {
                let uuid = self.uuid(id).await?;
                let changed = |info: SessionInfo| json(&info.with_changed(Message::of(message, uuid, self.caller.partner)));
                known.header(id).map(|info| self.to_members(uuid, changed(info))).unwrap_or_default()
            }
            (Topic::Conversation(id), Fact::ReadUpTo { partner, seq, .. }) if *partner != self.caller.partner => {
                let uuid = self.uuid(id).await?;
                let reader = known.people.get(partner).and_then(|person| person.user);
                let last = known.read.get(&(id, *seq)).copied();
                match (known.header(id), reader, last) {
                    (Some(info), Some(reader), Some(last)) => self.to_members(uuid, json(&info.read_by(reader, last))),
                    _ => Vec::new(),
                }
            }
            // The caller's own read position and conversation settings go to the caller's channel only.
            (Topic::Conversation(id), Fact::ReadUpTo { .. }) => self.to_caller(known.header(id).as_ref()),
            (_, Fact::PlaceChanged { conversation, .. }) => self.to_caller(known.header(*conversation).as_ref()),
            (Topic::Conversation(id), Fact::ParticipantJoined { .. } | Fact::ParticipantLeft { .. }) => {
                let uuid = self.uuid(id).await?;
                known.header(id).map(|info| self.to_members(uuid, json(&info))).unwrap_or_default()
            }
            (Topic::Partner(_), Fact::ParticipantLeft { conversation, .. }) => {
                // A caller that has left may not see the participants.
                let uuid = self.uuid(*conversation).await?.to_string();
                let (state, status) = ("closed".into(), "active".into());
                let info = SessionInfo { uuid, users: Vec::new(), state, status, is_read: true, read_by: None, changed: None };
                self.to_caller(Some(&info))
            }
            (
                _,
                Fact::MessagePosted(_)
                | Fact::MessageEdited(_)
                | Fact::EditSuperseded
                | Fact::MessageDeleted(_)
                | Fact::MessageShown(_)
                | Fact::ReadUpTo { .. }
                | Fact::ConversationCreated(_)
                | Fact::ConversationChanged(_)
                | Fact::ParticipantJoined { .. }
                | Fact::AttachmentDeleted { .. }
                | Fact::SessionEnded { .. }
                | Fact::TokensRevoked { .. }
                | Fact::UserChanged { .. }
                | Fact::SupportWaits(_)
                | Fact::SupportChanged { .. }
                | Fact::DeviceConnected { .. }
                | Fact::MessageReacted { .. }
                | Fact::MemberUnread { .. }
                | Fact::UserErased { .. }
                | Fact::StoreChanged
                | Fact::LogRestarted { .. }
                | Fact::Unknown,
            ) => Vec::new(),
        })
    }

    /// Channels and messages of one signal.
    async fn signal_notifications(&self, signal: &Signal, known: &NotificationData) -> Result<Vec<(Value, Value)>, Fault> {
        Ok(match signal {
            Signal::Typing { conversation, partner, typing: true, post } if *partner != self.caller.partner => {
                let Some(person) = known.people.get(partner) else { return Ok(Vec::new()) };
                let uuid = self.uuid(*conversation).await?;
                // Typing in another dialect posts no message and has no id.
                let (id, body, at) = match post {
                    Some(post) => (post.id.0, post.body.as_str(), post.at),
                    None => (0, "", crate::clock::now()),
                };
                let message = Message {
                    create_date: odoo_time(at),
                    to_id: to_id(*conversation, uuid),
                    message: body.into(),
                    kind: MessageKind::Typing.as_str().into(),
                    id,
                    from_id: user_of(person),
                    from_partner_id: partner_of(person),
                };
                self.to_members(uuid, json(&message))
            }
            Signal::Presence { partner, status } if self.presence => {
                let Some(user) = known.people.get(partner).and_then(|person| person.user) else { return Ok(Vec::new()) };
                let channel = json!([self.app.config.database, "im_chat.presence"]);
                vec![(channel, json!({"id": user, "im_status": im_status(*status)}))]
            }
            Signal::Typing { .. } | Signal::Presence { .. } | Signal::Delivered { .. } => Vec::new(),
        })
    }

    fn own_channel(&self) -> Value {
        json!([self.app.config.database, "im_chat.session", self.caller.user])
    }

    fn to_caller(&self, info: Option<&SessionInfo>) -> Vec<(Value, Value)> {
        info.map(|info| (self.own_channel(), json(info))).into_iter().collect()
    }

    /// Addresses a message to the caller's channel and, for listeners, to the session's channel.
    fn to_members(&self, uuid: Uuid, message: Value) -> Vec<(Value, Value)> {
        let session = self.uuids.contains(&uuid).then(|| (uuid.to_string().into(), message.clone()));
        session.into_iter().chain([(self.own_channel(), message)]).collect()
    }

    async fn uuid(&self, id: ConversationId) -> Result<Uuid, Fault> {
        self.app.chat.conversation_uuid(id).await.map_err(fault)
    }
}

/// True if the event's notification is the session's header.
fn changes_session(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::ReadUpTo { .. }
            | Fact::MessageEdited(_)
            | Fact::MessageDeleted(_)
            | Fact::ParticipantJoined { .. }
            | Fact::ParticipantLeft { .. }
    )
}

fn json(wire: &impl Serialize) -> Value {
    serde_json::to_value(wire).expect("texts and numbers can be written as JSON")
}
