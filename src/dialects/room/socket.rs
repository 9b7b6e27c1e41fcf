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
    error::{self, NO_SUCH_USER},
    frames::{self, Revision, Words},
    order::Order,
};
use crate::{
    auth::Caller,
    chat::{self, Attending, Batch, Draft, Error, Told},
    dialects::{
        House,
        bearer::socket_caller,
        body,
        loose::{Int, Loose, Text},
        socket::{self, Frame, Said, Speaking, Voice},
    },
};

/// WebSocket endpoint of the dialect.
pub fn sockets(house: &House) -> impl Endpoint<Output = Response> + use<> {
    let house = house.clone();
    endpoint::make(move |request| {
        let house = house.clone();
        async move { Ok::<_, poem::Error>(open(&request, house).await) }
    })
}

async fn open(request: &Request, house: House) -> Response {
    let query = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let token = query.into_iter().find(|(name, _)| name == "token").map(|(_, token)| token.into_owned());
    let (caller, subprotocol) = socket_caller(request, token.as_deref(), &house).await;
    // Subscribes before the response, because the client counts on every event after it.
    let heard = caller.map(|caller| (house.chat.hear_all(&caller), caller));
    let sockets = house.sockets.clone();
    socket::open(request, subprotocol, &sockets, async move {
        let (feed, caller) = heard.map_err(|error| error::close(&error))?;
        let voice = Room {
            house,
            caller: caller.clone(),
            revision: Revision::Today,
            attending: None,
            order: Order::default(),
            asked: BTreeSet::new(),
        };
        Ok(Speaking { voice, feed, caller })
    })
}

/// Session of one user on one socket.
struct Room {
    house: House,
    caller: Caller,
    /// Revision that the client has used so far.
    revision: Revision,
    /// Held-message lease, from the opening of the socket on. Sockets of other dialects hold none, since their clients cannot
    /// show files.
    attending: Option<Attending>,
    order: Order,
    /// Messages that the client has shown and whose confirmation is pending.
    asked: BTreeSet<MessageId>,
}

/// Client frames. Fields are validated when the action is executed.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "action")]
pub(super) enum Asked {
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
struct Refused(String, &'static str);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let (message, code) = error::told(&error);
        Self(message, code)
    }
}

impl Refused {
    fn invalid(message: impl Into<String>) -> Self {
        Self(message.into(), "invalid")
    }
}

impl Voice for Room {
    const DIALECT: &'static str = "room";
    const HEARS_BINARY: bool = true;

    async fn greet(&mut self) -> Said {
        self.attending = Some(self.house.chat.attends(&self.caller).await);
        Ok(Vec::new())
    }

    async fn hear(&mut self, text: &str) -> Said {
        match text.trim() {
            "ping" => return Ok(vec!["pong".into()]),
            r#""ping""# => return Ok(vec![r#""pong""#.into()]),
            _ => {}
        }
        let (action, frame) = match read(text) {
            Ok(read) => read,
            Err(words) => return Ok(vec![frames::failure(None, words, "invalid_json")]),
        };
        let action = action.as_str();
        let outcome = match (action, Asked::deserialize(frame)) {
            (Some(_), Ok(asked)) => self.answer(asked).await,
            // Unknown actions only: lenient fields never fail to parse.
            (Some(_), Err(_)) => Err(Refused("There is no such action".into(), "unknown_action")),
            (None, _) => Err(Refused("action must be a text".into(), "unknown_action")),
        };
        Ok(match outcome {
            Ok(answer) => answer.into_iter().collect(),
            Err(Refused(message, code)) => vec![frames::failure(action, &message, code)],
        })
    }

    async fn tell(&mut self, batch: &Batch) -> Said {
        let mut said = Vec::new();
        for told in &batch.events {
            let mut due = self.order.due(&told.event.fact);
            if let Fact::MessageShown(message) = &told.event.fact
                && self.asked.remove(&message.id)
                && due.is_empty()
            {
                // Its turn has passed, but the sender still needs the confirmation.
                due.push(message.clone());
            }
            for message in due {
                said.push(self.frame(&message, Some(told)).await.map_err(|error| error::untold(&error))?);
                self.house.chat.hands_over(&self.caller, &message);
            }
        }
        Ok(said)
    }

    async fn beat(&mut self) -> Said {
        Ok(Vec::new())
    }

    fn not_text(&self) -> Frame {
        frames::failure(None, "Frames must hold text", "not_text")
    }
}

impl Room {
    async fn answer(&mut self, asked: Asked) -> Result<Option<Frame>, Refused> {
        match asked {
            Asked::Text { message_body, message, receiver_id } => self.send_text(message_body, message, receiver_id).await,
            Asked::File { chat_id } => self.show_file(chat_id).await,
            Asked::Profile { attached_profile_id, receiver_id } => self.send_profile(attached_profile_id, receiver_id).await,
            Asked::OlderText { message_body, message, receiver_id } => {
                self.revision = Revision::Older;
                self.send_text(message_body, message, receiver_id).await
            }
            Asked::OlderFile { chat_id } => {
                self.revision = Revision::Older;
                self.show_file(chat_id).await
            }
            Asked::Ping {} => Ok(Some(frames::pong())),
        }
    }

