//! Tests of the end of sockets: token expiry, heartbeats, close handshakes, server stop.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ADMIN, BOB, JANE, JOHN, closed_with, enter, is_well, start, stop, url};
use crate::support::{Backend, Server, Socket, token, token_until};

#[tokio::test]
async fn at_the_stop_all_are_told_that_the_server_goes_away() {
    let mut server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__DRAIN_SECONDS", 1).start().await;
    let mut sockets = Vec::new();
    for number in 0..20 {
        sockets.push(enter(&server, [ADMIN, JOHN, JANE, BOB][number % 4]).await);
    }
    server.terminate();
    let codes = join_all(sockets.into_iter().map(Socket::closed)).await;
    assert_eq!(codes, [1001; 20]);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_token_that_runs_out_ends_its_sockets() {
    let server = start().await;
    // Leeway of the expiry: half a minute.
    let short = server.socket_url(&format!("/conversations/2/?token={}", token_until(JOHN, -27)));
    let mut socket = Socket::open(short).await;
    is_well(&mut socket).await;
    let mut other = enter(&server, JOHN).await;
    assert_eq!(socket.closed().await, 4003);
    is_well(&mut other).await;
    stop(server).await;
}

/// Heartbeat: a connection that answers no ping is closed.
#[tokio::test]
async fn who_gives_no_sign_of_life_is_given_up() {
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__PING_SECONDS", 1).start().await;
    let mut alive = enter(&server, JANE).await;
    let mut silent = TcpStream::connect(server.address()).await.expect("the server listens");
    let head = format!(
        "GET /conversations/2/?token={} HTTP/1.1\r\nHost: dragoman\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        token(JOHN)
    );
    silent.write_all(head.as_bytes()).await.expect("the server reads");
    let mut heard = Vec::new();
    let end = tokio::select! {
        (end, ()) = async { tokio::join!(silent.read_to_end(&mut heard), closed_with(&server, 1001)) } => end,
        // Connection that only answers pings, as every client does by itself: stays open.
        () = async { loop { alive.hear().await; } } => unreachable!("it goes on"),
    };
    end.expect("the connection is closed, not lost");
    let counted = |wanted: &[u8]| heard.windows(wanted.len()).filter(|bytes| *bytes == wanted).count();
    assert!((2..=3).contains(&counted(&[0x89, 0])), "it was asked: {heard:?}");
    let close = [&[0x88, 17, 0x03, 0xe9], b"no sign of life".as_slice()].concat();
    assert_eq!(counted(&close), 1, "and told: {heard:?}");
    is_well(&mut alive).await;
    stop(server).await;
}

/// Close by the client: answered. Disconnect without a close: no leak.
#[tokio::test]
async fn clients_may_go_as_they_like() {
    let server = start().await;
    let mut stays = enter(&server, JANE).await;
    enter(&server, JOHN).await.close().await;
    closed_with(&server, 1000).await;
    drop(enter(&server, JOHN).await);
    closed_with(&server, 1006).await;
    let mut half = TcpStream::connect(server.address()).await.expect("the server listens");
    half.write_all(b"GET /conversations/2/ HTTP/1.1\r\nConnection: Upgr").await.expect("the server reads");
    drop(half);
    is_well(&mut stays).await;
    stays.close().await;
    crate::support::until("no socket", async || (server.metric("dragoman_sockets").await == 0.0).then_some(())).await;
    stop(server).await;
}

/// Stop of the server: earlier actions are answered before the close.
#[tokio::test]
async fn the_last_words_are_heard() {
    let mut server = start().await;
    let mut john = Socket::open(url(&server, JOHN)).await;
    is_well(&mut john).await;
    john.say(json!({"action": "send_message", "content": "last words"})).await;
    john.hear_until(|told| told["message"]["content"] == "last words").await;
    let ends = tokio::spawn(john.closed());
    server.terminate();
    assert_eq!(ends.await.expect("it ends"), 1001);
    let ended = tokio::time::timeout(Duration::from_secs(30), server.ended()).await;
    assert_eq!(ended.expect("long before the limit").code(), Some(0));
}
