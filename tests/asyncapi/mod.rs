//! Tests of the AsyncAPI documents of the sockets: the copies in `openapi/` equal the served documents, AsyncAPI's own parser
//! finds no fault, and they describe every frame that is sent.

mod described;

use std::path::{Path, PathBuf};

use futures_util::{SinkExt, StreamExt};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    support::{ADMIN, Answer, Backend, JANE, JOHN, Server, Socket, token},
    with_every_backend, with_tokens_on_every_backend,
};
use described::{Described, Talk};

const DIALECTS: [&str; 3] = ["room", "conversations", "concierge"];
/// Uids and uuids of the demo data's users.
const ADMIN_UID: i64 = 2;
const JOHN_UID: i64 = 4;
const JANE_UID: i64 = 6;
const TENANT: i64 = 34;
const AGENT: i64 = 32314;
const ADMIN_UUID: &str = "75140d72-8b20-4549-885c-20599badb486";
const JOHN_UUID: &str = "302e305b-6e73-4f9c-bac7-551a92b106b0";

fn file(dialect: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("openapi/asyncapi-{dialect}.json"))
}

fn copy(dialect: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(file(dialect)).expect("the copy is there")).expect("the copy is JSON")
}

#[tokio::test]
async fn the_copies_in_the_repository_are_what_is_served() {
    let mut server = Server::demo(Backend::memory()).await;
    for dialect in DIALECTS {
        let served: Value = server.get(&format!("/asyncapi/{dialect}.json")).await.json().await.expect("it is JSON");
        assert_eq!(served, copy(dialect), "run: cargo run -- asyncapi {dialect} > openapi/asyncapi-{dialect}.json");
    }
    assert_eq!(server.get("/asyncapi/odoo.json").await.status(), 404);
    server.stop().await;
}

#[tokio::test]
async fn the_command_prints_the_copies() {
    let run = async |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_dragoman")).arg("asyncapi").args(arguments).output().await.expect("it runs")
    };
    let all: Value = serde_json::from_slice(&run(&[]).await.stdout).expect("it prints JSON");
    for dialect in DIALECTS {
        let printed: Value = serde_json::from_slice(&run(&[dialect]).await.stdout).expect("it prints JSON");
        assert_eq!(printed, copy(dialect));
        assert_eq!(all[dialect], printed);
    }
    let unknown = run(&["odoo"]).await;
    let told = String::from_utf8(unknown.stderr).expect("it is a text");
    assert_eq!(told, "dragoman: unknown dialect odoo: the dialects with sockets are room, conversations, concierge\n");
    assert!(!unknown.status.success());
}

