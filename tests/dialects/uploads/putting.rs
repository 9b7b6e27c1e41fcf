//! Tests of putting a file: once, whole, and as announced.

use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use reqwest::Body;
use serde_json::json;

use super::{PNG, get, put, refusal, upload, urls};
use crate::{
    on_every_backend,
    support::{JOHN, RawConnection, Server, files_below, until},
    with_every_backend,
};

const ALREADY: &str = "A file was uploaded with this URL already";

/// A body of unknown length.
fn chunked(bytes: usize) -> Body {
    let pieces = stream::repeat(Bytes::from(vec![b'x'; 100])).take(bytes.div_ceil(100));
    Body::wrap_stream(pieces.map(Ok::<_, std::io::Error>))
}

/// Head of a `PUT` request.
fn request(server: &Server, url: &str, more: &str) -> String {
    let target = url.strip_prefix(&server.url("")).expect("it is put at the server");
    format!("PUT {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n{more}\r\n\r\n")
}

on_every_backend! {
    /// Second upload to the same URL: refused, and the first stays.
    async fn a_second_file_is_refused(server) {
        let urls = urls(&server.log_in(JOHN).await, "a.png", "image/png").await;
        assert_eq!(put(&urls.put, "image/png", PNG).await.status, 200);
        for _ in 0..2 {
            assert_eq!(refusal(&put(&urls.put, "image/png", "another").await), (409, ALREADY.into()));
        }
        assert_eq!(get(&urls.get).await.headers["Content-Length"], PNG.len().to_string());
    }

    /// Simultaneous uploads to one URL: one wins.
    async fn of_many_at_once_one_wins(server) {
        /// Concurrent uploads allowed for one user.
        const AT_ONCE: usize = 5;
        let urls = urls(&server.log_in(JOHN).await, "a.txt", "text/plain").await;
        let puts = (0..AT_ONCE).map(|number| put(&urls.put, "text/plain", format!("number {number}")));
        let answers = future::join_all(puts).await;
        let won: Vec<_> = (0..AT_ONCE).filter(|number| answers[*number].status == 200).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        for (number, answer) in answers.iter().enumerate().filter(|(number, _)| *number != won[0]) {
            assert_eq!(refusal(answer), (409, ALREADY.into()), "{number}");
        }
        assert_eq!(get(&urls.get).await.body, format!("number {}", won[0]));
    }

    /// Slow and fast upload to one URL: the first complete one wins.
    async fn a_slow_one_comes_too_late(server) {
        let urls = urls(&server.log_in(JOHN).await, "a.png", "image/png").await;
        let mut slow = RawConnection::to(server).await;
        slow.send(&(request(server, &urls.put, "Content-Length: 6\r\nConnection: close") + "abc")).await;
        assert_eq!(put(&urls.put, "image/png", "quick").await.status, 200);
        slow.send("def").await;
        let answer = slow.read_until("never").await;
        assert!(answer.starts_with("HTTP/1.1 409") && answer.contains(ALREADY), "{answer}");
        assert_eq!(get(&urls.get).await.body, "quick");
    }

    /// Truncated upload, by a short request or a disconnect: not stored, and the URL stays usable.
    async fn half_a_file_is_none_and_can_be_put_again(server) {
        let urls = urls(&server.log_in(JOHN).await, "a.png", "image/png").await;
        let mut gone = RawConnection::to(server).await;
        gone.send(&(request(server, &urls.put, "Content-Length: 100") + "half")).await;
        drop(gone);
        let mut broken = RawConnection::to(server).await;
        let chunk = "4\r\nhalf\r\nnonsense\r\n";
        broken.send(&(request(server, &urls.put, "Transfer-Encoding: chunked\r\nConnection: close") + chunk)).await;
        let answer = broken.read_until("never").await;
        assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("file did not arrive whole"), "{answer}");
        assert_eq!(refusal(&get(&urls.get).await), (404, "File not found".into()));
        assert_eq!(put(&urls.put, "image/png", "whole").await.status, 200);
        assert_eq!(get(&urls.get).await.body, "whole");
    }

    /// Content type: must equal the announced one, whatever the bytes are.
    async fn the_announced_type_must_be_kept(server) {
        let urls = urls(&server.log_in(JOHN).await, "a.png", "image/png").await;
        for other in ["text/html", "image/jpeg", "", "image", "application/octet-stream"] {
            assert_eq!(refusal(&put(&urls.put, other, PNG).await), (415, "Content-Type must be image/png".into()), "{other}");
        }
        assert_eq!(put(&urls.put, "IMAGE/PNG; x=y", PNG).await.status, 200, "a type is what stands before its parameters");
    }

    /// Modified signed URL: refused.
    async fn a_changed_address_is_refused(server) {
        let john = server.log_in(JOHN).await;
        let (one, two) = (urls(&john, "a.png", "image/png").await, urls(&john, "a.png", "image/png").await);
        let (_, signature) = one.put.split_once("Signature=").unwrap();
        let changed = [
            one.put.replace("image%2Fpng", "text%2Fhtml"),
            one.put.replace("Expires=", "Expires=9"),
            one.put.replace(&one.get, &two.get),
            one.put.replace(&one.get, &one.get.replace("chat-images", "attachments")),
            one.put.replace(signature, &"0".repeat(signature.len())),
            one.put.replace(signature, ""),
            one.put.replace("Signature=", "Signatur="),
            one.get.clone(),
            server.url("/files/chat-images/nothing?Content-Type=image/png&Expires=99999999999&Signature=%00"),
        ];
        for url in changed {
            let kind = if url.contains("html") { "text/html" } else { "image/png" };
            assert_eq!(refusal(&put(&url, kind, PNG).await), (403, "This upload URL is not valid".into()), "{url}");
        }
        assert_eq!(get(&one.get).await.status, 404);
        assert_eq!(put(&one.put, "image/png", PNG).await.status, 200, "trying has spoilt nothing");
    }

    /// Streaming: a file far larger than a node's buffers.
    async fn a_large_file_comes_back_whole(server) {
        let bytes: Vec<u8> = (0..12_000_000_u32).map(|number| (number % 251) as u8).collect();
        let url = upload(&server.log_in(JOHN).await, "a.bin", "application/octet-stream", bytes.clone()).await;
        let answer = crate::support::http().get(&url).send().await.unwrap();
        assert_eq!(answer.bytes().await.unwrap(), bytes);
    }

    /// Empty file.
    async fn an_empty_file_is_taken(server) {
        let url = upload(&server.log_in(JOHN).await, "a.txt", "text/plain", "").await;
        let answer = get(&url).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str(), answer.headers["Content-Length"].as_bytes()), (200, "", &b"0"[..]));
    }
}

