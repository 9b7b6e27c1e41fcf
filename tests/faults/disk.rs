//! The disk that holds files is full. A limit to the size of files stands in for it, which needs no rights and hits no
//! other test: what is written beyond it fails in the middle, as on a full disk, though with another error number.

use reqwest::{Method, multipart};
use serde_json::{Value, json};

use crate::{
    support::{ADMIN, Answer, Client, JOHN, Server, files_below},
    with_every_backend,
};

/// As much as fits.
const FITS: usize = 512 * 1024;
/// What the server logs has to fit as well.
const LIMIT: u64 = 1024 * 1024;

async fn upload(client: &Client, bytes: usize) -> Answer {
    let file = multipart::Part::bytes(vec![b'x'; bytes]).file_name("a.txt");
    let form = multipart::Form::new().part("file", file).text("thread_id", "1");
    Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await
}

async fn send(client: &Client, body: &str, files: &[&Value]) -> Value {
    client.messaging("message/send", json!({"thread_id": 1, "body": body, "attachment_ids": files})).await
}

with_every_backend! {
    /// What does not fit is refused and leaves nothing behind; what is there stays, and everything else goes on.
    async fn what_does_not_fit_is_refused_and_nothing_else_is_lost(backend) {
        let files = tempfile::tempdir().unwrap();
        let server = Server::builder(backend).largest_file(LIMIT).set("FILES", format!("file:{}", files.path().display()));
        let mut server = server.start().await;
        let (john, admin) = (server.log_in(JOHN).await, server.log_in(ADMIN).await);
        let kept = upload(&john, FITS).await.json()["attachment_id"].clone();
        assert_eq!(send(&john, "before", &[&kept]).await["success"], true);
        for _ in 0..3 {
            let refused = upload(&john, 3 * FITS).await;
            assert!(!refused.status.is_success(), "{refused:?}");
            assert!(refused.json()["error"].is_string(), "{refused:?}");
            for internal in ["os error", "File too large", "object_store", "src/"] {
                assert!(!refused.body.contains(internal), "{refused:?}");
            }
            assert_eq!(files_below(files.path()).len(), 1, "nothing is left of it");
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
        assert_eq!(files_below(files.path()).len(), 2);
        server.stop().await;
    }
}
