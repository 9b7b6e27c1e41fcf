//! WebSocket session of the `room` dialect: delivers all messages of one user, and handles the client's actions.

use std::{collections::BTreeSet, sync::Arc};

use poem::{Endpoint, Request, Response, endpoint};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use storage::{Fact, Message, MessageId, MessageType, User};
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    content,
    delivery_order::DeliveryOrder,
    error::{self, NO_SUCH_USER},
    server_frame::{self, EncodedMessage, Revision},
};
use crate::{
    auth::Caller,
    chat::{self, Draft, Error, HeldMessageLease},
    events::{DeliveredEvent, FeedBatch},
    shares::Charge,
    web::{
        AppContext,
        bearer::socket_caller,
        body::{self, JsonError},
        lenient::{Int, Lenient, Text},
        websocket::{self, Frame, FramesOrClose, SocketHandler, SocketSession},
    },
};

/// WebSocket endpoint of the dialect.
pub fn sockets(app: &AppContext) -> impl Endpoint<Output = Response> + use<> {
    let app = app.clone();
    endpoint::make(move |request| {
        let app = app.clone();
        async move { Ok::<_, poem::Error>(open(&request, app).await) }
    })
}

async fn open(request: &Request, app: AppContext) -> Response {
    let query = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let token = query.into_iter().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned());
    let (caller, subprotocol) = socket_caller(request, token.as_deref(), &app).await;
    // Subscribes before the response, because the client counts on every event after it.
    let heard = caller.map(|caller| (app.chat.subscribe_caller(&caller), caller));
    let sockets = app.sockets.clone();
    websocket::open(request, subprotocol, &sockets, async move {
        let (feed, caller) = heard.map_err(|error| error::auth_close(&error))?;
        let handler = RoomHandler {
            app,
            caller: caller.clone(),
            revision: Revision::Current,
            held_message_lease: None,
            order: DeliveryOrder::default(),
            unconfirmed: BTreeSet::new(),
        };
        Ok(SocketSession { handler, feed, caller })
    })
}

/// Session of one user on one socket.
struct RoomHandler {
    app: AppContext,
    caller: Caller,
    /// Revision that the client has used so far.
    revision: Revision,
    /// Held-message lease, from the opening of the socket on. Sockets of other dialects hold none, since their clients cannot
    /// show files.
    held_message_lease: Option<HeldMessageLease>,
    order: DeliveryOrder,
    /// Messages that the client has shown and whose confirmation is pending.
    unconfirmed: BTreeSet<MessageId>,
}

/// Client frames. Fields are validated when the action is executed.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "action")]
pub(super) enum RoomClientFrame {
    /// Sends a text message to a user.
    #[serde(rename = "text_message")]
    Text {
        message_body: Text,
        /// Alternative name of `message_body`.
        #[serde(default)]
        message: Text,
        /// The uuid of the receiver.
        receiver_id: Text,
    },
    /// Sends an uploaded file message to its receiver.
    #[serde(rename = "file_message")]
    File {
        /// The id of the message created by the upload.
        chat_id: Int,
    },
    /// Sends a user's profile to another user.
    #[serde(rename = "user_profile_message")]
    Profile {
        /// The uuid of the user whose profile is sent.
        attached_profile_id: Text,
        /// The uuid of the receiver.
        receiver_id: Text,
    },
    /// Sends a text message to a user: `text_message` in the older revision of this dialect.
    #[serde(rename = "chat_message")]
    OlderText {
        #[serde(default)]
        message_body: Text,
        /// Alternative name of `message_body`.
        #[serde(default)]
        message: Text,
        /// The uuid of the receiver.
        receiver_id: Text,
    },
    /// Sends an uploaded file message to its receiver: `file_message` in the older revision of this dialect.
    #[serde(rename = "chat_message_file")]
    OlderFile {
        /// The id of the message created by the upload.
        chat_id: Int,
    },
    /// Application-level ping. The text frame `ping` works as well and is answered with `pong`.
    #[serde(rename = "ping")]
    Ping {},
}

