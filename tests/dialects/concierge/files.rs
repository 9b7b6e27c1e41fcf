//! Tests of files without metadata: clients take the metadata for granted, so the server adds it.

use reqwest::{
    Method,
    header::CONTENT_TYPE,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{CONCIERGE, Client, DEEPAK, start};
use crate::{
    support::{self, Answer, Server},
    with_every_backend,
};

/// Header of a PNG picture with these dimensions, enough to read them.
fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 6, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// A JPEG picture whose dimensions follow a large preview, as cameras write it.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = b"\xff\xd8".to_vec();
    for _ in 0..2 {
        bytes.extend(b"\xff\xe1\xff\xff");
        bytes.extend([0; 0xfffd]);
    }
    bytes.extend(b"\xff\xc0\0\x11\x08");
    bytes.extend(height.to_be_bytes());
    bytes.extend(width.to_be_bytes());
    bytes.extend([3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1]);
    bytes
}

fn described(name: &str, mimetype: &str, bytes: usize, width: i32, height: i32) -> Value {
    json!({"file": {"name": name}, "filename": name, "mimeType": mimetype, "fileSize": bytes, "width": width, "height": height})
}

async fn attach(by: &support::Client, name: &str, bytes: &[u8]) -> Value {
    let form = Form::new().part("file", Part::bytes(bytes.to_vec()).file_name(name.to_owned()));
    let upload = by.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
    Answer::of(upload).await.json()["attachment_id"].take()
}

/// Uploads a file as this dialect does, and returns its URL.
async fn put(by: &support::Client, announced: &str, bytes: &[u8]) -> String {
    let wish = json!({"filename": "holiday.png", "mimeType": announced, "type": "chat-images"});
    let urls = by.post("/file-new/get-upload-url", &wish).await.json()["data"]["uploadUrlData"].take();
    let announced = if announced.contains('/') { announced } else { "application/octet-stream" };
    let put = support::http().put(urls["uploadURL"].as_str().expect("a text")).header(CONTENT_TYPE, announced);
    assert_eq!(Answer::of(put.body(bytes.to_vec())).await.status, 200);
    urls["resourceUrl"].as_str().expect("a text").to_owned()
}

fn last_part(address: &str) -> &str {
    address.rsplit('/').next().expect("it has parts")
}

/// A tenant, an agent who has joined, the session, the agent's client of other dialects, and the thread id there.
async fn joined(server: &Server) -> (Client, Client, Value, support::Client, Value) {
    let mut tenant = Client::connect(server, DEEPAK, "phone").await;
    let mut agent = Client::connect(server, CONCIERGE, "desk").await;
    let chat = tenant.init().await;
    agent.join(&chat).await;
    tenant.update(&chat).await;
    agent.events_so_far().await;
    let elsewhere = server.log_in("concierge@example.com").await;
    let thread = elsewhere.messaging("threads", json!({})).await["threads"][0]["id"].take();
    (tenant, agent, chat, elsewhere, thread)
}

