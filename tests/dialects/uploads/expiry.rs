//! Tests of the expiry of uploads: files that are never put, or that no message names.

use serde_json::json;

use super::{PNG, get, put, upload, urls};
use crate::{
    support::{Backend, Bucket, DEEPAK, JOHN, Server, Socket, files_below, token, until},
    with_every_backend,
};

/// A server with short upload and retention times.
async fn forgetful(backend: Backend, files: &std::path::Path) -> Server {
    Server::builder(backend)
        .with_tokens()
        .set("FILES", format!("file:{}", files.display()))
        .set("UPLOADS__LIFETIME_SECONDS", 1)
        // Time to name a file in a message.
        .set("UPLOADS__UNNAMED_SECONDS", 5)
        .set("RETENTION__EVERY_SECONDS", 1)
        .start()
        .await
}

/// Sends an action on a socket of John's conversation, and returns the resulting event.
async fn on_socket(socket: &mut Socket, action: serde_json::Value) -> serde_json::Value {
    socket.say(action).await;
    let kinds = ["chat_message", "message.edited", "message.deleted"].map(Some);
    socket.hear_until(|told| kinds.contains(&told["type"].as_str())).await
}

async fn is_gone(url: &str) -> bool {
    get(url).await.status == 404
}

with_every_backend! {
    /// References after an edit: only those of the current text count.
    async fn what_a_message_names_now_stays_and_what_it_named_goes(backend) {
        let directory = tempfile::tempdir().unwrap();
        let server = forgetful(backend, directory.path()).await;
        let john = server.log_in(JOHN).await;
        let png = async || upload(&john, "a.png", "image/png", PNG).await;
        let [a, b, c] = [png().await, png().await, png().await];
        let mut socket = Socket::open(server.socket_url(&format!("/conversations/1/?token={}", token(4)))).await;
        let sent = on_socket(&mut socket, json!({"action": "send_message", "content": format!("See {a}")})).await;
        let edit = json!({"action": "edit_message", "message_id": sent["message"]["id"], "content": format!("See {b} and {c}")});
        on_socket(&mut socket, edit).await;
        assert!(is_gone(&a).await, "nothing names it any more");
        // Second reference to c, from another message.
        john.messaging("message/send", json!({"thread_id": 2, "body": format!("Look: {c}")})).await;
        let unnamed = png().await;
        until("the end of what nobody names", async || is_gone(&unnamed).await.then_some(())).await;
        assert!(!is_gone(&b).await && !is_gone(&c).await, "they are named by an edit");
        on_socket(&mut socket, json!({"action": "delete_message", "message_id": sent["message"]["id"]})).await;
        assert!(is_gone(&b).await, "what was deleted names nothing");
        assert!(!is_gone(&c).await, "another message names it");
        until("the end of their bytes", async || (files_below(directory.path()).len() == 1).then_some(())).await;
    }

    /// References in metadata, at any key; unsent, the message references nothing.
    async fn what_metadata_names_stays_until_it_is_unsent(backend) {
        let directory = tempfile::tempdir().unwrap();
        let server = forgetful(backend, directory.path()).await;
        let deepak = server.log_in(DEEPAK).await;
        let [picture, thumbnail] =
            [upload(&deepak, "a.png", "image/png", PNG).await, upload(&deepak, "b.png", "image/png", PNG).await];
        let mut socket = Socket::open(server.socket_url(&format!("/concierge?deviceId=phone&Auth={}", token(34)))).await;
        let mut ask = async |route: &str, body: serde_json::Value| {
            socket.say(json!({"action": "api", "data": {"route": route, "body": body}})).await;
            let mut answer = socket.hear_until(|told| told["channel"] == route).await;
            assert_eq!(answer["status"], 200, "{answer}");
            answer["body"].take()
        };
        let chat = ask("client/init-chat-with-concierge", json!({"newSession": true})).await["chatSessionId"].take();
        let message = json!({
            "chatSessionId": chat, "contentType": "IMAGE", "messageContent": picture,
            "metadata": {"preview": [{"url": thumbnail}]},
        });
        let id = ask("client/send-message", message).await["chatMessage"]["id"].take();
        let unnamed = upload(&deepak, "unnamed.png", "image/png", PNG).await;
        until("the end of what nobody names", async || is_gone(&unnamed).await.then_some(())).await;
        assert!(!is_gone(&picture).await && !is_gone(&thumbnail).await, "a message names them");
        ask("client/delete-message", json!({"chatSessionId": chat, "messageId": id})).await;
        assert!(is_gone(&picture).await && is_gone(&thumbnail).await);
        until("the end of their bytes", async || files_below(directory.path()).is_empty().then_some(())).await;
    }

    /// Unsent files on S3: deleted. The bucket does not report uploads, and serves objects to any client.
    async fn what_was_unsent_goes_from_the_bucket(backend) {
        let bucket = Bucket::start().await;
        let mut server = bucket.holds_the_files_of(Server::builder(backend).with_tokens()).start().await;
        let urls = urls(&server.log_in(JOHN).await, "a.png", "image/png").await;
        assert_eq!(put(&urls.put, "image/png", PNG).await.status, 200);
        let mut socket = Socket::open(server.socket_url(&format!("/conversations/1/?token={}", token(4)))).await;
        let sent = on_socket(&mut socket, json!({"action": "send_message", "content": urls.get})).await;
        assert_eq!(get(&urls.get).await.status, 200);
        on_socket(&mut socket, json!({"action": "delete_message", "message_id": sent["message"]["id"]})).await;
        until("the end of the file", async || is_gone(&urls.get).await.then_some(())).await;
        drop(socket);
        server.stop().await;
    }

    async fn what_nobody_puts_or_names_goes_away(backend) {
        let directory = tempfile::tempdir().unwrap();
        let server = forgetful(backend, directory.path()).await;
        let john = server.log_in(JOHN).await;
        let named = upload(&john, "named.png", "image/png", PNG).await;
        let body = format!("Look: {named}, and nothing more");
        john.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
        let unnamed = upload(&john, "unnamed.png", "image/png", PNG).await;
        let never_put = urls(&john, "never.png", "image/png").await;
        assert_eq!(files_below(directory.path()).len(), 2);

        until("the end of what nobody names", async || (get(&unnamed).await.status == 404).then_some(())).await;
        until("the end of its bytes", async || (files_below(directory.path()).len() == 1).then_some(())).await;
        assert_eq!(get(&named).await.status, 200, "a message names it");
        assert_eq!(get(&never_put.get).await.status, 404);
    }
}
