//! Tests of invalid input: each frame gets an error, and the socket stays open.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{ADMIN, JOHN, complaint, enter, hear, said, send};
use crate::{
    support::{Server, Socket},
    with_every_backend, with_tokens_on_every_backend,
};

/// Error text for an invalid reaction.
const REACTION: &str = "content must have between 1 and 64 bytes, none of them a control character";

with_tokens_on_every_backend! {
    async fn what_cannot_be_sent_is_answered_with_its_local_id(server) {
        let mut john = enter(server, JOHN, 1).await;
        for (content, error) in [
            (r#""a\u0000b""#, "content must not contain the NUL character"),
            (r#""\ud800""#, "content cannot be read"),
            (r#"" \n ""#, "content must not be empty"),
            ("null", "content must not be empty"),
            ("[]", "content must be a text"),
        ] {
            let frame = format!(r#"{{"action": "send_message", "content": {content}, "local_id": 7}}"#);
            let failed = complaint(&mut john, &frame).await;
            assert_eq!(failed, json!({"type": "message.failed", "local_id": 7, "error": error}), "{frame}");
        }
        for (local_id, error) in [
            (json!("\0"), "local_id must not contain the NUL character"),
            (json!("x".repeat(257)), "local_id must not be longer than 256 bytes"),
        ] {
            let frame = json!({"action": "send_message", "content": "x", "local_id": local_id});
            let failed = complaint(&mut john, &frame.to_string()).await;
            assert_eq!(failed, json!({"type": "message.failed", "local_id": local_id, "error": error}));
        }
        let failed = complaint(&mut john, r#"{"action": "send_message", "content": "x", "local_id": {}}"#).await;
        assert_eq!(failed, json!({"type": "message.failed", "local_id": null, "error": "local_id must be a text"}));
        john.say(json!({"action": "send_message", "content": 42, "local_id": "x".repeat(256)})).await;
        assert_eq!(hear(&mut john, "chat_message").await["message"]["content"], "42", "a number is the text that it is written as");
    }

    /// Local ids returned as the JSON that was sent, since clients compare them in various ways.
    async fn local_ids_come_back_as_the_json_that_they_were(server) {
        let mut john = enter(server, JOHN, 1).await;
        for (number, local_id) in
            [r#""temp_123""#, "7", r#""7""#, "7.0", "-0", "123456789012345678901234567890", "1e999", r#""=7""#].into_iter().enumerate()
        {
            let told = format!(r#""local_id":{local_id}"#);
            let content = format!("number {number}");
            let frame = format!(r#"{{"action": "send_message", "content": "{content}", "local_id": {local_id}}}"#);
            // Idempotent retry with the same local id.
            for _ in 0..2 {
                john.say_text(&frame).await;
                let sent = raw(&mut john, "chat_message").await;
                assert!(sent.contains(&told) && sent.contains(&content), "{local_id}: {sent}");
            }
            john.say(json!({"action": "fetch_messages", "limit": 1})).await;
            let fetched = raw(&mut john, "messages_fetched").await;
            assert!(fetched.contains(&told) && fetched.contains(&content), "{local_id}: {fetched}");
            john.say_text(&frame.replace(&content, "")).await;
            let failed = raw(&mut john, "message.failed").await;
            assert!(failed.contains(&told), "{local_id}: {failed}");
        }
    }

    /// Unknown and impossible message ids among valid ones.
    async fn an_unknown_id_does_not_refuse_the_others(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let elsewhere = send(&mut enter(server, ADMIN, 2).await, "elsewhere").await["id"].clone();
        let mut sent = Vec::new();
        for text in ["one", "two"] {
            sent.push(send(&mut admin, text).await["id"].clone());
        }
        let named = format!(r#"[{}, 987654321, "temp_1", {elsewhere}, null, 1.5, 1e999, "\ud800", {{}}, {}]"#, sent[1], sent[0]);
        john.say_text(&format!(r#"{{"action": "read", "message_ids": {named}}}"#)).await;
        let read = json!({"type": "read", "user_id": "4", "message_ids": sent});
        assert_eq!(hear(&mut john, "read").await, read);
        assert_eq!(hear(&mut admin, "read").await, read);
    }

    async fn what_is_not_text_is_answered(server) {
        let mut john = enter(server, JOHN, 1).await;
        john.send(Message::binary(vec![0, 159, 146, 150])).await;
        let error = json!({"type": "error", "action": null, "error": "A frame must be text, not binary"});
        assert_eq!(hear(&mut john, "error").await, error);
        send(&mut john, "and the socket is still there").await;
    }

    /// Texts with the maximal frame size and with any characters.
    async fn texts_come_back_exactly(server) {
        let mut john = enter(server, JOHN, 1).await;
        for text in ["<script>alert(1)</script>".to_owned(), "'; DROP TABLE messages; --".into(), "👩‍👩‍👧 \u{202e}\u{1}\n".into(), "x".repeat(65_000)] {
            assert_eq!(send(&mut john, &text).await["content"], text);
        }
    }
}

/// Returns the next frame of a kind as raw text.
async fn raw(socket: &mut Socket, kind: &str) -> String {
    loop {
        let told = socket.hear_text().await;
        if told.starts_with(&format!(r#"{{"type":"{kind}""#)) {
            return told;
        }
    }
}

with_every_backend! {
    /// Order of answers: some have no other correlation.
    async fn answers_come_in_the_order_of_what_was_asked(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 1_000).start().await;
        let mut john = enter(&server, JOHN, 1).await;
        for _ in 0..50 {
            john.say(json!({"action": "send_message", "content": "hello"})).await;
            john.say(json!({"action": "send_message", "content": ""})).await;
            let mut next = async || john.hear_until(|told| told["type"] != "user_status").await["type"].take();
            assert_eq!([next().await, next().await], ["chat_message", "message.failed"]);
        }
        server.stop().await;
    }

    async fn what_cannot_be_done_is_answered_with_its_action(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 1_000).start().await;
        let mut john = enter(&server, JOHN, 1).await;
        let deep = format!(r#"{{"action": "typing", "is_typing": {}true{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        let object = "A frame must be a JSON object";
        let typing = "is_typing must be true or false";
        let ids = "message_ids must be a list of whole numbers";
        for (frame, action, error) in [
            ("", None, object),
            ("hello", None, object),
            ("[]", None, object),
            ("null", None, object),
            (r#"{"action": "typing""#, None, object),
            ("{}", None, "action is missing"),
            (r#"{"action": ["typing"]}"#, None, "action must be a text"),
            (r#"{"action": "sing"}"#, Some("sing"), "There is no such action"),
            (r#"{"action": "typing"}"#, Some("typing"), typing),
            (r#"{"action": "typing", "is_typing": 1}"#, Some("typing"), typing),
            (&deep, Some("typing"), typing),
            (r#"{"action": "read"}"#, Some("read"), "message_ids is missing"),
            (r#"{"action": "read", "message_ids": []}"#, Some("read"), "message_ids must not be empty"),
            (r#"{"action": "read", "message_ids": ["x"]}"#, Some("read"), ids),
            (r#"{"action": "read", "message_ids": [1.5]}"#, Some("read"), ids),
            (r#"{"action": "read", "message_ids": {}}"#, Some("read"), ids),
            (r#"{"action": "read", "message_ids": [1e999, "\ud800", null]}"#, Some("read"), ids),
            (r#"{"action": "read", "message_ids": 1.5}"#, Some("read"), ids),
            (r#"{"action": "reaction", "message_id": 1}"#, Some("reaction"), REACTION),
            (r#"{"action": "reaction", "content": "x"}"#, Some("reaction"), "message_id is missing"),
            (r#"{"action": "reaction", "message_id": 1, "content": "x", "remove": 1}"#, Some("reaction"), "remove must be true or false"),
            (r#"{"action": "reaction", "message_id": 1, "content": []}"#, Some("reaction"), "content must be a text"),
            (r#"{"action": "reaction", "message_id": 987654, "content": "x"}"#, Some("reaction"), "Message not found"),
            (r#"{"action": "reaction", "message_id": 1, "content": " "}"#, Some("reaction"), REACTION),
            (r#"{"action": "reaction", "message_id": 1, "content": "a\u0007b"}"#, Some("reaction"), REACTION),
            (r#"{"action": "reaction", "message_id": 1, "content": "\u0000"}"#, Some("reaction"), "content must not contain the NUL character"),
            (r#"{"action": "fetch_messages", "limit": -1}"#, Some("fetch_messages"), "limit must be greater than 0"),
            (r#"{"action": "fetch_messages", "before_id": "x"}"#, Some("fetch_messages"), "before_id must be a whole number"),
            (r#"{"action": "edit_message", "content": "x"}"#, Some("edit_message"), "message_id is missing"),
            (r#"{"action": "delete_message", "message_id": 99999999999999999999}"#, Some("delete_message"), "Message not found"),
            (r#"{"action": "heartbeat", "conversation_id": 2}"#, Some("heartbeat"), "conversation_id must be this socket's own"),
            (r#"{"action": "heartbeat", "conversation_id": []}"#, Some("heartbeat"), "conversation_id must be a text"),
            (r#"{"action": "sing", "action": "typing"}"#, Some("typing"), typing),
        ] {
            let told = complaint(&mut john, frame).await;
            assert_eq!(told, json!({"type": "error", "action": action, "error": error}), "{frame:.80}");
        }
        john.say(json!({"action": "heartbeat", "conversation_id": 1, "unknown": {"a": 1}})).await;
        assert_eq!(said(&mut john).await, [json!(null); 0], "numbers do for ids, and unknown fields do no harm");
        send(&mut john, "and the socket is still there").await;
        server.stop().await;
    }
}
