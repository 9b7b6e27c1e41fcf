//! Tests of rows without their files: a restore without the files, or another working directory.

use reqwest::{Method, StatusCode, header::CONTENT_TYPE, multipart};
use serde_json::json;

use crate::{
    support::{ADMIN, Answer, JOHN, Server, http},
    with_every_backend,
};

with_every_backend! {
    /// Missing file: not found, in each dialect's format, and one log line for the object.
    async fn a_file_without_its_bytes_is_not_found(backend) {
        let files = tempfile::tempdir().unwrap();
        let server = Server::builder(backend).set("FILES", format!("file:{}", files.path().display()));
        let mut server = server.start().await;
        let (john, admin) = (server.log_in(JOHN).await, server.log_in(ADMIN).await);
        let form = multipart::Form::new().part("file", multipart::Part::bytes(b"x".to_vec()).file_name("a.txt"));
        let upload = Answer::of(john.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await;
        let id = upload.json()["attachment_id"].clone();
        john.messaging("message/send", json!({"thread_id": 1, "body": "look", "attachment_ids": [id]})).await;
        let wish = json!({"filename": "a.txt", "mimeType": "text/plain", "type": "chat-images"});
        let given = john.post("/file-new/get-upload-url", &wish).await.json();
        let urls = &given["data"]["uploadUrlData"];
        let put = http().put(urls["uploadURL"].as_str().unwrap()).header(CONTENT_TYPE, "text/plain").body("y");
        assert!(Answer::of(put).await.status.is_success());
        let shown = urls["uploadURL"].as_str().unwrap().split('?').next().unwrap().to_owned();
        assert!(Answer::of(http().get(&shown)).await.status.is_success());

        std::fs::remove_dir_all(files.path().join("attachments")).unwrap();
        let path = format!("/api/messaging/attachment/{id}");
        for _ in 0..3 {
            let gone = Answer::of(admin.request(Method::GET, &path)).await;
            assert_eq!((gone.status, &gone.json()["error"]), (StatusCode::NOT_FOUND, &json!("Attachment not found")), "{gone:?}");
            let gone = Answer::of(http().get(&shown)).await;
            assert_eq!(gone.status, StatusCode::NOT_FOUND, "{gone:?}");
            let part = Answer::of(http().get(&shown).header("Range", "bytes=0-0")).await;
            assert_eq!(part.status, StatusCode::NOT_FOUND, "{part:?}");
        }
        let log = server.log();
        assert_eq!(log.matches("object missing").count(), 2, "each of the two once: {log}");
        assert!(!log.contains("ERROR"), "{log}");
        server.stop().await;
    }
}
