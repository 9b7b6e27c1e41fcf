//! Tests of the per-user rate limits: each verb counts towards its own token bucket, over HTTP and on sockets together. HTTP
//! requests are refused, sockets are held back.

use std::collections::BTreeSet;

use reqwest::{
    Method,
    header::RETRY_AFTER,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::support::{Answer, Backend, Client, JOHN, Server, ServerBuilder, token};

const UID_OF_JOHN: i64 = 4;
const UID_OF_BOB: i64 = 8;
const UUID_OF_BOB: &str = "87c8b8e2-3efc-4a4a-b667-1f9c0d7e8437";
/// Maximum of tries for a test that needs an empty token bucket: the bucket gains a token each second meanwhile.
const TRIES: usize = 100;

/// The rate limit that a route counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Write,
    Conversation,
    Search,
}
use Counts::{Conversation, Search, Write};

impl Counts {
    fn limit(self) -> &'static str {
        match self {
            Write => "user.writes_per_second",
            Conversation => "user.conversations_per_second",
            Search => "user.searches_per_second",
        }
    }
}

fn limited() -> ServerBuilder {
    let server = Server::builder(Backend::memory()).with_tokens();
    let server = server.set("LIMITS__USER__WRITES_PER_SECOND", 1).set("LIMITS__USER__WRITES_BURST", 1);
    let server = server.set("LIMITS__USER__CONVERSATIONS_PER_SECOND", 1).set("LIMITS__USER__CONVERSATIONS_BURST", 1);
    server.set("LIMITS__USER__SEARCHES_PER_SECOND", 1)
}

/// Placeholders for a number and a uid that change with each try: a repeated call creates nothing and does not count.
const NUMBER: &str = "<number>";
const SOMEBODY: &str = "<somebody>";

fn filled_in(body: &Value, number: usize) -> Value {
    let somebody = [UID_OF_BOB, 34, 32_314, 2][number % 4];
    let text = body.to_string().replace(&format!("\"{NUMBER}\""), &(1_000 + number).to_string());
    serde_json::from_str(&text.replace(&format!("\"{SOMEBODY}\""), &somebody.to_string())).expect("it is JSON")
}

/// All routes that do more than read, with JSON-RPC parameters or plain bodies. A path may occur several times.
fn table(session: &Value, team: &Value, message: &Value) -> Vec<(&'static str, Value, Counts)> {
    let book = json!({"user_ids": [UID_OF_BOB]});
    let method = |model: &str, method: &str, args: Value| json!({"model": model, "method": method, "args": args, "kwargs": {}});
    vec![
        ("/api/messaging/thread/create", json!({"name": "new", "partner_ids": []}), Conversation),
        ("/api/messaging/thread/add_participant", json!({"thread_id": 1, "partner_id": 9}), Write),
        ("/api/messaging/partners/search", json!({"query": "john"}), Search),
        ("/api/messaging/message/send", json!({"thread_id": 1, "body": "hello"}), Write),
        ("/api/messaging/message/read", json!({"message_ids": [message]}), Write),
        ("/api/messaging/message/edit", json!({"message_id": message, "body": "hello"}), Write),
        ("/api/messaging/message/delete", json!({"message_id": message}), Write),
        ("/api/messaging/message/reaction", json!({"message_id": message, "content": "x"}), Write),
        ("/api/messaging/messages/search", json!({"query": "hello"}), Search),
        ("/api/messaging/attachment/delete/1", json!({}), Write),
        ("/api/messaging/notifications/mark_all_read", json!({}), Write),
        ("/api/messaging/notifications/mark_all_read", json!({"thread_id": 1}), Write),
        ("/api/messaging/typing/start", json!({"thread_id": 1}), Write),
        ("/api/messaging/typing/stop", json!({"thread_id": 1}), Write),
        ("/api/messaging/presence/update", json!({"status": "away"}), Write),
        (
            "/im_chat/api/get_or_create_session",
            json!({"user_to": UID_OF_BOB, "doc_id": NUMBER, "doc_model": "new"}),
            Conversation,
        ),
        ("/im_chat/api/change_session_status", json!({"uuid": session, "new_status": "favorite"}), Write),
        ("/im_chat/api/user_chat_ab/get_all_users", json!({}), Search),
        ("/im_chat/api/user_chat_ab/add_users", book.clone(), Write),
        ("/im_chat/api/user_chat_ab/remove_users", book, Write),
        ("/im_chat/api/user_chat_ab/add_partner", json!({"parent_partner_id": 5, "child_partner_id": 9}), Write),
        ("/im_chat/post", json!({"uuid": session, "message_type": "message", "message_content": "hello"}), Write),
        ("/im_chat/post", json!({"uuid": session, "message_type": "typing", "message_content": "h"}), Write),
        ("/im_chat/api/history", json!({"uuid": session}), Write),
        ("/web/dataset/call_kw", method("im_chat.session", "session_get", json!([SOMEBODY])), Conversation),
        ("/web/dataset/call_kw", method("im_chat.session", "update_state", json!([session, "open"])), Write),
        ("/web/dataset/call_kw", method("im_chat.session", "add_user", json!([session, SOMEBODY])), Write),
        ("/web/dataset/call_kw", method("im_chat.session", "quit_user", json!([team])), Write),
        ("/web/dataset/call_kw", method("res.users", "im_search", json!(["j"])), Search),
        ("/web/dataset/call_kw", method("res.users", "search", json!([[]])), Search),
        ("/web/dataset/call_kw", method("res.users", "search_count", json!([[]])), Search),
        ("/web/dataset/call_kw", method("res.partner", "search_read", json!([])), Search),
        ("/web/dataset/call_kw", method("res.partner", "name_search", json!(["j"])), Search),
        ("/web/dataset/call_kw", method("res.partner", "im_search", json!(["j"])), Search),
        ("/file-new/get-upload-url", json!({"filename": "a.png", "mimeType": "image/png", "type": "chat-images"}), Write),
    ]
}

