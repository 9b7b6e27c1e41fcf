//! Tests of idempotent retries (`client_key`) and of replies.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{bodies, refusal, send, thread_with};
use crate::{
    on_every_backend,
    support::{ADMIN, Client, JANE, JOHN, Server, until},
    with_every_backend,
};

/// Sends a message with a client key, and returns the whole answer.
async fn post(client: &Client, thread: i64, key: impl Into<Value>, body: &str) -> Value {
    let draft = json!({"thread_id": thread, "body": body, "client_key": key.into()});
    let sent = client.messaging("message/send", draft).await;
    assert_eq!(sent["success"], true, "{sent}");
    sent
}

async fn upload(client: &Client, name: &str) -> i64 {
    let file = reqwest::multipart::Part::bytes(b"bytes".to_vec()).file_name(name.to_owned());
    let form = reqwest::multipart::Form::new().part("file", file);
    let request = client.request(reqwest::Method::POST, "/api/messaging/attachment/upload").multipart(form);
    let stored: Value = request.send().await.unwrap().json().await.unwrap();
    stored["attachment_id"].as_i64().unwrap_or_else(|| panic!("{stored}"))
}

/// Returns the replied-to messages of a thread's messages, newest first.
async fn replies(client: &Client, thread: i64) -> Vec<Value> {
    let page = client.messaging("messages", json!({"thread_id": thread})).await;
    page["messages"].as_array().unwrap().iter().map(|message| message["reply_to"].clone()).collect()
}

