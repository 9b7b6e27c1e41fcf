//! Tests of clients of an older revision, whose names work beside the current ones.

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{ADMIN, JOHN, form, show, text};
use crate::{
    support::{Answer, Server},
    with_every_backend,
};

fn keys(frame: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = frame.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

const TEXT: [&str; 7] = ["action", "created_msg_id", "message", "message_type", "receiver_id", "sender_id", "timestamp"];
const FILE: [&str; 9] = [
    "action",
    "attached_file_name",
    "attached_file_size",
    "created_msg_id",
    "message_body",
    "message_type",
    "receiver_id",
    "sender_id",
    "timestamp",
];

with_every_backend! {
    /// Names by client: each socket receives those of its own revision.
    async fn the_names_of_the_older_revision_work_beside_todays(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut older, mut today) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        for said in [
            json!({"action": "chat_message", "message_body": "hello", "receiver_id": ADMIN.uuid}),
            json!({"action": "chat_message", "message": "hello", "receiver_id": ADMIN.uuid}),
        ] {
            older.say(said).await;
            let (confirmed, heard) = (older.hear().await, today.hear().await);
            assert_eq!([&confirmed["action"], &confirmed["message"], &confirmed["message_body"]], ["conf_message", "hello", "hello"]);
            assert_eq!([&heard["action"], &heard["message"]], ["re_message", "hello"]);
            assert_eq!(keys(&heard), TEXT);
        }
        today.say(text(&JOHN, "and you?")).await;
        let (confirmed, heard) = (today.hear().await, older.hear().await);
        assert_eq!([&heard["action"], &heard["message"], &heard["message_body"]], ["re_message", "and you?", "and you?"]);
        assert_eq!(keys(&confirmed), TEXT);

        // File events under the names of both revisions.
        let file = JOHN.upload(&server, &ADMIN, "look", 10).await;
        older.say(json!({"action": "chat_message_file", "chat_id": file["id"].to_string()})).await;
        let (confirmed, heard) = (older.hear().await, today.hear().await);
        assert_eq!([&confirmed["action"], &heard["action"]], ["conf_message", "re_message"]);
        assert_eq!(keys(&heard), FILE);
        assert_eq!([&confirmed["message"], &confirmed["attached_file"]], [&json!("look"), &file["attached_file"]]);
        let file = ADMIN.upload(&server, &JOHN, "look", 10).await;
        today.say(show(&file["id"])).await;
        let (confirmed, heard) = (today.hear().await, older.hear().await);
        assert_eq!([&confirmed["action"], &heard["action"]], ["conf_message", "re_message_file"]);
        assert_eq!(keys(&confirmed), FILE);
        assert_eq!([&heard["message_body"], &heard["message"]], ["look", "look"]);
        let (path, url) = (heard["attached_file"].as_str().unwrap(), heard["attached_file_url"].as_str().unwrap());
        assert_eq!(url, server.url(path));
        assert_eq!(server.get(path).await.bytes().await.unwrap().len(), 10);

        // Another socket of the same user, without an old name.
        let mut new = JOHN.socket(&server).await;
        let file = ADMIN.upload(&server, &JOHN, "", 10).await;
        today.say(show(&file["id"])).await;
        assert_eq!([&new.hear().await["action"], &older.hear().await["action"]], ["re_message", "re_message_file"]);
        server.stop().await;
    }

    async fn the_routes_of_the_older_revision_work_beside_todays(backend) {
        let mut server = Server::with_tokens(backend).await;
        let request = JOHN.request(&server, Method::POST, "/chat/chat-attachment/").multipart(form(ADMIN.uuid, "look", 10));
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let message = &answer.json()["entity"]["message"];
        assert_eq!([&message["message"], &message["message_body"]], ["look", "look"]);
        assert_eq!(message["attached_file_url"], server.url(message["attached_file"].as_str().unwrap()));
        for path in ["/chat/get-user-threads/", "/chat/get-user-threads", "/chat/user/threads/"] {
            let threads = JOHN.get(&server, path).await.json();
            assert_eq!(threads["entity"], threads["data"], "{path}");
            let last = &threads["data"][0]["last_message"];
            assert_eq!([&last["message_body"], &last["attached_file_url"]], [&message["message"], &message["attached_file_url"]]);
        }
        for path in [format!("/chat/messages/{}/", ADMIN.uuid), "/chat/thread/files/1/".into()] {
            let found = JOHN.get(&server, &path).await.json();
            assert_eq!(found["entity"], found["data"], "{path}");
        }
        server.stop().await;
    }

    /// Chat id as a number or as a string.
    async fn a_chat_id_may_be_a_text(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        for spelled in [|id: &Value| id.clone(), |id: &Value| json!(id.to_string()), |id: &Value| json!(format!(" {id} "))] {
            let id = JOHN.upload(&server, &ADMIN, "", 1).await["id"].take();
            john.say(json!({"action": "file_message", "chat_id": spelled(&id)})).await;
            assert_eq!([&john.hear().await["created_msg_id"], &admin.hear().await["created_msg_id"]], [&id, &id]);
        }
        server.stop().await;
    }

    /// Text in a binary frame: some libraries have no other.
    async fn a_text_may_come_in_a_binary_frame(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut john = JOHN.socket(&server).await;
        john.send(Message::binary(text(&ADMIN, "hellö").to_string().into_bytes())).await;
        assert_eq!(john.hear().await["message"], "hellö");
        john.send(Message::binary(b"ping".to_vec())).await;
        assert_eq!(john.hear_text().await, "pong");
        for (frame, code) in [(&b"{}\xff"[..], "not_text"), (&b"{"[..], "invalid_json"), (&b""[..], "invalid_json")] {
            john.send(Message::binary(frame.to_vec())).await;
            assert_eq!(john.hear().await["code"], code, "{frame:?}");
        }
        server.stop().await;
    }

    /// Ping as a plain text or as an action.
    async fn a_ping_is_answered(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut john = JOHN.socket(&server).await;
        for (ping, pong) in [
            ("ping", "pong"),
            (" ping\n", "pong"),
            ("\"ping\"", "\"pong\""),
            ("{\"action\":\"ping\"}", "{\"action\":\"pong\"}"),
            ("{\"action\":\"ping\",\"at\":7}", "{\"action\":\"pong\"}"),
        ] {
            john.say_text(ping).await;
            assert_eq!(john.hear_text().await, pong, "{ping}");
        }
        assert_eq!(JOHN.history(&server, &ADMIN).await, [Value::Null; 0], "it is no message");
        server.stop().await;
    }
}
