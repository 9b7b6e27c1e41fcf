//! Tests of length limits for texts: each dialect refuses longer ones in its own notation, and its socket stays open.

use reqwest::{Method, multipart::Form};
use serde_json::{Value, json};

use crate::{
    across::people::{ADMIN, JOHN, TENANT, asked, concierge},
    support::{Answer, Backend, PASSWORD, Server, Socket, token},
    with_every_backend, with_tokens_on_every_backend,
};

/// Default of `limits.message_bytes`.
const LIMIT: usize = 65_536;
/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;
const REFUSED: &str = "dragoman_refused_total{limit=\"message_bytes\"}";

/// A text of this many bytes, most of them in characters of three bytes.
fn text(bytes: usize) -> String {
    let text = format!("{}{}", "…".repeat(bytes / 3), "x".repeat(bytes % 3));
    assert_eq!(text.len(), bytes);
    text
}

async fn socket(server: &Server, path: &str) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("{path}?token={}", token(JOHN.uid)))).await;
    socket.heard_so_far().await;
    socket
}

with_tokens_on_every_backend! {
    async fn the_longest_text_is_taken_in_every_dialect_and_comes_back(server) {
        let longest = text(LIMIT);
        let john = server.log_in(JOHN.login).await;
        let uuid = john.result("/im_chat/api/get_or_create_session", json!({"user_to": ADMIN.uid})).await["uuid"].take();
        let sent = john.messaging("message/send", json!({"thread_id": PAIR, "body": longest})).await;
        assert_eq!(sent["success"], true);
        let edit = json!({"message_id": sent["message_id"], "body": longest.replacen("…", "---", 1)});
        assert_eq!(john.messaging("message/edit", edit).await["success"], true);
        let post = json!({"uuid": uuid, "message_type": "message", "message_content": longest});
        assert!(john.result("/im_chat/post", post).await.is_i64());
        let mut room = socket(server, "/ws/chat/room/").await;
        room.say(json!({"action": "text_message", "message_body": longest, "receiver_id": ADMIN.uuid})).await;
        assert_eq!(room.hear().await["message"], longest);
        let mut conversing = socket(server, &format!("/conversations/{PAIR}/")).await;
        conversing.say(json!({"action": "send_message", "content": longest})).await;
        let told = conversing.hear_until(|told| told["type"] != "user_status").await;
        assert_eq!(told["message"]["content"], longest);
        let history = john.messaging("messages", json!({"thread_id": PAIR, "limit": 4})).await;
        let bodies = history["messages"].as_array().unwrap().iter().map(|message| message["body"].as_str().unwrap().len());
        assert_eq!(bodies.collect::<Vec<_>>(), [LIMIT; 4]);
        let mut tenant = concierge(server, TENANT, "phone").await;
        let session = asked(&mut tenant, "client/init-chat-with-concierge", json!({"newSession": true})).await;
        let message = json!({"chatSessionId": session["chatSessionId"], "contentType": "TEXT", "messageContent": longest});
        let sent = asked(&mut tenant, "client/send-message", message).await;
        assert_eq!(sent["chatMessage"]["messageContent"], longest);
        assert_eq!(server.metric(REFUSED).await, 0.0);
    }

    async fn a_longer_text_is_refused_in_every_dialect(server) {
        let longer = text(LIMIT + 1);
        let john = server.log_in(JOHN.login).await;
        let uuid = john.result("/im_chat/api/get_or_create_session", json!({"user_to": ADMIN.uid})).await["uuid"].take();
        let newest = async || john.messaging("messages", json!({"thread_id": PAIR, "limit": 1})).await["messages"][0].take();
        let sent = john.messaging("message/send", json!({"thread_id": PAIR, "body": "short"})).await["message_id"].take();
        let before = newest().await;

        let refused = json!({"error": "body is longer than 65536 bytes"});
        assert_eq!(john.messaging("message/send", json!({"thread_id": PAIR, "body": longer})).await, refused);
        assert_eq!(john.messaging("message/edit", json!({"message_id": sent, "body": longer})).await, refused);
        let post = json!({"uuid": uuid, "message_type": "message", "message_content": longer});
        let refused = john.call("/im_chat/post", post).await;
        assert_eq!(refused["error"]["data"]["name"], "odoo.exceptions.ValidationError", "{refused}");
        assert_eq!(refused["error"]["data"]["message"], "message_content is longer than 65536 bytes");

        let mut room = socket(server, "/ws/chat/room/").await;
        room.say(json!({"action": "text_message", "message_body": longer, "receiver_id": ADMIN.uuid})).await;
        let told = json!({
            "action": "error",
            "message": "The message is longer than 65536 bytes",
            "code": "too_large",
            "request": "text_message",
        });
        assert_eq!(room.hear().await, told);
        room.say(json!({"action": "dance"})).await;
        assert_eq!(room.hear().await["code"], "unknown_action");
        let file = reqwest::multipart::Part::bytes(b"bytes".to_vec()).file_name("a.txt");
        let form = Form::new().text("receiver", ADMIN.uuid).text("message", longer.clone()).part("attached_file", file);
        let request = server.client().request(Method::POST, "/chat/attachment/").bearer_auth(token(JOHN.uid));
        let answer = Answer::of(request.multipart(form)).await;
        assert_eq!((answer.status.as_u16(), answer.json()["success"].take()), (413, json!(false)), "{answer:?}");

        let mut conversing = socket(server, &format!("/conversations/{PAIR}/")).await;
        conversing.say(json!({"action": "send_message", "content": longer, "local_id": "7"})).await;
        let told = conversing.hear_until(|told| told["type"] != "user_status").await;
        let error = "content is longer than 65536 bytes";
        assert_eq!(told, json!({"type": "message.failed", "local_id": "7", "error": error}));
        conversing.say(json!({"action": "edit_message", "message_id": sent, "content": longer})).await;
        let told = conversing.hear().await;
        assert_eq!(told, json!({"type": "error", "action": "edit_message", "error": error}));

        let mut tenant = concierge(server, TENANT, "phone").await;
        let session = asked(&mut tenant, "client/init-chat-with-concierge", json!({"newSession": true})).await;
        let send = |content: &str, metadata: Value| {
            let body = json!({
                "chatSessionId": session["chatSessionId"],
                "contentType": "TEXT",
                "messageContent": content,
                "metadata": metadata,
            });
            json!({"action": "api", "data": {"route": "client/send-message", "body": body}})
        };
        tenant.say(send(&longer, json!({}))).await;
        let told = tenant.hear().await;
        assert_eq!((&told["status"], &told["body"]["message"]), (&json!(413), &json!("messageContent is longer than 65536 bytes")));
        tenant.say(send("short", json!({"filling": "x".repeat(16 * 1024)}))).await;
        let told = tenant.hear().await;
        assert_eq!((&told["status"], &told["body"]["message"]), (&json!(413), &json!("metadata is longer than 16384 bytes")));

        assert_eq!(newest().await, before, "nothing was stored");
        assert_eq!(server.metric(REFUSED).await, 8.0);
    }

    async fn names_and_other_texts_are_bounded(server) {
        let john = server.log_in(JOHN.login).await;
        let longest = "…".repeat(255);
        let create = async |name: &str| john.messaging("thread/create", json!({"name": name})).await;
        assert_eq!(create(&longest).await["name"], longest);
        let refused = create(&format!("{longest}x")).await;
        assert_eq!(refused, json!({"error": "name must not be longer than 255 characters"}));
        let search = async |query: &str| john.messaging("partners/search", json!({"query": query})).await;
        assert_eq!(search(&"x".repeat(256)).await, json!({"partners": []}));
        assert_eq!(search(&"x".repeat(257)).await, json!({"error": "query must not be longer than 256 bytes"}));
        // The same limit holds for a file's name, which is shortened.
        let name = format!("{}.txt", "ж".repeat(251));
        let file = |name: String| {
            let part = reqwest::multipart::Part::bytes(b"bytes".to_vec()).file_name(name);
            john.request(Method::POST, "/api/messaging/attachment/upload").multipart(Form::new().part("file", part))
        };
        assert_eq!(Answer::of(file(name.clone())).await.json()["name"], name);
        let longer = Answer::of(file(format!("{name}{name}"))).await;
        assert_eq!(longer.json()["name"].as_str().unwrap().chars().count(), 255);
        let login = json!({"db": "odoo2", "login": "x".repeat(257), "password": PASSWORD});
        let denied = server.client().call("/web/session/authenticate", login).await;
        assert_eq!(denied["error"]["data"]["name"], "odoo.exceptions.AccessDenied");
    }
}

