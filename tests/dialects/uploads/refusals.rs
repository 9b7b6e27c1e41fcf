//! Tests of requests for upload grants: credentials, parameters and limits.

use reqwest::{
    Method, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use super::{PNG, WISH, put, refusal, urls, wish};
use crate::{
    on_every_backend,
    support::{Answer, JOHN, Server, until},
    with_every_backend,
};

on_every_backend! {
    /// Missing credentials: refused, whatever the parameters.
    async fn without_credentials_there_is_no_address(server) {
        let nobody = server.client();
        for client in [nobody.clone(), nobody.with_session(Some(&"0".repeat(40)))] {
            let answer = wish(&client, "a.png", "image/png").await;
            assert_eq!(refusal(&answer), (401, "Unauthorized".into()));
            assert_eq!(answer.headers[WWW_AUTHENTICATE], "Bearer");
            let request = client.request(Method::POST, WISH).header(CONTENT_TYPE, "text/plain").body("not JSON");
            assert_eq!(Answer::of(request).await.status, StatusCode::UNAUTHORIZED);
        }
    }

    /// Invalid parameters: one sentence each.
    async fn a_wish_that_is_none_is_refused(server) {
        let john = server.log_in(JOHN).await;
        let good = json!({"filename": "a.png", "mimeType": "image/png", "type": "chat-images"});
        let folder = "type must be one of: chat-images";
        let kind = "mimeType must be a type such as image/png";
        let (none, long) = ("filename must not be empty", "filename must not be longer than 255 characters");
        for (key, value, message) in [
            ("type", json!("../../etc"), folder),
            ("type", json!("attachments"), folder),
            ("type", json!(""), folder),
            ("type", json!("Chat-Images"), folder),
            ("type", json!("chat-images\0"), folder),
            ("type", Value::Null, "type must be a text"),
            ("type", json!(["chat-images"]), "type must be a text"),
            ("mimeType", json!("png"), kind),
            ("mimeType", json!("image/png\r\nX-Evil: 1"), kind),
            ("mimeType", json!("image/"), kind),
            ("mimeType", json!("a/b".repeat(100)), kind),
            ("mimeType", json!(1), "mimeType must be a text"),
            ("filename", json!(""), none),
            ("filename", json!("  "), none),
            ("filename", json!("x".repeat(256)), long),
            ("filename", json!("a\0.png"), "filename must not contain the NUL character"),
            ("filename", json!({}), "filename must be a text"),
        ] {
            let mut wish = good.clone();
            wish[key] = value.clone();
            assert_eq!(refusal(&john.post(WISH, &wish).await), (400, message.into()), "{key}: {value}");
        }
        assert_eq!(refusal(&john.post(WISH, &json!({})).await).0, 400);
        for body in ["", "{", "[]", "null", "\"a\"", "{\"filename\": \"\\ud800\"}", &"[".repeat(20_000)] {
            let request = john.request(Method::POST, WISH).header(CONTENT_TYPE, "application/json").body(body.to_owned());
            let (status, message) = refusal(&Answer::of(request).await);
            assert_eq!(status, 400, "{body}");
            assert!(message.starts_with("The body must be a JSON object"), "{body}: {message}");
        }
        let huge = json!({"filename": "x".repeat(2_000_000), "mimeType": "image/png", "type": "chat-images"});
        assert_eq!(refusal(&john.post(WISH, &huge).await).0, 413);
    }

    /// File names: never part of the object name, whose extension follows the type; returned unchanged.
    async fn names_never_become_paths(server) {
        let john = server.log_in(JOHN).await;
        for (filename, mimetype, ending) in [
            ("../../etc/passwd", "image/png", ".png"),
            ("..", "image/png", ".png"),
            ("C:\\a\\b.gif", "image/gif", ".gif"),
            ("a.p%2e%2e%2f", "image/jpeg", ".jpg"),
            ("Ünï.cödé", "image/png", ".png"),
            ("a.tar.gz", "application/gzip", ".gz"),
            ("a\u{202e}\n\".html", "text/plain", ".txt"),
            ("a.exe", "application/octet-stream", ""),
            ("a.html", "text/html", ""),
            ("a.svg", "image/svg+xml", ""),
        ] {
            let answer = wish(&john, filename, mimetype).await.json();
            let data = &answer["data"]["uploadUrlData"];
            assert_eq!(data["fileName"], filename.replace('\u{202e}', ""), "without what turns the reading direction round");
            let path = data["uploadPath"].as_str().unwrap();
            let name = path.strip_prefix("/chat-images/").unwrap();
            assert_eq!((name.len(), &name[36..]), (36 + ending.len(), ending), "{filename}: {path}");
        }
    }

    /// Cross-origin requests: refused by content type, so that no foreign page gets a URL with the cookie.
    async fn a_foreign_page_gets_no_address(server) {
        let john = server.log_in(JOHN).await;
        let body = json!({"filename": "a.png", "mimeType": "image/png", "type": "chat-images"}).to_string();
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            let request = john.request(Method::POST, WISH).header(CONTENT_TYPE, kind).body(body.clone());
            assert_eq!(refusal(&Answer::of(request).await).0, 400, "{kind}");
        }
    }
}

with_every_backend! {
    /// Deactivated user: refused, with an earlier signed URL as well.
    async fn a_deactivated_user_uploads_nothing(backend) {
        // Durable stores only: a store in memory has no command line.
        if !backend.is_durable() {
            return;
        }
        let server = Server::demo(backend.clone()).await;
        let john = server.log_in(JOHN).await;
        let urls = urls(&john, "a.png", "image/png").await;
        backend.administer(&["user", "deactivate", JOHN], "").await;
        until("the end of the session", async || {
            (wish(&john, "a.png", "image/png").await.status == StatusCode::UNAUTHORIZED).then_some(())
        })
        .await;
        assert_eq!(refusal(&put(&urls.put, "image/png", PNG).await), (403, "This upload URL is not valid".into()));
    }
}

/// Invalid setting: one line.
#[tokio::test]
async fn a_bad_setting_stops_the_start() {
    for (key, value, message) in [
        ("DRAGOMAN__UPLOADS__TYPES", "a/b", "uploads.types must hold names"),
        ("DRAGOMAN__UPLOADS__TYPES", "..", "uploads.types must hold names"),
        ("DRAGOMAN__UPLOADS__TYPES", "attachments", "uploads.types must hold names"),
        ("DRAGOMAN__UPLOADS__LIFETIME_SECONDS", "0", "uploads.lifetime_seconds must be between"),
        ("DRAGOMAN__UPLOADS__LIFETIME_SECONDS", "9999999", "uploads.lifetime_seconds must be between"),
        ("DRAGOMAN__UPLOADS__PUBLIC_URL", "cdn", "uploads.public_url must be"),
        ("DRAGOMAN__UPLOADS__BYTES", "many", "uploads.bytes"),
    ] {
        let output = crate::support::run(&["serve", "--listen", "127.0.0.1:0"], &[(key, value)], "").await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(message) && said.lines().count() == 1, "{key}={value}: {said}");
    }
}
