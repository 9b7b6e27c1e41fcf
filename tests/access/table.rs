//! Table of all routes: the credentials that each requires, and its answer to a user who is not a member.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::SECRET;
use crate::support::JANE;

/// Credentials that a route requires.
pub enum Door {
    /// No credentials.
    Open,
    /// A session: without one the route answers "Session expired" and nothing else.
    Session,
    /// A session as well, but the answer comes without the JSON-RPC envelope.
    SessionOverHttp,
    /// A login and a password, within the call.
    Password(Value),
    /// A session or a bearer token: without one the answer is 401 with a message, outside the envelope.
    SessionOrToken,
    /// A login and a password, or a refresh token, outside the envelope.
    Credentials(Value),
    /// A bearer token, or a session from an allowed origin: without one the answer is 401 with a message.
    Bearer,
    /// A bearer token; a session does not help. Without a token the answer is 401 with a message.
    Token,
    /// The token to revoke. An unknown token counts as already revoked.
    Revocation,
    /// A session of a reader of the file, or the file's token.
    File,
    /// An unguessable address. Holds the answer to a wrong one.
    Address(StatusCode, &'static str),
}

/// Answer to a request for another user's object.
#[derive(Clone, Copy)]
pub enum Outcome {
    /// Not applicable: the route concerns no object of other users.
    Nothing,
    /// A refusal with this message and nothing else.
    Refused(&'static str),
    /// This result, which reveals nothing.
    Result(fn() -> Value),
    /// A successful answer without any secret.
    Silent,
}

pub struct Entry {
    pub route: &'static str,
    pub door: Door,
    /// Parameters that name another user's object.
    pub params: fn(&Scene) -> Value,
    pub outsider: Outcome,
}

/// Objects of other users.
pub struct Scene {
    pub thread: i64,
    pub message: i64,
    pub file: i64,
    /// A session of the same two in the `im_chat` dialect.
    pub uuid: String,
    /// A conversation of the outsider's own.
    pub own: i64,
}

const DENIED: Outcome = Outcome::Refused("Access denied");

fn entry(route: &'static str, door: Door, params: fn(&Scene) -> Value, outsider: Outcome) -> Entry {
    Entry { route, door, params, outsider }
}

fn nothing(_: &Scene) -> Value {
    json!({})
}

fn thread(scene: &Scene) -> Value {
    json!({"thread_id": scene.thread, "timeout": 0})
}

fn read_users(_: &Scene) -> Value {
    json!({"model": "res.users", "method": "search_read", "args": [[]], "kwargs": {}})
}

pub fn table() -> Vec<Entry> {
    use Door::{Address, Bearer, Credentials, File, Open, Password, Revocation, Session, SessionOrToken, SessionOverHttp, Token};
    use Outcome::{Nothing, Silent};
    let execute = json!({"service": "object", "method": "execute_kw",
        "args": ["odoo2", 6, "wrong", "res.users", "search_read", [[]], {}]});
    vec![
        entry("GET /healthz", Open, nothing, Nothing),
        entry("GET /readyz", Open, nothing, Nothing),
        entry("GET /metrics", Open, nothing, Nothing),
        entry("GET /web/version", Open, nothing, Nothing),
        entry("GET /web/health", Open, nothing, Nothing),
        entry("GET /websocket/health", Open, nothing, Nothing),
        entry("GET /longpolling/health", Open, nothing, Nothing),
        entry("POST /web/database/list", Open, nothing, Nothing),
        entry("POST /web/webclient/version_info", Open, nothing, Nothing),
        entry("POST /web/session/get_lang_list", Open, nothing, Nothing),
        entry("GET /web/session/logout", Open, nothing, Nothing),
        entry(
            "POST /web/session/authenticate",
            Password(json!({"db": "odoo2", "login": JANE, "password": "wrong"})),
            nothing,
            Nothing,
        ),
        entry("GET /auth/token", SessionOrToken, nothing, Nothing),
        entry("POST /auth/token", Credentials(json!({"login": "nobody", "password": "wrong"})), nothing, Nothing),
        entry("POST /auth/token/refresh", Credentials(json!({"refresh": "0".repeat(40)})), nothing, Nothing),
        entry("POST /auth/session", Token, nothing, Nothing),
        // The holder of a token may revoke it. A call without a valid token learns nothing.
        entry("POST /auth/token/revoke", Revocation, nothing, Nothing),
        entry("POST /api/token", Credentials(json!({"username": "nobody at all", "password": "wrong"})), nothing, Nothing),
        entry("POST /api/token/refresh", Credentials(json!({"refresh": "0".repeat(40)})), nothing, Nothing),
        entry("POST /jsonrpc", Password(execute), nothing, Nothing),
        entry("POST /web/session/get_session_info", Session, nothing, Silent),
        entry("POST /web/session/check", Session, nothing, Silent),
        entry("POST /web/session/modules", Session, nothing, Silent),
        entry("POST /web/session/destroy", Session, nothing, Nothing),
        entry("POST /web/dataset/call", Session, read_users, Silent),
        entry("POST /web/dataset/call_kw", Session, read_users, Silent),
        entry(
            "POST /web/dataset/call_kw",
            Session,
            |_| json!({"model": "res.users", "method": "im_search", "args": [SECRET, 20], "kwargs": {}}),
            Outcome::Result(|| json!([])),
        ),
        entry("POST /web/dataset/call", Session, |_| json!({"model": "res.users", "method": "im_search", "args": [""]}), Silent),
        entry(
            "POST /web/dataset/call_kw",
            Session,
            |scene| json!({"model": "im_chat.session", "method": "update_state", "args": [scene.uuid, "closed"], "kwargs": {}}),
            Outcome::Result(|| json!(null)),
        ),
        entry(
            "POST /web/dataset/call_kw",
            Session,
            |scene| json!({"model": "im_chat.session", "method": "add_user", "args": [scene.uuid, 8], "kwargs": {}}),
            Outcome::Result(|| json!(null)),
        ),
        entry(
            "POST /web/dataset/call_kw",
            Session,
            |scene| json!({"model": "im_chat.session", "method": "quit_user", "args": [scene.uuid], "kwargs": {}}),
            Outcome::Result(|| json!(false)),
        ),
        entry("POST /web/dataset/call_kw/{model}/{method}", Session, read_users, Silent),
        entry("POST /api/messaging/threads", Session, nothing, Silent),
        entry("POST /api/messaging/thread/create", Session, |_| json!({"name": "mine"}), Silent),
        entry("POST /api/messaging/thread/participants/{id}", Session, nothing, DENIED),
        entry(
            "POST /api/messaging/thread/add_participant",
            Session,
            |scene| json!({"thread_id": scene.thread, "partner_id": 8}),
            DENIED,
        ),
        entry("POST /api/messaging/messages", Session, thread, DENIED),
        entry(
            "POST /api/messaging/message/send",
            Session,
            |scene| json!({"thread_id": scene.thread, "body": "let me in"}),
            DENIED,
        ),
        entry(
            "POST /api/messaging/message/read",
            Session,
            |scene| json!({"message_id": scene.message}),
            Outcome::Result(|| json!({"success": true, "marked_count": 0})),
        ),
        entry(
            "POST /api/messaging/message/edit",
            Session,
            |scene| json!({"message_id": scene.message, "body": "let me in"}),
            DENIED,
        ),
        entry("POST /api/messaging/message/delete", Session, |scene| json!({"message_id": scene.message}), DENIED),
        entry(
            "POST /api/messaging/message/reaction",
            Session,
            |scene| json!({"message_id": scene.message, "content": "let me in"}),
            DENIED,
        ),
        entry("POST /api/messaging/messages/search", Session, |_| json!({"query": SECRET}), Silent),
        entry(
            "POST /api/messaging/messages/search",
            Session,
            |scene| json!({"query": SECRET, "thread_id": scene.thread}),
            DENIED,
        ),
        entry("POST /api/messaging/unread/count", Session, nothing, Silent),
        entry("POST /api/messaging/partners/search", Session, |_| json!({"query": SECRET}), Silent),
        entry("POST /api/messaging/attachment/upload", SessionOverHttp, nothing, DENIED),
        entry("GET /api/messaging/attachment/{id}", File, nothing, DENIED),
        entry("GET /api/messaging/attachment/{id}/{access_token}/{name}", File, nothing, DENIED),
        entry("POST /api/messaging/attachment/info/{id}", Session, nothing, DENIED),
        entry("POST /api/messaging/attachment/delete/{id}", Session, nothing, DENIED),
        entry(
            "POST /api/messaging/poll/messages",
            Session,
            |scene| json!({"thread_id": scene.thread, "last_message_id": 0, "timeout": 0}),
            DENIED,
        ),
        entry(
            "POST /api/messaging/poll/updates",
            Session,
            |_| json!({"timeout": 0, "last_check": "2001-01-01T00:00:00"}),
            Silent,
        ),
        entry("POST /api/messaging/notifications/count", Session, nothing, Silent),
        entry("POST /api/messaging/notifications/mark_all_read", Session, thread, DENIED),
        entry("POST /api/messaging/typing/start", Session, thread, DENIED),
        entry("POST /api/messaging/typing/stop", Session, thread, DENIED),
        entry("POST /api/messaging/typing/status/{id}", Session, nothing, DENIED),
        entry("POST /api/messaging/presence/update", Session, |_| json!({"status": "online"}), Silent),
        entry("POST /api/messaging/presence/status", Session, |_| json!({"partner_ids": [2, 4]}), Silent),
        // The tests of the dialect `room` cover other users' objects, with tokens.
        entry("GET /chat/messages/{uid}", Bearer, nothing, Nothing),
        entry("POST /chat/attachment", Bearer, nothing, Nothing),
        entry("POST /chat/chat-attachment", Bearer, nothing, Nothing),
        entry("GET /chat/user/threads", Bearer, nothing, Nothing),
        entry("GET /chat/get-user-threads", Bearer, nothing, Nothing),
        entry("GET /chat/thread/files/{thread_id}", Bearer, nothing, Nothing),
        entry("GET /im_chat/image/{uuid}/{uid}", Open, nothing, Nothing),
        entry("POST /im_chat/api/get_or_create_session", Session, |_| json!({"user_to": 2}), Silent),
        entry("POST /im_chat/api/get_or_create_session_group", Session, |_| json!({"group": 3}), Silent),
        entry("POST /im_chat/api/get_sessions", Session, nothing, Silent),
        entry("POST /im_chat/api/get_sessions_group", Session, nothing, Silent),
        entry(
            "POST /im_chat/api/change_session_status",
            Session,
            |scene| json!({"uuid": scene.uuid, "new_status": "archive"}),
            Outcome::Result(|| json!({"status": "error", "field": "uuid", "message": "Session does not exist"})),
        ),
        entry("POST /im_chat/api/user_chat_ab/get_all_users", Session, nothing, Silent),
        entry("POST /im_chat/api/user_chat_ab/get_users_from_book", Session, nothing, Silent),
        entry("POST /im_chat/api/user_chat_ab/add_users", Session, |_| json!({"user_ids": [2]}), Silent),
        entry("POST /im_chat/api/user_chat_ab/remove_users", Session, |_| json!({"user_ids": [2]}), Silent),
        entry(
            "POST /im_chat/api/user_chat_ab/add_partner",
            Session,
            |_| json!({"parent_partner_id": 5, "child_partner_id": 9}),
            Outcome::Result(|| json!({"status": "error", "message": "input parameters are not valid"})),
        ),
        entry("POST /im_chat/api/init", Session, |_| json!({"name": ""}), Silent),
        entry(
            "POST /im_chat/post",
            Session,
            |scene| json!({"uuid": scene.uuid, "message_type": "message", "message_content": "let me in"}),
            Outcome::Result(|| json!(false)),
        ),
        entry("POST /im_chat/init", Session, nothing, Silent),
        entry("POST /im_chat/history", Session, |scene| json!({"uuid": scene.uuid}), Outcome::Result(|| json!(false))),
        entry("POST /im_chat/api/history", Session, |scene| json!({"uuid": scene.uuid}), Outcome::Result(|| json!([]))),
        // The outsider has an event on its own channel as well, so that the poll does not wait.
        entry("POST /longpolling/poll", Session, |scene| json!({"channels": [scene.uuid], "last": 0}), Silent),
        entry("POST /file-new/get-upload-url", SessionOrToken, nothing, Nothing),
        entry("PUT /files/{kind}/{name}", Address(StatusCode::FORBIDDEN, "This upload URL is not valid"), nothing, Nothing),
        entry("GET /files/{kind}/{name}", Address(StatusCode::NOT_FOUND, "File not found"), nothing, Nothing),
        entry("POST /longpolling/im_status", Session, |_| json!({"partner_ids": [3, 5]}), Silent),
    ]
}