/// Other routes with a body. `/jsonrpc`, `/web/dataset/call` and `/web/dataset/call_kw/...` call the same methods.
const OTHERS: [&str; 37] = [
    "/web/session/authenticate",
    "/web/session/get_session_info",
    "/web/session/check",
    "/web/session/destroy",
    "/web/session/modules",
    "/web/session/get_lang_list",
    "/web/database/list",
    "/web/webclient/version_info",
    "/jsonrpc",
    "/web/dataset/call",
    "/web/dataset/call_kw/{model}/{method}",
    "/api/messaging/threads",
    "/api/messaging/thread/participants/{id}",
    "/api/messaging/messages",
    "/api/messaging/attachment/info/{id}",
    "/api/messaging/poll/messages",
    "/api/messaging/poll/updates",
    "/api/messaging/notifications/count",
    "/api/messaging/unread/count",
    "/api/messaging/typing/status/{id}",
    "/api/messaging/presence/status",
    "/im_chat/api/get_or_create_session_group",
    "/im_chat/api/get_sessions",
    "/im_chat/api/get_sessions_group",
    "/im_chat/api/user_chat_ab/get_users_from_book",
    "/im_chat/api/init",
    "/im_chat/init",
    "/im_chat/history",
    "/longpolling/poll",
    "/longpolling/im_status",
    "/auth/token",
    "/auth/token/refresh",
    "/auth/token/revoke",
    "/auth/session",
    "/api/token",
    "/api/token/refresh",
    "/files/{kind}/{name}",
];
/// Routes with forms; another test covers them.
const FORMS: [&str; 3] = ["/api/messaging/attachment/upload", "/chat/attachment", "/chat/chat-attachment"];

fn is_refused(answer: &Answer) -> bool {
    answer.headers.contains_key(RETRY_AFTER)
}

/// Empties the user's token bucket of this kind.
async fn drain(client: &Client, counts: Counts) {
    let (path, params) = match counts {
        Write => ("/api/messaging/typing/stop", json!({"thread_id": 1})),
        Conversation => ("/api/messaging/thread/create", json!({"name": "new", "partner_ids": []})),
        Search => ("/api/messaging/partners/search", json!({"query": "john"})),
    };
    for _ in 0..TRIES {
        if is_refused(&client.post(path, &json!({"params": params})).await) {
            return;
        }
    }
    panic!("there is no end of {counts:?}");
}

/// The first refusal. Retries, because the token bucket gains a token each second.
async fn refusal(client: &Client, counts: Counts, ask: impl AsyncFn(usize) -> Answer) -> Answer {
    let mut last = None;
    for number in 0..TRIES {
        drain(client, counts).await;
        let answer = ask(number).await;
        if is_refused(&answer) {
            return answer;
        }
        last = Some(answer);
    }
    panic!("it is never refused: {last:?}");
}

async fn refused_total(server: &Server, limit: &str) -> f64 {
    server.metric(&format!("dragoman_refused_total{{limit=\"{limit}\"}}")).await
}

