//! Tests of attachment downloads and their access control.

use reqwest::{
    Method,
    header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use serde_json::{Value, json};

use super::{
    attachments::{form, post, upload},
    refusal,
};
use crate::{
    on_every_backend,
    support::{ADMIN, Answer, BOB, Client, JOHN},
};

async fn get(client: &Client, id: &Value, query: &str) -> Answer {
    Answer::of(client.request(Method::GET, &format!("/api/messaging/attachment/{id}{query}"))).await
}

async fn disposition(client: &Client, name: &str) -> String {
    let id = upload(client, name, "x").await["attachment_id"].clone();
    get(client, &id, "").await.headers[CONTENT_DISPOSITION].to_str().unwrap().to_owned()
}

on_every_backend! {
    /// Content unchanged.
    async fn a_file_comes_back_whole(server) {
        let john = server.log_in(JOHN).await;
        let bytes: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
        let id = upload(&john, "data.bin", bytes.clone()).await["attachment_id"].clone();
        let response = john.request(Method::GET, &format!("/api/messaging/attachment/{id}")).send().await.unwrap();
        assert_eq!(response.headers()[CONTENT_LENGTH], "300000");
        assert_eq!(response.bytes().await.unwrap(), bytes);
    }

    /// Content type and disposition headers.
    async fn a_file_is_told_apart_by_its_headers(server) {
        let john = server.log_in(JOHN).await;
        let id = upload(&john, "hello.txt", "hello file").await["attachment_id"].clone();
        let answer = get(&john, &id, "").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "hello file"));
        assert!(answer.headers[CONTENT_TYPE].to_str().unwrap().starts_with("text/plain"), "{answer:?}");
        assert_eq!(answer.headers[CONTENT_LENGTH], "10");
        assert_eq!(answer.headers[CONTENT_DISPOSITION], "attachment; filename=\"hello.txt\"");
    }

    /// Empty file.
    async fn an_empty_file_comes_back_empty(server) {
        let john = server.log_in(JOHN).await;
        let id = upload(&john, "empty.bin", "").await["attachment_id"].clone();
        let answer = get(&john, &id, "").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str(), &answer.headers[CONTENT_LENGTH]), (200, "", &"0".parse().unwrap()));
    }

    /// `HEAD`: the same headers without the body.
    async fn head_gives_the_same_without_the_bytes(server) {
        let john = server.log_in(JOHN).await;
        let id = upload(&john, "hello.txt", "hello file").await["attachment_id"].clone();
        let answer = Answer::of(john.request(Method::HEAD, &format!("/api/messaging/attachment/{id}"))).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""));
        assert_eq!(answer.headers[CONTENT_LENGTH], "10");
        assert_eq!(answer.headers[CONTENT_DISPOSITION], "attachment; filename=\"hello.txt\"");
    }

    /// Read access: the uploader and the participants of its threads, and no other user.
    async fn uploader_and_participants_may_read(server) {
        let (admin, john, bob) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(BOB).await);
        let id = upload(&john, "hello.txt", "hello").await["attachment_id"].clone();
        assert_eq!(get(&john, &id, "").await.status, 200);
        assert_eq!(get(&admin, &id, "").await.status, 403, "it hangs on no message yet");
        john.messaging("message/send", json!({"thread_id": 1, "body": "File", "attachment_ids": [id]})).await;
        assert_eq!(get(&admin, &id, "").await.body, "hello");
        for stranger in [bob.clone(), server.client()] {
            let answer = get(&stranger, &id, "").await;
            assert_eq!(answer.status, 403, "{answer:?}");
            assert!(answer.json()["error"].is_string(), "{answer:?}");
        }
        assert_eq!(refusal(&bob, &format!("attachment/info/{id}"), json!({})).await, "Access denied");
        assert!(admin.messaging(&format!("attachment/info/{id}"), json!({})).await["id"].is_u64());
    }

    /// Access token in the URL: a link to pass on.
    async fn whoever_has_the_token_may_read(server) {
        let (john, bob) = (server.log_in(JOHN).await, server.log_in(BOB).await);
        let file = upload(&john, "hello.txt", "hello").await;
        let (id, token) = (&file["attachment_id"], file["access_token"].as_str().unwrap());
        for client in [&server.client(), &bob] {
            assert_eq!(get(client, id, &format!("?access_token={token}")).await.body, "hello");
            for wrong in ["", "wrong", &"0".repeat(token.len()), "false"] {
                assert_eq!(get(client, id, &format!("?access_token={wrong}")).await.status, 403, "{wrong}");
            }
        }
        assert_eq!(get(&john, id, "?access_token=wrong").await.status, 200, "who may read needs no token");
    }

    /// Access token of another file: refused.
    async fn a_token_is_for_one_file(server) {
        let john = server.log_in(JOHN).await;
        let (one, two) = (upload(&john, "1", "1").await, upload(&john, "2", "2").await);
        assert_ne!(one["access_token"], two["access_token"]);
        let query = format!("?access_token={}", one["access_token"].as_str().unwrap());
        assert_eq!(get(&server.client(), &two["attachment_id"], &query).await.status, 403);
    }

    /// Unknown attachment: an error in JSON without an envelope.
    async fn what_is_not_there_is_not_found(server) {
        let john = server.log_in(JOHN).await;
        for id in [json!(999_999), json!(0), json!(-1)] {
            let answer = get(&john, &id, "").await;
            assert_eq!((answer.status.as_u16(), answer.json()), (404, json!({"error": "Attachment not found"})), "{id}");
        }
        let deleted = upload(&john, "a.txt", "x").await["attachment_id"].clone();
        john.messaging(&format!("attachment/delete/{deleted}"), json!({})).await;
        assert_eq!(get(&john, &deleted, "").await.status, 404);
    }

    /// HTML as an attachment, never inline: it would run with the reader's cookie (XSS).
    async fn a_page_is_never_served_as_one(server) {
        let john = server.log_in(JOHN).await;
        for name in ["page.html", "image.svg"] {
            let content = "<!doctype html><script>alert(document.cookie)</script>";
            let id = post(&john, form(name, content)).await.json()["attachment_id"].clone();
            let answer = get(&john, &id, "").await;
            assert!(answer.headers[CONTENT_DISPOSITION].to_str().unwrap().starts_with("attachment"), "{answer:?}");
            assert_eq!(answer.headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }

    /// Non-ASCII file names: both parameters of RFC 6266.
    async fn names_beyond_ascii_are_kept(server) {
        let john = server.log_in(JOHN).await;
        let given = disposition(&john, "héllo 日本.txt").await;
        assert!(given.contains("filename*=UTF-8''h%C3%A9llo%20%E6%97%A5%E6%9C%AC.txt"), "{given}");
        let path = disposition(&john, "../../etc/passwd").await;
        assert_eq!(path, "attachment; filename=\"passwd\"");
    }
}
