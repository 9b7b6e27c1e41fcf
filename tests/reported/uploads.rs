//! Tests of the upload quotas of a user: bytes within a day, and uploads at once.

use futures_util::stream;
use reqwest::{
    Body, Method,
    header::RETRY_AFTER,
    multipart::{Form, Part},
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    support::{Answer, BOB, Backend, Client, JANE, RawConnection, Server, http, token, until},
    with_every_backend,
};

const UID_OF_BOB: i64 = 8;
const UUID_OF_JOHN: &str = "302e305b-6e73-4f9c-bac7-551a92b106b0";

async fn upload(client: &Client, bytes: usize) -> Answer {
    let form = Form::new().part("file", Part::bytes(vec![b'x'; bytes]).file_name("a.txt"));
    Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await
}

#[track_caller]
fn is_refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.headers[RETRY_AFTER].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert!(answer.body.contains(&format!("Too many {what}, please wait")), "{answer:?}");
}

with_every_backend! {
    /// Daily quota: uploads of every kind count, stored or not.
    async fn a_day_has_so_many_bytes(backend) {
        const DAY: &str = "bytes uploaded within a day";
        let server = Server::builder(backend).with_tokens().set("LIMITS__USER__UPLOAD_BYTES_PER_DAY", 1_000_000);
        let mut server = server.set("LIMITS__UPLOAD_BYTES", 300_000).start().await;
        let bob = server.log_in(BOB).await;
        assert_eq!(upload(&bob, 300_000).await.status, 200);
        // A refused upload counts as far as the server read it.
        assert_eq!(upload(&bob, 300_001).await.status, 413);
        let wish = json!({"filename": "a.txt", "mimeType": "text/plain", "type": "chat-images"});
        let wished = bob.post("/file-new/get-upload-url", &wish).await.json();
        let address = wished["data"]["uploadUrlData"]["uploadURL"].as_str().unwrap_or_else(|| panic!("{wished}")).to_owned();
        let put = async |bytes: usize| {
            Answer::of(http().put(&address).header("content-type", "text/plain").body(vec![b'x'; bytes])).await
        };
        is_refused(&put(500_000).await, DAY);
        is_refused(&upload(&bob, 1).await, DAY);
        is_refused(&put(1).await, DAY);
        let file = Part::bytes(b"x".to_vec()).file_name("a.txt");
        let form = Form::new().text("receiver", UUID_OF_JOHN).part("attached_file", file);
        let room = server.client().request(Method::POST, "/chat/attachment").bearer_auth(token(UID_OF_BOB)).multipart(form);
        is_refused(&Answer::of(room).await, DAY);
        assert_eq!(server.metric("dragoman_refused_total{limit=\"user.upload_bytes_per_day\"}").await, 4.0);
        let jane = server.log_in(JANE).await;
        assert_eq!(upload(&jane, 300_000).await.status, 200, "it is nobody else's day");
        server.stop().await;
    }

    /// Quota of memory for the unstored parts of uploads, for each user.
    async fn unfinished_files_take_the_share_of_their_user(backend) {
        let server = Server::builder(backend).set("LIMITS__BODIES_BYTES", 4 << 20).set("LIMITS__BODY_BYTES", 1 << 18);
        let mut server = server.start().await;
        let [bob, jane] = [server.log_in(BOB).await, server.log_in(JANE).await];
        let part = "x".repeat(200_000);
        let mut unfinished = Vec::new();
        for number in 1..=2 {
            unfinished.push(RawConnection::half_an_upload(&server, &bob, 1_000_000, &part).await);
            until("it has arrived", async || {
                (server.metric("dragoman_bodies_bytes").await >= f64::from(number) * 190_000.0).then_some(())
            })
            .await;
        }
        is_refused(&upload(&bob, 200_000).await, "uploads at once");
        assert!(server.metric("dragoman_refused_total{limit=\"bodies_bytes\"}").await >= 1.0);
        assert_eq!(upload(&jane, 250_000).await.status, 200, "another user has a share of its own");
        drop(unfinished);
        until("the share is given back", async || (upload(&bob, 200_000).await.status == 200).then_some(())).await;
        server.stop().await;
    }

    /// A file at a signed URL takes the memory of the URL's owner, not of the address that sends it.
    async fn a_file_at_a_signed_url_takes_the_share_of_its_owner(backend) {
        let server = Server::builder(backend).set("LIMITS__BODIES_BYTES", 4 << 20).set("LIMITS__BODY_BYTES", 1 << 18);
        let mut server = server.start().await;
        let bob = server.log_in(BOB).await;
        let wish = json!({"filename": "a.txt", "mimeType": "text/plain", "type": "chat-images"});
        let mut unfinished = Vec::new();
        for number in 1..=2 {
            let wished = bob.post("/file-new/get-upload-url", &wish).await.json();
            let address = wished["data"]["uploadUrlData"]["uploadURL"].as_str().unwrap_or_else(|| panic!("{wished}"));
            let path = address.strip_prefix(&server.url("")).expect("it is this server's");
            let mut connection = RawConnection::to(&server).await;
            let head = format!(
                "PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n{}",
                "x".repeat(200_000)
            );
            connection.send(&head).await;
            unfinished.push(connection);
            until("it has arrived", async || {
                (server.metric("dragoman_bodies_bytes").await >= f64::from(number) * 190_000.0).then_some(())
            })
            .await;
        }
        // The text and its JSON tree.
        let stranger = server.client().post("/auth/token", &json!({"login": "x".repeat(200_000), "password": "x"})).await;
        assert_eq!(stranger.status, 401, "{stranger:?}");
        is_refused(&upload(&bob, 200_000).await, "uploads at once");
        drop(unfinished);
        server.stop().await;
    }
}

/// An upload that sends no more bytes until it is finished.
fn begun(client: &Client) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Answer>) {
    let (finish, finished) = mpsc::channel::<()>(1);
    let rest = stream::unfold((0, finished), async |(piece, mut finished)| match piece {
        0 => Some((Ok::<_, std::io::Error>(vec![b'x'; 100]), (1, finished))),
        _ => {
            finished.recv().await;
            None
        }
    });
    let form = Form::new().part("file", Part::stream(Body::wrap_stream(rest)).file_name("a.txt"));
    let request = client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
    (finish, tokio::spawn(Answer::of(request)))
}

/// An unfinished upload that the server already counts. The probing upload may come first, so this retries.
async fn under_way(client: &Client) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Answer>) {
    loop {
        let begun = begun(client);
        until("an upload under way", async || (begun.1.is_finished() || upload(client, 1).await.status == 429).then_some(()))
            .await;
        if !begun.1.is_finished() {
            return begun;
        }
    }
}

#[tokio::test]
async fn so_many_are_under_way_and_no_more() {
    let mut server = Server::builder(Backend::memory()).set("LIMITS__USER__UPLOADS_AT_ONCE", 1).start().await;
    let (bob, jane) = (server.log_in(BOB).await, server.log_in(JANE).await);
    let (finish, first) = under_way(&bob).await;
    is_refused(&upload(&bob, 1).await, "uploads at once");
    assert_eq!(upload(&jane, 1).await.status, 200);
    drop(finish);
    assert_eq!(first.await.expect("it ends").status, 200);
    assert_eq!(upload(&bob, 1).await.status, 200);
    // An upload counts until its client disconnects.
    let (_finish, second) = under_way(&bob).await;
    second.abort();
    until("a place", async || (upload(&bob, 1).await.status == 200).then_some(())).await;
    server.stop().await;
}
