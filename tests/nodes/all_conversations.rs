//! Tests of the socket for all conversations, with participants at another node.

use serde_json::{Value, json};

use super::{ADMIN, JANE, JOHN, PAIR, enter, hear, on_every_bus};
use crate::support::{self, Server, Socket, token};

/// Conversation of four in the demo data.
const TEAM: i64 = 2;

async fn enter_all(server: &Server, uid: i64) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("/conversations/?token={}", token(uid)))).await;
    socket.hear_until(|told| told["user_id"] == json!(uid.to_string())).await;
    socket
}

fn sending(conversation: i64, content: &str) -> Value {
    json!({"action": "send_message", "conversation_id": conversation.to_string(), "content": content, "local_id": content})
}

on_every_bus! {
    async fn everything_is_heard_at_the_other_node(here, there) {
        let mut john = enter_all(there, JOHN).await;
        for (uid, conversation) in [(ADMIN, PAIR), (JANE, TEAM)] {
            let named = json!(conversation.to_string());
            let mut other = enter(here, uid, conversation).await;
            john.hear_until(|told| told["user_id"] == json!(uid.to_string()) && told["status"] == "online").await;
            other.say(json!({"action": "typing", "is_typing": true})).await;
            assert_eq!(hear(&mut john, "typing").await["conversation_id"], named);
            other.say(sending(conversation, "Good day")).await;
            let told = hear(&mut john, "chat_message").await;
            assert_eq!((&told["conversation_id"], &told["message"]["content"]), (&named, &json!("Good day")));
            let id = &told["message"]["id"];
            let status = hear(&mut other, "message.status").await;
            assert_eq!((&status["message_id"], &status["status"]), (id, &json!("delivered")));
            for action in ["reaction", "read"] {
                let frame = json!({"action": action, "conversation_id": named, "message_id": id, "message_ids": [id], "content": "👍"});
                john.say(frame).await;
                let told = hear(&mut other, action).await;
                assert_eq!(told["user_id"], JOHN.to_string(), "{told}");
            }
            assert_eq!(hear(&mut other, "message.status").await["status"], "read");
            for (action, kind) in [("edit_message", "message.edited"), ("delete_message", "message.deleted")] {
                other.say(json!({"action": action, "message_id": id, "content": "changed"})).await;
                let told = hear(&mut john, kind).await;
                assert_eq!((&told["conversation_id"], &told["message_id"]), (&named, id));
            }
        }
    }

    /// Order of a message and its delivery status.
    async fn a_message_is_delivered_only_after_it_was_told(here, there) {
        let (mut sender, mut reader) = (enter_all(here, ADMIN).await, enter_all(here, JOHN).await);
        let mut device = enter_all(there, ADMIN).await;
        for number in 0..20 {
            let conversation = [PAIR, TEAM][number % 2];
            sender.say(sending(conversation, &number.to_string())).await;
            let id = hear(&mut reader, "chat_message").await["message"]["id"].take();
            for socket in [&mut sender, &mut device] {
                let mut told = Vec::new();
                while told.len() < 2 {
                    let frame = socket.hear_until(|told| told["type"] != "user_status").await;
                    let of = if frame["type"] == "chat_message" { &frame["message"]["id"] } else { &frame["message_id"] };
                    assert_eq!((of, &frame["conversation_id"]), (&id, &json!(conversation.to_string())), "{frame}");
                    told.push(frame["type"].clone());
                }
                assert_eq!(told, ["chat_message", "message.status"]);
            }
        }
        drop((sender, reader, device));
    }

    /// Retry after a reconnect at another node: the message comes in its place before the answer, and later messages are not
    /// repeated.
    async fn a_retry_at_another_node_is_answered_in_order(here, there) {
        let (mut first, mut other) = (enter_all(here, JOHN).await, enter_all(here, ADMIN).await);
        let (mut again, mut one) = (enter_all(there, JOHN).await, enter(there, JOHN, PAIR).await);
        for number in 0..20 {
            let before = sending(PAIR, &format!("before {number}"));
            other.say(before.clone()).await;
            other.hear_until(|told| told["message"]["content"] == before["content"]).await;
            let mut frame = sending(PAIR, &format!("number {number}"));
            first.say(frame.clone()).await;
            let told = first.hear_until(|told| told["message"]["content"] == frame["content"]).await;
            again.say(frame.clone()).await;
            frame.as_object_mut().unwrap().remove("conversation_id");
            one.say(frame).await;
            for socket in [&mut again, &mut one] {
                let before = hear(socket, "chat_message").await;
                assert_eq!(before["message"]["content"], format!("before {number}"));
                for _ in 0..2 {
                    assert_eq!(hear(socket, "chat_message").await["message"], told["message"], "told, and answered");
                }
            }
        }
        drop((first, other, again, one));
    }

    async fn what_begins_and_ends_at_one_node_is_told_at_the_other(here, there) {
        let (mut john, client) = (enter_all(there, JOHN).await, here.log_in(support::JANE).await);
        let mut jane = enter_all(here, JANE).await;
        john.hear_until(|told| told["user_id"] == json!(JANE.to_string()) && told["status"] == "online").await;
        let made = client.messaging("thread/create", json!({"name": "Plans", "partner_ids": [5, 3]})).await;
        let id = made["thread_id"].as_i64().unwrap_or_else(|| panic!("{made}"));
        for socket in [&mut john, &mut jane] {
            let joined = hear(socket, "conversation.joined").await;
            assert_eq!((&joined["conversation_id"], &joined["participant_count"]), (&json!(id.to_string()), &json!(3)));
            let jane = joined["participants"].as_array().unwrap().iter().find(|member| member["user_id"] == json!(JANE.to_string()));
            assert_eq!(jane.unwrap()["status"], "online", "{joined}");
            john_says(socket, id).await;
        }
        let uuid = here.log_in(support::JOHN).await.messaging("threads", json!({})).await;
        assert!(uuid["threads"].as_array().is_some_and(|threads| threads.iter().any(|thread| thread["id"] == id)), "{uuid}");
        let added = client.messaging("thread/add_participant", json!({"thread_id": id, "partner_id": 9})).await;
        assert!(added.get("error").is_none(), "{added}");
        let told = john.hear_until(|told| told["user_id"] == "8").await;
        assert_eq!(told["type"], "user_status");
    }
}

/// Sends a message to a new conversation, which works at once at any node.
async fn john_says(socket: &mut Socket, conversation: i64) {
    socket.say(sending(conversation, "here I am")).await;
    let told = socket.hear_until(|told| told["type"] == "chat_message" || told["type"] == "message.failed").await;
    assert_eq!(told["message"]["content"], "here I am", "{told}");
}
