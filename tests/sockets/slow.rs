//! Tests of a slow reader among a thousand readers, and of a client that reads nothing.

use futures_util::{SinkExt, StreamExt, future::join_all, stream};
use reqwest::{Method, header::COOKIE};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    sync::mpsc,
};
use tokio_tungstenite::{client_async, tungstenite::Message};

use super::{ADMIN, BOB, JANE, JOHN, closed_with, enter, stop, url};
use crate::support::{self, Backend, Server, Socket, raise_the_limit_of_files, until};

const READERS: usize = 999;
const MESSAGE_BYTES: usize = 16 * 1024;
/// Byte limit of encoded frames queued for a client that does not read.
const QUEUED_BYTES: usize = 64 * 1024;
/// Additional memory of the server for all messages but the first: much less than one copy for each reader.
const MOST_BYTES: u64 = 32 * 1024 * 1024;
/// Messages in the history. The slow client fetches them twice, about as much as the kernel buffers for a client that does not
/// read, so that later messages have to wait.
const BEFORE: usize = 96;
/// Later messages.
const MESSAGES: usize = 40;

/// Returns the message id of a `chat_message` frame; `None` for other frames. Full JSON parsing would take a thousand readers
/// longer than all other work.
fn id(frame: &str) -> Option<i64> {
    frame.starts_with(r#"{"type":"chat_message""#).then_some(())?;
    let (_, rest) = frame.split_once(r#""id":""#)?;
    rest.split_once('"')?.0.parse().ok()
}

/// Reads until the last message; returns all ids, and reports each message.
async fn read(mut socket: Socket, heard: mpsc::Sender<()>, last: impl Fn(&str) -> bool) -> Vec<i64> {
    let mut ids = Vec::new();
    loop {
        let frame = socket.hear_text().await;
        let Some(id) = id(&frame) else { continue };
        ids.push(id);
        heard.send(()).await.expect("the test waits for it");
        if last(&frame) {
            return ids;
        }
    }
}

/// Slow reader: no delay for others, and no additional memory. Once it reads, it receives everything in order, though the
/// node's ring is far shorter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_told_later() {
    raise_the_limit_of_files(READERS);
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__PER_USER", READERS);
    // Time limits off: a slow machine must not close the slow reader.
    let server = server.set("LIMITS__WRITE_SECONDS", 3_600).set("SOCKETS__PING_SECONDS", 3_600);
    let server = server.set("SOCKETS__QUEUED_BYTES", QUEUED_BYTES).set("LIMITS__RECENT_EVENTS", 8).start().await;
    let admin = server.log_in(support::ADMIN).await;
    let send = async |body: &str| {
        let answer = admin.messaging("message/send", json!({"thread_id": 2, "body": body})).await;
        answer["message_id"].as_i64().unwrap_or_else(|| panic!("{answer}"))
    };
    let long = "x".repeat(MESSAGE_BYTES);
    for _ in 0..BEFORE {
        send(&long).await;
    }
    let entering = stream::iter(0..READERS).map(|number| enter(&server, [ADMIN, JOHN, JANE, BOB][number % 4]));
    let readers: Vec<_> = entering.buffer_unordered(32).collect().await;
    let slow = TcpSocket::new_v4().expect("there is room for a socket");
    slow.set_recv_buffer_size(4_096).expect("it can be small");
    let slow = slow.connect(server.address()).await.expect("the server listens");
    let (mut slow, _) = client_async(url(&server, BOB), slow).await.expect("the server gives a socket");
    for _ in 0..2 {
        let asks = json!({"action": "fetch_messages", "limit": BEFORE});
        slow.send(Message::text(asks.to_string())).await.expect("the server reads");
    }

    let (heard, mut told) = mpsc::channel(READERS);
    let reading = readers.into_iter().map(|socket| tokio::spawn(read(socket, heard.clone(), |frame| frame.contains("the end"))));
    let reading: Vec<_> = reading.collect();
    let mut sent = Vec::new();
    // Lockstep: the readers are never more than one message behind, however slow the machine is.
    let mut post = async |body: &str| {
        sent.push(send(body).await);
        for _ in 0..READERS {
            told.recv().await.expect("they read");
        }
    };
    post(&long).await;
    let before = server.memory_bytes();
    for _ in 0..MESSAGES {
        post(&long).await;
    }
    post("the end").await;
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < MOST_BYTES, "{} messages took {grown} bytes", sent.len());
    for ids in join_all(reading).await {
        assert_eq!(ids.expect("it ends"), sent);
    }
    let mut late = Vec::new();
    while late.len() < sent.len() {
        if let Message::Text(frame) = slow.next().await.expect("the socket is open").expect("the socket works") {
            late.extend(id(&frame));
        }
    }
    assert_eq!(late, sent);
    drop(slow);
    stop(server).await;
}

