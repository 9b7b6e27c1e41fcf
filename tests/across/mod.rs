//! Tests across dialects: a message, typing signal, read marker, edit or deletion in one dialect reaches the clients of all
//! others.

pub mod people;

use futures_util::future::{join, join_all};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::{
    support::{Answer, Server, until},
    with_every_backend, with_tokens_on_every_backend,
};
use people::{ADMIN, AGENT, Dialect, Ear, JOHN, Person, Place, TENANT, asked, concierge};

/// Sends a message from each of two users in each of the dialects `mouths`. Both users receive each message in every dialect.
async fn everybody_hears_everybody(server: &Server, place: &Place, two: [Person; 2], mouths: &[Dialect]) {
    let mut ears = Vec::new();
    for who in two {
        for dialect in place.dialects() {
            ears.push(Ear::open(server, who, place, dialect, "ear").await);
        }
    }
    let mut before = 0;
    for who in two {
        for dialect in mouths {
            let mut mouth = Ear::open(server, who, place, *dialect, "mouth").await;
            let text = format!("{} says it in {dialect:?}", who.login);
            let (heard, ()) = join(join_all(ears.iter_mut().map(|ear| ear.hear_text(&text))), mouth.say(&text)).await;
            let id = heard[0].id;
            assert!(id > before, "{id} after {before}");
            before = id;
            for (ear, heard) in ears.iter().zip(heard) {
                assert_eq!((heard.id, heard.text), (id, text.clone()), "in {:?}", ear.dialect);
                let known = heard.author.unwrap_or(who.uid.to_string());
                assert_eq!(known, who.uid.to_string(), "in {:?}: {text}", ear.dialect);
            }
        }
    }
}