on_every_backend! {
    /// Retry: the first answer again.
    async fn a_retry_stores_nothing_new(server) {
        let john = server.log_in(JOHN).await;
        let first = post(&john, 1, "k", "Hello").await;
        send(&john, 1, "Meanwhile").await;
        for _ in 0..3 {
            assert_eq!(post(&john, 1, "k", "Hello").await, first);
        }
        assert_eq!(bodies(&john, 1).await, ["Meanwhile", "Hello"]);
    }

    /// Same key, other content: a new message, for clients whose keys restart with each page.
    async fn other_content_is_a_new_message(server) {
        let john = server.log_in(JOHN).await;
        let file = upload(&john, "a.txt").await;
        let (first, second) = (post(&john, 1, "1", "Hello").await, post(&john, 1, "1", "Hello!").await);
        let third = json!({"thread_id": 1, "body": "Hello", "client_key": "1", "attachment_ids": [file]});
        let third = john.messaging("message/send", third).await;
        let ids = [&first, &second, &third].map(|sent| sent["message_id"].as_i64().unwrap());
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
        // Retries of both messages.
        assert_eq!(post(&john, 1, "1", "Hello").await, first);
        assert_eq!(post(&john, 1, "1", "Hello!").await, second);
        assert_eq!(bodies(&john, 1).await, ["Hello", "Hello!", "Hello"]);
    }

    /// Scope of a key: one author and one thread. Messages without a key are always new.
    async fn a_key_is_nobody_elses(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let mut ids = vec![
            post(&john, 1, "k", "Hello").await["message_id"].as_i64(),
            post(&admin, 1, "k", "Hello").await["message_id"].as_i64(),
            post(&john, 2, "k", "Hello").await["message_id"].as_i64(),
        ];
        for key in [json!(null), json!(false), json!("")] {
            ids.push(post(&john, 1, key, "Hello").await["message_id"].as_i64());
        }
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    }

    /// Number as a key: some clients count.
    async fn a_number_as_a_key_is_its_text(server) {
        let john = server.log_in(JOHN).await;
        let first = post(&john, 1, 42, "Hello").await;
        assert_eq!(post(&john, 1, "42", "Hello").await, first);
        assert_ne!(post(&john, 1, 43, "Hello").await["message_id"], first["message_id"]);
    }

    /// Simultaneous retries: one message.
    async fn retries_at_once_store_one_message(server) {
        let john = server.log_in(JOHN).await;
        let sent = join_all((0..8).map(|_| post(&john, 1, "k", "Hello"))).await;
        assert!(sent.iter().all(|answer| *answer == sent[0]), "{sent:?}");
        assert_eq!(bodies(&john, 1).await, ["Hello"]);
        let others = join_all((0..8).map(async |number| {
            let body = format!("Hello {}", number % 2);
            post(&john, 1, "k", &body).await["message_id"].as_i64().unwrap()
        }))
        .await;
        let (even, odd) = (others[0], others[1]);
        assert_ne!(even, odd);
        assert_eq!(others, [even, odd, even, odd, even, odd, even, odd]);
    }

    /// Retry after an edit or a deletion: the original content identifies the message.
    async fn a_retry_finds_what_was_edited_or_deleted(server) {
        let john = server.log_in(JOHN).await;
        let file = upload(&john, "a.txt").await;
        let draft = json!({"thread_id": 1, "body": "Look", "attachment_ids": [file], "client_key": "file"});
        let (first, second) = (post(&john, 1, "k", "Helo").await, john.messaging("message/send", draft.clone()).await);
        john.messaging("message/edit", json!({"message_id": first["message_id"], "body": "Hello"})).await;
        john.messaging("message/delete", json!({"message_id": second["message_id"]})).await;
        assert_eq!(post(&john, 1, "k", "Helo").await, first);
        assert_eq!(john.messaging("message/send", draft).await, second);
        assert_eq!(bodies(&john, 1).await, ["", "Hello"]);
        let third = post(&john, 1, "k", "Hello").await;
        assert_ne!(third["message_id"], first["message_id"], "what it reads now was never sent with this key");
    }

    /// Reply: to a message of the same thread, refused otherwise.
    async fn a_message_answers_another(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let (first, elsewhere) = (send(&admin, 1, "Shall we?").await, send(&admin, 2, "Elsewhere").await);
        let answer = async |to: Value, body: &str| {
            john.messaging("message/send", json!({"thread_id": 1, "body": body, "reply_to": to})).await
        };
        let second = answer(json!(first), "Yes").await["message_id"].clone();
        assert_eq!(answer(json!(second.to_string()), "Now?").await["success"], true);
        assert_eq!(answer(json!(null), "Anything else").await["success"], true);
        let expected = [json!(null), second, json!(first), json!(null)];
        assert_eq!(replies(&admin, 1).await, expected);
        let poll = json!({"thread_id": 1, "last_message_id": first, "timeout": 0});
        assert_eq!(admin.messaging("poll/messages", poll).await["messages"][0]["reply_to"], first);
        for wrong in [json!(elsewhere), json!(0), json!(-1), json!(first + 1000)] {
            assert_eq!(answer(wrong.clone(), "x").await, json!({"error": "Message not found"}), "{wrong}");
        }
        assert_eq!(answer(json!("x"), "x").await, json!({"error": "reply_to must be a whole number"}));
        john.messaging("message/delete", json!({"message_id": expected[1]})).await;
        assert_eq!(answer(expected[1].clone(), "It is gone").await["success"], true, "it has its place still");
        assert_eq!(replies(&admin, 1).await[1..], expected, "deleting keeps what was answered");
    }

    /// Messages hidden from a newcomer: no reply possible.
    async fn a_newcomer_answers_nothing_that_is_hidden(server) {
        let (admin, jane) = (server.log_in(ADMIN).await, server.log_in(JANE).await);
        let thread = thread_with(&admin, json!([4])).await;
        let before = send(&admin, thread, "Between us").await;
        admin.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": 6})).await;
        let after = send(&admin, thread, "Welcome").await;
        let draft = |to: i64| json!({"thread_id": thread, "body": "Thanks", "reply_to": to});
        assert_eq!(refusal(&jane, "message/send", draft(before)).await, "Message not found");
        assert_eq!(jane.messaging("message/send", draft(after)).await["success"], true);
    }

    /// Limits of a key: length and characters.
    async fn a_key_has_its_limits(server) {
        let john = server.log_in(JOHN).await;
        for (key, text) in [
            (json!("x".repeat(257)), "client key must not be longer than 256 bytes"),
            (json!("nul \u{0}"), "client key must not contain the NUL character"),
            (json!(["k"]), "client_key must be a text"),
        ] {
            let draft = json!({"thread_id": 1, "body": "x", "client_key": key});
            assert_eq!(refusal(&john, "message/send", draft).await, text);
        }
        post(&john, 1, "x".repeat(256), "Hello").await;
        assert_eq!(bodies(&john, 1).await, ["Hello"]);
    }
}

with_every_backend! {
    /// TTL of a key: later messages with it are new.
    async fn a_key_ends_after_a_time(backend) {
        let mut server = Server::builder(backend).set("MESSAGES__RETRY_SECONDS", 1).start().await;
        let john = server.log_in(JOHN).await;
        let first = post(&john, 1, "k", "Hello").await;
        let second = until("the end of the key", async || Some(post(&john, 1, "k", "Hello").await).filter(|sent| *sent != first));
        let second = second.await;
        assert!(second["message_id"].as_i64() > first["message_id"].as_i64(), "{second}");
        assert_eq!(bodies(&john, 1).await, ["Hello", "Hello"]);
        server.stop().await;
    }

    /// Retry after a crash: the message was stored before the server was killed.
    async fn a_retry_outlives_the_server(backend) {
        if !backend.is_durable() {
            return;
        }
        let mut server = Server::demo(backend).await;
        let john = server.log_in(JOHN).await;
        let first = post(&john, 1, "k", "Hello").await;
        let address = server.kill().await;
        server.start_again(address).await;
        assert_eq!(post(&john, 1, "k", "Hello").await, first);
        assert_eq!(bodies(&john, 1).await, ["Hello"]);
        server.stop().await;
    }
}
