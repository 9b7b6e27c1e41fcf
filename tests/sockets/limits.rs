//! How much a client may send, and may leave unread.

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use super::{JANE, JOHN, closed_with, enter, is_error, is_well, start, stop, url};
use crate::support::{self, Backend, Server, Socket};

#[tokio::test]
async fn a_message_may_be_so_large_and_no_larger() {
    let server = start().await;
    let mut john = enter(&server, JOHN).await;
    let frame = json!({"action": "heartbeat", "filling": ""}).to_string();
    let filled = |bytes: usize| json!({"action": "heartbeat", "filling": "x".repeat(bytes - frame.len())}).to_string();
    john.say_text(&filled(65_536)).await;
    is_well(&mut john).await;
    john.say_text(&filled(65_537)).await;
    assert_eq!(john.closed().await, 1009);
    // Much more is refused before it is read, and the client hears of it nevertheless.
    let john = enter(&server, JOHN).await;
    let (mut writing, mut reading) = john.into_stream().split();
    let (sent, code) = tokio::join!(writing.send(Message::text("x".repeat(4 * 1024 * 1024))), async {
        loop {
            if let Message::Close(frame) = reading.next().await.expect("it is told").expect("the socket works") {
                return frame.expect("with a code").code;
            }
        }
    });
    // It may have been told before it was done.
    drop(sent);
    assert_eq!(u16::from(code), 1009);
    stop(server).await;
}

/// First what a client may send at once, then a warning, then the end.
#[tokio::test]
async fn who_sends_too_much_is_warned_and_then_closed() {
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__FRAMES_BURST", 10);
    let server = server.set("SOCKETS__FRAMES_PER_SECOND", 1).start().await;
    let heartbeat = Message::text(r#"{"action": "heartbeat"}"#);
    let frames =
        [(heartbeat, json!("heartbeat")), (Message::binary(vec![0]), json!(null)), (Message::Ping("x".into()), json!(null))];
    for (frame, action) in frames {
        let mut john = enter(&server, JOHN).await;
        // What comes back with every second makes no difference to so many.
        for _ in 0..40 {
            john.send(frame.clone()).await;
        }
        let warning = john.hear_until(|told| is_error(told) && told["error"] == "Too many frames, please slow down").await;
        assert_eq!(warning["action"], action);
        assert_eq!(john.closed().await, 4029, "{frame:?}");
    }
    let mut john = enter(&server, JOHN).await;
    for _ in 0..9 {
        john.say(json!({"action": "heartbeat"})).await;
    }
    is_well(&mut john).await;
    stop(server).await;
}

#[tokio::test]
async fn a_user_has_so_many_sockets_and_no_more() {
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__PER_USER", 2).start().await;
    let (first, mut second) = (enter(&server, JOHN).await, enter(&server, JOHN).await);
    assert_eq!(Socket::open(url(&server, JOHN)).await.closed().await, 4029);
    let mut jane = enter(&server, JANE).await;
    is_well(&mut jane).await;
    first.close().await;
    closed_with(&server, 1000).await;
    support::until("a place", async || {
        let mut third = Socket::open(url(&server, JOHN)).await.into_stream();
        matches!(third.next().await, Some(Ok(Message::Text(_)))).then_some(())
    })
    .await;
    is_well(&mut second).await;
    stop(server).await;
}

/// Whoever is told much at once is not slow for that.
#[tokio::test]
async fn who_takes_what_there_is_is_not_cut_off() {
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__QUEUED_FRAMES", 1).start().await;
    let (mut john, mut jane) = (enter(&server, JOHN).await, enter(&server, JANE).await);
    for _ in 0..5 {
        is_well(&mut john).await;
        is_well(&mut jane).await;
    }
    stop(server).await;
}