#[tokio::test]
async fn the_parser_of_asyncapi_finds_nothing_wrong() {
    let modules = std::env::var("DRAGOMAN_TEST_NODE_PATH").expect("run the tests with .ci/test, which installs the parser");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/asyncapi/parse.js");
    let output = Command::new("node").arg(script).args(DIALECTS.map(file)).env("NODE_PATH", modules).output();
    let output = output.await.expect("node runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

/// Frame size limit: a frame of any size above it closes the socket with 1009.
#[tokio::test]
async fn what_is_too_large_ends_the_sockets_as_their_documents_say() {
    const LARGE: usize = 17 * 1024 * 1024;

    let mut server = Server::with_tokens(Backend::memory()).await;
    let paths = ["/ws/chat/room/?token=", "/conversations/1/?token=", "/concierge?deviceId=phone&Auth="];
    for (dialect, path) in DIALECTS.into_iter().zip(paths) {
        let document: Value = server.get(&format!("/asyncapi/{dialect}.json")).await.json().await.expect("it is JSON");
        let description = document["channels"][dialect]["description"].as_str().expect("the channel is described");
        let socket = Socket::open(server.socket_url(&format!("{path}{}", token(JOHN_UID)))).await;
        let (mut writing, mut reading) = socket.into_stream().split();
        let (_, ends) = tokio::join!(writing.send(Message::text("x".repeat(LARGE))), async {
            loop {
                let told = reading.next().await.expect("it is told something").expect("the socket works");
                if let Message::Close(Some(frame)) = told {
                    return u16::from(frame.code) == 1009;
                }
            }
        });
        assert!(ends && description.contains("`1009`"), "{dialect}: {description}");
    }
    server.stop().await;
}

/// One page for all documents, which works on a machine without a network. Earlier addresses lead to its sections.
#[tokio::test]
async fn all_documents_are_on_a_page_that_needs_nothing_from_elsewhere() {
    let mut server = Server::demo(Backend::memory()).await;
    let answer = server.get("/asyncapi").await;
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert!(answer.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    let page = answer.text().await.expect("it is a page");
    for dialect in DIALECTS {
        assert!(page.contains(&format!("<h2 id=\"{dialect}\">")), "the page has no section {dialect}");
        let earlier = server.get(&format!("/asyncapi/{dialect}")).await;
        assert_eq!(
            (earlier.status().as_u16(), earlier.headers()["location"].to_str().unwrap()),
            (308, format!("/asyncapi#{dialect}").as_str())
        );
        for (key, message) in copy(dialect)["components"]["messages"].as_object().expect("there are messages") {
            let id = format!("{dialect}.{key}");
            assert!(page.contains(&format!("<h4 id=\"{id}\">")), "the page says nothing of {id}");
            assert!(message["summary"].is_string() && message["examples"].is_array(), "{id} lacks a summary or an example");
        }
    }
    for link in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(page.contains(&format!("id=\"{link}\"")), "a link leads to {link}, which is not there");
    }
    for markup in ["<li><code>1009</code>", "string like <code>^", "class=\"language-json\""] {
        assert!(page.contains(markup), "the page lacks {markup}");
    }
    for raw in ["`", "\n| ", "\n#", "](", "src=", "href=\"http", "@import", "url("] {
        assert!(!page.contains(raw), "the page has Markdown, or loads something: {raw}");
    }
    server.stop().await;
}

with_tokens_on_every_backend! {
    async fn the_rooms_document_describes_what_is_said(server) {
        let described = Described::served(server, "room").await;
        let address = |uid| server.socket_url(&format!("/ws/chat/room/?token={}", token(uid)));
        let mut john = Talk::open(&described, address(JOHN_UID)).await;
        let mut admin = Talk::open(&described, address(ADMIN_UID)).await;
        john.catch_up().await;
        admin.catch_up().await;

        john.say(json!({"action": "text_message", "message_body": "hello there", "receiver_id": ADMIN_UUID})).await;
        john.say(json!({"action": "user_profile_message", "attached_profile_id": ADMIN_UUID, "receiver_id": ADMIN_UUID})).await;
        // Waits for both messages, so that the upload follows them.
        for kind in ["text", "user_profile"] {
            john.hear_until(|told| told["action"] == "conf_message" && told["message_type"] == kind).await;
            admin.hear_until(|told| told["action"] == "re_message" && told["message_type"] == kind).await;
        }
        let form = Form::new().text("receiver", ADMIN_UUID).text("message", "this is the file");
        let form = form.part("attached_file", Part::bytes(b"x".to_vec()).file_name("Screenshot.png"));
        let upload = server.client().request(reqwest::Method::POST, "/chat/attachment/").bearer_auth(token(JOHN_UID));
        let stored = Answer::of(upload.multipart(form)).await.json();
        john.say(json!({"action": "file_message", "chat_id": stored["entity"]["message"]["id"]})).await;
        john.hear_until(|told| told["action"] == "conf_message" && told["message_type"] == "file").await;
        admin.hear_until(|told| told["action"] == "re_message" && told["message_type"] == "file").await;
        // A conversation of several participants.
        let jane = server.log_in(JANE).await;
        jane.messaging("message/send", json!({"thread_id": 2, "body": "all of you"})).await;
        john.hear_until(|told| told["thread"] == 2).await;
        john.say(json!({"action": "text_message", "message_body": " ", "receiver_id": JOHN_UUID})).await;
        john.hear_until(|told| told["action"] == "error" && told["request"] == "text_message").await;
        john.say_wrongly("[]").await;
        john.hear_until(|told| told["action"] == "error" && told["request"].is_null()).await;
        // A client of the dialect's older revision.
        john.say(json!({"action": "ping"})).await;
        john.hear_until(|told| told["action"] == "pong").await;
        admin.say(json!({"action": "chat_message", "message_body": "hello there", "receiver_id": JOHN_UUID})).await;
        admin.hear_until(|told| told["action"] == "conf_message" && told["message_body"] == "hello there").await;
        let form = Form::new().text("receiver", ADMIN_UUID).part("attached_file", Part::bytes(b"x".to_vec()).file_name("a.png"));
        let upload = server.client().request(reqwest::Method::POST, "/chat/chat-attachment/").bearer_auth(token(JOHN_UID));
        let stored = Answer::of(upload.multipart(form)).await.json();
        john.say(json!({"action": "chat_message_file", "chat_id": stored["entity"]["message"]["id"]})).await;
        admin.hear_until(|told| told["action"] == "re_message_file").await;
        john.hear_until(|told| told["attached_file_url"].is_string()).await;
        described.all_met();
    }

    async fn the_concierges_document_describes_what_is_said(server) {
        let described = Described::served(server, "concierge").await;
        let address = |token: &str, device| server.socket_url(&format!("/concierge?Auth={token}&deviceId={device}"));
        let mut agent = Talk::open(&described, address(&token(AGENT), "desk")).await;
        let mut tenant = Talk::open(&described, address(&token(TENANT), "phone")).await;
        agent.catch_up().await;
        tenant.catch_up().await;

        let begun = tenant.ask("client/init-chat-with-concierge", json!({"newSession": true})).await;
        let of = json!({"chatSessionId": begun["chatSessionId"]});
        let with = |more: Value| {
            let mut body = of.clone();
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        agent.hear_until(|told| told["channel"] == "chat-session-new").await;
        agent.ask("backend/list-chat-sessions", json!({"status": "waiting", "page": 1, "limit": 10})).await;
        agent.ask("backend/join-chat-session", with(json!({"takeOver": false}))).await;
        let channel = |told: &Value, begin: &str| told["channel"].as_str().unwrap().starts_with(begin);
        tenant.hear_until(|told| channel(told, "chat-session-update-")).await;
        tenant.ask("client/init-chat-with-concierge", with(json!({"newSession": false}))).await;
        tenant.ask("client/get-chat-session", of.clone()).await;
        let unknown = json!({"route": "client/get-chat-session", "body": {"chatSessionId": uuid::Uuid::new_v4()}});
        tenant.say(json!({"action": "api", "data": unknown})).await;
        tenant.hear_until(|told| told["status"] == 404).await;
        agent.ask("backend/leave-chat-session", of.clone()).await;
        tenant.hear_until(|told| channel(told, "chat-session-update-")).await;
        agent.ask("backend/join-chat-session", of.clone()).await;
        tenant.hear_until(|told| channel(told, "chat-session-update-")).await;
        tenant.ask("client/ping-on-chat-session", of.clone()).await;
        agent.ask("backend/get-chat-session", of.clone()).await;
        agent.ask("backend/ping-on-chat-session", of.clone()).await;

        let said = json!({"contentType": "TEXT", "messageContent": "whatever", "metdata": {"any": "value"}});
        let asked = tenant.ask("client/send-message", with(said)).await["chatMessage"]["id"].take();
        agent.hear_until(|told| channel(told, "chat-message-")).await;
        let said = json!({"contentType": "IMAGE", "messageContent": "https://cdn.example/x.png", "metadata": {"messageUid": 1}});
        let answered = agent.ask("backend/send-message", with(said)).await["chatMessage"]["id"].take();
        tenant.hear_until(|told| channel(told, "chat-message-")).await;
        tenant.ask("client/get-unread-msg-count", json!({})).await;
        tenant.ask("client/update-message-seen-at", with(json!({"messageId": answered}))).await;
        agent.ask("backend/update-message-seen-at", with(json!({"messageId": asked}))).await;
        tenant.ask("client/get-chat-messages?page=1&limit=50", of.clone()).await;
        agent.ask("backend/get-chat-messages?page=1&limit=50", of.clone()).await;
        tenant.ask("client/delete-message", with(json!({"messageId": asked}))).await;
        agent.hear_until(|told| channel(told, "chat-message-delete")).await;
        agent.ask("backend/delete-message", with(json!({"messageId": answered}))).await;
        tenant.hear_until(|told| channel(told, "chat-message-delete")).await;

        tenant.ask("client/end-chat-with-concierge", of.clone()).await;
        agent.hear_until(|told| channel(told, "chat-session-update-")).await;
        agent.ask("backend/end-chat-session", of.clone()).await;
        let late = with(json!({"contentType": "TEXT", "messageContent": "too late"}));
        tenant.say(json!({"action": "api", "data": {"route": "client/send-message", "body": late}})).await;
        tenant.hear_until(|told| told["status"] == 409).await;
        tenant.say_wrongly("no JSON").await;
        tenant.hear_until(|told| told["channel"] == "error").await;
        let mut nameless = Talk::open(&described, address(&token(TENANT), "")).await;
        nameless.hear_until(|told| told["channel"] == "connection" && told["status"] == 400).await;
        described.all_met();
    }
}

with_every_backend! {
    async fn the_conversations_document_describes_what_is_said(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__PING_SECONDS", 1).start().await;
        let described = Described::served(&server, "conversations").await;
        let address = |uid| server.socket_url(&format!("/conversations/1/?token={}", token(uid)));
        let mut john = Talk::open(&described, address(JOHN_UID)).await;
        let mut admin = Talk::open(&described, address(ADMIN_UID)).await;
        john.catch_up().await;
        admin.catch_up().await;

        let kind = |told: &Value, kind: &str| told["type"] == kind;
        john.say(json!({"action": "send_message", "conversation_id": "1", "content": "Hello!", "local_id": "temp_123"})).await;
        let message = john.hear_until(|told| kind(told, "chat_message")).await["message"]["id"].take();
        admin.hear_until(|told| kind(told, "chat_message")).await;
        john.say(json!({"action": "typing", "conversation_id": "1", "is_typing": true})).await;
        admin.hear_until(|told| kind(told, "typing")).await;
        admin.say(json!({"action": "read", "conversation_id": "1", "message_ids": [message]})).await;
        john.hear_until(|told| kind(told, "read")).await;
        john.hear_until(|told| kind(told, "message.status") && told["status"] == "read").await;
        // A read marker that names no messages.
        john.say(json!({"action": "send_message", "content": "And more"})).await;
        john.hear_until(|told| kind(told, "chat_message")).await;
        server.log_in(ADMIN).await.messaging("notifications/mark_all_read", json!({"thread_id": 1})).await;
        john.hear_until(|told| kind(told, "read")).await;
        john.say(json!({"action": "edit_message", "message_id": message, "content": "Hello, you!"})).await;
        admin.hear_until(|told| kind(told, "message.edited")).await;
        admin.say(json!({"action": "reaction", "message_id": message, "content": "👍"})).await;
        john.hear_until(|told| kind(told, "reaction")).await;
        john.say(json!({"action": "delete_message", "message_id": message})).await;
        admin.hear_until(|told| kind(told, "message.deleted")).await;
        john.say(json!({"action": "fetch_messages", "conversation_id": "1", "before_id": "999999999", "limit": 20})).await;
        john.hear_until(|told| kind(told, "messages_fetched")).await;
        john.say(json!({"action": "fetch_messages", "after_id": message})).await;
        john.hear_until(|told| kind(told, "messages_fetched")).await;
        john.say(json!({"action": "send_message", "content": "", "local_id": "temp_124"})).await;
        john.hear_until(|told| kind(told, "message.failed")).await;
        john.say(json!({"action": "read", "message_ids": ["999999999"]})).await;
        john.hear_until(|told| kind(told, "error")).await;
        john.say_wrongly("no JSON").await;
        john.hear_until(|told| kind(told, "error") && told["action"].is_null()).await;

        // The same on a socket of all conversations, and from a conversation's creation on.
        let all = |uid| server.socket_url(&format!("/conversations/?token={}", token(uid)));
        let (mut every, mut jane) = (Talk::open(&described, all(JOHN_UID)).await, Talk::open(&described, all(JANE_UID)).await);
        every.catch_up().await;
        jane.catch_up().await;
        let client = server.log_in(JANE).await;
        let made = client.messaging("thread/create", json!({"name": "Plans", "partner_ids": [5, 3]})).await;
        let own = json!(made["thread_id"].to_string());
        let uuid = every.hear_until(|told| kind(told, "conversation.joined")).await["uuid"].take();
        let say = |action: &str| json!({"action": action, "conversation_id": own, "content": "Shall we?"});
        jane.say(json!({"action": "send_message", "conversation_id": own, "content": "Shall we?", "local_id": 7})).await;
        let message = every.hear_until(|told| kind(told, "chat_message")).await["message"]["id"].take();
        every.say(json!({"action": "typing", "conversation_id": own, "is_typing": true})).await;
        jane.hear_until(|told| kind(told, "typing")).await;
        every.say(json!({"action": "read", "conversation_id": own, "message_ids": [message]})).await;
        jane.hear_until(|told| kind(told, "message.status") && told["status"] == "read").await;
        let react = json!({"action": "reaction", "conversation_id": own, "message_id": message, "content": "👍", "remove": false});
        every.say(react).await;
        jane.hear_until(|told| kind(told, "reaction")).await;
        jane.say(json!({"action": "edit_message", "conversation_id": own, "message_id": message, "content": "Well?"})).await;
        every.hear_until(|told| kind(told, "message.edited")).await;
        jane.say(json!({"action": "fetch_messages", "conversation_id": own, "limit": 20})).await;
        jane.hear_until(|told| kind(told, "messages_fetched") && told["messages"][0]["local_id"] == 7).await;
        jane.say(json!({"action": "delete_message", "conversation_id": own, "message_id": message})).await;
        every.hear_until(|told| kind(told, "message.deleted")).await;
        every.say(json!({"action": "send_message", "conversation_id": own, "content": ""})).await;
        every.hear_until(|told| kind(told, "message.failed")).await;
        every.say(json!({"action": "read", "conversation_id": "987654", "message_ids": [message]})).await;
        every.hear_until(|told| kind(told, "error")).await;
        every.say_wrongly(&say("sing").to_string()).await;
        every.hear_until(|told| kind(told, "error")).await;
        let quit = json!({"model": "im_chat.session", "method": "quit_user", "args": [uuid], "kwargs": {}});
        server.log_in(JOHN).await.call("/web/dataset/call_kw", quit).await;
        every.hear_until(|told| kind(told, "conversation.left")).await;
        john.hear_until(|told| kind(told, "heartbeat")).await;
        john.say(json!({"action": "heartbeat"})).await;
        john.say(json!({"action": "heartbeat_ack"})).await;
        described.all_met();
        server.stop().await;
    }
}
