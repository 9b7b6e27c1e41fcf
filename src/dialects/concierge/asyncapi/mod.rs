//! AsyncAPI document of the dialect's sockets. Its examples are those that clients were written against.

use schemars::JsonSchema;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    CONNECTION, ERROR, IDLE, NO_DEVICE, PATH, REPLACED,
    actions::{DeletedMessage, SessionBody, SessionDetails, SessionList, SessionMessage, SessionMessages, UnreadCount},
    events::{self, EventEnvelope},
    handler::Connected,
    wire::{Answer, MissingSession, Refusal},
};
use crate::web::{
    asyncapi::{Document, DocumentInfo},
    lenient::Int,
};

mod examples;

const ABOUT: DocumentInfo = DocumentInfo {
    dialect: "concierge",
    title: "Concierge: support chat",
    description: "A support chat in the style of an AWS API Gateway WebSocket. Tenants begin sessions, agents answer in them. \
                  All agents are told that a session waits (`chat-session-new`), and then of each change of it \
                  (`chat-session-update-...`): it was taken, given back, closed. It waits again once its agent has left \
                  it (`backend/leave-chat-session`), was deactivated, or has been gone from every dialect for \
                  `desk.absence_seconds`. Who comes later finds what waits with `backend/list-chat-sessions`. Nobody but \
                  the tenant and the agent who has joined can write in a session, in whichever dialect. \
                  A handshake without a good token is answered with 401 or 403 instead of a socket. \
                  A request is `{\"action\": \"api\", \"data\": {\"route\": ..., \"body\": ...}}`; its answer bears its route \
                  as `channel`. Every message of the server has a `channel`. What others do is pushed to all other \
                  connections that it concerns: a message, and once more with `status` 4 when the other side has seen it. \
                  A file from another dialect, or without `metadata`, has `metadata` with `file.name`, `filename`, `mimeType`, \
                  `fileSize`, `width` and `height`. The same sockets are at the paths in `concierge.paths`, such as `/uat`. \
                  Files are put at an address from `POST /file-new/get-upload-url`, which is in the OpenAPI document. Whoever \
                  comes back reads what was missed with `get-chat-messages`, whose first page is the newest.",
    address: PATH,
    parameters: &[],
    query: &[("Auth", "An access token"), ("deviceId", "What the client calls its device")],
    closes: &[
        (&IDLE, "no request has come for `concierge.connection_seconds`; said before with status 408"),
        (&NO_DEVICE, "`deviceId` is missing or too long; said before with its status"),
        (&REPLACED, "the same device has a new connection"),
    ],
};

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its shape is told")]
struct BeginParams {
    /// True to begin a session. Otherwise `chatSessionId` names the session to continue.
    new_session: Option<bool>,
    chat_session_id: Option<Uuid>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its shape is told")]
struct SessionParams {
    chat_session_id: Uuid,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its shape is told")]
struct MessageParams {
    chat_session_id: Uuid,
    message_id: Int,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its shape is told")]
struct SendMessageParams {
    chat_session_id: Uuid,
    /// `TEXT` by default.
    content_type: Option<ContentType>,
    /// The text, or the address of the file.
    message_content: String,
    /// Returned unchanged. With a `messageUid` in it, a retry is idempotent: the message is stored once.
    metadata: Option<Value>,
    /// The same as `metadata`, for clients that misspell it.
    metdata: Option<Value>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(dead_code, reason = "only its shape is told")]
enum ContentType {
    Text,
    File,
    Image,
    Video,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its shape is told")]
struct JoinParams {
    chat_session_id: Uuid,
    /// True to take the session over from its current agent.
    take_over: Option<bool>,
}

#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is told")]
struct ListSessionsParams {
    status: Option<SessionStatus>,
    page: Option<Int>,
    limit: Option<Int>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its shape is told")]
enum SessionStatus {
    Waiting,
    Joined,
    Closed,
}

#[derive(JsonSchema)]
struct NoParams {}

pub fn asyncapi() -> Value {
    let mut document = Document::new(ABOUT);
    refusals(&mut document);
    let begins = "Begins a session, or goes on with one. A new one that is asked for within 10 seconds of another, in which nothing \
                  was said yet, is the same. 429 beyond `concierge.open_sessions_per_tenant`";
    route::<BeginParams, SessionDetails>(&mut document, "client/init-chat-with-concierge", begins);
    for (side, whose) in [("client", "the tenant's"), ("backend", "an agent's")] {
        let mut both = |action: &str, says: &str, describe: fn(&mut Document, &str, &str)| {
            describe(&mut document, &format!("{side}/{action}"), &format!("{says} ({whose})"));
        };
        both("get-chat-session", "Tells how a session is", route::<SessionParams, SessionDetails>);
        both("ping-on-chat-session", "Keeps a session open", route::<SessionParams, SessionDetails>);
        both("get-chat-messages", "Reads a page of messages, `?page=1&limit=50`", route::<SessionParams, SessionMessages>);
        both("send-message", "Says something", route::<SendMessageParams, SessionMessage>);
        both("delete-message", "Takes an own message back", route::<MessageParams, DeletedMessage>);
        both("update-message-seen-at", "Marks a message of the other side as seen", route::<MessageParams, SessionMessage>);
    }
    route::<NoParams, UnreadCount>(&mut document, "client/get-unread-msg-count", "Counts what the tenant has not seen");
    route::<SessionParams, SessionBody>(&mut document, "client/end-chat-with-concierge", "Ends a session");
    route::<ListSessionsParams, SessionList>(&mut document, "backend/list-chat-sessions", "Lists sessions");
    route::<JoinParams, SessionDetails>(&mut document, "backend/join-chat-session", "Answers in a session from now on");
    route::<SessionParams, SessionBody>(
        &mut document,
        "backend/leave-chat-session",
        "Gives a session back: it waits for another agent",
    );
    route::<SessionParams, SessionBody>(&mut document, "backend/end-chat-session", "Ends a session");
    pushed::<events::PushedSession>(&mut document, "chat-session-new", "^chat-session-new$", "A session waits, to all agents");
    pushed::<events::PushedSession>(&mut document, "chat-session-update", "^chat-session-update-.+$", UPDATED);
    pushed::<events::PushedMessage>(
        &mut document,
        "chat-message",
        "^chat-message-[0-9a-f]{8}-.+$",
        "Somebody has said something, or has seen it (`status` 4)",
    );
    pushed::<events::PushedDeletion>(
        &mut document,
        "chat-message-delete",
        "^chat-message-delete$",
        "Somebody has taken a message back",
    );
    document.send_operation("tell", &["chat-session-new", "chat-session-update", "chat-message", "chat-message-delete"]);
    document.send_operation("tell-of-connection", &["connection", "connection.refused"]);
    document.send_operation("refuse", &["error"]);
    document.finish()
}

const UPDATED: &str = "A session was taken, given back or closed, to those who are in it and to all agents";

/// Describes the frames about the connection, and the error answers.
fn refusals(document: &mut Document) {
    let connection =
        answer_schema(document.sent_schema::<Answer<'_, Connected<'_>>>(), json!({"const": CONNECTION}), &[200, 408]);
    sent_message(
        document,
        "connection",
        "The connection is there (200), or was not used for too long and ends (408)",
        connection,
    );
    let refusal = document.sent_schema::<Answer<'_, Refusal<'_>>>();
    let turned_away = answer_schema(refusal.clone(), json!({"const": CONNECTION}), ANY_ERROR_STATUS);
    sent_message(document, "connection.refused", "The device gets no connection, and why; the socket ends", turned_away);
    let unread = answer_schema(refusal.clone(), json!({"const": ERROR}), ANY_ERROR_STATUS);
    sent_message(document, "error", "What was said is no request", unread);
    let refused = answer_schema(refusal, json!({"type": "string"}), ANY_ERROR_STATUS);
    let spelled = json!({"type": "string", "pattern": "^client/get-chat-session(\\?.*)?$"});
    let missing = answer_schema(document.sent_schema::<Answer<'_, MissingSession<'_>>>(), spelled, &[404]);
    sent_message(
        document,
        "missing",
        "There is no such session, or it is another tenant's: it reads as one that is closed",
        missing,
    );
    sent_message(document, "refused", "What was asked for is not to be had; `channel` is the request's route", refused);
}

/// Describes a route by the bodies of its request and its answer.
fn route<B: JsonSchema, A: JsonSchema>(document: &mut Document, route: &str, says: &str) {
    let name = route.replace('/', ".");
    let spelled = json!({"type": "string", "pattern": format!("^{route}(\\?.*)?$")});
    let request = json!({
        "type": "object",
        "description": says,
        "required": ["action", "data"],
        "properties": {
            "action": {"const": "api"},
            "data": {
                "type": "object",
                "required": ["route", "body"],
                "properties": {"route": spelled, "body": document.received_schema::<B>()},
            },
        },
    });
    document.message(&format!("asked.{name}"), route, request, &examples::requests(route));
    let answer = answer_schema(document.sent_schema::<Answer<'_, A>>(), spelled, &[200]);
    document.message(&format!("said.{name}"), route, with_description(answer, "The answer"), &examples::answers(route));
    let answers = [&name, "refused", "missing"];
    document.receive_operation(&name, if route == "client/get-chat-session" { &answers } else { &answers[..2] });
}

fn pushed<P: JsonSchema>(document: &mut Document, name: &str, channel: &str, says: &str) {
    let mut event = document.sent_schema::<EventEnvelope<P>>();
    event["properties"]["channel"] = json!({"type": "string", "pattern": channel});
    sent_message(document, name, says, event);
}

fn sent_message(document: &mut Document, name: &str, says: &str, payload: Value) {
    document.message(&format!("said.{name}"), name, with_description(payload, says), &examples::said(name));
}

fn with_description(mut schema: Value, says: &str) -> Value {
    schema["description"] = says.into();
    schema
}

/// Marks an error answer, whose status can be any from 400 to 599.
const ANY_ERROR_STATUS: &[u16] = &[];

/// Schema of an answer with the given channel and statuses.
fn answer_schema(mut schema: Value, channel: Value, statuses: &[u16]) -> Value {
    schema["properties"]["channel"] = channel;
    schema["properties"]["status"] = match statuses {
        [] => json!({"type": "integer", "minimum": 400, "maximum": 599}),
        known => json!({"enum": known}),
    };
    schema
}