    async fn send_text(&self, message_body: Text, message: Text, receiver: Text) -> Result<Option<Frame>, Refused> {
        let body = given(message_body, "message_body")?.or(given(message, "message")?).unwrap_or_default();
        self.send(receiver, Draft::new(MessageType::Text, body)).await
    }

    async fn send_profile(&mut self, profile: Text, receiver: Text) -> Result<Option<Frame>, Refused> {
        let no_such = || Refused("There is no user with this attached_profile_id".into(), "not_found");
        let shown = self.user(profile, "attached_profile_id").await?.ok_or_else(no_such)?;
        // Text for dialects that cannot show profiles.
        let draft = Draft::new(MessageType::Profile, shown.partner.name.clone());
        self.send(receiver, Draft { metadata: Some(content::showing(shown.uuid)), ..draft }).await
    }

    /// Sends a message. Its sender gets the confirmation as an event, so that messages keep one order.
    async fn send(&self, receiver: Text, draft: Draft) -> Result<Option<Frame>, Refused> {
        let no_such = || Refused(NO_SUCH_USER.into(), "not_found");
        let receiver = self.user(receiver, "receiver_id").await?.ok_or_else(no_such)?;
        let chat = &self.house.chat;
        // Validated first, so that an invalid message creates no thread.
        if draft.body.trim().is_empty() {
            return Err(Refused::invalid("message_body must not be empty"));
        }
        chat.check_draft(&draft)?;
        let thread = chat.meet(&self.caller, receiver.id, None).await?;
        chat.send(&self.caller, thread, draft).await?;
        Ok(None)
    }

    /// Shows a file message that this user has uploaded. Idempotent: a repetition only confirms it again.
    async fn show_file(&mut self, chat_id: Int) -> Result<Option<Frame>, Refused> {
        let id = MessageId(given(chat_id, "chat_id")?.ok_or_else(|| Refused::invalid("chat_id is missing"))?);
        // The same answer for messages of others, so that ids cannot be probed.
        let no_such = || Refused("You have uploaded no file with this chat_id".into(), "not_found");
        let (message, was_held) = match self.house.chat.show_message(&self.caller, id).await {
            Ok(shown) => shown,
            Err(Error::NotFound(_) | Error::Forbidden) => return Err(no_such()),
            Err(error) => return Err(error.into()),
        };
        if was_held && !self.order.has_passed(&message) {
            self.asked.insert(id);
            return Ok(None);
        }
        Ok(Some(self.frame(&message, None).await?))
    }

    /// Frame of a message for this user. The encoding is memoised per event.
    async fn frame(&self, message: &Message, event: Option<&Told>) -> chat::Result<Frame> {
        let words = Words::of(message, self.caller.partner, &self.house, self.revision);
        let words = match event.filter(|told| is_of(told, message)) {
            Some(told) => told.shared_read(self.revision.encoding(), words).await?,
            None => words.await?,
        };
        let is_author = message.author.partner == self.caller.partner;
        Ok(if is_author { words.confirmed } else { words.received })
    }

    /// The user with the given uuid; `None` if there is none.
    async fn user(&self, id: Text, name: &str) -> Result<Option<Arc<User>>, Refused> {
        let id = given(id, name)?.ok_or_else(|| Refused::invalid(format!("{name} is missing")))?;
        let Ok(uuid) = id.trim().parse::<Uuid>() else { return Ok(None) };
        match self.house.chat.user_by_uuid(uuid).await {
            Ok(user) => Ok(Some(user)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// True if the event is about this message, and did not merely release it from the held ones.
fn is_of(told: &Told, message: &Message) -> bool {
    match &told.event.fact {
        Fact::MessagePosted(own) | Fact::MessageShown(own) => own.id == message.id,
        _ => false,
    }
}

/// Parses a frame: its action, and the whole object.
fn read(text: &str) -> Result<(Value, Value), &'static str> {
    // Serde would accept an array as the fields in their order.
    if !text.trim_start().starts_with('{') {
        return Err("A frame must be a JSON object");
    }
    // The last value of a duplicate key counts; a derived deserializer would refuse the frame.
    let frame = body::value(text).ok_or("The frame is not valid JSON")?;
    Ok((frame.get("action").cloned().unwrap_or_default(), frame))
}

/// The value of an optional field.
fn given<T>(member: Loose<T>, name: &str) -> Result<Option<T>, Refused> {
    match member {
        Loose::Missing => Ok(None),
        Loose::Given(value) => Ok(Some(value)),
        Loose::Wrong(what) => Err(Refused::invalid(format!("{name} must be {what}"))),
    }
}
