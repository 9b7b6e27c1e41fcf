//! Tests of input limits and of unread output.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::{net::TcpSocket, time::timeout};
use tokio_tungstenite::{
    client_async,
    tungstenite::{
        Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::{JANE, JOHN, closed_with, enter, is_error, is_well, start, stop, url};
use crate::support::{self, Backend, Server, Socket};

#[tokio::test]
async fn a_message_may_be_so_large_and_no_larger() {
    let server = start().await;
    let mut john = enter(&server, JOHN).await;
    let frame = json!({"action": "heartbeat", "filling": ""}).to_string();
    let filled = |bytes: usize| json!({"action": "heartbeat", "filling": "x".repeat(bytes - frame.len())}).to_string();
    john.say_text(&filled(262_144)).await;
    is_well(&mut john).await;
    john.say_text(&filled(262_145)).await;
    assert_eq!(john.closed().await, 1009);
    // Large frame: refused before it is read, and the client receives the close frame nevertheless.
    let john = enter(&server, JOHN).await;
    let (mut writing, mut reading) = john.into_stream().split();
    let (sent, code) = tokio::join!(writing.send(Message::text("x".repeat(4 * 1024 * 1024))), async {
        loop {
            if let Message::Close(frame) = reading.next().await.expect("it is told").expect("the socket works") {
                return frame.expect("with a code").code;
            }
        }
    });
    // Send error: possible, since the close may come first.
    drop(sent);
    assert_eq!(u16::from(code), 1009);
    stop(server).await;
}

/// Frame rate limit as back-pressure: every frame is processed in order, without a close or a warning.
#[tokio::test]
async fn who_says_too_much_is_heard_more_slowly_and_loses_nothing() {
    const FRAMES: usize = 50;
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__FRAMES_BURST", 1);
    let server = server.set("SOCKETS__FRAMES_PER_SECOND", 50).start().await;
    let mut john = enter(&server, JOHN).await;
    for number in 0..FRAMES {
        john.say(json!({"action": "send_message", "content": number.to_string()})).await;
        john.send(Message::Ping("x".into())).await;
        john.send(Message::binary(vec![0])).await;
    }
    for number in 0..FRAMES {
        let told = john.hear_until(|told| told["type"] == "chat_message").await;
        assert_eq!(told["message"]["content"], number.to_string());
        let told = john.hear().await;
        assert!(is_error(&told), "{told}");
    }
    is_well(&mut john).await;
    assert!(server.metric("dragoman_socket_held_back_seconds_total").await > 0.0);
    assert!(!server.get("/metrics").await.text().await.expect("it is whole").contains("dragoman_sockets_closed_total{"));
    stop(server).await;
}

/// Rate-limited client: receives events without a delay.
#[tokio::test]
async fn who_is_held_back_is_told_at_once() {
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__FRAMES_BURST", 1);
    let server = server.set("SOCKETS__FRAMES_PER_SECOND", 1).start().await;
    let (mut john, mut jane) = (enter(&server, JOHN).await, enter(&server, JANE).await);
    // Frames for a minute at this rate.
    for _ in 0..60 {
        john.say(json!({"action": "dance"})).await;
    }
    john.hear_until(is_error).await;
    jane.say(json!({"action": "send_message", "content": "hello"})).await;
    for dances in 1.. {
        let told = john.hear().await;
        if told["type"] == "chat_message" {
            break;
        }
        assert!(dances < 60, "{told}");
    }
    stop(server).await;
}

/// Fragments of an incomplete message: limited by the byte rate, which alone counts them.
#[tokio::test]
async fn a_message_in_very_many_pieces_is_read_slowly() {
    const PIECES: usize = 5_000;
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__MESSAGE_BYTES", 10_000).start().await;
    let mut john = enter(&server, JOHN).await;
    let piece = |bytes: &'static str, opcode, is_last| Message::Frame(Frame::message(bytes, OpCode::Data(opcode), is_last));
    let begun = Instant::now();
    john.send(piece(r#"{"action": "send_message", "content": ""#, Data::Text, false)).await;
    for _ in 0..PIECES {
        john.send(piece("", Data::Continue, false)).await;
    }
    john.send(piece("whole\"}", Data::Continue, true)).await;
    john.hear_until(|told| told["message"]["content"] == "whole").await;
    // More than 30,000 bytes, with a burst of 10,000 and 10,000 a second.
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
    is_well(&mut john).await;
    stop(server).await;
}

/// Back-pressure by TCP: unread frames stay with the peer.
#[tokio::test]
async fn little_is_taken_in_for_a_socket_that_is_held_back() {
    const MOST: usize = 1024 * 1024;
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__FRAMES_BURST", 1);
    let server = server.set("SOCKETS__FRAMES_PER_SECOND", 1).start().await;
    let socket = TcpSocket::new_v4().expect("there is room for a socket");
    socket.set_send_buffer_size(4_096).expect("it can be small");
    let connected = socket.connect(server.address()).await.expect("the server listens");
    let (john, _) = client_async(url(&server, JOHN), connected).await.expect("the server gives a socket");
    let (mut writing, mut reading) = john.split();
    let told = tokio::spawn(async move { while reading.next().await.is_some_and(|told| told.is_ok()) {} });
    let mut taken = 0;
    let mut frame = json!({"action": "dance", "filling": "x".repeat(16 * 1024)}).to_string();
    // Bytes beyond the kernel's buffers wait for the server, which reads one frame a second.
    while let Ok(sent) = timeout(Duration::from_millis(500), writing.send(Message::text(frame.clone()))).await {
        sent.expect("the socket is open");
        taken += frame.len();
        assert!(taken < MOST, "{taken} bytes");
        frame.push(' ');
    }
    drop(writing);
    told.abort();
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

/// Burst of events to a reading client: not a slow reader.
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
