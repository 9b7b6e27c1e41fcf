//! Tests across dialects, in both directions.

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{ADMIN, BOB, JANE, JOHN, show, text};
use crate::{
    support::{Answer, Client, Server},
    with_every_backend,
};

fn keys(frame: &Value) -> Vec<&str> {
    frame.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Uploads a file through another dialect, and returns its description.
async fn upload(client: &Client, name: &'static str) -> Value {
    let form = Form::new().part("file", Part::bytes(vec![b'x'; 512]).file_name(name));
    Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await.json()
}

with_every_backend! {
    /// Direct thread from another dialect: a direct message here.
    async fn a_message_of_another_dialect_is_told(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        let client = server.log_in(JOHN.email).await;
        client.messaging("message/send", json!({"thread_id": 1, "body": "from afar"})).await;
        let heard = admin.hear().await;
        assert_eq!(keys(&heard), ["action", "created_msg_id", "message", "message_type", "receiver_id", "sender_id", "timestamp"]);
        assert_eq!([&heard["action"], &heard["message_type"], &heard["message"]], ["re_message", "text", "from afar"]);
        assert_eq!([&heard["sender_id"], &heard["receiver_id"]], [JOHN.uuid, ADMIN.uuid]);
        assert_eq!(john.hear().await["action"], "conf_message");
        server.stop().await;
    }

    /// Group message: the known keys, and the thread.
    async fn a_group_is_heard_of(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut sockets = [ADMIN.socket(&server).await, JANE.socket(&server).await, BOB.socket(&server).await];
        let mut john = JOHN.socket(&server).await;
        let client = server.log_in(JOHN.email).await;
        client.messaging("message/send", json!({"thread_id": 2, "body": "to the team"})).await;
        let confirmed = john.hear().await;
        assert_eq!([&confirmed["action"], &confirmed["thread"]], [&json!("conf_message"), &json!(2)]);
        let heard = sockets[0].hear().await;
        assert_eq!(
            keys(&heard),
            ["action", "created_msg_id", "message", "message_type", "receiver_id", "sender_id", "thread", "timestamp"]
        );
        assert_eq!([&heard["action"], &heard["message"], &heard["sender_id"]], ["re_message", "to the team", JOHN.uuid]);
        assert_eq!(heard["thread"], 2);
        for socket in &mut sockets[1..] {
            assert_eq!(socket.hear().await, heard);
        }
        server.stop().await;
    }

    /// Third member: a direct thread becomes a group.
    async fn a_thread_that_a_third_joins_is_a_group(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut admin, mut jane) = (ADMIN.socket(&server).await, JANE.socket(&server).await);
        let client = server.log_in(JOHN.email).await;
        client.messaging("message/send", json!({"thread_id": 1, "body": "the two of us"})).await;
        assert_eq!(admin.hear().await.get("thread"), None);
        client.messaging("thread/add_participant", json!({"thread_id": 1, "partner_id": JANE.uid})).await;
        client.messaging("message/send", json!({"thread_id": 1, "body": "the three of us"})).await;
        assert_eq!(admin.hear().await["thread"], 1);
        assert_eq!(jane.hear().await["thread"], 1);
        // Direct messages: sent in another thread from then on.
        let mut john = JOHN.socket(&server).await;
        john.say(text(&ADMIN, "only you")).await;
        assert_eq!(admin.hear().await.get("thread"), None);
        john.say(text(&JANE, "and only you")).await;
        assert_eq!(jane.hear().await["message"], "and only you");
        server.stop().await;
    }

    /// Text in other dialects for every kind of message.
    async fn others_see_what_was_said_here(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut john = JOHN.socket(&server).await;
        john.say(json!({"attached_profile_id": JANE.uuid, "receiver_id": ADMIN.uuid, "action": "user_profile_message"})).await;
        john.hear().await;
        let file = JOHN.upload(&server, &ADMIN, "look", 10).await;
        john.say(show(&file["id"])).await;
        john.hear().await;
        let client = server.log_in(ADMIN.email).await;
        let seen = client.messaging("messages", json!({"thread_id": 1})).await;
        let mut seen = seen["messages"].as_array().unwrap().clone();
        seen.sort_by_key(|message| message["id"].as_i64());
        let [profile, with_file] = seen.as_slice() else { panic!("two messages, not {seen:?}") };
        assert_eq!([&profile["message_type"], &profile["body"]], ["profile", JANE.name]);
        assert_eq!([&with_file["message_type"], &with_file["body"]], ["file", "look"]);
        assert_eq!(with_file["attachments"][0]["name"], file["attached_file_name"]);
        server.stop().await;
    }

    /// File from another dialect.
    async fn a_file_of_another_dialect_is_a_file(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut admin = ADMIN.socket(&server).await;
        let client = server.log_in(JOHN.email).await;
        let file = upload(&client, "hello.txt").await["attachment_id"].take();
        client.messaging("message/send", json!({"thread_id": 1, "body": "look", "attachment_ids": [file]})).await;
        let heard = admin.hear().await;
        assert_eq!([&heard["message_type"], &heard["message_body"]], ["file", "look"]);
        assert_eq!([&heard["attached_file_name"], &heard["attached_file_size"]], ["hello.txt", "0.50KB"]);
        assert_eq!(ADMIN.data(&server, "/chat/thread/files/1").await.as_array().unwrap().len(), 1);
        server.stop().await;
    }

    /// Several files in one message: the first as the file, the others named in the text.
    async fn further_files_of_another_dialect_are_named(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut admin = ADMIN.socket(&server).await;
        let (client, reader) = (server.log_in(JOHN.email).await, server.log_in(ADMIN.email).await);
        let names = ["one.txt", "two.txt", "three.txt"];
        let mut files = Vec::new();
        for name in names {
            files.push(upload(&client, name).await["attachment_id"].take());
        }
        for (body, said) in [("look", "look\n"), ("", "")] {
            client.messaging("message/send", json!({"thread_id": 1, "body": body, "attachment_ids": files})).await;
            let (two, three) = (reader.address_of(&files[1]).await, reader.address_of(&files[2]).await);
            let expected = format!("{said}{} {two}\n{} {three}", names[1], names[2]);
            let heard = admin.hear().await;
            assert_eq!([&heard["attached_file_name"], &heard["message_body"]], ["one.txt", expected.as_str()]);
            let read = ADMIN.history(&server, &JOHN).await.remove(0);
            assert_eq!([&read["attached_file_name"], &read["message"]], ["one.txt", expected.as_str()]);
        }
        server.stop().await;
    }
}
