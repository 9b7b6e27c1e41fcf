//! Tests of attachment uploads and metadata. Downloads: `download.rs`.

use reqwest::{
    Method,
    header::CONTENT_TYPE,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{is_time, refusal, send, thread_with};
use crate::{
    on_every_backend,
    support::{ADMIN, Answer, BOB, Client, JOHN, RawConnection, Server, files_below, until},
    with_every_backend,
};

const UPLOAD: &str = "/api/messaging/attachment/upload";

/// Uploads a form.
pub(super) async fn post(client: &Client, form: Form) -> Answer {
    Answer::of(client.request(Method::POST, UPLOAD).multipart(form)).await
}

/// A form with one file.
pub(super) fn form(name: &str, bytes: impl Into<Vec<u8>>) -> Form {
    Form::new().part("file", Part::bytes(bytes.into()).file_name(name.to_owned()))
}

/// Uploads a file that is accepted.
pub(super) async fn upload(client: &Client, name: &str, bytes: impl Into<Vec<u8>>) -> Value {
    let answer = post(client, form(name, bytes)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Uploads a raw multipart body.
async fn post_raw(client: &Client, kind: &str, body: &str) -> Answer {
    Answer::of(client.request(Method::POST, UPLOAD).header(CONTENT_TYPE, kind).body(body.to_owned())).await
}

fn error(answer: &Answer) -> String {
    let whole = answer.json();
    assert_eq!(whole.as_object().unwrap().len(), 1, "{whole}");
    whole["error"].as_str().unwrap().to_owned()
}

on_every_backend! {
    /// Upload answer: plain JSON without an envelope.
    async fn an_upload_is_answered_with_all_about_it(server) {
        let john = server.log_in(JOHN).await;
        let answer = post(&john, form("hello.txt", "hello file")).await;
        assert!(answer.headers[CONTENT_TYPE].to_str().unwrap().starts_with("application/json"), "{answer:?}");
        let file = answer.json();
        let expected = json!({
            "success": true, "attachment_id": file["attachment_id"], "name": "hello.txt", "mimetype": "text/plain",
            "file_size": 10, "access_token": file["access_token"],
        });
        assert_eq!(file, expected);
        assert!(file["attachment_id"].is_u64(), "{file}");
        assert!(file["access_token"].as_str().is_some_and(|token| token.len() >= 32), "the addon gives false: {file}");
    }

    /// Attachment info: the same as in the upload answer, and the URL.
    async fn info_tells_what_the_upload_told(server) {
        let john = server.log_in(JOHN).await;
        let file = upload(&john, "hello.txt", "hello file").await;
        let id = &file["attachment_id"];
        let info = john.messaging(&format!("attachment/info/{id}"), json!({})).await;
        let expected = json!({
            "id": id, "name": "hello.txt", "mimetype": "text/plain", "file_size": 10,
            "url": info["url"], "access_token": file["access_token"],
            "create_date": info["create_date"],
        });
        assert_eq!(info, expected);
        assert!(is_time(&info["create_date"]), "{info}");
        let token = file["access_token"].as_str().unwrap();
        assert_eq!(info["url"], server.url(&format!("/api/messaging/attachment/{id}/{token}/hello.txt")));
    }

    /// Attachments in messages and polls, for all participants.
    async fn a_message_shows_its_files_in_order(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let (one, two) = (upload(&john, "1.txt", "one").await, upload(&john, "2.txt", "two").await);
        let ids = json!([two["attachment_id"], one["attachment_id"]]);
        let sent = john.messaging("message/send", json!({"thread_id": 1, "body": "Files", "attachment_ids": ids})).await;
        assert_eq!(sent["success"], true, "{sent}");
        for client in [&admin, &john] {
            for answer in [
                client.messaging("messages", json!({"thread_id": 1})).await,
                client.messaging("poll/messages", json!({"thread_id": 1, "last_message_id": 0, "timeout": 0})).await,
            ] {
                let files = &answer["messages"][0]["attachments"];
                assert_eq!((&files[0]["name"], &files[1]["name"]), (&json!("2.txt"), &json!("1.txt")), "{answer}");
                // Download URL for each client.
                let own = client.address_of(&one["attachment_id"]).await;
                let expected = json!({
                    "id": one["attachment_id"], "name": "1.txt", "mimetype": "text/plain", "file_size": 3,
                    "url": server.url(&own), "access_token": files[1]["access_token"],
                });
                assert_eq!(files[1], expected);
                assert!(own.ends_with(&format!("/{}/1.txt", files[1]["access_token"].as_str().unwrap())), "{own}: {answer}");
                assert_eq!(server.get(&own).await.text().await.unwrap(), "one");
            }
        }
    }

    /// Message with attachments and without text.
    async fn a_file_needs_no_words(server) {
        let john = server.log_in(JOHN).await;
        let id = &upload(&john, "hello.txt", "hello").await["attachment_id"];
        for body in [json!(""), json!(null), json!("  ")] {
            let sent = john.messaging("message/send", json!({"thread_id": 1, "body": body, "attachment_ids": id})).await;
            assert_eq!(sent["success"], true, "{body}: {sent}");
        }
    }

    /// Attachments of others and unknown ones: refused.
    async fn only_own_uploads_can_be_sent(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = &upload(&admin, "hello.txt", "hello").await["attachment_id"];
        for ids in [json!([id]), json!([999_999])] {
            let params = json!({"thread_id": 1, "body": "x", "attachment_ids": ids});
            assert_eq!(refusal(&john, "message/send", params).await, "Access denied");
        }
    }

    /// File name from the form.
    async fn a_form_may_name_the_file(server) {
        let john = server.log_in(JOHN).await;
        let answer = post(&john, form("a.txt", "x").text("name", "Better.txt").text("thread_id", "1").text("colour", "red")).await;
        assert_eq!(answer.json()["name"], "Better.txt");
        let answer = post(&john, form("a.txt", "x").text("name", "")).await;
        assert_eq!(answer.json()["name"], "a.txt");
    }

    /// File names: directories are stripped, and the name is never a path on the server.
    async fn names_never_become_paths(server) {
        let john = server.log_in(JOHN).await;
        for (given, kept) in [
            ("../../etc/passwd", "passwd"),
            ("C:\\Users\\john\\report.pdf", "report.pdf"),
            ("/absolute.txt", "absolute.txt"),
            ("Ünïcode 日本.txt", "Ünïcode 日本.txt"),
        ] {
            assert_eq!(upload(&john, given, "x").await["name"], kept, "{given}");
        }
        let dots = upload(&john, "..", "x").await["name"].as_str().unwrap().to_owned();
        assert!(!dots.contains('.') && !dots.is_empty(), "{dots}");
    }

    /// Content type by content, regardless of the announced type.
    async fn the_type_is_what_the_content_is(server) {
        let john = server.log_in(JOHN).await;
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0".to_vec();
        let claimed = Part::bytes(png).file_name("page.html").mime_str("text/html").unwrap();
        assert_eq!(post(&john, Form::new().part("file", claimed)).await.json()["mimetype"], "image/png");
    }

    /// Empty file.
    async fn a_file_of_no_bytes_is_taken(server) {
        let file = upload(&server.log_in(JOHN).await, "empty.bin", "").await;
        assert_eq!((&file["success"], &file["file_size"]), (&json!(true), &json!(0)));
    }

    /// Form without a file: refused with the addon's text.
    async fn a_form_without_a_file_is_refused(server) {
        let john = server.log_in(JOHN).await;
        for answer in [
            post(&john, Form::new().text("name", "x")).await,
            post(&john, Form::new().text("file", "no file name")).await,
            post_raw(&john, "application/x-www-form-urlencoded", "file=x").await,
        ] {
            assert_eq!((answer.status.as_u16(), error(&answer).as_str()), (400, "No file provided"), "{answer:?}");
        }
    }

    /// Malformed form: refused in JSON.
    async fn a_broken_form_is_refused(server) {
        let john = server.log_in(JOHN).await;
        let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\n";
        for body in [format!("{head}half a file"), format!("{head}x\r\n--b\r\nContent-Disp"), "--b".to_owned(), String::new()] {
            let answer = post_raw(&john, "multipart/form-data; boundary=b", &body).await;
            assert_eq!(answer.status, 400, "{body}: {answer:?}");
            assert!(!error(&answer).is_empty());
        }
    }

    /// Optional thread of an upload: one of the caller's.
    async fn the_thread_of_an_upload_must_be_the_callers(server) {
        let (john, bob) = (server.log_in(JOHN).await, server.log_in(BOB).await);
        let thread = thread_with(&john, json!([])).await;
        let answer = post(&bob, form("a.txt", "x").text("thread_id", thread.to_string())).await;
        assert_eq!((answer.status.as_u16(), error(&answer).as_str()), (403, "Access denied"));
        let answer = post(&bob, form("a.txt", "x").text("thread_id", "999999")).await;
        assert_eq!((answer.status.as_u16(), error(&answer).as_str()), (404, "Thread not found"));
        let answer = post(&bob, form("a.txt", "x").text("thread_id", "abc")).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }

    /// Upload without a session: refused, and nothing is stored.
    async fn without_a_session_nothing_is_taken(server) {
        let answer = post(&server.client(), form("a.txt", "x")).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.json()["error"].is_string(), "{answer:?}");
    }

    /// Cross-origin form: refused, since browsers send the cookie from any page.
    async fn a_foreign_page_cannot_upload(server) {
        let john = server.log_in(JOHN).await;
        let request = john.request(Method::POST, UPLOAD).header("Origin", "https://evil.example").multipart(form("a.txt", "x"));
        assert_eq!(Answer::of(request).await.status, 403);
    }

    /// Deletion by the author alone.
    async fn only_the_author_deletes(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = upload(&john, "a.txt", "x").await["attachment_id"].clone();
        john.messaging("message/send", json!({"thread_id": 1, "body": "File", "attachment_ids": [id]})).await;
        let route = format!("attachment/delete/{id}");
        assert_eq!(refusal(&admin, &route, json!({})).await, "Access denied");
        assert_eq!(john.messaging(&route, json!({})).await, json!({"success": true, "attachment_id": id}));
        assert_eq!(refusal(&john, &route, json!({})).await, "Attachment not found");
        assert_eq!(refusal(&john, &format!("attachment/info/{id}"), json!({})).await, "Attachment not found");
    }

    /// Deleted attachment: gone from its messages, whose texts stay.
    async fn a_deleted_file_disappears_from_its_messages(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = upload(&john, "a.txt", "x").await["attachment_id"].clone();
        john.messaging("message/send", json!({"thread_id": 1, "body": "File", "attachment_ids": [id]})).await;
        john.messaging(&format!("attachment/delete/{id}"), json!({})).await;
        send(&john, 1, "After").await;
        let page = admin.messaging("messages", json!({"thread_id": 1})).await;
        assert_eq!((&page["messages"][1]["body"], &page["messages"][1]["attachments"]), (&json!("File"), &json!([])));
    }
}

with_every_backend! {
    /// Size limit: applied before the whole body has arrived.
    async fn a_file_beyond_the_limit_is_refused(backend) {
        let server = Server::builder(backend).set("LIMITS__UPLOAD_BYTES", 1000).start().await;
        let john = server.log_in(JOHN).await;
        assert_eq!(post(&john, form("fits.bin", vec![b'x'; 1000])).await.status, 200);
        let answer = post(&john, form("large.bin", vec![b'x'; 1001])).await;
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(error(&answer).contains("1000"), "{answer:?}");
        assert_eq!(server.client().log_in(ADMIN, crate::support::PASSWORD).await["max_file_upload_size"], 1000);
    }

    /// Aborted upload: nothing is left.
    async fn half_an_upload_leaves_nothing(backend) {
        let server = Server::demo(backend).await;
        let john = server.log_in(JOHN).await;
        drop(RawConnection::half_an_upload(&server, &john, 100_000, "half").await);
        let next = upload(&john, "whole.txt", "whole").await["attachment_id"].as_i64().unwrap();
        for id in 1..next {
            assert_eq!(refusal(&john, &format!("attachment/info/{id}"), json!({})).await, "Attachment not found");
        }
    }

    /// Streaming to the store: a slow upload takes no memory, and an aborted one leaves no file.
    async fn a_file_is_stored_as_it_comes(backend) {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::builder(backend).set("FILES", format!("file:{}", directory.path().display())).start().await;
        let john = server.log_in(JOHN).await;
        let connection = RawConnection::half_an_upload(&server, &john, 3_000_000, &"x".repeat(1024 * 1024)).await;
        let stored = || files_below(directory.path()).iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum::<u64>();
        until("most of what has come", async || (stored() >= 512 * 1024).then_some(())).await;
        drop(connection);
        until("the end of it", async || files_below(directory.path()).is_empty().then_some(())).await;
    }
}
