//! Tests of pushed events: recipients and content.

use std::time::{Duration, Instant};

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{ADMIN, CONCIERGE, Client, DEEPAK, JOHN, SECRET, address, shape, start, token};
use crate::{
    support::{Answer, Server, Socket, until},
    with_every_backend,
};

fn pushed_session() -> Value {
    json!({
        "id": 1, "chatInitiatedByEntityId": 1, "chatInitiatedByEntityType": "T", "chatJoinedByEntityId": 1,
        "chatJoinedByEntityType": "B", "chatSessionId": "x", "isSessionClosed": false, "lastPingedByChatInitiator": 1,
        "lastPingedByChatJoiner": 1, "orgId": 1,
    })
}

fn pushed_message() -> Value {
    json!({
        "id": 1, "type": 1, "chatSessionId": "x", "contentType": "TEXT", "deliveredAt": 1, "messageContent": "x",
        "metadata": null, "orgId": 1, "seenAt": null, "senderEntityId": 1, "senderEntityType": "T", "sentAt": 1, "status": 3,
    })
}

fn envelope(payload: &Value) -> Value {
    json!({
        "channel": "x", "payload": payload, "actions": [], "senderType": "x", "senderId": 1, "receiverType": "x",
        "receiverId": 1, "socketMessageId": "x",
    })
}

#[track_caller]
fn sides(event: &Value) -> (&Value, &Value, &Value, &Value) {
    (&event["senderType"], &event["senderId"], &event["receiverType"], &event["receiverId"])
}