/// Reason for which an action failed: a sentence and an error code.
struct RoomActionError(String, &'static str);

impl From<Error> for RoomActionError {
    fn from(error: Error) -> Self {
        let (message, code) = error::message_and_code(&error);
        Self(message, code)
    }
}

impl RoomActionError {
    fn invalid(message: impl Into<String>) -> Self {
        Self(message.into(), "invalid")
    }
}

impl SocketHandler for RoomHandler {
    const DIALECT: &'static str = "room";
    const ACCEPTS_BINARY: bool = true;

    async fn on_open(&mut self) -> FramesOrClose {
        self.held_message_lease = Some(self.app.chat.lease_held_messages(&self.caller).await);
        Ok(Vec::new())
    }

    async fn on_message(&mut self, text: &str, charge: &mut Charge) -> FramesOrClose {
        match text.trim() {
            "ping" => return Ok(vec!["pong".into()]),
            r#""ping""# => return Ok(vec![r#""pong""#.into()]),
            _ => {}
        }
        let frame = match read(text, charge) {
            Ok(frame) => frame,
            Err(RoomActionError(message, code)) => {
                let [action] = body::members(text, ["action"]);
                let action: Option<String> = action.and_then(|action| serde_json::from_str(action.get()).ok());
                return Ok(vec![server_frame::failure(action.as_deref(), &message, code)]);
            }
        };
        let action = frame.get("action").and_then(Value::as_str).map(str::to_owned);
        let action = action.as_deref();
        let outcome = match (action, RoomClientFrame::deserialize(frame)) {
            (Some(_), Ok(asked)) => self.answer(asked).await,
            // Unknown actions only: lenient fields never fail to parse.
            (Some(_), Err(_)) => Err(RoomActionError("There is no such action".into(), "unknown_action")),
            (None, _) => Err(RoomActionError("action must be a text".into(), "unknown_action")),
        };
        Ok(match outcome {
            Ok(answer) => answer.into_iter().collect(),
            Err(RoomActionError(message, code)) => vec![server_frame::failure(action, &message, code)],
        })
    }

    async fn on_events(&mut self, batch: &FeedBatch) -> FramesOrClose {
        let mut said = Vec::new();
        for told in &batch.events {
            let mut due = self.order.due(&told.event.fact);
            if let Fact::MessageShown(message) = &told.event.fact
                && self.unconfirmed.remove(&message.id)
                && due.is_empty()
            {
                // Its turn has passed, but the sender still needs the confirmation.
                due.push(message.clone());
            }
            for message in due {
                said.push(self.frame(&message, Some(told)).await.map_err(|error| error::delivery_close(&error))?);
                self.app.chat.record_delivery(&self.caller, &message);
            }
        }
        Ok(said)
    }

    async fn on_ping(&mut self) -> FramesOrClose {
        Ok(Vec::new())
    }

    fn on_binary(&self) -> Frame {
        server_frame::failure(None, "Frames must hold text", "not_text")
    }
}

impl RoomHandler {
    async fn answer(&mut self, asked: RoomClientFrame) -> Result<Option<Frame>, RoomActionError> {
        match asked {
            RoomClientFrame::Text { message_body, message, receiver_id } => {
                self.send_text(message_body, message, receiver_id).await
            }
            RoomClientFrame::File { chat_id } => self.show_file(chat_id).await,
            RoomClientFrame::Profile { attached_profile_id, receiver_id } => {
                self.send_profile(attached_profile_id, receiver_id).await
            }
            RoomClientFrame::OlderText { message_body, message, receiver_id } => {
                self.revision = Revision::Older;
                self.send_text(message_body, message, receiver_id).await
            }
            RoomClientFrame::OlderFile { chat_id } => {
                self.revision = Revision::Older;
                self.show_file(chat_id).await
            }
            RoomClientFrame::Ping {} => Ok(Some(server_frame::pong())),
        }
    }

    async fn send_text(&self, message_body: Text, message: Text, receiver: Text) -> Result<Option<Frame>, RoomActionError> {
        let body = optional(message_body, "message_body")?.or(optional(message, "message")?).unwrap_or_default();
        self.send(receiver, Draft::new(MessageType::Text, body)).await
    }

    async fn send_profile(&mut self, profile: Text, receiver: Text) -> Result<Option<Frame>, RoomActionError> {
        let no_such = || RoomActionError("There is no user with this attached_profile_id".into(), "not_found");
        let shown = self.user(profile, "attached_profile_id").await?.ok_or_else(no_such)?;
        // Text for dialects that cannot show profiles.
        let draft = Draft::new(MessageType::Profile, shown.partner.name.clone());
        self.send(receiver, Draft { metadata: Some(content::profile_metadata(shown.uuid)), ..draft }).await
    }

    /// Sends a message. Its sender gets the confirmation as an event, so that messages keep one order.
    async fn send(&self, receiver: Text, draft: Draft) -> Result<Option<Frame>, RoomActionError> {
        let no_such = || RoomActionError(NO_SUCH_USER.into(), "not_found");
        let receiver = self.user(receiver, "receiver_id").await?.ok_or_else(no_such)?;
        let chat = &self.app.chat;
        // Validated first, so that an invalid message creates no thread.
        if draft.body.trim().is_empty() {
            return Err(RoomActionError::invalid("message_body must not be empty"));
        }
        chat.check_draft(&draft)?;
        let thread = chat.find_or_create_direct(&self.caller, receiver.id, None).await?;
        chat.send(&self.caller, thread, draft).await?;
        Ok(None)
    }

    /// Shows a file message that this user has uploaded. Idempotent: a repetition only confirms it again.
    async fn show_file(&mut self, chat_id: Int) -> Result<Option<Frame>, RoomActionError> {
        let id = MessageId(optional(chat_id, "chat_id")?.ok_or_else(|| RoomActionError::invalid("chat_id is missing"))?);
        // The same answer for messages of others, so that ids cannot be probed.
        let no_such = || RoomActionError("You have uploaded no file with this chat_id".into(), "not_found");
        let (message, was_held) = match self.app.chat.show_message(&self.caller, id).await {
            Ok(shown) => shown,
            Err(Error::NotFound(_) | Error::Forbidden) => return Err(no_such()),
            Err(error) => return Err(error.into()),
        };
        if was_held && !self.order.has_passed(&message) {
            self.unconfirmed.insert(id);
            return Ok(None);
        }
        Ok(Some(self.frame(&message, None).await?))
    }

    /// Frame of a message for this user. The encoding is memoised per event.
    async fn frame(&self, message: &Message, event: Option<&DeliveredEvent>) -> chat::Result<Frame> {
        let words = EncodedMessage::of(message, self.caller.partner, &self.app, self.revision);
        let words = match event.filter(|told| is_of(told, message)) {
            Some(told) => told.memoised_query(self.revision.encoding(), words).await?,
            None => words.await?,
        };
        let is_author = message.author.partner == self.caller.partner;
        Ok(if is_author { words.confirmed } else { words.received })
    }

    /// The user with the given uuid; `None` if there is none.
    async fn user(&self, id: Text, name: &str) -> Result<Option<Arc<User>>, RoomActionError> {
        let id = optional(id, name)?.ok_or_else(|| RoomActionError::invalid(format!("{name} is missing")))?;
        let Ok(uuid) = id.trim().parse::<Uuid>() else { return Ok(None) };
        match self.app.chat.user_by_uuid(uuid).await {
            Ok(user) => Ok(Some(user)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// True if the event is about this message, and did not merely release it from the held ones.
fn is_of(told: &DeliveredEvent, message: &Message) -> bool {
    matches!(&told.event.fact, Fact::MessagePosted(own) | Fact::MessageShown(own) if own.id == message.id)
}

/// Parses a frame, and charges its tree.
fn read(text: &str, charge: &mut Charge) -> Result<Value, RoomActionError> {
    // Serde would accept an array as the fields in their order.
    if !text.trim_start().starts_with('{') {
        return Err(RoomActionError("A frame must be a JSON object".into(), "invalid_json"));
    }
    // The last value of a duplicate key counts; a derived deserializer would refuse the frame.
    body::parse_json(text, charge).map_err(|why| match why {
        JsonError::NotJson => RoomActionError("The frame is not valid JSON".into(), "invalid_json"),
        JsonError::TooLarge => RoomActionError("The frame holds too many values".into(), "too_large"),
        JsonError::NoShare(why) => {
            let (message, code) = error::quota_message_and_code(why);
            RoomActionError(message, code)
        }
    })
}

/// The value of an optional field.
fn optional<T>(member: Lenient<T>, name: &str) -> Result<Option<T>, RoomActionError> {
    match member {
        Lenient::Missing => Ok(None),
        Lenient::Present(value) => Ok(Some(value)),
        Lenient::WrongType(what) => Err(RoomActionError::invalid(format!("{name} must be {what}"))),
    }
}
