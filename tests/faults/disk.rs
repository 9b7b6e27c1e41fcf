//! Tests of a full disk for files: a small file system that the server alone sees. Where the machine allows none, a limit of
//! the file size stands in for it, which fails a write in the middle as well, though with another error.

use reqwest::{Method, multipart};
use serde_json::{Value, json};

use crate::{
    support::{ADMIN, Answer, Client, JOHN, Server, files_below},
    with_every_backend,
};

/// Size of a file that fits twice on the disk.
const FITS: usize = 512 * 1024;
/// Limit of the file size, which must allow for the server's own log.
const LIMIT: u64 = 1024 * 1024 + 64 * 1024;

async fn upload(client: &Client, bytes: usize) -> Answer {
    let file = multipart::Part::bytes(vec![b'x'; bytes]).file_name("a.txt");
    let form = multipart::Form::new().part("file", file).text("thread_id", "1");
    Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await
}

async fn send(client: &Client, body: &str, files: &[&Value]) -> Value {
    client.messaging("message/send", json!({"thread_id": 1, "body": body, "attachment_ids": files})).await
}

with_every_backend! {
    /// Write beyond the space: refused without a remnant; stored files and all other requests are unaffected.
    async fn what_does_not_fit_is_refused_and_nothing_else_is_lost(backend) {
        let files = tempfile::tempdir().unwrap();
        let server = Server::builder(backend).set("FILES", format!("file:{}", files.path().display()));
        let is_disk = Server::may_have_disks().await;
        let server = if is_disk { server.disk(files.path(), LIMIT) } else { server.largest_file(LIMIT) };
        let mut server = server.start().await;
        let kept_files = server.sees(files.path());
        let (john, admin) = (server.log_in(JOHN).await, server.log_in(ADMIN).await);
        let kept = upload(&john, FITS).await.json()["attachment_id"].clone();
        assert_eq!(send(&john, "before", &[&kept]).await["success"], true);
        for _ in 0..3 {
            let refused = upload(&john, 3 * FITS).await;
            assert!(!refused.status.is_success(), "{refused:?}");
            assert!(refused.json()["error"].is_string(), "{refused:?}");
            for internal in ["os error", "File too large", "No space left", "object_store", "src/"] {
                assert!(!refused.body.contains(internal), "{refused:?}");
            }
            assert_eq!(files_below(&kept_files).len(), 1, "nothing is left of it");
            assert_eq!(send(&admin, "meanwhile", &[]).await["success"], true);
        }
        let path = format!("/api/messaging/attachment/{kept}");
        let read = admin.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(read.bytes().await.unwrap().len(), FITS, "what was there before is still there");
        let again = upload(&john, FITS).await.json()["attachment_id"].clone();
        assert_eq!(send(&john, "after", &[&again]).await["success"], true);
        let page = admin.messaging("messages", json!({"thread_id": 1})).await;
        let bodies: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| &message["body"]).collect();
        assert_eq!(bodies, ["after", "meanwhile", "meanwhile", "meanwhile", "before"]);
        assert_eq!(files_below(&kept_files).len(), 2);
        assert!(!is_disk || files_below(files.path()).is_empty(), "nobody else sees that disk");
        // Cause of the failure: in the log, not in the answer.
        let reason = if is_disk { "No space left on device" } else { "File too large" };
        assert!(server.log().contains(reason), "{}", server.log());
        server.stop().await;
    }
}
