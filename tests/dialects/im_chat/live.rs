//! Tests across dialects: two clients of im_chat and one of messaging in one conversation.

use serde_json::{Value, json};

use super::Person;
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, JANE, JOHN, Server, Socket, token},
    with_every_backend,
};

/// Runs `act` while this person's poll waits, and returns the notifications of the poll.
async fn while_polling(server: &Server, person: &mut Person, act: impl Future<Output = ()>) -> Vec<Value> {
    let (told, ()) = tokio::join!(person.poll(), async {
        server.polls_waiting(1).await;
        act.await;
    });
    told
}

/// Skips all earlier events of the event log.
async fn caught_up(person: &mut Person, uuid: &str) {
    person.post(uuid, "ready").await;
    person.hear_message("message", "ready").await;
}

on_every_backend! {
    /// Group thread of the demo data: id 2 in the messaging dialect.
    async fn everybody_sees_messages_typing_and_reads(server) {
        let (mut jane, mut bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let john = server.log_in(JOHN).await;
        let groups = jane.im_chat("api/get_sessions_group", json!({})).await;
        let uuid = groups[0]["uuid"].as_str().unwrap().to_owned();
        caught_up(&mut jane, &uuid).await;
        caught_up(&mut bob, &uuid).await;
        jane.hear_message("message", "ready").await;
        let own = jane.channel();

        // Message from im_chat, in both dialects.
        let told = while_polling(server, &mut jane, async {
            bob.post(&uuid, "from Bob").await;
        }).await;
        assert_eq!(told.len(), 1, "{told:?}");
        let message = &told[0]["message"];
        assert_eq!((&told[0]["channel"], &message["message"], &message["type"]), (&own, &json!("from Bob"), &json!("message")));
        assert_eq!((&message["from_id"], &message["to_id"]), (&json!([8, "Bob Wilson"]), &json!([2, uuid])));
        let mut keys: Vec<_> = message.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["create_date", "from_id", "from_partner_id", "id", "message", "to_id", "type"]);
        let page = john.messaging("messages", json!({"thread_id": 2, "limit": 1})).await;
        assert_eq!(page["messages"][0]["body"], "from Bob");
        bob.hear_message("message", "from Bob").await;

        // Message from the messaging dialect.
        let told = while_polling(server, &mut jane, async {
            john.messaging("message/send", json!({"thread_id": 2, "body": "from John"})).await;
        }).await;
        assert_eq!((&told[0]["message"]["message"], &told[0]["message"]["from_id"]), (&json!("from John"), &json!([4, "John Doe"])));
        bob.hear_message("message", "from John").await;

        // Typing in both directions.
        let told = while_polling(server, &mut jane, async {
            john.messaging("typing/start", json!({"thread_id": 2})).await;
        }).await;
        assert_eq!((&told[0]["message"]["type"], &told[0]["message"]["from_id"]), (&json!("typing"), &json!([4, "John Doe"])));
        let told = while_polling(server, &mut jane, async {
            assert!(bob.post_as(&uuid, "typing", "...").await.is_i64());
        }).await;
        assert_eq!((&told[0]["message"]["type"], &told[0]["message"]["message"]), (&json!("typing"), &json!("...")));
        let typing = john.messaging("typing/status/2", json!({})).await;
        assert_eq!(typing["typing_users"][0]["name"], "Bob Wilson");
        let again = while_polling(server, &mut jane, async {
            bob.post_as(&uuid, "typing", "....").await;
        }).await;
        assert_eq!(again[0]["message"]["message"], "....", "each time");

        // Read marks in both directions.
        let last = john.messaging("messages", json!({"thread_id": 2, "limit": 1})).await["messages"][0]["id"].clone();
        let told = while_polling(server, &mut jane, async {
            john.messaging("message/read", json!({"message_id": last})).await;
        }).await;
        let read = &told[0]["message"];
        assert_eq!((&told[0]["channel"], &read["uuid"], &read["state"]), (&own, &json!(uuid), &json!("open")), "a session's header");
        assert_eq!(read["read_by"], json!({"id": 4, "message_id": last}));
        assert!(read.get("type").is_none(), "nothing that a client could take for a message");
        let told = while_polling(server, &mut jane, async {
            bob.im_chat("api/history", json!({"uuid": uuid})).await;
        }).await;
        assert_eq!(told[0]["message"]["read_by"]["id"], 8);
        let sent = john.messaging("message/send", json!({"thread_id": 2, "body": "Seen?"})).await;
        jane.hear_message("message", "Seen?").await;
        jane.im_chat("api/history", json!({"uuid": uuid})).await;
        let page = john.messaging("messages", json!({"thread_id": 2, "limit": 1})).await;
        assert_eq!((&page["messages"][0]["id"], &page["messages"][0]["is_read"]), (&sent["message_id"], &json!(true)));
        let is_own = |told: &Value| told["message"]["uuid"] == *uuid && told["message"].get("read_by").is_none();
        let own_read = jane.hear("the own read", is_own).await;
        let info = &own_read["message"];
        assert_eq!((&info["is_read"], &info["state"]), (&json!(true), &json!("open")));
    }

}