with_every_backend! {
    /// Metadata of files of other dialects, in events and in the history.
    async fn files_of_other_dialects_are_described(backend) {
        let mut server = start(backend).await;
        let (mut tenant, agent, chat, elsewhere, thread) = joined(&server).await;
        let (picture, photo, text) = (png(640, 480), jpeg(4_000, 3_000), b"hello".to_vec());
        let photo_bytes = photo.len();
        let (broken, movie) = (png(0, 7), b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom".to_vec());
        let files = [
            ("a.png", picture, "IMAGE", described("a.png", "image/png", 33, 640, 480)),
            ("b.jpg", photo, "IMAGE", described("b.jpg", "image/jpeg", photo_bytes, 4_000, 3_000)),
            ("c.txt", text, "FILE", described("c.txt", "text/plain", 5, 1, 1)),
            ("d.png", broken, "IMAGE", described("d.png", "image/png", 33, 1, 1)),
            ("e.mp4", movie, "VIDEO", described("e.mp4", "video/mp4", 24, 1, 1)),
        ];
        for (name, bytes, content_type, metadata) in files {
            let file = attach(&elsewhere, name, &bytes).await;
            elsewhere.messaging("message/send", json!({"thread_id": thread, "body": "", "attachment_ids": [file]})).await;
            let named = json!({"id": attach(&elsewhere, name, &bytes).await, "name": name}).to_string();
            let post = json!({"uuid": chat, "message_type": "money4_chat_attach_msg", "message_content": named});
            elsewhere.result("/im_chat/post", post).await;
            let pushed = [tenant.event().await, tenant.event().await];
            let history = tenant.body("client/get-chat-messages?page=1&limit=2", json!({"chatSessionId": chat})).await;
            let messages = history["messages"].as_array().expect("a list").iter();
            for message in messages.chain(pushed.iter().map(|event| &event["payload"]["chatMessage"])) {
                assert_eq!((&message["contentType"], &message["metadata"]), (&json!(content_type), &metadata), "{name}");
                let address = message["messageContent"].as_str().expect("a text");
                let path = address.strip_prefix(&server.url("")).unwrap_or_else(|| panic!("{address}"));
                assert_eq!(server.get(path).await.bytes().await.expect("they are there"), bytes, "{name}");
            }
        }
        drop((tenant, agent));
        server.stop().await;
    }

    /// Metadata in the answer, in events and in the history; metadata from the sender is kept.
    async fn files_without_metadata_are_described(backend) {
        let mut server = start(backend).await;
        let (mut tenant, mut agent, chat, elsewhere, _) = joined(&server).await;
        let reader = server.log_in("deepak@tis.co.th").await;
        let address = put(&reader, "image/png", &png(512, 256)).await;
        let unknown = put(&reader, "unknown", b"hello").await;
        let foreign = put(&elsewhere, "image/png", &png(3, 2)).await;
        let mut cases = vec![
            (json!({"contentType": "IMAGE", "messageContent": address}), described(last_part(&address), "image/png", 33, 512, 256)),
            (json!({"contentType": "FILE", "messageContent": unknown}), described(last_part(&unknown), "text/plain", 5, 1, 1)),
            (json!({"contentType": "IMAGE", "messageContent": foreign}), described(last_part(&foreign), "image/png", 33, 3, 2)),
            (
                json!({"contentType": "FILE", "messageContent": "https://cdn.example/x/report.pdf?v=1"}),
                described("report.pdf", "application/pdf", 0, 1, 1),
            ),
            (json!({"contentType": "TEXT", "messageContent": address}), Value::Null),
        ];
        for metadata in [json!({"width": 7}), json!({})] {
            let said = json!({"contentType": "IMAGE", "messageContent": address, "metadata": metadata});
            cases.push((said, metadata));
        }
        for (mut said, metadata) in cases {
            said["chatSessionId"] = chat.clone();
            let answer = tenant.body("client/send-message", said.clone()).await;
            let history = agent.body("backend/get-chat-messages?page=1&limit=1", json!({"chatSessionId": chat})).await;
            let pushed = agent.event().await;
            for message in [&answer["chatMessage"], &history["messages"][0], &pushed["payload"]["chatMessage"]] {
                assert_eq!(message["metadata"], metadata, "{said}");
            }
        }
        drop((tenant, agent));
        server.stop().await;
    }

    /// Unknown content type: clients send an empty string, or a placeholder.
    async fn a_type_that_is_not_known_is_that_of_bytes(backend) {
        let mut server = start(backend).await;
        let deepak = server.log_in("deepak@tis.co.th").await;
        for announced in ["", "unknown", "Unknown", " "] {
            let address = put(&deepak, announced, b"\x00\x01").await;
            let answer = support::http().get(&address).send().await.expect("it is there");
            assert_eq!(answer.headers()["content-type"], "application/octet-stream", "{announced:?}");
            // Content type of the upload request, optional as well.
            let wish = json!({"filename": "a.heic", "mimeType": announced, "type": "chat-images"});
            let urls = deepak.post("/file-new/get-upload-url", &wish).await.json()["data"]["uploadUrlData"].take();
            let put = support::http().put(urls["uploadURL"].as_str().expect("a text"));
            assert_eq!(Answer::of(put.body("x")).await.status, 200, "{announced:?}");
        }
        server.stop().await;
    }

    /// Unsent file: an empty text without the file.
    async fn an_unsent_file_is_an_empty_text(backend) {
        let mut server = start(backend).await;
        let (mut tenant, agent, chat, elsewhere, thread) = joined(&server).await;
        let file = attach(&elsewhere, "a.png", &png(3, 2)).await;
        let sent = elsewhere.messaging("message/send", json!({"thread_id": thread, "body": "", "attachment_ids": [file]})).await;
        elsewhere.messaging("message/delete", json!({"message_id": sent["message_id"]})).await;
        let said = json!({"chatSessionId": chat, "contentType": "IMAGE", "messageContent": "https://a.example/x.png",
            "metadata": {"width": 7}});
        let own = tenant.body("client/send-message", said).await["chatMessage"]["id"].take();
        tenant.body("client/delete-message", json!({"chatSessionId": chat, "messageId": own})).await;
        let history = tenant.body("client/get-chat-messages", json!({"chatSessionId": chat})).await;
        for message in history["messages"].as_array().expect("a list") {
            let read = [&message["contentType"], &message["messageContent"], &message["status"], &message["metadata"]];
            assert_eq!(read, [&json!("TEXT"), &json!(""), &json!(0), &Value::Null]);
        }
        assert_eq!(history["messages"].as_array().map(Vec::len), Some(2));
        drop((tenant, agent));
        server.stop().await;
    }
}