/// Bytes that the kernel holds for clients of the server.
fn unaccepted_bytes(server: &Server) -> u64 {
    let port = format!(":{:04X}", server.address().port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("it can be read");
    let queued = table.lines().filter_map(|line| {
        // Number, local and remote address, state, `sent:received`.
        let fields: Vec<_> = line.split_whitespace().take(5).collect();
        let (sent, _) = fields.get(4)?.split_once(':')?;
        fields[1].ends_with(&port).then(|| u64::from_str_radix(sent, 16).expect("it is a number"))
    });
    queued.sum()
}

/// Answers that lie in the kernel when their connections are closed: given up after the write time-out.
#[tokio::test]
async fn the_kernel_gives_up_what_nobody_reads() {
    const MESSAGES: usize = 5;
    let server = Server::builder(Backend::memory()).set("LIMITS__WRITE_SECONDS", 1).start().await;
    let admin = server.log_in(support::ADMIN).await;
    for _ in 0..MESSAGES {
        admin.messaging("message/send", json!({"thread_id": 2, "body": "x".repeat(60_000)})).await;
    }
    let connections = async || server.metric("dragoman_connections").await;
    let before = connections().await;
    let body = json!({"params": {"thread_id": 2, "limit": MESSAGES}}).to_string();
    let request = format!(
        "POST /api/messaging/messages HTTP/1.1\r\nHost: chat\r\nConnection: close\r\nCookie: session_id={}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        admin.session().expect("it is logged in"),
        body.len(),
    );
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let slow = TcpSocket::new_v4().expect("there is room for a socket");
        slow.set_recv_buffer_size(4_096).expect("it can be small");
        let mut slow = slow.connect(server.address()).await.expect("the server listens");
        slow.write_all(request.as_bytes()).await.expect("the server reads");
        slow.readable().await.expect("the server answers");
        deaf.push(slow);
    }
    until("the server has closed them", async || (connections().await <= before).then_some(())).await;
    until("the kernel has given them up", async || (unaccepted_bytes(&server) == 0).then_some(())).await;
    drop(deaf);
    stop(server).await;
}

/// Write time-out: a client that requests more than the kernel buffers and reads nothing is closed, with and without
/// heartbeats.
#[tokio::test]
async fn who_takes_nothing_of_what_it_asks_for_is_cut_off() {
    const MESSAGES: usize = 200;
    let server = Server::builder(Backend::memory()).with_tokens().set("LIMITS__WRITE_SECONDS", 1).start().await;
    let admin = server.log_in(support::ADMIN).await;
    let long = "x".repeat(60_000);
    for _ in 0..MESSAGES {
        admin.messaging("message/send", json!({"thread_id": 2, "body": long})).await;
    }
    let connect = async || {
        let slow = TcpSocket::new_v4().expect("there is room for a socket");
        slow.set_recv_buffer_size(4_096).expect("it can be small");
        slow.connect(server.address()).await.expect("the server listens")
    };
    let (mut asking, _) = client_async(url(&server, BOB), connect().await).await.expect("the server gives a socket");
    for _ in 0..10 {
        asking.send(Message::text(json!({"action": "fetch_messages", "limit": 200}).to_string())).await.expect("it reads");
    }
    let pinging = tokio::spawn(async move {
        let mut pause = tokio::time::interval(std::time::Duration::from_millis(100));
        while asking.send(Message::Ping("here".into())).await.is_ok() {
            pause.tick().await;
        }
    });
    closed_with(&server, 4008).await;
    pinging.await.expect("it was told that nobody reads it any more");

    let open = server.metric("dragoman_connections").await;
    let mut asking = connect().await;
    let body = json!({"params": {"thread_id": 2, "limit": MESSAGES}}).to_string();
    let known = admin.request(Method::POST, "/").build().expect("it is a request");
    let cookie = known.headers()[COOKIE].to_str().expect("cookies are plain");
    let request = format!(
        "POST /api/messaging/messages HTTP/1.1\r\nHost: chat\r\nCookie: {cookie}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    asking.write_all(request.as_bytes()).await.expect("the server reads");
    let connections = async || server.metric("dragoman_connections").await;
    until("it is there", async || (connections().await > open).then_some(())).await;
    until("it was cut off", async || (connections().await <= open).then_some(())).await;
    // Client that reads now and then: served to the end.
    let mut asking = connect().await;
    asking.write_all(request.replace("Host", "Connection: close\r\nHost").as_bytes()).await.expect("the server reads");
    let mut answer = Vec::new();
    asking.read_to_end(&mut answer).await.expect("it is told all");
    assert!(answer.len() > MESSAGES * long.len(), "{} bytes", answer.len());
    drop(asking);
    stop(server).await;
}