#[tokio::test]
async fn every_verb_counts_to_its_rate() {
    let mut server = limited().start().await;
    let john = server.log_in(JOHN).await;
    let session = john.result("/im_chat/api/get_sessions", json!({})).await[0]["uuid"].take();
    let sent = john.messaging("message/send", json!({"thread_id": 1, "body": "hello"})).await;
    let team = john.result("/im_chat/api/get_sessions_group", json!({})).await[0]["uuid"].take();
    let table = table(&session, &team, &sent["message_id"]);
    for (path, params, counts) in &table {
        let is_plain = path.starts_with("/file-new");
        let body = if is_plain { params.clone() } else { json!({"id": 7, "params": params}) };
        let before = refused_total(&server, counts.limit()).await;
        let answer = refusal(&john, *counts, async |number| john.post(path, &filled_in(&body, number)).await).await;
        assert!(refused_total(&server, counts.limit()).await > before, "{path} {params}: {counts:?}");
        let seconds: u64 = answer.headers[RETRY_AFTER].to_str().unwrap().parse().expect("it is a number");
        assert!((1..=2).contains(&seconds), "{path}: {answer:?}");
        let told = answer.json();
        let sentence = match () {
            () if is_plain => {
                assert_eq!(answer.status, 429, "{path}: {answer:?}");
                &told["message"]
            }
            () if path.starts_with("/api/messaging") => {
                assert_eq!((answer.status.as_u16(), &told["id"]), (200, &json!(7)), "{path}: {answer:?}");
                &told["result"]["error"]
            }
            () => {
                assert_eq!((answer.status.as_u16(), &told["id"]), (200, &json!(7)), "{path}: {answer:?}");
                assert_eq!(told["error"]["data"]["name"], "odoo.exceptions.UserError", "{path}: {answer:?}");
                &told["error"]["data"]["message"]
            }
        };
        let sentence = sentence.as_str().unwrap_or_else(|| panic!("{path}: {answer:?}"));
        assert!(sentence.starts_with("Too many ") && sentence.ends_with(", please wait"), "{path}: {sentence}");
    }
    let known: BTreeSet<_> = table.iter().map(|(path, ..)| *path).chain(OTHERS).chain(FORMS).collect();
    for route in server.routes().await.iter().filter(|route| route.method != "GET") {
        let path = route.path.replace("/attachment/delete/{id}", "/attachment/delete/1");
        assert!(known.contains(path.as_str()), "{route}: say here what it counts as");
    }
    server.stop().await;
}

#[tokio::test]
async fn uploads_count_before_they_are_read() {
    let mut server = limited().start().await;
    let john = server.log_in(JOHN).await;
    let form = |name: &'static str| {
        let file = Part::bytes(vec![b'x'; 100]).file_name("a.txt");
        Form::new().text("receiver", UUID_OF_BOB).part(name, file)
    };
    for (path, name) in FORMS.into_iter().zip(["file", "attached_file", "attached_file"]) {
        let answer = refusal(&john, Write, async |_| {
            let request = john.request(Method::POST, path).bearer_auth(token(UID_OF_JOHN)).multipart(form(name));
            Answer::of(request).await
        });
        let answer = answer.await;
        assert_eq!(answer.status, 429, "{answer:?}");
        let told = answer.json();
        let sentence = told["error"].as_str().or_else(|| told["message"].as_str());
        assert_eq!(sentence, Some("Too many changes, please wait"));
    }
    server.stop().await;
}

/// A refused user can still read, and other users are not affected.
#[tokio::test]
async fn whoever_is_refused_may_read_and_others_may_do_all() {
    let mut server = limited().start().await;
    let john = server.log_in(JOHN).await;
    for counts in [Write, Conversation, Search] {
        drain(&john, counts).await;
    }
    for (route, params) in [("threads", json!({})), ("messages", json!({"thread_id": 1})), ("unread/count", json!({}))] {
        assert!(!is_refused(&john.post(&format!("/api/messaging/{route}"), &json!({"params": params})).await), "{route}");
    }
    let jane = server.log_in(crate::support::JANE).await;
    let sent = jane.messaging("message/send", json!({"thread_id": 2, "body": "hello"})).await;
    assert!(sent["message_id"].is_i64(), "{sent}");
    server.stop().await;
}

#[tokio::test]
async fn without_limits_nobody_is_refused() {
    let mut server = Server::demo(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    for _ in 0..200 {
        assert!(!is_refused(&john.post("/api/messaging/typing/start", &json!({"params": {"thread_id": 1}})).await));
    }
    assert_eq!(server.metric("dragoman_refused_total").await, 0.0);
    server.stop().await;
}
