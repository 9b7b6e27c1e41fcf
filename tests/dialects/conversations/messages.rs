//! Tests of sending, retrying, editing and deleting messages, within the dialect and across dialects.

use futures_util::{StreamExt, future::join};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{ADMIN, BOB, JANE, JOHN, complaint, enter, hear, is_time, said, send, text};
use crate::{
    support::{self, Server, until},
    with_every_backend, with_tokens_on_every_backend,
};

fn sending(content: &str, local_id: &str) -> Value {
    json!({"action": "send_message", "content": content, "local_id": local_id})
}

with_tokens_on_every_backend! {
    /// Idempotent retry, also from another connection.
    async fn a_retry_stores_nothing_and_is_answered(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        john.say(sending("once", "temp_1")).await;
        john.say(sending("once", "temp_1")).await;
        let first = hear(&mut john, "chat_message").await;
        assert_eq!(hear(&mut john, "chat_message").await, first, "both are answered");
        let mut again = enter(server, JOHN, 1).await;
        again.say(sending("once", "temp_1")).await;
        assert_eq!(hear(&mut again, "chat_message").await, first);
        again.say(json!({"action": "fetch_messages"})).await;
        assert_eq!(hear(&mut again, "messages_fetched").await["messages"].as_array().unwrap().len(), 1);
        let told = said(&mut admin).await;
        assert_eq!(told, [first], "others are told once");
        admin.say(sending("another author's", "temp_1")).await;
        assert_eq!(hear(&mut admin, "chat_message").await["message"]["content"], "another author's");
    }

    /// Reused local id with other content: a new message.
    async fn the_same_local_id_with_other_content_is_another_message(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let mut ids = Vec::new();
        for content in ["first", "second", "first", "second"] {
            john.say(sending(content, "temp_1")).await;
            let mut told = hear(&mut john, "chat_message").await;
            assert_eq!((&told["message"]["content"], &told["message"]["local_id"]), (&json!(content), &json!("temp_1")));
            ids.push(told["message"]["id"].take());
        }
        assert_eq!([&ids[0], &ids[1]], [&ids[2], &ids[3]]);
        assert_ne!(ids[0], ids[1]);
        let told: Vec<_> = said(&mut admin).await.into_iter().map(|mut told| told["message"]["content"].take()).collect();
        assert_eq!(told, ["first", "second"], "others are told once of each");
    }

    /// Retry after an edit or a deletion: the answer has the current state of the message.
    async fn a_retry_after_a_change_is_answered_with_what_is_there(server) {
        let mut john = enter(server, JOHN, 1).await;
        john.say(sending("Helo!", "temp_1")).await;
        let first = hear(&mut john, "chat_message").await;
        let id = &first["message"]["id"];
        let mut expected = first.clone();
        john.say(json!({"action": "edit_message", "message_id": id, "content": "Hello!"})).await;
        hear(&mut john, "message.edited").await;
        expected["message"]["content"] = "Hello!".into();
        john.say(sending("Helo!", "temp_1")).await;
        assert_eq!(hear(&mut john, "chat_message").await, expected);
        john.say(json!({"action": "delete_message", "message_id": id})).await;
        hear(&mut john, "message.deleted").await;
        expected["message"]["content"] = "".into();
        john.say(sending("Helo!", "temp_1")).await;
        assert_eq!(hear(&mut john, "chat_message").await, expected);
        john.say(sending("Hello!", "temp_1")).await;
        assert_ne!(hear(&mut john, "chat_message").await["message"]["id"], *id, "what it was changed to was never sent");
    }

    /// Unread count after a deletion, in another dialect as well; a poll that waits for the count returns.
    async fn what_was_deleted_is_unread_for_nobody(server) {
        let mut john = enter(server, JOHN, 1).await;
        let reader = server.log_in(support::ADMIN).await;
        let updates = async || reader.messaging("poll/updates", json!({"timeout": 60})).await;
        reader.messaging("poll/updates", json!({"timeout": 0})).await;
        let (gone, left) = (send(&mut john, "gone").await, send(&mut john, "left").await);
        until("both", async || (updates().await["unread_count"] == 2).then_some(())).await;
        john.say(json!({"action": "delete_message", "message_id": gone["id"]})).await;
        hear(&mut john, "message.deleted").await;
        assert_eq!(updates().await["unread_count"], 1);
        let read = async |message: &Value| reader.messaging("message/read", json!({"message_id": message["id"]})).await;
        assert_eq!(read(&gone).await, json!({"success": true, "marked_count": 0}));
        assert_eq!(reader.messaging("notifications/count", json!({})).await["total_count"], 1);
        assert_eq!(read(&left).await, json!({"success": true, "marked_count": 1}));
        let last = send(&mut john, "last").await;
        john.say(json!({"action": "delete_message", "message_id": last["id"]})).await;
        hear(&mut john, "message.deleted").await;
        assert_eq!(reader.messaging("unread/count", json!({})).await, json!({"unread_count": 0, "unread_by_thread": []}));
    }

    async fn an_author_can_change_what_was_said(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let message = send(&mut john, "Helo!").await;
        let edit = json!({"action": "edit_message", "message_id": message["id"], "content": "Hello!"});
        john.say(edit.clone()).await;
        let edited = hear(&mut john, "message.edited").await;
        assert!(is_time(&edited["timestamp"]), "{edited}");
        let expected = json!({"type": "message.edited", "message_id": message["id"], "content": "Hello!",
            "timestamp": edited["timestamp"]});
        assert_eq!(edited, expected);
        assert_eq!(hear(&mut admin, "message.edited").await, edited);
        john.say(edit).await;
        assert_eq!(hear(&mut john, "message.edited").await, edited, "answered, though nothing has changed");
        admin.say(json!({"action": "fetch_messages"})).await;
        let fetched = hear(&mut admin, "messages_fetched").await;
        assert_eq!((&fetched["messages"][0]["content"], &fetched["messages"][0]["is_edited"]), (&json!("Hello!"), &json!(true)));
        let others = json!({"action": "edit_message", "message_id": message["id"], "content": "mine"});
        let refused = json!({"type": "error", "action": "edit_message", "error": "Access denied"});
        assert_eq!(complaint(&mut admin, &others.to_string()).await, refused);
        let empty = json!({"action": "edit_message", "message_id": message["id"], "content": " "});
        assert_eq!(complaint(&mut john, &empty.to_string()).await["error"], "content must not be empty");
    }

    async fn an_author_can_take_back_what_was_said(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let message = send(&mut john, "regretted").await;
        let delete = json!({"action": "delete_message", "message_id": message["id"]});
        let refused = json!({"type": "error", "action": "delete_message", "error": "Access denied"});
        assert_eq!(complaint(&mut admin, &delete.to_string()).await, refused);
        john.say(delete.clone()).await;
        let deleted = hear(&mut john, "message.deleted").await;
        let expected = json!({"type": "message.deleted", "message_id": message["id"], "timestamp": deleted["timestamp"]});
        assert_eq!(deleted, expected);
        assert_eq!(hear(&mut admin, "message.deleted").await, deleted);
        john.say(delete).await;
        assert_eq!(hear(&mut john, "message.deleted").await, deleted, "answered, though it was gone");
        admin.say(json!({"action": "fetch_messages"})).await;
        let fetched = &hear(&mut admin, "messages_fetched").await["messages"][0];
        assert_eq!((&fetched["id"], &fetched["content"], &fetched["is_deleted"]), (&message["id"], &json!(""), &json!(true)));
        let edit = json!({"action": "edit_message", "message_id": message["id"], "content": "back"});
        assert_eq!(complaint(&mut john, &edit.to_string()).await["error"], "The message was deleted");
    }

    /// Message ids of other conversations: not found, even the user's own.
    async fn messages_of_other_conversations_are_not_there(server) {
        let (mut here, mut there) = (enter(server, JOHN, 1).await, enter(server, JOHN, 2).await);
        let own = send(&mut there, "elsewhere").await["id"].clone();
        let others = send(&mut enter(server, ADMIN, 2).await, "by another").await["id"].clone();
        for (action, frame) in [
            ("edit_message", json!({"action": "edit_message", "message_id": own, "content": "x"})),
            ("delete_message", json!({"action": "delete_message", "message_id": own})),
            ("read", json!({"action": "read", "message_ids": [others]})),
            ("read", json!({"action": "read", "message_ids": ["987654", "-1"]})),
        ] {
            let error = complaint(&mut here, &frame.to_string()).await;
            assert_eq!(error, json!({"type": "error", "action": action, "error": "Message not found"}));
        }
        let john = server.log_in(support::JOHN).await;
        assert_eq!(john.messaging("unread/count", json!({})).await["unread_count"], 1, "it was not read there");
    }

    /// Actions across dialects, in both directions.
    async fn other_dialects_are_heard_here_and_hear_what_is_said_here(server) {
        let mut john = enter(server, JOHN, 1).await;
        let admin = server.log_in(support::ADMIN).await;
        let sent = admin.messaging("message/send", json!({"thread_id": 1, "body": "over HTTP"})).await;
        let told = hear(&mut john, "chat_message").await;
        let message = json!({"id": sent["message_id"].to_string(), "local_id": null, "sender_id": "2", "content": "over HTTP",
            "timestamp": told["message"]["timestamp"], "status": "sent"});
        assert_eq!(told, json!({"type": "chat_message", "message": message}));
        let own = send(&mut john, "over a socket").await;
        let page = admin.messaging("messages", json!({"thread_id": 1})).await;
        assert_eq!(page["messages"][0]["body"], "over a socket", "{page}");
        admin.messaging("typing/start", json!({"thread_id": 1})).await;
        let typing = json!({"type": "typing", "user_id": "2", "username": "admin", "is_typing": true});
        assert_eq!(hear(&mut john, "typing").await, typing);
        admin.messaging("typing/stop", json!({"thread_id": 1})).await;
        assert_eq!(hear(&mut john, "typing").await["is_typing"], false);
        admin.messaging("notifications/mark_all_read", json!({"thread_id": 1})).await;
        let read = json!({"type": "read", "user_id": "2", "message_ids": [own["id"]]});
        assert_eq!(hear(&mut john, "read").await, read);
    }
}

