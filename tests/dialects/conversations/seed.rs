//! Tests of every example of the published description, with exactly its keys.

use serde_json::json;

use super::{ADMIN, JOHN, complaint, enter, hear, is_time, keys, open, said, send, text};
use crate::{support::Server, with_every_backend, with_tokens_on_every_backend};

with_tokens_on_every_backend! {
    async fn a_message_is_told_to_its_sender_and_to_the_others(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let sent = json!({"action": "send_message", "conversation_id": "1", "content": "Hello!", "local_id": "temp_123"});
        john.say(sent).await;
        let own = hear(&mut john, "chat_message").await;
        assert_eq!(keys(&own), ["message", "type"]);
        let message = &own["message"];
        assert_eq!(keys(message), ["content", "id", "local_id", "sender_id", "status", "timestamp"]);
        assert!(text(message, "id").parse::<i64>().is_ok(), "{message}");
        assert!(is_time(&message["timestamp"]), "{message}");
        assert_eq!(
            (&message["local_id"], &message["sender_id"], &message["content"], &message["status"]),
            (&json!("temp_123"), &json!("4"), &json!("Hello!"), &json!("sent"))
        );
        assert_eq!(hear(&mut admin, "chat_message").await, own, "the same for everybody");
    }

    async fn a_message_that_cannot_be_sent_is_answered_with_its_local_id(server) {
        let mut john = enter(server, JOHN, 1).await;
        let frame = json!({"action": "send_message", "conversation_id": "1", "content": "", "local_id": "temp_123"});
        let failed = complaint(&mut john, &frame.to_string()).await;
        let error = "content must not be empty";
        assert_eq!(failed, json!({"type": "message.failed", "local_id": "temp_123", "error": error}));
        let frame = json!({"action": "send_message", "conversation_id": "2", "content": "x", "local_id": "temp_124"});
        let error = "conversation_id must be this socket's own";
        let failed = complaint(&mut john, &frame.to_string()).await;
        assert_eq!(failed, json!({"type": "message.failed", "local_id": "temp_124", "error": error}));
    }

    async fn typing_is_told_to_the_others(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        hear(&mut admin, "user_status").await;
        john.say(json!({"action": "typing", "conversation_id": "1", "is_typing": true})).await;
        let told = json!({"type": "typing", "user_id": "4", "username": "john", "is_typing": true});
        assert_eq!(hear(&mut admin, "typing").await, told);
        john.say(json!({"action": "typing", "conversation_id": "1", "is_typing": false})).await;
        let told = json!({"type": "typing", "user_id": "4", "username": "john", "is_typing": false});
        assert_eq!(hear(&mut admin, "typing").await, told, "told once each time");
        assert_eq!(said(&mut john).await, [json!(null); 0], "not to who types");
    }

    async fn reading_is_told_to_everybody(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let ids = [send(&mut admin, "one").await, send(&mut admin, "two").await].map(|sent| sent["id"].clone());
        let told = json!({"type": "read", "user_id": "4", "message_ids": ids});
        let read = json!({"action": "read", "conversation_id": "1", "message_ids": ids});
        john.say(read.clone()).await;
        assert_eq!(hear(&mut john, "read").await, told);
        assert_eq!(hear(&mut admin, "read").await, told);
        john.say(read).await;
        assert_eq!(hear(&mut john, "read").await, told, "answered, though there was nothing left to be read");
    }

    async fn history_is_fetched_newest_first(server) {
        let mut john = enter(server, JOHN, 1).await;
        let first = send(&mut john, "Previous message").await;
        let second = send(&mut john, "Hello!").await;
        let before = json!({"action": "fetch_messages", "conversation_id": "1", "before_id": second["id"], "limit": 20});
        john.say(before).await;
        let fetched = hear(&mut john, "messages_fetched").await;
        let message = json!({"id": first["id"], "sender_id": "4", "content": "Previous message",
            "sent_at": first["timestamp"], "is_edited": false, "is_deleted": false});
        assert_eq!(fetched, json!({"type": "messages_fetched", "conversation_id": "1", "messages": [message]}));
        john.say(json!({"action": "fetch_messages", "conversation_id": "1"})).await;
        let fetched = hear(&mut john, "messages_fetched").await;
        let contents: Vec<_> = fetched["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
        assert_eq!(contents, ["Hello!", "Previous message"]);
    }

    async fn local_ids_are_in_the_history_of_who_gave_them(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        john.say(json!({"action": "send_message", "content": "Hello!", "local_id": "temp_123"})).await;
        hear(&mut admin, "chat_message").await;
        for (socket, local_id) in [(&mut john, Some("temp_123")), (&mut admin, None)] {
            socket.say(json!({"action": "fetch_messages"})).await;
            let message = hear(socket, "messages_fetched").await["messages"][0].take();
            assert_eq!(message.get("local_id").map(|id| id.as_str().unwrap()), local_id, "{message}");
        }
    }

    async fn heartbeats_are_not_answered(server) {
        let mut john = enter(server, JOHN, 1).await;
        john.say(json!({"action": "heartbeat_ack"})).await;
        john.say(json!({"action": "heartbeat"})).await;
        assert_eq!(said(&mut john).await, [json!(null); 0]);
    }

    async fn the_author_learns_that_a_message_was_delivered_and_read(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let message = send(&mut admin, "Hello!").await;
        let delivered = hear(&mut admin, "message.status").await;
        assert_eq!(keys(&delivered), ["message_id", "status", "timestamp", "type"]);
        assert_eq!((&delivered["message_id"], &delivered["status"]), (&message["id"], &json!("delivered")));
        assert!(is_time(&delivered["timestamp"]), "{delivered}");
        john.say(json!({"action": "read", "message_ids": [message["id"]]})).await;
        let read = hear(&mut admin, "message.status").await;
        assert_eq!((&read["message_id"], &read["status"]), (&message["id"], &json!("read")));
        hear(&mut john, "read").await;
        assert_eq!(said(&mut john).await, [json!(null); 0], "nobody but the author");
    }

    async fn who_is_there_is_told_right_after_connecting(server) {
        let mut john = open(server, JOHN, 1).await;
        let statuses = [john.hear().await, john.hear().await];
        for status in &statuses {
            assert_eq!(keys(status), ["status", "timestamp", "type", "user_id"]);
            assert_eq!(status["type"], "user_status");
        }
        assert_eq!(statuses[0]["timestamp"], json!(null), "nobody has seen the admin yet");
        assert!(is_time(&statuses[1]["timestamp"]), "{}", statuses[1]);
        let told = statuses.each_ref().map(|status| (text(status, "user_id"), text(status, "status")));
        assert_eq!(told, [("2", "offline"), ("4", "online")]);
    }
}

with_every_backend! {
    async fn the_server_beats(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__PING_SECONDS", 1).start().await;
        let mut john = enter(&server, JOHN, 1).await;
        let beat = hear(&mut john, "heartbeat").await;
        assert_eq!(keys(&beat), ["timestamp", "type"]);
        assert!(is_time(&beat["timestamp"]), "{beat}");
        john.say(json!({"action": "heartbeat_ack"})).await;
        hear(&mut john, "heartbeat").await;
        server.stop().await;
    }
}
