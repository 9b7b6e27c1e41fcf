//! Tests of file uploads and lists of files.

use reqwest::multipart;
use serde_json::json;

use super::{ADMIN, BOB, JOHN, failure, form, text};
use crate::{support::Server, with_every_backend};

with_every_backend! {
    async fn a_file_may_be_called_something_else(backend) {
        let mut server = Server::with_tokens(backend).await;
        let form = form(ADMIN.uuid, "", 1).text("attached_file_name", "bitcoin");
        let stored = JOHN.post_form(&server, form).await.json();
        assert_eq!(stored["entity"]["message"]["attached_file_name"], "bitcoin");
        assert_eq!(stored["entity"]["message"]["attached_file_size"], "0.00KB");
        server.stop().await;
    }

    /// Malformed form: refused with a reason, and nothing is stored.
    async fn a_wrong_form_is_refused(backend) {
        let mut server = Server::builder(backend).with_tokens().set("LIMITS__UPLOAD_BYTES", 1_000).start().await;
        let threads = JOHN.data(&server, "/chat/user/threads/").await;
        let without_file = multipart::Form::new().text("receiver", ADMIN.uuid);
        let file = multipart::Part::bytes(b"x".to_vec()).file_name("x");
        let without_receiver = multipart::Form::new().part("attached_file", file);
        for (what, status, message) in [
            (without_file, 400, "attached_file is missing"),
            (without_receiver, 400, "receiver is missing"),
            (form("nobody", "", 1), 404, "Invalid receipient"),
            (form("96bf0d3f-720d-4620-8dee-0f59f997cb51", "", 1), 404, "Invalid receipient"),
            (form(ADMIN.uuid, "", 1_001), 413, "The file is larger than 1000 bytes"),
            (form(ADMIN.uuid, "\0", 1), 400, "The message must not contain the NUL character"),
            (form(BOB.uuid, "\0", 1), 400, "The message must not contain the NUL character"),
            (form(BOB.uuid, "", 1).text("attached_file_name", "a\0b"), 400, "name must not contain the NUL character"),
        ] {
            let answer = JOHN.post_form(&server, what).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (status, failure(message)));
        }
        let answer = crate::support::Answer::of(JOHN.request(&server, reqwest::Method::POST, "/chat/attachment").body("no form"));
        assert_eq!(answer.await.json(), failure("receiver is missing"));
        let mut john = JOHN.socket(&server).await;
        john.say(text(&BOB, "a\0b")).await;
        assert_eq!(john.hear().await["code"], "invalid");
        assert_eq!(JOHN.history(&server, &ADMIN).await, [json!(null); 0]);
        assert_eq!(JOHN.data(&server, "/chat/user/threads/").await, threads, "no thread was begun");
        server.stop().await;
    }

    /// Keyset pagination of files: ids below the given one, up to a limit.
    async fn files_come_in_pages(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut files = Vec::new();
        for name in ["a", "b", "c"] {
            files.insert(0, JOHN.upload(&server, &ADMIN, name, 1).await["id"].take());
        }
        let mut john = JOHN.socket(&server).await;
        john.say(text(&ADMIN, "no file")).await;
        john.hear().await;
        let ids = async |query: &str| {
            let found = ADMIN.data(&server, &format!("/chat/thread/files/1/{query}")).await;
            found.as_array().unwrap().iter().map(|message| message["id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids("").await, files);
        assert_eq!(ids("?limit=2").await, files[..2]);
        assert_eq!(ids(&format!("?before={}", files[1])).await, files[2..]);
        server.stop().await;
    }

    /// Files of others' threads: not accessible.
    async fn files_are_for_those_who_are_in_the_thread(backend) {
        let mut server = Server::with_tokens(backend).await;
        JOHN.upload(&server, &ADMIN, "hush", 1).await;
        let answer = BOB.get(&server, "/chat/thread/files/1/").await;
        assert_eq!((answer.status.as_u16(), answer.json()), (403, failure("Access denied")));
        for unknown in ["987654", "0", "-1", "99999999999999999999", "word"] {
            let answer = JOHN.get(&server, &format!("/chat/thread/files/{unknown}/")).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (404, failure("Thread not found")), "{unknown}");
        }
        server.stop().await;
    }
}