with_every_backend! {
    /// Fan-out to two connections of the tenant and two of agents: all participants except the connection that made the
    /// request.
    async fn events_go_to_whom_they_concern(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut tablet = Client::connect(&server, DEEPAK, "tablet").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let mut admin = Client::connect(&server, ADMIN, "desk").await;
        let mut bystander = Client::connect(&server, JOHN, "phone").await;
        let chat = tenant.init().await;
        let id = chat.as_str().expect("a text");

        for (client, uid) in [(&mut agent, CONCIERGE), (&mut admin, ADMIN)] {
            let new = client.event().await;
            let mut example = pushed_session();
            for key in ["chatJoinedByEntityId", "chatJoinedByEntityType", "lastPingedByChatJoiner"] {
                example[key] = Value::Null;
            }
            assert_eq!(new["channel"], "chat-session-new");
            assert_eq!(shape(&new), shape(&envelope(&json!({"chatSession": example}))));
            assert_eq!(sides(&new), (&json!("TENANT"), &json!(DEEPAK), &json!("BACKEND_USER"), &json!(uid)));
            assert_eq!(new["payload"]["chatSession"]["chatSessionId"], chat);
        }

        agent.join(&chat).await;
        for client in [&mut tenant, &mut tablet] {
            let update = client.event().await;
            assert_eq!(update["channel"], format!("chat-session-update-{id}"));
            assert_eq!(shape(&update), shape(&envelope(&json!({"chatSession": pushed_session()}))));
            assert_eq!(sides(&update), (&json!("BACKEND_USER"), &json!(CONCIERGE), &json!("TENANT"), &json!(DEEPAK)));
        }
        assert_eq!(admin.update(&chat).await["chatJoinedByEntityId"], CONCIERGE, "whoever was told that it waits");

        let sent = tenant.send("client", &chat, "is anybody there?").await;
        for client in [&mut tablet, &mut agent] {
            let event = client.event().await;
            assert_eq!(event["channel"], format!("chat-message-{id}"));
            let example = json!({"chatSessionId": "x", "chatMessage": pushed_message()});
            assert_eq!(shape(&event), shape(&envelope(&example)));
            assert_eq!(sides(&event), (&json!("TENANT"), &json!(DEEPAK), &json!("BACKEND_USER"), &json!(CONCIERGE)));
            assert_eq!(event["payload"]["chatMessage"]["id"].to_string(), sent["id"].as_str().expect("a text"));
            assert_eq!(event["payload"]["chatMessage"]["messageContent"], "is anybody there?");
        }
        let answer = agent.send("backend", &chat, "yes").await;
        for client in [&mut tenant, &mut tablet] {
            let event = client.event().await;
            assert_eq!(event["payload"]["chatMessage"]["messageContent"], "yes");
            assert_eq!(sides(&event), (&json!("BACKEND_USER"), &json!(CONCIERGE), &json!("TENANT"), &json!(DEEPAK)));
        }

        let number: i64 = answer["id"].as_str().and_then(|id| id.parse().ok()).expect("a number");
        agent.body("backend/delete-message", json!({"chatSessionId": chat, "messageId": number})).await;
        for client in [&mut tenant, &mut tablet] {
            let event = client.event().await;
            assert_eq!(event["channel"], "chat-message-delete");
            assert_eq!(event["payload"], json!({"messageId": number}));
            assert_eq!(shape(&event), shape(&envelope(&event["payload"])));
        }

        tenant.body("client/end-chat-with-concierge", json!({"chatSessionId": chat})).await;
        for client in [&mut tablet, &mut agent, &mut admin] {
            let update = client.event().await;
            assert_eq!(update["channel"], format!("chat-session-update-{id}"));
            assert_eq!(update["payload"]["chatSession"]["isSessionClosed"], true);
            assert_eq!(sides(&update), (&json!("TENANT"), &json!(DEEPAK), &json!("BACKEND_USER"), &json!(CONCIERGE)));
        }

        // Recipients of another session: its event is the first that each of them receives.
        let other = tenant.init().await;
        for client in [&mut agent, &mut admin] {
            let event = client.event().await;
            assert_eq!((&event["channel"], &event["payload"]["chatSession"]["chatSessionId"]), (&json!("chat-session-new"), &other));
        }
        tenant.send("client", &other, "again").await;
        let event = tablet.event().await;
        assert_eq!(event["payload"]["chatMessage"]["messageContent"], "again");
        assert!(tenant.pushed.is_empty() && bystander.socket.heard_so_far().await.is_empty());
        assert_eq!(tenant.socket.heard_so_far().await, Vec::<Value>::new());
        drop((tenant, tablet, agent, admin, bystander));
        server.stop().await;
    }

    /// Number format of events: ids and times as strings by setting.
    async fn events_hold_texts_by_setting(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET).set("CONCIERGE__NUMBERS_IN_EVENTS", false);
        let mut server = builder.set("CONCIERGE__ORG_ID", 12).set("CONCIERGE__PATHS", "/prod,/dev").start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let at = address(&server, &format!("/prod?Auth={}&deviceId=x", token(CONCIERGE)));
        let mut agent = Client::at(&at).await;
        let chat = tenant.init().await;
        let new = agent.event().await;
        assert_eq!((&new["senderId"], &new["payload"]["chatSession"]["orgId"]), (&json!("34"), &json!("12")));
        agent.join(&chat).await;
        let id = tenant.send("client", &chat, "hi").await["id"].clone();
        assert_eq!(agent.event().await["payload"]["chatMessage"]["id"], id);
        drop((tenant, agent));
        server.stop().await;
    }

    /// Messages across dialects, in both directions.
    async fn other_dialects_take_part(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        agent.event().await;
        let elsewhere = server.log_in("concierge@example.com").await;
        assert_eq!(elsewhere.messaging("threads", json!({})).await["threads"], json!([]), "it has not joined yet");
        agent.join(&chat).await;
        tenant.event().await;
        let threads = elsewhere.messaging("threads", json!({})).await;
        let thread = threads["threads"][0]["id"].clone();

        let sent = elsewhere.messaging("message/send", json!({"thread_id": thread, "body": "from elsewhere"})).await;
        for client in [&mut tenant, &mut agent] {
            let event = client.event().await;
            let message = &event["payload"]["chatMessage"];
            assert_eq!((&message["messageContent"], &message["id"]), (&json!("from elsewhere"), &sent["message_id"]));
            assert_eq!(message["senderEntityId"], CONCIERGE);
        }
        tenant.send("client", &chat, "from here").await;
        let there = elsewhere.messaging("messages", json!({"thread_id": thread})).await.to_string();
        assert!(there.contains("from here"), "{there}");

        // Read mark from another dialect: the message is seen here.
        let read = elsewhere.messaging("notifications/mark_all_read", json!({"thread_id": thread})).await;
        assert_eq!(read["success"], true, "{read}");
        let history = tenant.body("client/get-chat-messages", json!({"chatSessionId": chat})).await;
        let last = history["messages"].as_array().and_then(|messages| messages.last()).expect("there are messages");
        assert_eq!((&last["messageContent"], &last["status"]), (&json!("from here"), &json!(4)));

        tenant.body("client/end-chat-with-concierge", json!({"chatSessionId": chat})).await;
        let refused = elsewhere.messaging("message/send", json!({"thread_id": thread, "body": "too late"})).await;
        assert!(refused["error"].is_string(), "{refused}");
        drop((tenant, agent));
        server.stop().await;
    }

    /// Files of other dialects, with a text, or several of them: the text names each, so that nothing is hidden.
    async fn files_of_other_dialects_are_named(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        agent.join(&chat).await;
        tenant.event().await;
        let elsewhere = server.log_in("concierge@example.com").await;
        let thread = elsewhere.messaging("threads", json!({})).await["threads"][0]["id"].take();
        let reader = server.log_in("deepak@tis.co.th").await;
        let mut files = Vec::new();
        for name in ["one.txt", "two.png"] {
            let form = Form::new().part("file", Part::bytes(b"hello".to_vec()).file_name(name));
            let upload = elsewhere.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
            files.push(Answer::of(upload).await.json()["attachment_id"].take());
        }
        elsewhere.messaging("message/send", json!({"thread_id": thread, "body": "first", "attachment_ids": files})).await;
        tenant.event().await;
        let one = format!("one.txt {}", server.url(&reader.address_of(&files[0]).await));
        let two = format!("two.png {}", server.url(&reader.address_of(&files[1]).await));
        for (body, files, expected) in [
            ("see this", &files[..1], format!("see this\n{one}")),
            ("and these", &files[..], format!("and these\n{one}\n{two}")),
            ("", &files[..], format!("{one}\n{two}")),
        ] {
            elsewhere.messaging("message/send", json!({"thread_id": thread, "body": body, "attachment_ids": files})).await;
            let pushed = tenant.event().await["payload"]["chatMessage"].take();
            let history = tenant.body("client/get-chat-messages?page=1&limit=1", json!({"chatSessionId": chat})).await;
            for message in [&pushed, &history["messages"][0]] {
                assert_eq!((&message["contentType"], &message["messageContent"]), (&json!("TEXT"), &json!(expected)));
            }
        }
        drop((tenant, agent));
        server.stop().await;
    }

    /// Messages from before the join: the agent reads them later, in any dialect, and the tenant then gets the read mark.
    async fn what_was_said_before_the_agent_joined_is_read_when_it_is(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        let question = tenant.send("client", &chat, "is anybody there?").await["id"].take();
        agent.join(&chat).await;
        let uuid = chat.as_str().expect("a text");
        let mut sockets = Vec::new();
        for uid in [DEEPAK, CONCIERGE] {
            let mut socket = Socket::open(address(&server, &format!("/conversations/{uuid}/?token={}", token(uid)))).await;
            assert_eq!(socket.hear().await["type"], "user_status");
            sockets.push(socket);
        }
        sockets[1].say(json!({"action": "read", "message_ids": [question]})).await;
        for socket in &mut sockets {
            let read = socket.hear_until(|told| told["type"] == "read").await;
            assert_eq!(read, json!({"type": "read", "user_id": CONCIERGE.to_string(), "message_ids": [question]}));
        }
        let status = sockets[0].hear_until(|told| told["type"] == "message.status").await;
        assert_eq!([&status["status"], &status["message_id"]], [&json!("read"), &question]);
        let history = tenant.body("client/get-chat-messages", json!({"chatSessionId": chat})).await;
        assert_eq!(history["messages"][0]["status"], 4, "{history}");
        drop((tenant, agent, sockets));
        server.stop().await;
    }

    /// Order at the end of a session: the client that ends it has received all of its messages before.
    async fn what_was_said_before_the_end_is_told_before_it(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET);
        let mut server = builder.set("SOCKETS__FRAMES_BURST", 10_000).start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        for _ in 0..20 {
            let chat = tenant.init().await;
            agent.join(&chat).await;
            for number in 0..3 {
                let body = json!({"chatSessionId": chat, "messageContent": number.to_string()});
                agent.socket.say(json!({"action": "api", "data": {"route": "backend/send-message", "body": body}})).await;
            }
            tenant.body("client/end-chat-with-concierge", json!({"chatSessionId": chat})).await;
            tenant.pushed.clear();
            assert_eq!(tenant.socket.heard_so_far().await, Vec::<Value>::new());
            // Answers: each message gets one, in time or not.
            let mut answers = 0;
            while answers < 3 {
                answers += usize::from(agent.socket.hear().await["channel"] == "backend/send-message");
            }
            agent.pushed.clear();
        }
        drop((tenant, agent));
        server.stop().await;
    }

    /// Idle sessions: the server closes a session after a time without requests, and pushes an event.
    async fn silent_sessions_are_closed(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET).set("CONCIERGE__SILENCE_SECONDS", 1);
        let mut server = builder.set("SOCKETS__FRAMES_BURST", 10_000).start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let chat = tenant.init().await;
        let update = tenant.event().await;
        assert_eq!(update["channel"], format!("chat-session-update-{}", chat.as_str().expect("a text")));
        assert_eq!(update["payload"]["chatSession"]["isSessionClosed"], true);
        assert_eq!(sides(&update), (&Value::Null, &Value::Null, &json!("TENANT"), &json!(DEEPAK)));
        assert_eq!(tenant.refused("client/ping-on-chat-session", json!({"chatSessionId": chat})).await, 409);

        let kept = tenant.init().await;
        let begun = Instant::now();
        until("a session that is pinged for longer than it may be silent", async || {
            tenant.body("client/ping-on-chat-session", json!({"chatSessionId": kept})).await;
            (begun.elapsed() > Duration::from_millis(2_500)).then_some(())
        })
        .await;
        drop(tenant);
        server.stop().await;
    }
}
