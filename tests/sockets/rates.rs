//! Tests of the rate limits of a user on sockets: back-pressure, without losses.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::{JANE, JOHN, closed_with, stop};
use crate::support::{self, Backend, Client, Server, ServerBuilder, Socket, token};

const DEEPAK: i64 = 34;
const CONCIERGE: i64 = 32_314;
const UUID_OF_ADMIN: &str = "75140d72-8b20-4549-885c-20599badb486";
/// Attempts, for steps during which the token bucket must not refill; it gains two tokens a second.
const TRIES: usize = 100;

/// A server with a write limit of two a second, and no other effective limit.
fn limited() -> ServerBuilder {
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__FRAMES_BURST", 10_000);
    server.set("LIMITS__USER__WRITES_PER_SECOND", 2).set("LIMITS__USER__WRITES_BURST", 1)
}

async fn open(server: &Server, path: &str, uid: i64) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("{path}{}", token(uid)))).await;
    socket.heard_so_far().await;
    socket
}

/// Exhausts the user's write tokens over HTTP.
async fn drain(client: &Client) {
    for _ in 0..TRIES {
        let answer = client.post("/api/messaging/typing/stop", &json!({"params": {"thread_id": 1}})).await;
        if answer.headers.contains_key("retry-after") {
            return;
        }
    }
    panic!("there is no end of writes");
}

async fn held_back(server: &Server) -> f64 {
    server.metric("dragoman_socket_held_back_seconds_total").await
}

/// Asserts that this frame is delayed once the tokens are exhausted.
async fn counts(server: &Server, client: &Client, socket: &mut Socket, frame: &Value) {
    for _ in 0..TRIES {
        let before = held_back(server).await;
        drain(client).await;
        socket.say(frame.clone()).await;
        socket.heard_so_far().await;
        if held_back(server).await > before {
            return;
        }
    }
    panic!("{frame} counts to no rate");
}

/// Client actions in a dialect's AsyncAPI document.
async fn actions(server: &Server, dialect: &str) -> Vec<String> {
    let document: Value = server.get(&format!("/asyncapi/{dialect}.json")).await.json().await.expect("it is JSON");
    let operations = document["operations"].as_object().expect("it has some");
    operations.keys().filter_map(|name| name.strip_prefix("asked.")).map(str::to_owned).collect()
}

async fn all_are_known(server: &Server, dialect: &str, known: &[&str]) {
    for action in actions(server, dialect).await {
        assert!(known.contains(&action.as_str()), "{dialect}: say here whether {action} counts");
    }
}

#[tokio::test]
async fn every_verb_of_conversations_and_room_counts() {
    let server = limited().start().await;
    let john = server.log_in(support::JOHN).await;
    let mut socket = open(&server, "/conversations/2/?token=", JOHN).await;
    let mut known = vec!["fetch_messages", "heartbeat", "heartbeat_ack"];
    for (action, mut frame) in [
        ("send_message", json!({"content": "hello"})),
        ("edit_message", json!({"message_id": "1", "content": "hello"})),
        ("delete_message", json!({"message_id": "1"})),
        ("read", json!({"message_ids": ["1"]})),
        ("reaction", json!({"message_id": "1", "content": "x"})),
        ("typing", json!({"is_typing": true})),
        ("typing", json!({"is_typing": false})),
    ] {
        frame["action"] = action.into();
        counts(&server, &john, &mut socket, &frame).await;
        known.push(action);
    }
    all_are_known(&server, "conversations", &known).await;

    let mut socket = open(&server, "/ws/chat/room/?token=", JOHN).await;
    let mut known = vec!["ping"];
    for (action, mut frame) in [
        ("text_message", json!({"message_body": "hello", "receiver_id": UUID_OF_ADMIN})),
        ("user_profile_message", json!({"attached_profile_id": UUID_OF_ADMIN, "receiver_id": UUID_OF_ADMIN})),
        ("file_message", json!({"chat_id": 1})),
        ("chat_message", json!({"message_body": "hello", "receiver_id": UUID_OF_ADMIN})),
        ("chat_message_file", json!({"chat_id": 1})),
    ] {
        frame["action"] = action.into();
        counts(&server, &john, &mut socket, &frame).await;
        known.push(action);
    }
    all_are_known(&server, "room", &known).await;
    stop(server).await;
}