with_every_backend! {
    /// Size limit: applied before the body with a length, during the body otherwise.
    async fn a_file_beyond_the_limit_is_refused(backend) {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::builder(backend)
            .set("UPLOADS__BYTES", 1000)
            .set("FILES", format!("file:{}", directory.path().display()))
            .start()
            .await;
        let john = server.log_in(JOHN).await;
        let urls = urls(&john, "a.png", "image/png").await;
        let too_large = (413, "Larger than 1000 bytes".to_owned());
        assert_eq!(refusal(&put(&urls.put, "image/png", vec![b'x'; 1001]).await), too_large);
        assert_eq!(refusal(&put(&urls.put, "image/png", chunked(100_000)).await), too_large);
        let mut asking = RawConnection::to(&server).await;
        asking.send(&request(&server, &urls.put, "Content-Length: 1001\r\nExpect: 100-continue")).await;
        let answer = asking.read_until("}").await;
        assert!(answer.starts_with("HTTP/1.1 413"), "who asks first need not send it: {answer}");
        let left = files_below(directory.path());
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(put(&urls.put, "image/png", chunked(1000)).await.status, 200);
        assert_eq!(put(&urls.put, "image/png", "again").await.status, 409);
        assert_eq!(files_below(directory.path()).len(), 1, "what was refused leaves nothing");
    }

    /// Silence in the middle of a file: the read time-out ends the upload, in a form too.
    async fn a_file_that_stops_arriving_is_given_up(backend) {
        let server = Server::builder(backend).set("LIMITS__BODY_SECONDS", 2).start().await;
        let john = server.log_in(JOHN).await;
        let urls = urls(&john, "a.png", "image/png").await;
        let mut put = RawConnection::to(&server).await;
        put.send(&(request(&server, &urls.put, "Content-Length: 100") + "half")).await;
        let form = RawConnection::half_an_upload(&server, &john, 100_000, "half").await;
        for mut silent in [put, form] {
            let answer = silent.read_until("never").await;
            assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("file did not arrive whole"), "{answer}");
        }
        assert_eq!(get(&urls.get).await.status, 404);
    }

    /// Expired signed URL: refused. The expiry is part of the URL.
    async fn an_old_address_is_refused(backend) {
        let server = Server::builder(backend).set("UPLOADS__LIFETIME_SECONDS", 1).start().await;
        let urls = urls(&server.log_in(JOHN).await, "a.png", "image/png").await;
        // Wrong type, so that a request before the expiry stores nothing.
        until("the end of the address", async || {
            (put(&urls.put, "text/plain", "x").await.status == 403).then_some(())
        })
        .await;
        let answer = put(&urls.put, "image/png", PNG).await;
        assert_eq!(refusal(&answer), (403, "This upload URL has expired".into()));
        assert_eq!(get(&urls.get).await.status, 404);
    }

    /// Signing key: the same at every node and after a restart.
    async fn nodes_share_what_they_sign_with(backend) {
        if !backend.is_postgres() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let builder = Server::builder(backend).set("FILES", format!("file:{}", directory.path().display()));
        let (mut one, two) = (builder.clone().start().await, builder.start().await);
        let john = one.log_in(JOHN).await;
        let urls = urls(&john, "a.png", "image/png").await;
        let late = super::urls(&john, "a.png", "image/png").await;
        let at = |url: &str, from: &Server, to: &Server| url.replace(&from.url(""), &to.url(""));
        assert_eq!(put(&at(&urls.put, &one, &two), "image/png", "at two").await.status, 200);
        assert_eq!(put(&urls.put, "image/png", "at one").await.status, 409);
        assert_eq!(get(&urls.get).await.body, "at two");
        let address = one.kill().await;
        one.start_again(address).await;
        assert_eq!(put(&late.put, "image/png", "after the start").await.status, 200);
        assert_eq!(get(&at(&late.get, &one, &two)).await.body, "after the start");
    }

    /// URL in a message.
    async fn what_was_uploaded_can_be_sent(backend) {
        let server = Server::demo(backend).await;
        let john = server.log_in(JOHN).await;
        let url = upload(&john, "a.png", "image/png", PNG).await;
        let sent = john.messaging("message/send", json!({"thread_id": 1, "body": url})).await;
        assert_eq!(sent["success"], true, "{sent}");
    }
}