with_every_backend! {
    /// Edits and deletions from other dialects: clients can apply them by message id, and others ignore them.
    async fn what_is_edited_or_taken_back_is_told(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut jane = Person::log_in(&server, JANE).await;
        let uuid = jane.im_chat("api/get_sessions_group", json!({})).await[0]["uuid"].as_str().unwrap().to_owned();
        let mut john = Socket::open(server.socket_url(&format!("/conversations/2/?token={}", token(4)))).await;
        john.say(json!({"action": "send_message", "content": "Helo"})).await;
        let sent = jane.hear_message("message", "Helo").await;
        let id = sent["id"].to_string();
        for (change, now) in [
            (json!({"action": "edit_message", "message_id": id, "content": "Hello"}), "Hello"),
            (json!({"action": "delete_message", "message_id": id}), ""),
        ] {
            let told = while_polling(&server, &mut jane, john.say(change)).await;
            assert_eq!((told.len(), &told[0]["channel"]), (1, &jane.channel()), "{told:?}");
            let header = &told[0]["message"];
            assert_eq!((&header["uuid"], &header["state"]), (&json!(uuid), &json!("open")));
            assert!(header.get("type").is_none(), "nothing that a client could take for a message");
            let mut expected = sent.clone();
            expected["message"] = json!(now);
            assert_eq!(header["changed"], expected);
            assert_eq!(jane.im_chat("history", json!({"uuid": uuid})).await[0], expected);
        }
        drop(john);
        server.stop().await;
    }
}

on_every_backend! {
    /// Typing is neither stored nor counted.
    async fn typing_is_no_message(server) {
        let (jane, bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        let typed = jane.post_as(&uuid, "typing", "...").await;
        let sent = jane.post(&uuid, "Hello").await;
        assert!(typed.as_i64() < sent.as_i64());
        assert_eq!(bob.history(&uuid).await, json!(["Hello"]));
        let unread = bob.client.messaging("unread/count", json!({})).await;
        assert_eq!(unread["unread_count"], 1);
    }

    /// File of another dialect: named in JSON. A file of im_chat is a text in other dialects.
    async fn files_of_other_dialects_are_named(server) {
        let (admin, john) = (Person::log_in(server, ADMIN).await, server.log_in(JOHN).await);
        let file = reqwest::multipart::Part::bytes(b"bytes".to_vec()).file_name("a.txt");
        let form = reqwest::multipart::Form::new().part("file", file).text("thread_id", "1");
        let request = john.request(reqwest::Method::POST, "/api/messaging/attachment/upload").multipart(form);
        let id = crate::support::Answer::of(request).await.json()["attachment_id"].clone();
        john.messaging("message/send", json!({"thread_id": 1, "body": "See this", "attachment_ids": [id]})).await;
        let session = admin.im_chat("api/get_or_create_session", json!({"user_to": 4})).await;
        let page = admin.im_chat("history", json!({"uuid": session["uuid"]})).await;
        assert_eq!(page[0]["type"], "money4_chat_attach_msg");
        let content: Value = serde_json::from_str(page[0]["message"].as_str().unwrap()).unwrap();
        assert_eq!((&content["message"], &content["attachments"][0]["id"]), (&json!("See this"), &id));
    }

    /// Window state: sent to its owner alone, even where other members listen on the session's uuid.
    async fn a_window_that_changes_is_told_to_its_owner_alone(server) {
        let (mut jane, mut bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        bob.channels = vec![json!(uuid), json!("91e03d34-1929-4a02-9486-4c3e708686b3"), json!(["odoo2", "im_chat.session", 6])];
        jane.call_kw("im_chat.session", "update_state", json!([uuid, "folded"])).await;
        let told = jane.poll().await;
        assert_eq!(told.len(), 1);
        assert_eq!((&told[0]["channel"], &told[0]["message"]["state"]), (&jane.channel(), &json!("folded")));
        jane.post(&uuid, "Hello").await;
        let told = bob.poll().await;
        let channels: Vec<_> = told.iter().map(|told| &told["channel"]).collect();
        assert_eq!(channels, [&json!(uuid), &bob.channel()], "{told:?}");
        assert_eq!(told[0]["message"], told[1]["message"]);
    }
}