async fn ask(socket: &mut Socket, route: &str, body: Value) -> Value {
    socket.say(json!({"action": "api", "data": {"route": route, "body": body}})).await;
    let mut answer = socket.hear_until(|told| told["channel"] == route).await;
    assert_eq!(answer["status"], 200, "{answer}");
    answer["body"].take()
}

#[tokio::test]
async fn every_verb_of_the_concierge_counts() {
    let server = limited().set("CONCIERGE__OPEN_SESSIONS_PER_TENANT", 0);
    let server = server.set("LIMITS__USER__CONVERSATIONS_PER_SECOND", 1).set("LIMITS__USER__CONVERSATIONS_BURST", 1);
    let server = server.start().await;
    let (tenant, agent) = (server.log_in(support::DEEPAK).await, server.log_in("concierge@example.com").await);
    let mut client = open(&server, "/concierge?deviceId=phone&Auth=", DEEPAK).await;
    let mut backend = open(&server, "/concierge?deviceId=desk&Auth=", CONCIERGE).await;
    let mut session = Value::Null;
    for tries in 0.. {
        let before = held_back(&server).await;
        session = ask(&mut client, "client/init-chat-with-concierge", json!({"newSession": true})).await["chatSessionId"].take();
        if held_back(&server).await > before {
            break;
        }
        assert!(tries < TRIES, "a new session counts to no rate");
        ask(&mut client, "client/send-message", json!({"chatSessionId": session, "messageContent": "hello"})).await;
    }
    let mut known = vec![
        "client.init-chat-with-concierge",
        "client.get-chat-messages",
        "client.get-chat-session",
        "client.get-unread-msg-count",
        "client.ping-on-chat-session",
        "backend.get-chat-messages",
        "backend.get-chat-session",
        "backend.list-chat-sessions",
        "backend.ping-on-chat-session",
    ];
    for action in [
        "client.send-message",
        "client.delete-message",
        "client.update-message-seen-at",
        "backend.join-chat-session",
        "backend.send-message",
        "backend.delete-message",
        "backend.update-message-seen-at",
        "backend.leave-chat-session",
        "backend.end-chat-session",
        "client.end-chat-with-concierge",
    ] {
        let body = json!({"chatSessionId": session, "messageContent": "hello", "messageId": 987_654});
        let frame = json!({"action": "api", "data": {"route": action.replacen('.', "/", 1), "body": body}});
        match action.starts_with("client") {
            true => counts(&server, &tenant, &mut client, &frame).await,
            false => counts(&server, &agent, &mut backend, &frame).await,
        }
        known.push(action);
    }
    all_are_known(&server, "concierge", &known).await;
    drop((client, backend));
    stop(server).await;
}

