//! Tests of messages and their status across nodes.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ADMIN, JANE, JOHN, PAIR, enter, enter_room, hear, on_every_bus, poll, send};
use crate::support::{self, Socket, token, until};

/// Number of messages for the latency between nodes.
const TIMED: usize = 21;

on_every_bus! {
    /// Fan-out across nodes: subscribers of every dialect, in both directions.
    async fn a_message_is_heard_by_all_who_listen_at_the_other_node(one, other) {
        for (number, (here, there)) in [(&*one, &*other), (&*other, &*one)].into_iter().enumerate() {
            let (admin, john) = (here.log_in(support::ADMIN).await, there.log_in(support::JOHN).await);
            let (mut conversation, mut room) = (enter(there, JOHN, PAIR).await, enter_room(there, JOHN).await);
            let before = john.messaging("messages", json!({"thread_id": PAIR})).await["messages"].as_array().unwrap().len();
            let polls = [
                poll(&john, "/api/messaging/poll/messages", json!({"thread_id": PAIR, "timeout": 60})),
                poll(&john, "/api/messaging/poll/updates", json!({"timeout": 60})),
                poll(&john, "/longpolling/poll", json!({"channels": [], "last": i64::MAX})),
            ];
            there.polls_waiting(polls.len()).await;
            let body = format!("from node {number}");
            let id = send(&admin, &body).await;
            let [messages, updates, bus] = polls;
            let messages = messages.await.unwrap();
            assert_eq!((&messages["messages"][0]["id"], &messages["messages"][0]["body"]), (&json!(id), &json!(body)));
            assert_eq!(updates.await.unwrap()["threads_with_updates"][0]["thread_id"], PAIR);
            let bus = bus.await.unwrap();
            assert_eq!((&bus[0]["message"]["id"], &bus[0]["message"]["message"]), (&json!(id), &json!(body)), "{bus}");
            let told = hear(&mut conversation, "chat_message").await;
            assert_eq!((&told["message"]["id"], &told["message"]["content"]), (&json!(id.to_string()), &json!(body)));
            let told = room.hear_until(|told| told["action"] == "re_message").await;
            assert_eq!((&told["created_msg_id"], &told["message"]), (&json!(id), &json!(body)));
            let page = john.messaging("messages", json!({"thread_id": PAIR})).await;
            assert_eq!(page["messages"].as_array().unwrap().len(), before + 1);
            conversation.close().await;
            room.close().await;
        }
    }

    /// Order across nodes: a user with two devices gets a message first and then its delivery status on both.
    async fn a_message_is_delivered_only_after_it_was_told(here, there) {
        let (mut sender, mut reader) = (enter(here, ADMIN, PAIR).await, enter(here, JOHN, PAIR).await);
        let mut device = enter(there, ADMIN, PAIR).await;
        for number in 0..10 {
            sender.say(json!({"action": "send_message", "content": number.to_string()})).await;
            let id = hear(&mut reader, "chat_message").await["message"]["id"].take();
            for socket in [&mut sender, &mut device] {
                let mut told = Vec::new();
                while told.len() < 2 {
                    let frame = socket.hear_until(|told| told["type"] != "user_status").await;
                    let of = if frame["type"] == "chat_message" { &frame["message"]["id"] } else { &frame["message_id"] };
                    assert_eq!(*of, id, "{frame}");
                    told.push(frame["type"].clone());
                }
                assert_eq!(told, ["chat_message", "message.status"]);
            }
        }
        drop((sender, reader, device));
    }

    /// Support chat across nodes: the tenant at one, the agent at the other.
    async fn a_tenant_and_an_agent_need_not_be_at_the_same_node(here, there) {
        let open = async |server: &crate::support::Server, uid: i64| {
            let mut socket = Socket::open(server.socket_url(&format!("/concierge?Auth={}&deviceId=one", token(uid)))).await;
            socket.hear_until(|told| told["channel"] == "connection").await;
            socket
        };
        let (mut tenant, mut agent) = (open(here, 34).await, open(there, 32314).await);
        let begun = ask(&mut tenant, "client/init-chat-with-concierge", json!({"newSession": true})).await;
        let id = begun["chatSessionId"].clone();
        agent.hear_until(|told| told["channel"] == "chat-session-new").await;
        ask(&mut agent, "backend/join-chat-session", json!({"chatSessionId": id})).await;
        let update = format!("chat-session-update-{}", id.as_str().unwrap());
        tenant.hear_until(|told| told["channel"] == *update).await;
        let said = json!({"chatSessionId": id, "contentType": "TEXT", "messageContent": "Good day"});
        let channel = format!("chat-message-{}", id.as_str().unwrap());
        ask(&mut agent, "backend/send-message", said.clone()).await;
        let told = tenant.hear_until(|told| told["channel"] == *channel).await;
        assert_eq!(told["payload"]["chatMessage"]["messageContent"], "Good day");
        ask(&mut tenant, "client/send-message", said).await;
        agent.hear_until(|told| told["channel"] == *channel).await;
    }

    async fn typing_is_seen_at_the_other_node(here, there) {
        let (john, admin) = (here.log_in(support::JOHN).await, there.log_in(support::ADMIN).await);
        let mut socket = enter(there, ADMIN, PAIR).await;
        let waiting = poll(&admin, "/longpolling/poll", json!({"channels": [], "last": i64::MAX}));
        there.polls_waiting(1).await;
        john.messaging("typing/start", json!({"thread_id": PAIR})).await;
        assert_eq!(hear(&mut socket, "typing").await["is_typing"], true);
        // Presence, which may come first.
        let told = waiting.await.unwrap();
        assert!(told.as_array().is_some_and(|told| !told.is_empty()), "{told}");
        let typing = admin.messaging(&format!("typing/status/{PAIR}"), json!({})).await;
        assert_eq!(typing["typing_users"][0]["user_id"], JOHN);
        john.messaging("typing/stop", json!({"thread_id": PAIR})).await;
        assert_eq!(hear(&mut socket, "typing").await["is_typing"], false);
        let typing = admin.messaging(&format!("typing/status/{PAIR}"), json!({})).await;
        assert_eq!(typing["typing_users"], json!([]));
        // Message: ends typing.
        john.messaging("typing/start", json!({"thread_id": PAIR})).await;
        assert_eq!(hear(&mut socket, "typing").await["is_typing"], true);
        send(&john, "done").await;
        until("the end of typing", async || {
            let typing = admin.messaging(&format!("typing/status/{PAIR}"), json!({})).await;
            (typing["typing_users"] == json!([])).then_some(())
        })
        .await;
    }

    /// Delivery and read status across nodes.
    async fn the_author_hears_that_its_message_was_delivered_and_read(here, there) {
        let (mut author, mut reader) = (enter(here, ADMIN, PAIR).await, enter(there, JOHN, PAIR).await);
        author.say(json!({"action": "send_message", "content": "Are you there?", "local_id": "one"})).await;
        let id = hear(&mut reader, "chat_message").await["message"]["id"].clone();
        let status = hear(&mut author, "message.status").await;
        assert_eq!((&status["message_id"], &status["status"]), (&id, &json!("delivered")));
        reader.say(json!({"action": "read", "message_ids": [id]})).await;
        let read = hear(&mut author, "read").await;
        assert_eq!((&read["user_id"], &read["message_ids"]), (&json!(JOHN.to_string()), &json!([id])));
        let status = hear(&mut author, "message.status").await;
        assert_eq!((&status["message_id"], &status["status"]), (&id, &json!("read")));
        let page = here.log_in(support::ADMIN).await.messaging("messages", json!({"thread_id": PAIR})).await;
        assert_eq!(page["messages"][0]["is_read"], true);
    }

    /// Membership changes and edits across nodes.
    async fn comings_goings_and_edits_are_known_at_the_other_node(here, there) {
        let (admin, john) = (here.log_in(support::ADMIN).await, there.log_in(support::JOHN).await);
        let made = admin.messaging("thread/create", json!({"name": "New", "partner_ids": [JANE], "thread_type": "group"})).await;
        let thread = &made["thread_id"];
        // Negative cache: the node remembers that he is no member.
        let refused = john.messaging("messages", json!({"thread_id": thread})).await;
        assert_eq!(refused["error"], "Access denied");
        admin.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": JOHN})).await;
        let waiting = poll(&john, "/api/messaging/poll/messages", json!({"thread_id": thread, "timeout": 60, "last_message_id": 0}));
        let mut socket = enter(there, JOHN, thread.as_i64().unwrap()).await;
        let sent = admin.messaging("message/send", json!({"thread_id": thread, "body": "Welcome"})).await;
        assert_eq!(waiting.await.unwrap()["messages"][0]["body"], "Welcome");
        let mut own = enter(here, ADMIN, thread.as_i64().unwrap()).await;
        let id = sent["message_id"].to_string();
        own.say(json!({"action": "edit_message", "message_id": id, "content": "Be welcome"})).await;
        assert_eq!(hear(&mut socket, "message.edited").await["content"], "Be welcome");
        own.say(json!({"action": "delete_message", "message_id": id})).await;
        assert_eq!(hear(&mut socket, "message.deleted").await["message_id"], *id);
    }

    /// Latency between nodes: printed, not asserted.
    async fn how_long_it_takes_from_one_node_to_the_other(here, there) {
        let admin = here.log_in(support::ADMIN).await;
        let mut socket = enter(there, JOHN, PAIR).await;
        let mut took = Vec::with_capacity(TIMED);
        for number in 0..TIMED {
            let body = format!("number {number}");
            send(&admin, &body).await;
            let acknowledged = Instant::now();
            socket.hear_until(|told: &Value| told["message"]["content"] == *body).await;
            took.push(acknowledged.elapsed());
        }
        took.sort_unstable();
        let within: Duration = took[TIMED / 2];
        eprintln!("from the sender's answer at one node to the reader's socket at the other: median {within:?}, all {took:?}");
    }
}

/// Makes a request of the support chat that succeeds, and returns the body of the answer.
async fn ask(socket: &mut Socket, route: &str, body: Value) -> Value {
    socket.say(json!({"action": "api", "data": {"route": route, "body": body}})).await;
    let mut answer = socket.hear_until(|told| told["channel"] == route).await;
    assert_eq!(answer["status"], 200, "{answer}");
    answer["body"].take()
}
