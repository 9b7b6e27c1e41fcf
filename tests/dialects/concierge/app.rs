//! Test of the published app: a client that takes everything for granted that the app does.

use std::process::Stdio;

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
};

use super::{CONCIERGE, Client, DEEPAK, SECRET, address, signed, token};
use crate::{
    support::{Answer, Server, Socket},
    with_every_backend,
};

/// Messages that the app shows of the time before its start.
const BEFORE: [&str; 10] = [
    "TENANT 0 ",
    "BACKEND_USER 0 ",
    "BACKEND_USER 3 http: notes.txt 9",
    "BACKEND_USER 3 http: notes.txt 9",
    "TENANT 4 https: 1x1",
    "TENANT 4 https: report.pdf 10",
    "BACKEND_USER 3 with a text",
    "BACKEND_USER 0 ",
    "TENANT 4 https: clip.mp4 8",
    "BACKEND_USER 3 see https://a.example/x.png",
];

with_every_backend! {
    /// Runs `app.js` beside this file: history of several pages with unsent files and files of other dialects, a session of
    /// another server, an expired token, a retry, and a message that the agent unsends meanwhile.
    async fn the_published_app_reads_all_that_is_said(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET).set("SOCKETS__FRAMES_BURST", 1_000);
        let mut server = builder.set("CONCIERGE__NUMBERS_IN_EVENTS", "app").start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "tablet").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        agent.join(&chat).await;
        for number in 0..30 {
            tenant.send("client", &chat, &number.to_string()).await;
        }
        let elsewhere = server.log_in("concierge@example.com").await;
        let thread = elsewhere.messaging("threads", json!({})).await["threads"][0]["id"].take();
        let attach = async || {
            let form = Form::new().part("file", Part::bytes(b"some notes".to_vec()).file_name("notes.txt"));
            let upload = elsewhere.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
            Answer::of(upload).await.json()["attachment_id"].take()
        };
        let share = async |body: &str| {
            let params = json!({"thread_id": thread, "body": body, "attachment_ids": [attach().await]});
            elsewhere.messaging("message/send", params).await["message_id"].take()
        };
        let mut say = async |content_type: &str, content: &str| {
            let said = json!({"chatSessionId": chat, "contentType": content_type, "messageContent": content});
            tenant.body("client/send-message", said).await["chatMessage"]["id"].take()
        };
        let unsent = say("IMAGE", "https://a.example/gone.png").await;
        let unsent_there = share("").await;
        share("").await;
        let named = json!({"id": attach().await, "name": "notes.txt"}).to_string();
        let post = json!({"uuid": chat, "message_type": "money4_chat_attach_msg", "message_content": named});
        elsewhere.result("/im_chat/post", post).await;
        say("IMAGE", "https://a.example/picture").await;
        say("FILE", "https://a.example/report.pdf").await;
        share("with a text").await;
        let gone = agent.send("backend", &chat, "a mistake").await["id"].take();
        say("FILE", "https://a.example/clip.mp4").await;
        let mut room = Socket::open(
            address(&server, &format!("/conversations/{}/?token={}", chat.as_str().expect("a text"), token(CONCIERGE)))
        ).await;
        room.say(json!({"action": "send_message", "content": "see https://a.example/x.png"})).await;
        room.hear_until(|told| told["type"] == "chat_message").await;
        elsewhere.messaging("message/delete", json!({"message_id": unsent_there})).await;
        tenant.body("client/delete-message", json!({"chatSessionId": chat, "messageId": unsent})).await;
        agent.body("backend/delete-message", json!({"chatSessionId": chat, "messageId": gone})).await;

        let modules = std::env::var("DRAGOMAN_TEST_NODE_PATH").expect("run the tests with .ci/test, which installs ws");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialects/concierge/app.js");
        let expired = signed(json!({"user_id": DEEPAK, "token_type": "access", "exp": chrono::Utc::now().timestamp() - 3_600}));
        let elsewhere = uuid::Uuid::new_v4().to_string();
        let session = chat.as_str().expect("a text");
        let mut app = Command::new("node");
        app.arg(script).args([&address(&server, "/uat"), &token(DEEPAK), &expired, session, &elsewhere]);
        app.arg("https://a.example/own.png").env("NODE_PATH", modules).kill_on_drop(true);
        let mut app = app.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("node can be started");
        let mut out = BufReader::new(app.stdout.take().expect("it is piped")).lines();
        let ready = out.next_line().await.expect("it can be read");
        if ready.as_deref() == Some("ready") {
            let late = agent.send("backend", &chat, "too late").await["id"].take();
            agent.body("backend/delete-message", json!({"chatSessionId": chat, "messageId": late})).await;
            let history = agent.body("backend/get-chat-messages?page=1&limit=10", json!({"chatSessionId": chat})).await;
            let is_own = |message: &&Value| message["metadata"]["messageUid"] == "app-1";
            let own = history["messages"].as_array().expect("a list").iter().find(is_own).expect("it was sent");
            agent.body("backend/update-message-seen-at", json!({"chatSessionId": chat, "messageId": own["id"]})).await;
        }
        let mut shown = Vec::new();
        while let Some(line) = out.next_line().await.expect("it can be read") {
            shown.push(line);
        }
        let mut errors = String::new();
        app.stderr.take().expect("it is piped").read_to_string(&mut errors).await.expect("it can be read");
        assert!(app.wait().await.expect("it ends").success(), "{errors}");
        // Read marks: the last message marks all of the tenant's messages as seen by the agent.
        let mut expected: Vec<String> = (0..30).map(|number| format!("TENANT 4 {number}")).collect();
        expected.extend(BEFORE.map(String::from));
        expected.extend(["TENANT 4 https: 3x2".into(), "BACKEND_USER 0 ".into()]);
        assert_eq!(shown, expected, "{errors}");
        drop((tenant, agent, room));
        server.stop().await;
    }
}