/// Burst of a client that was offline: all queued messages at once.
#[tokio::test]
async fn who_flushes_hundreds_of_messages_has_all_of_them_confirmed_in_order() {
    const MESSAGES: usize = 500;
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__FRAMES_PER_SECOND", 100);
    let server = server.set("LIMITS__USER__WRITES_PER_SECOND", 100).set("LIMITS__USER__WRITES_BURST", 20);
    let server = server.set("LIMITS__USER__CONVERSATIONS_PER_SECOND", 1).start().await;
    let mut tenant = open(&server, "/concierge?deviceId=phone&Auth=", DEEPAK).await;
    let session = ask(&mut tenant, "client/init-chat-with-concierge", json!({"newSession": true})).await["chatSessionId"].take();
    /// A socket, the frame for a number, and the part of a frame that confirms one.
    type Flushing<'a> = (Socket, &'a dyn Fn(usize) -> Value, fn(&Value) -> &Value);
    let sockets: [Flushing<'_>; 3] = [
        (
            open(&server, "/conversations/2/?token=", JOHN).await,
            &|number| json!({"action": "send_message", "content": number.to_string(), "local_id": number.to_string()}),
            |told| &told["message"]["local_id"],
        ),
        (
            open(&server, "/ws/chat/room/?token=", JANE).await,
            &|number| json!({"action": "text_message", "message_body": number.to_string(), "receiver_id": UUID_OF_ADMIN}),
            |told| if told["action"] == "conf_message" { &told["message"] } else { &Value::Null },
        ),
        (
            tenant,
            &|number| {
                let body = json!({"chatSessionId": session, "messageContent": number.to_string()});
                json!({"action": "api", "data": {"route": "client/send-message", "body": body}})
            },
            |told| &told["body"]["chatMessage"]["messageContent"],
        ),
    ];
    let flushed = sockets.map(async |(socket, frame, confirmed)| {
        let (mut writing, mut reading) = socket.into_stream().split();
        let frames: Vec<_> = (0..MESSAGES).map(|number| Ok(Message::text(frame(number).to_string()))).collect();
        let mut frames = futures_util::stream::iter(frames);
        let (sent, confirmations) = tokio::join!(writing.send_all(&mut frames), async {
            let mut confirmations = Vec::new();
            while confirmations.len() < MESSAGES {
                let Message::Text(told) = reading.next().await.expect("the socket is open").expect("it works") else { continue };
                let told: Value = serde_json::from_str(&told).expect("frames are JSON");
                // Other events have no value there, and no message is refused.
                confirmations.extend(confirmed(&told).as_str().map(|number| number.parse::<usize>().expect("it is a number")));
            }
            confirmations
        });
        sent.expect("the server reads");
        assert_eq!(confirmations, (0..MESSAGES).collect::<Vec<_>>());
    });
    tokio::time::timeout(Duration::from_secs(60), futures_util::future::join_all(flushed)).await.expect("they are confirmed");
    assert_eq!(server.metric("dragoman_refused_total").await, 0.0);
    stop(server).await;
}

/// Heartbeat of a rate-limited client: unread pongs do not count as silence.
#[tokio::test]
async fn who_is_held_back_is_not_taken_for_silent() {
    const SOCKETS: usize = 40;
    let server = limited().set("SOCKETS__PING_SECONDS", 1).start().await;
    let john = server.log_in(support::JOHN).await;
    drain(&john).await;
    // Pings: not answered by either. The first socket is not delayed; the delay of the others is 20 s.
    let silent = silent(&server, JANE, false).await;
    let mut held = Vec::new();
    for _ in 0..SOCKETS {
        held.push(self::silent(&server, JOHN, true).await);
    }
    closed_with(&server, 1001).await;
    assert_eq!(server.metric("dragoman_sockets_closed_total").await, 1.0, "those who owe something are not");
    drop((silent, held));
    stop(server).await;
}

/// Opens a socket over a raw connection, optionally sends typing, and then sends nothing more.
async fn silent(server: &Server, uid: i64, types: bool) -> TcpStream {
    let mut connection = TcpStream::connect(server.address()).await.expect("the server listens");
    let head = format!(
        "GET /conversations/2/?token={} HTTP/1.1\r\nHost: dragoman\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        token(uid)
    );
    let frame = br#"{"action": "typing", "is_typing": true}"#;
    let mut bytes = head.into_bytes();
    if types {
        let length = u8::try_from(frame.len()).expect("it is short");
        bytes.extend([0x81, 0x80 | length, 0, 0, 0, 0]);
        bytes.extend(frame);
    }
    connection.write_all(&bytes).await.expect("the server reads");
    connection
}
