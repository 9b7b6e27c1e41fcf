//! Tests of file storage on S3.

use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::json;

use super::{PNG, get, head, header, put, refusal, urls, wish};
use crate::{
    support::{ADMIN, Answer, Backend, Bucket, Client, JOHN, RawConnection, Server, until},
    with_every_backend,
};

async fn server_on(bucket: &Bucket, backend: Backend) -> Server {
    bucket.holds_the_files_of(Server::builder(backend)).start().await
}

/// Uploads an attachment of the messaging dialect.
async fn attach(client: &Client, bytes: Vec<u8>) -> Answer {
    let part = reqwest::multipart::Part::bytes(bytes).file_name("a.bin");
    let form = reqwest::multipart::Form::new().part("file", part);
    Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await
}

/// Downloads an attachment.
async fn attached(client: &Client, id: &serde_json::Value) -> Vec<u8> {
    let answer = client.request(Method::GET, &format!("/api/messaging/attachment/{id}")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().into()
}

/// Asserts that an answer has no internals of the storage.
fn tells_nothing_of_the_bucket(answer: &Answer) {
    for internal in ["AWS", "S3", "s3", "NoSuch", "object_store", "reqwest", "127.0.0.1", "prefix"] {
        assert!(!answer.body.contains(internal), "{internal}: {answer:?}");
    }
}

with_every_backend! {
    /// Small objects in one request, large ones as a multipart upload.
    async fn attachments_come_and_go(backend) {
        let bucket = Bucket::start().await;
        let mut server = server_on(&bucket, backend).await;
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        for size in [0_u32, 10, 12_000_000] {
            let bytes: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
            let file = attach(&john, bytes.clone()).await.json();
            assert_eq!((&file["success"], &file["file_size"]), (&json!(true), &json!(size)), "{file}");
            let id = &file["attachment_id"];
            let sent = john.messaging("message/send", json!({"thread_id": 1, "body": "File", "attachment_ids": [id]})).await;
            assert_eq!(sent["success"], true, "{sent}");
            assert!(attached(&admin, id).await == bytes, "{size} bytes come back");
            let objects = bucket.objects();
            assert!(objects.iter().any(|path| path.to_string_lossy().contains("/some/prefix/attachments/")), "{objects:?}");
            john.messaging(&format!("attachment/delete/{id}"), json!({})).await;
            until("an empty bucket", async || {
                let objects = bucket.objects();
                objects.iter().all(|path| !path.to_string_lossy().contains("/some/prefix/")).then_some(())
            })
            .await;
        }
        server.stop().await;
    }

    /// Size limit exceeded during a multipart upload.
    async fn what_is_refused_leaves_nothing(backend) {
        let bucket = Bucket::start().await;
        let server = bucket.holds_the_files_of(Server::builder(backend)).set("LIMITS__UPLOAD_BYTES", 11_000_000);
        let mut server = server.start().await;
        assert_eq!(attach(&server.log_in(JOHN).await, vec![b'x'; 12_000_000]).await.status, 413);
        // Abort of unfinished uploads: complete after the stop.
        server.stop().await;
        let left = [bucket.objects(), bucket.unfinished()].concat();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Client disconnect during a multipart upload.
    async fn half_an_upload_leaves_no_parts(backend) {
        let bucket = Bucket::start().await;
        let mut server = server_on(&bucket, backend).await;
        let john = server.log_in(JOHN).await;
        let half = "x".repeat(11_000_000);
        let connection = RawConnection::half_an_upload(&server, &john, 12_000_000, &half).await;
        until("two parts", async || (bucket.unfinished().len() >= 2).then_some(())).await;
        drop(connection);
        until("the end of the parts", async || bucket.unfinished().is_empty().then_some(())).await;
        assert_eq!(bucket.objects(), [""; 0].map(std::path::PathBuf::from));
        server.stop().await;
    }

    /// Signed URLs of the bucket: no server in between.
    async fn the_addresses_are_the_buckets(backend) {
        let bucket = Bucket::start().await;
        let mut server = server_on(&bucket, backend).await;
        let urls = urls(&server.log_in(JOHN).await, "512x512.png", "image/png").await;
        assert_eq!(urls.get, format!("{}/some/prefix{}", bucket.url(), urls.path));
        assert!(urls.put.starts_with(&format!("{}?X-Amz-", urls.get)) && urls.put.contains("X-Amz-Expires=900&"), "{urls:?}");
        assert_eq!(get(&urls.get).await.status, 404);
        let answer = put(&urls.put, "image/png", PNG).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer = get(&urls.get).await;
        assert_eq!((answer.status.as_u16(), header(&answer, CONTENT_TYPE)), (200, Some("image/png")));
        assert_eq!(header(&head(&urls.get).await, reqwest::header::CONTENT_LENGTH), Some(PNG.len().to_string().as_str()));
        assert_eq!(get(&server.url(&format!("/files{}", urls.path))).await.status, 404, "here is nothing of it");
        server.stop().await;
    }

    /// Modified signed URL: refused by the bucket.
    async fn changed_addresses_are_refused_by_the_bucket(backend) {
        let bucket = Bucket::start().await;
        let mut server = server_on(&bucket, backend).await;
        let john = server.log_in(JOHN).await;
        let (one, two) = (urls(&john, "a.png", "image/png").await, urls(&john, "a.png", "image/png").await);
        let (_, signature) = one.put.split_once("X-Amz-Signature=").unwrap();
        for changed in [
            one.get.clone(),
            one.put.replace(&one.get, &two.get),
            one.put.replace("X-Amz-Expires=900", "X-Amz-Expires=901"),
            one.put.replace(signature, &"0".repeat(signature.len())),
        ] {
            let answer = put(&changed, "image/png", PNG).await;
            assert!(answer.status.is_client_error(), "{changed}: {answer:?}");
        }
        let answer = put(&one.put, "text/html", "<script>").await;
        assert_eq!(answer.status, 403, "the type is signed: {answer:?}");
        assert_eq!(get(&one.get).await.status, 404);
        server.stop().await;
    }

    /// Active content types: refused, since the bucket serves the announced type, and a browser could run it as a page of the
    /// chat's origin.
    async fn what_a_browser_could_run_gets_no_address_there(backend) {
        let bucket = Bucket::start().await;
        let mut server = server_on(&bucket, backend).await;
        let john = server.log_in(JOHN).await;
        let refused = "mimeType must be one of which no browser makes a page or a program, such as application/octet-stream";
        for mimetype in ["text/html", "image/svg+xml", "image/SVG+XML", "application/xhtml+xml", "text/xml", "image/png;,text/html"] {
            assert_eq!(refusal(&wish(&john, "a.png", mimetype).await), (400, refused.into()), "{mimetype}");
        }
        for mimetype in ["application/octet-stream", "application/zip", "text/plain", "video/webm;codecs=vp8,opus"] {
            let urls = urls(&john, "a", mimetype).await;
            assert_eq!(put(&urls.put, mimetype, "anything").await.status, 200, "{mimetype}");
            assert_eq!(header(&get(&urls.get).await, CONTENT_TYPE), Some(mimetype));
        }
        server.stop().await;
    }

    /// Expired signed URL: refused by the bucket.
    async fn old_addresses_are_refused_by_the_bucket(backend) {
        let bucket = Bucket::start().await;
        let server = bucket.holds_the_files_of(Server::builder(backend)).set("UPLOADS__LIFETIME_SECONDS", 1);
        let mut server = server.start().await;
        let urls = urls(&server.log_in(JOHN).await, "a.png", "image/png").await;
        let answer = until("the end of the address", async || {
            Some(put(&urls.put, "image/png", PNG).await).filter(|answer| answer.status != 200)
        })
        .await;
        assert_eq!(answer.status, 403, "{answer:?}");
        server.stop().await;
    }

    /// Missing bucket: an internal error, whose id leads to the cause in the log.
    async fn a_missing_bucket_is_a_clean_failure(backend) {
        let bucket = Bucket::start().await;
        let mut server = server_on(&bucket, backend).await;
        let john = server.log_in(JOHN).await;
        let file = attach(&john, b"before".to_vec()).await.json();
        bucket.vanish();
        let refused = attach(&john, b"after".to_vec()).await;
        let lost = Answer::of(john.request(Method::GET, &format!("/api/messaging/attachment/{}", file["attachment_id"]))).await;
        for answer in [refused, lost] {
            assert_eq!(answer.status, 500, "{answer:?}");
            tells_nothing_of_the_bucket(&answer);
            let error = answer.json()["error"].as_str().unwrap().to_owned();
            let (words, id) = error.rsplit_once(" (").unwrap();
            assert_eq!(words, "Something went wrong on our side");
            assert!(server.log().contains(id.trim_end_matches(')')), "{error}");
        }
        assert_eq!(wish(&john, "a.png", "image/png").await.status, 200, "signing needs no bucket");
        server.stop().await;
    }

    /// Bucket outage: unavailable, like a database outage.
    async fn a_bucket_that_does_not_answer_is_not_available(backend) {
        let mut bucket = Bucket::start().await;
        let mut server = server_on(&bucket, backend).await;
        let john = server.log_in(JOHN).await;
        bucket.stop().await;
        let answer = attach(&john, b"after".to_vec()).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        tells_nothing_of_the_bucket(&answer);
        server.stop().await;
    }
}

with_every_backend! {
    /// Unusable directory: an internal error for a write and for a read.
    async fn a_missing_directory_is_a_clean_failure(backend) {
        let directory = tempfile::tempdir().unwrap();
        let files = directory.path().join("files");
        let mut server = Server::builder(backend).set("FILES", format!("file:{}", files.display())).start().await;
        let john = server.log_in(JOHN).await;
        let kept = urls(&john, "a.png", "image/png").await;
        assert_eq!(put(&kept.put, "image/png", PNG).await.status, 200);
        std::fs::remove_dir_all(&files).unwrap();
        std::fs::write(&files, "in its place").unwrap();
        let answer = put(&urls(&john, "a.png", "image/png").await.put, "image/png", PNG).await;
        for answer in [answer, get(&kept.get).await] {
            let (status, message) = refusal(&answer);
            assert_eq!(status, 500, "{message}");
            assert!(message.starts_with("Something went wrong on our side (") && !message.contains("files"), "{message}");
        }
        server.stop().await;
    }
}
