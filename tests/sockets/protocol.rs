//! Tests of the protocol besides whole text messages.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Bytes, Message,
    client::IntoClientRequest,
    protocol::frame::{
        Frame, FrameHeader,
        coding::{Control, Data, OpCode},
    },
};

use super::{JOHN, enter, is_error, is_well, start, stop, url};
use crate::support::{Answer, Socket, token};

fn part(text: &'static str, data: Data, is_last: bool) -> Message {
    Message::Frame(Frame::message(Bytes::from_static(text.as_bytes()), OpCode::Data(data), is_last))
}

#[tokio::test]
async fn a_message_may_come_in_parts_with_pings_between() {
    let server = start().await;
    let mut john = enter(&server, JOHN).await;
    john.send(part(r#"{"action": "send_message", "#, Data::Text, false)).await;
    assert_eq!(john.heard_so_far().await, [Value::Null; 0], "a ping is answered at once");
    john.send(part(r#""content": "in "#, Data::Continue, false)).await;
    john.send(part("", Data::Continue, false)).await;
    john.send(part(r#"parts"}"#, Data::Continue, true)).await;
    let told = john.hear_until(|told| told["type"] == "chat_message").await;
    assert_eq!(told["message"]["content"], "in parts");
    john.send(Message::Frame(Frame::message("x".repeat(140_000), OpCode::Data(Data::Text), false))).await;
    john.send(Message::Frame(Frame::message("x".repeat(140_000), OpCode::Data(Data::Continue), false))).await;
    assert_eq!(john.closed().await, 1009, "the parts of one message count together");
    stop(server).await;
}

#[tokio::test]
async fn what_is_not_text_is_answered_and_what_claims_to_be_is_not() {
    let server = start().await;
    let mut john = enter(&server, JOHN).await;
    john.send(Message::binary(vec![0xff, 0xfe])).await;
    john.hear_until(is_error).await;
    is_well(&mut john).await;
    john.send(Message::Frame(Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true))).await;
    assert_eq!(john.closed().await, 1007);
    stop(server).await;
}

#[tokio::test]
async fn what_is_against_the_protocol_ends_the_socket() {
    let server = start().await;
    for (what, opcode, bytes, is_final) in [
        ("the rest of nothing", OpCode::Data(Data::Continue), 1, true),
        ("a reserved kind", OpCode::Data(Data::Reserved(5)), 1, true),
        ("a ping in parts", OpCode::Control(Control::Ping), 1, false),
        ("a ping of more than 125 bytes", OpCode::Control(Control::Ping), 126, true),
    ] {
        let mut john = enter(&server, JOHN).await;
        let header = FrameHeader { is_final, opcode, ..FrameHeader::default() };
        john.send(Message::Frame(Frame::from_payload(header, "x".repeat(bytes).into()))).await;
        assert_eq!(john.closed().await, 1002, "{what}");
    }
    stop(server).await;
}

#[tokio::test]
async fn what_asks_for_no_socket_gets_none() {
    let server = start().await;
    let path = format!("/conversations/2/?token={}", token(JOHN));
    let answer = Answer::of(server.client().request(Method::GET, &path)).await;
    assert_eq!(answer.status, StatusCode::UPGRADE_REQUIRED, "{answer:?}");
    assert_eq!(
        (&answer.headers["upgrade"], &answer.headers["sec-websocket-version"]),
        (&"websocket".parse().unwrap(), &"13".parse().unwrap())
    );
    let answer = Answer::of(server.client().request(Method::POST, &path)).await;
    assert_eq!((answer.status, &answer.headers["allow"]), (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap()));
    let asks = server.client().request(Method::GET, &path).header("connection", "upgrade").header("upgrade", "websocket");
    for (version, key) in [("8", "dGhlIHNhbXBsZSBub25jZQ=="), ("", "dGhlIHNhbXBsZSBub25jZQ==")] {
        let asks = asks.try_clone().unwrap().header("sec-websocket-version", version).header("sec-websocket-key", key);
        assert_eq!(Answer::of(asks).await.status, StatusCode::UPGRADE_REQUIRED, "version {version:?}");
    }
    let log = server.log();
    assert!(!log.contains(&token(JOHN)[..40]), "a token never gets into the log: {log}");
    stop(server).await;
}

/// Subprotocol: only an offered and known one is selected, as browsers require.
#[tokio::test]
async fn a_subprotocol_is_answered_only_if_it_is_ours() {
    let server = start().await;
    let offering = |offered: String| {
        let mut request = url(&server, JOHN).into_client_request().expect("it is an address");
        request.headers_mut().insert("sec-websocket-protocol", offered.parse().expect("it is a header"));
        request
    };
    let (mut socket, response) = Socket::opened(offering(format!("bearer, {}", token(JOHN)))).await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "bearer");
    assert!(response.headers().get("sec-websocket-extensions").is_none());
    is_well(&mut socket).await;
    socket.say(json!({"action": "heartbeat"})).await;
    stop(server).await;
}