with_tokens_on_every_backend! {
    async fn two_hear_each_other_in_four_dialects(server) {
        let place = Place::direct(server).await;
        everybody_hears_everybody(server, &place, [JOHN, ADMIN], &place.dialects()).await;
    }

    /// `room` addresses users, not support sessions, so it only receives here.
    async fn a_support_session_is_heard_in_all_dialects(server) {
        let place = Place::support(server).await;
        let mouths = [Dialect::Messaging, Dialect::ImChat, Dialect::Conversations, Dialect::Concierge];
        everybody_hears_everybody(server, &place, [TENANT, AGENT], &mouths).await;
    }

    /// `room` has no read marker.
    async fn what_is_read_in_one_dialect_is_read_in_all(server) {
        let place = Place::support(server).await;
        let session = json!({"chatSessionId": place.session});
        for reading in [Dialect::Messaging, Dialect::ImChat, Dialect::Conversations, Dialect::Concierge] {
            let mut author = Ear::open(server, TENANT, &place, Dialect::Messaging, "author").await;
            let mut bus = Ear::open(server, TENANT, &place, Dialect::ImChat, "author").await;
            let mut conversing = Ear::open(server, TENANT, &place, Dialect::Conversations, "author").await;
            let mut desk = concierge(server, TENANT, "author").await;
            let text = format!("to be read in {reading:?}");
            author.say(&text).await;
            let id = bus.hear_text(&text).await.id;
            let mut reader = Ear::open(server, AGENT, &place, reading, "reader").await;
            match reading {
                Dialect::Messaging => {
                    reader.client().messaging("message/read", json!({"message_id": id})).await;
                }
                Dialect::ImChat => {
                    reader.client().result("/im_chat/api/history", json!({"uuid": place.uuid, "limit": 1})).await;
                }
                Dialect::Conversations => reader.socket().say(json!({"action": "read", "message_ids": [id]})).await,
                Dialect::Concierge => {
                    let body = json!({"chatSessionId": place.session, "messageId": id});
                    asked(reader.socket(), "backend/update-message-seen-at", body).await;
                }
                Dialect::Room => unreachable!("it cannot read"),
            }
            let told = conversing.hear(|told| told["type"] == "read").await;
            assert_eq!(told["user_id"], AGENT.uid.to_string(), "{reading:?}: {told}");
            assert_eq!(told["message_ids"].as_array().unwrap().last(), Some(&json!(id.to_string())), "{reading:?}: {told}");
            let status = conversing.hear(|told| told["status"] == "read").await;
            assert_eq!(status["message_id"], id.to_string(), "{reading:?}");
            let header = bus.hear(|told| told["message"]["read_by"].is_object()).await;
            assert_eq!(header["message"]["read_by"], json!({"id": AGENT.uid, "message_id": id}), "{reading:?}");
            let newest = author.client().messaging("messages", json!({"thread_id": place.id, "limit": 1})).await;
            assert_eq!((&newest["messages"][0]["id"], &newest["messages"][0]["is_read"]), (&json!(id), &json!(true)), "{reading:?}");
            let history = asked(&mut desk, "client/get-chat-messages", session.clone()).await;
            let seen = history["messages"].as_array().unwrap().last().unwrap().clone();
            assert_eq!((&seen["id"], &seen["status"]), (&json!(id.to_string()), &json!(4)), "{reading:?}: {seen}");
            assert!(seen["seenAt"].is_string(), "{reading:?}: {seen}");
            // The reader has no unread messages left.
            let counts = server.log_in(AGENT.login).await.messaging("notifications/count", json!({})).await;
            assert_eq!(counts["total_count"], 0, "{reading:?}");
        }
    }

    /// `room` and `concierge` have no typing signal.
    async fn typing_crosses(server) {
        let place = Place::direct(server).await;
        let mut bus = Ear::open(server, ADMIN, &place, Dialect::ImChat, "ear").await;
        let mut conversing = Ear::open(server, ADMIN, &place, Dialect::Conversations, "ear").await;
        let messaging = server.log_in(ADMIN.login).await;
        let typing = async || messaging.messaging("typing/status/1", json!({})).await["typing_users"].take();
        for typist in [Dialect::Messaging, Dialect::ImChat, Dialect::Conversations] {
            let mut john = Ear::open(server, JOHN, &place, typist, "mouth").await;
            match typist {
                Dialect::Messaging => {
                    john.client().messaging("typing/start", json!({"thread_id": 1})).await;
                }
                Dialect::ImChat => {
                    let post = json!({"uuid": place.uuid, "message_type": "typing", "message_content": "..."});
                    john.client().result("/im_chat/post", post).await;
                }
                _ => john.socket().say(json!({"action": "typing", "is_typing": true})).await,
            }
            let told = conversing.hear(|told| told["type"] == "typing" && told["is_typing"] == true).await;
            assert_eq!((&told["user_id"], &told["username"]), (&json!("4"), &json!("john")), "{typist:?}");
            let told = bus.hear(|told| told["message"]["type"] == "typing").await;
            assert_eq!(told["message"]["from_id"][0], 4, "{typist:?}: {told}");
            until("John's typing", async || (typing().await[0]["user_id"] == 4).then_some(())).await;
            // A message ends the typing state, in any dialect.
            john.say(&format!("typed in {typist:?}")).await;
            conversing.hear(|told| told["type"] == "typing" && told["is_typing"] == false).await;
            until("the end of it", async || (typing().await == json!([])).then_some(())).await;
        }
    }

    async fn what_is_changed_reads_so_in_all_dialects(server) {
        let place = Place::support(server).await;
        let mut author = Ear::open(server, TENANT, &place, Dialect::Conversations, "author").await;
        let mut listener = Ear::open(server, AGENT, &place, Dialect::Conversations, "listener").await;
        author.say("whatever").await;
        let id = listener.hear_text("whatever").await.id;
        author.socket().say(json!({"action": "edit_message", "message_id": id, "content": "something"})).await;
        let told = listener.hear(|told| told["type"] == "message.edited").await;
        assert_eq!((&told["message_id"], &told["content"]), (&json!(id.to_string()), &json!("something")));
        for text in readings(server, &place).await {
            assert_eq!(text, "something");
        }
    }

    async fn what_is_taken_back_is_gone_in_all_dialects(server) {
        let place = Place::support(server).await;
        for taking in [Dialect::Conversations, Dialect::Concierge] {
            let mut author = Ear::open(server, TENANT, &place, taking, "author").await;
            let mut conversing = Ear::open(server, AGENT, &place, Dialect::Conversations, "listener").await;
            let mut desk = Ear::open(server, AGENT, &place, Dialect::Concierge, "listener").await;
            author.say("whatever").await;
            let id = desk.hear_text("whatever").await.id;
            match taking {
                Dialect::Conversations => author.socket().say(json!({"action": "delete_message", "message_id": id})).await,
                _ => {
                    let body = json!({"chatSessionId": place.session, "messageId": id});
                    asked(author.socket(), "client/delete-message", body).await;
                }
            }
            let told = conversing.hear(|told| told["type"] == "message.deleted").await;
            assert_eq!(told["message_id"], id.to_string(), "{taking:?}");
            let told = desk.hear(|told| told["channel"] == "chat-message-delete").await;
            assert_eq!(told["payload"], json!({"messageId": id}), "{taking:?}");
            for text in readings(server, &place).await {
                assert_eq!(text, "", "{taking:?}");
            }
        }
    }

    async fn a_file_of_messaging_is_seen_in_all_dialects(server) {
        let direct = Place::direct(server).await;
        let support = Place::support(server).await;
        for (place, author, reader) in [(&direct, JOHN, ADMIN), (&support, TENANT, AGENT)] {
            let mut ears = Vec::new();
            for dialect in place.dialects() {
                ears.push(Ear::open(server, reader, place, dialect, "ear").await);
            }
            let client = server.log_in(author.login).await;
            let form = Form::new().part("file", Part::bytes(b"hello".to_vec()).file_name("hello.txt"));
            let uploaded = Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await.json();
            let file = &uploaded["attachment_id"];
            let sent = json!({"thread_id": place.id, "body": "", "attachment_ids": [file]});
            let id = client.messaging("message/send", sent).await["message_id"].take();
            let path = server.log_in(reader.login).await.address_of(file).await;
            for ear in &mut ears {
                let dialect = ear.dialect;
                let told = ear.hear(|told| told.to_string().contains("hello.txt") || told.to_string().contains(&path)).await;
                match dialect {
                    Dialect::Messaging => assert_eq!((&told["id"], &told["attachments"][0]["name"]), (&id, &json!("hello.txt"))),
                    Dialect::ImChat => {
                        assert_eq!(told["message"]["type"], "money4_chat_attach_msg", "{told}");
                        let named: Value = serde_json::from_str(told["message"]["message"].as_str().unwrap()).unwrap();
                        assert_eq!(named["attachments"][0]["name"], "hello.txt");
                    }
                    Dialect::Room => {
                        let known = ["message_type", "attached_file_name", "attached_file_size"].map(|key| told[key].as_str());
                        assert_eq!(known, ["file", "hello.txt", "0.00KB"].map(Some), "{told}");
                    }
                    Dialect::Conversations => {
                        let content = told["message"]["content"].as_str().unwrap();
                        assert_eq!(content, format!("hello.txt {}", server.url(&path)));
                    }
                    Dialect::Concierge => {
                        let message = &told["payload"]["chatMessage"];
                        assert_eq!((&message["contentType"], &message["messageContent"]), (&json!("FILE"), &json!(server.url(&path))));
                    }
                }
            }
            assert_eq!(server.get(&path).await.text().await.unwrap(), "hello", "whoever was told reads it");
        }
    }
}