with_every_backend! {
    async fn the_longest_text_is_a_setting(backend) {
        let mut server = Server::builder(backend).set("LIMITS__MESSAGE_BYTES", 10).start().await;
        let john = server.log_in(JOHN.login).await;
        let send = async |body: &str| john.messaging("message/send", json!({"thread_id": PAIR, "body": body})).await;
        assert_eq!(send("0123456789").await["success"], true);
        assert_eq!(send("01234567\u{e9}9").await, json!({"error": "body is longer than 10 bytes"}));
        server.stop().await;
    }
}

#[tokio::test]
async fn accounts_and_groups_have_names_that_are_not_too_long() {
    let backend = Backend::postgres().await;
    let mut server = Server::demo(backend.clone()).await;
    let (login, name) = ("x".repeat(257), "y".repeat(256));
    for (arguments, error) in [
        (vec!["user", "add", &login, "--name", "Long"], "the login must not be longer than 256 bytes"),
        (vec!["user", "add", "long", "--name", &name], "the name must not be longer than 255 characters"),
        (vec!["group", "add", &name], "the name must not be longer than 255 characters"),
    ] {
        let output = backend.run(&arguments, "a password\n").await;
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains(error), "{output:?}");
    }
    backend.administer(&["user", "add", &login[1..], "--name", &name[1..]], "a password\n").await;
    server.stop().await;
}
