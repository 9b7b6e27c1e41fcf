//! Tests of input on the socket: each frame is answered on a channel, and the socket stays open.

use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Client, DEEPAK, SECRET, start};
use crate::{support::Server, with_every_backend};

const CASES: u32 = 600;

const ROUTES: &[&str] = &[
    "client/init-chat-with-concierge",
    "client/get-chat-session",
    "client/get-chat-messages?page=1&limit=50",
    "client/get-chat-messages?page=-1&limit=x",
    "client/ping-on-chat-session",
    "client/send-message",
    "client/delete-message",
    "client/update-message-seen-at",
    "client/get-unread-msg-count",
    "client/end-chat-with-concierge",
    "backend/join-chat-session",
    "backend/list-chat-sessions",
    "client/",
    "\\u0000",
    "",
];
const NAMES: &[&str] = &[
    "newSession",
    "chatSessionId",
    "messageId",
    "messageContent",
    "contentType",
    "metadata",
    "metdata",
    "page",
    "limit",
    "unknown",
];
/// JSON values, as they stand in a frame.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e400",
    "9223372036854775808",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "\"\"",
    "\"hello\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"TEXT\"",
    "\"4482e256-da14-47cc-b119-9575bbb3b6d3\"",
    "[]",
    "{}",
    "{\"messageUid\": \"\\u0000\"}",
    "{\"messageUid\": [1]}",
    "{\"a\": 1, \"a\": {\"\\u0000\": \"\\u0000\"}}",
    "SESSION",
];

fn frame() -> impl Strategy<Value = String> {
    let pair = (select(NAMES), select(VALUES)).prop_map(|(name, value)| format!("{name:?}: {value}"));
    let body = prop::collection::vec(pair, 0..5).prop_map(|pairs| format!("{{{}}}", pairs.join(", ")));
    (select(ROUTES), body)
        .prop_map(|(route, body)| format!("{{\"action\": \"api\", \"data\": {{\"route\": \"{route}\", \"body\": {body}}}}}"))
}

/// Sends a frame, and returns the answer.
async fn answered(client: &mut Client, frame: &str) -> Value {
    client.socket.say_text(frame).await;
    let answer = client.socket.hear().await;
    assert!(answer["channel"].is_string(), "{frame}: {answer}");
    let status = answer["status"].as_u64().unwrap_or_else(|| panic!("{frame}: {answer}"));
    assert!(status < 500, "{frame}: {answer}");
    assert_eq!(answer["body"]["message"].is_string(), status != 200, "{frame}: {answer}");
    for internal in ["serde", "sqlx", "src/", "line 1"] {
        assert!(!answer.to_string().contains(internal), "{frame}: {answer}");
    }
    answer
}

with_every_backend! {
    async fn what_is_no_request_is_answered_on_error(backend) {
        let mut server = start(backend).await;
        let mut client = Client::connect(&server, DEEPAK, "phone").await;
        let deep = format!("{{\"data\": {}1{}}}", "[".repeat(20_000), "]".repeat(20_000));
        for frame in ["", "hello", "[]", "1", "null", "{}", "{\"data\": 1}", "{\"data\": {\"route\": 1}}", "{\"data\": {}, \"data\": {}}",
            "{\"action\": \"api\", \"data\": {\"route\": \"\\ud800\"}}",
            "[\"api\", {\"route\": \"client/get-unread-msg-count\"}]",
            "{\"action\": \"api\", \"data\": [\"client/get-unread-msg-count\"]}", &deep] {
            let answer = answered(&mut client, frame).await;
            assert_eq!((&answer["channel"], &answer["status"]), (&json!("error"), &json!(400)), "{answer}");
        }
        client.socket.send(Message::binary(vec![1, 2, 3])).await;
        let refused = client.socket.hear().await;
        assert_eq!((&refused["channel"], &refused["status"]), (&json!("error"), &json!(400)));
        for (frame, status) in [
            ("{\"data\": {\"route\": \"client/get-unread-msg-count\"}}", 400),
            ("{\"action\": \"xyz\", \"data\": {\"route\": \"client/get-unread-msg-count\"}}", 400),
            ("{\"action\": \"api\", \"data\": {\"route\": \"client/get-unread-msg-count\", \"body\": []}}", 400),
            ("{\"action\": \"api\", \"data\": {\"route\": \"client/get-unread-msg-count\"}, \"more\": [1]}", 200),
        ] {
            let answer = answered(&mut client, frame).await;
            assert_eq!((&answer["channel"], &answer["status"]), (&json!("client/get-unread-msg-count"), &json!(status)), "{answer}");
        }
        let chat = client.init().await;
        for draft in [json!({}), json!({"messageContent": ""}), json!({"messageContent": " \n"}), json!({"messageContent": "a\0b"}),
            json!({"messageContent": "x", "contentType": "AUDIO"}), json!({"messageContent": 1}),
            json!({"messageContent": "x", "metadata": {"messageUid": "x".repeat(300)}})] {
            let mut draft = draft;
            draft["chatSessionId"] = chat.clone();
            assert_eq!(client.refused("client/send-message", draft).await, 400);
        }
        assert_eq!(client.texts("client", &chat).await, Vec::<Value>::new());
        drop(client);
        server.stop().await;
    }

    /// Order of answers: the protocol has no other correlation.
    async fn answers_come_in_the_order_of_what_was_asked(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET);
        let mut server = builder.set("SOCKETS__FRAMES_BURST", 10_000).start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let chat = tenant.init().await;
        for _ in 0..50 {
            for text in ["hello", ""] {
                let body = json!({"chatSessionId": chat, "messageContent": text});
                tenant.socket.say(json!({"action": "api", "data": {"route": "client/send-message", "body": body}})).await;
            }
            assert_eq!([tenant.socket.hear().await["status"].take(), tenant.socket.hear().await["status"].take()], [200, 400]);
        }
        drop(tenant);
        server.stop().await;
    }

    async fn whatever_is_asked_is_answered(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET).set("SOCKETS__FRAMES_BURST", 10 * CASES);
        let mut server = builder.start().await;
        let mut client = Client::connect(&server, DEEPAK, "phone").await;
        let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let frames = frame();
        for _ in 0..CASES {
            let frame = frames.new_tree(&mut runner).expect("it can be made").current();
            let session = if frame.contains("SESSION") { client.init().await } else { Value::Null };
            answered(&mut client, &frame.replace("SESSION", &session.to_string())).await;
        }
        client.body("client/get-unread-msg-count", json!({})).await;
        drop(client);
        server.stop().await;
    }
}
