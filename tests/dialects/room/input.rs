//! Tests of input on the socket: each frame is answered, and the socket stays open.

use proptest::test_runner::{Config, RngAlgorithm, TestRng};
use proptest::{collection::vec, prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{ADMIN, JOHN, text};
use crate::{
    support::{Server, Socket},
    with_every_backend,
};

/// JSON values that may trip a parser.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "-1",
    "1.5",
    "1e400",
    "9223372036854775808",
    "123456789012345678901234567890",
    "\"\"",
    "\" \"",
    "\"1\"",
    "\"\\u0000\"",
    "\"a\\u0000b\"",
    "\"\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"text_message\"",
    "\"75140d72-8b20-4549-885c-20599badb486\"",
    "\"75140d728b204549885c20599badb486\"",
    "\"00000000-0000-0000-0000-000000000000\"",
    "[]",
    "{}",
    "[[[]]]",
    "{\"a\":1,\"a\":2}",
    "\"'; DROP TABLE messages; --\"",
];
const NAMES: &[&str] = &["action", "message_body", "receiver_id", "chat_id", "attached_profile_id", "unknown", ""];
const ACTIONS: &[&str] = &["\"text_message\"", "\"file_message\"", "\"user_profile_message\"", "\"other\"", "1", "null"];
/// Number of frames for each backend.
const CASES: usize = 400;

fn frames() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        8 => select(VALUES).prop_map(str::to_owned),
        1 => any::<String>().prop_map(|text| json!(text).to_string()),
        1 => (1_usize..10_000).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        1 => (1_usize..10_000).prop_map(|depth| "{\"a\":".repeat(depth)),
    ];
    let members = vec((select(NAMES), value), 0..5);
    prop_oneof![
        8 => (select(ACTIONS), members).prop_map(|(action, members)| {
            let members: String = members.iter().map(|(name, value)| format!(",\"{name}\":{value}")).collect();
            format!("{{\"action\":{action}{members}}}")
        }),
        1 => any::<String>(),
        1 => select(VALUES).prop_map(str::to_owned),
    ]
}

async fn refused(socket: &mut Socket, text: &str) -> Value {
    socket.say_text(text).await;
    let answer = socket.hear().await;
    assert_eq!(answer["action"], "error", "{text}: {answer}");
    assert_eq!(answer.as_object().unwrap().len(), 4, "{answer}");
    assert!(answer["message"].as_str().is_some_and(|words| !words.is_empty()), "{answer}");
    answer
}

with_every_backend! {
    async fn what_is_wrong_is_told(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 100).start().await;
        let mut john = JOHN.socket(&server).await;
        let to = ADMIN.uuid;
        for (frame, code, request) in [
            (json!({"action": "dance"}), "unknown_action", json!("dance")),
            (json!({"action": 1}), "unknown_action", json!(null)),
            (json!({}), "unknown_action", json!(null)),
            (json!({"action": "text_message", "receiver_id": to}), "invalid", json!("text_message")),
            (json!({"action": "text_message", "receiver_id": to, "message_body": " \n"}), "invalid", json!("text_message")),
            (json!({"action": "text_message", "receiver_id": to, "message_body": ["x"]}), "invalid", json!("text_message")),
            (json!({"action": "text_message", "receiver_id": to, "message_body": "a\0b"}), "invalid", json!("text_message")),
            (json!({"action": "text_message", "message_body": "x"}), "invalid", json!("text_message")),
            (json!({"action": "text_message", "receiver_id": {}, "message_body": "x"}), "invalid", json!("text_message")),
            (json!({"action": "text_message", "receiver_id": 4, "message_body": "x"}), "not_found", json!("text_message")),
            (json!({"action": "text_message", "receiver_id": "you", "message_body": "x"}), "not_found", json!("text_message")),
            (json!({"action": "file_message"}), "invalid", json!("file_message")),
            (json!({"action": "file_message", "chat_id": "x"}), "invalid", json!("file_message")),
            (json!({"action": "file_message", "chat_id": 1e300}), "not_found", json!("file_message")),
            (json!({"action": "user_profile_message", "receiver_id": to}), "invalid", json!("user_profile_message")),
            (
                json!({"action": "user_profile_message", "receiver_id": to, "attached_profile_id": "nobody"}),
                "not_found",
                json!("user_profile_message"),
            ),
        ] {
            let answer = refused(&mut john, &frame.to_string()).await;
            assert_eq!([&answer["code"], &answer["request"]], [&json!(code), &request], "{frame}: {answer}");
        }
        for frame in ["", "hello", "[]", "[\"text_message\"]", "null", "{", "{\"action\":\"\\ud800\"}"] {
            assert_eq!(refused(&mut john, frame).await["code"], "invalid_json", "{frame}");
        }
        let doubled = r#"{"action":"text_message","action":"x"}"#;
        assert_eq!(refused(&mut john, doubled).await["code"], "unknown_action", "the last counts");
        john.send(Message::binary(b"{}\xff".to_vec())).await;
        assert_eq!(john.hear().await["code"], "not_text");
        john.say(text(&ADMIN, "still here")).await;
        assert_eq!(john.hear().await["message"], "still here");
        assert_eq!(JOHN.history(&server, &ADMIN).await.len(), 1, "nothing else was sent");
        server.stop().await;
    }

    /// Property: each frame gets exactly one answer, an error or the confirmation.
    async fn every_frame_is_answered(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 1_000_000).start().await;
        let mut john = JOHN.socket(&server).await;
        // Fixed seed: a failure is reproducible.
        let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        for _ in 0..CASES {
            let frame = frames().new_tree(&mut runner).unwrap().current();
            john.say_text(&frame).await;
            let answer = john.hear().await;
            let action = answer["action"].as_str();
            assert!(action == Some("error") || action == Some("conf_message"), "{frame}: {answer}");
            let code = answer["code"].as_str();
            assert!(!code.is_some_and(|code| ["internal", "unavailable"].contains(&code)), "{frame}: {answer}");
        }
        assert_eq!(john.heard_so_far().await, [Value::Null; 0]);
        assert_eq!(server.metric("dragoman_panics_total").await, 0.0, "nothing panicked: {}", server.log());
        server.stop().await;
    }
}