/// Text of the newest message for the agent, in each dialect in turn.
async fn readings(server: &Server, place: &Place) -> Vec<String> {
    let client = server.log_in(AGENT.login).await;
    let messages = client.messaging("messages", json!({"thread_id": place.id, "limit": 1})).await;
    let history = client.result("/im_chat/history", json!({"uuid": place.uuid, "limit": 1})).await;
    let mut conversing = Ear::open(server, AGENT, place, Dialect::Conversations, "reader").await;
    conversing.socket().say(json!({"action": "fetch_messages", "limit": 1})).await;
    let fetched = conversing.hear(|told| told["type"] == "messages_fetched").await;
    let mut desk = concierge(server, AGENT, "reader").await;
    let page = asked(&mut desk, "backend/get-chat-messages?page=1&limit=1", json!({"chatSessionId": place.session})).await;
    let texts = [
        &messages["messages"][0]["body"],
        &history[0]["message"],
        &fetched["messages"][0]["content"],
        &page["messages"][0]["messageContent"],
    ];
    texts.map(|text| text.as_str().unwrap_or_else(|| panic!("{text} is a text")).to_owned()).into()
}

with_every_backend! {
    /// Presence: a connection in one dialect makes the user online in all.
    async fn presence_crosses(backend) {
        for coming in [Dialect::Messaging, Dialect::ImChat, Dialect::Room, Dialect::Conversations, Dialect::Concierge] {
            let backend = backend.another().await;
            let mut server = Server::with_tokens(backend).await;
            let messaging = server.log_in(ADMIN.login).await;
            let place = Place { id: 1, uuid: String::new(), pair: None, session: None };
            let mut bus = Ear::open(&server, ADMIN, &place, Dialect::ImChat, "ear").await;
            let mut conversing = Ear::open(&server, ADMIN, &place, Dialect::Conversations, "ear").await;
            let status = async || messaging.messaging("presence/status", json!({"partner_ids": [JOHN.partner]})).await;
            assert_eq!(status().await["presence"][0]["status"], "offline", "{coming:?}");
            let (told, john) = join(
                bus.hear(|told| told["message"]["im_status"] == "online" && told["message"]["id"] == JOHN.uid),
                Ear::open(&server, JOHN, &place, coming, "mouth"),
            )
            .await;
            assert_eq!(told["channel"], json!(["odoo2", "im_chat.presence"]), "{coming:?}");
            let told = conversing.hear(|told| told["type"] == "user_status" && told["user_id"] == "4").await;
            assert_eq!(told["status"], "online", "{coming:?}");
            assert_eq!(status().await["presence"][0]["status"], "online", "{coming:?}");
            drop(john);
            server.stop().await;
        }
    }
}