with_every_backend! {
    /// Simultaneous retries: one message is stored, and both are answered.
    async fn a_retry_at_the_same_time_stores_nothing(backend) {
        const TIMES: usize = 20;
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 1_000).start().await;
        let (mut one, mut two) = (enter(&server, JOHN, 1).await, enter(&server, JOHN, 1).await);
        let mut admin = enter(&server, ADMIN, 1).await;
        for number in 0..TIMES {
            let frame = sending(&format!("number {number}"), "temp_1");
            join(one.say(frame.clone()), two.say(frame)).await;
            let (first, second) = join(hear(&mut one, "chat_message"), hear(&mut two, "chat_message")).await;
            assert_eq!(first, second);
            // Repeated frames are identical.
            let mut more = [said(&mut one).await, said(&mut two).await].concat();
            more.retain(|told| told["type"] == "chat_message");
            assert!(more.iter().all(|told| *told == first), "{more:?}");
        }
        let told: Vec<_> = said(&mut admin).await.into_iter().filter(|told| told["type"] == "chat_message").collect();
        let contents: Vec<_> = told.iter().map(|told| text(&told["message"], "content").to_owned()).collect();
        assert_eq!(contents, (0..TIMES).map(|number| format!("number {number}")).collect::<Vec<_>>());
        drop((one, two, admin));
        server.stop().await;
    }

    /// Answers before the close: a client whose connection the server closes has received an answer for each stored message.
    async fn what_was_stored_is_answered_before_the_end(backend) {
        let server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 1_000);
        let mut server = server.set("SOCKETS__MESSAGE_BYTES", 10_000).start().await;
        let mut admin = enter(&server, ADMIN, 2).await;
        let mut john = enter(&server, JOHN, 2).await;
        for number in 0..60 {
            john.say(sending(&number.to_string(), &number.to_string())).await;
        }
        john.say(sending(&"x".repeat(10_000), "too large")).await;
        let mut john = john.into_stream();
        let mut answered = Vec::new();
        while let Some(Ok(frame)) = john.next().await {
            let Message::Text(told) = frame else { continue };
            let mut told: Value = serde_json::from_str(&told).unwrap();
            if told["type"] == "chat_message" {
                answered.push(told["message"]["content"].take());
            }
        }
        assert_eq!(answered.len(), 60, "{answered:?}");
        admin.say(sending("the end", "end")).await;
        for content in answered.into_iter().chain([json!("the end")]) {
            assert_eq!(hear(&mut admin, "chat_message").await["message"]["content"], content);
        }
        drop(admin);
        server.stop().await;
    }

    /// Message order: by id for every client, own messages included.
    async fn all_see_one_order(backend) {
        const EACH: usize = 25;
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 1_000).start().await;
        let mut sockets = Vec::new();
        for uid in [ADMIN, JOHN, JANE, BOB] {
            sockets.push((uid, enter(&server, uid, 2).await));
        }
        let talking = sockets.into_iter().map(|(uid, mut socket)| async move {
            for number in 0..EACH {
                socket.say(sending(&format!("{number} of {uid}"), &number.to_string())).await;
            }
            let mut ids = Vec::new();
            while ids.len() < 4 * EACH {
                let told = hear(&mut socket, "chat_message").await;
                ids.push(text(&told["message"], "id").parse::<i64>().unwrap());
            }
            ids
        });
        let heard = futures_util::future::join_all(talking).await;
        assert!(heard[0].is_sorted(), "{:?}", heard[0]);
        assert!(heard.iter().all(|ids| *ids == heard[0]), "{heard:?}");
        server.stop().await;
    }
}
