//! Tests of the memory that clients occupy by sending: unfinished messages, large JSON trees, and input on refused sockets.

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpSocket};
use tokio_tungstenite::{client_async, tungstenite::protocol::frame::coding::Data};

use super::{
    JANE, JOHN,
    large::{part, sockets},
    stop,
};
use crate::support::{Backend, Server, Socket, raise_the_limit_of_files, until};

const MIB: usize = 1024 * 1024;
/// Bytes of an unfinished message. The share of a user, an eighth of 8 MiB, has room for five.
const PIECE: usize = 200_000;
const NO_MEMORY: &str = "The server has no memory to spare, please try again shortly";

async fn start() -> Server {
    Server::builder(Backend::memory()).with_tokens().set("LIMITS__BODIES_BYTES", 8 * MIB).start().await
}

/// Begins a message.
async fn begin(socket: &mut Socket) {
    let begun = format!("{{\"action\":\"dance\",\"filling\":\"{}", "x".repeat(PIECE));
    socket.send(part(begun, Data::Text, false)).await;
}

/// Waits until so many messages have arrived and are charged.
async fn arrived(server: &Server, messages: usize) {
    let range = (messages * PIECE) as f64..((messages + 1) * PIECE) as f64;
    let is_charged = async || range.contains(&server.metric("dragoman_bodies_bytes").await).then_some(());
    until("the messages", is_charged).await;
}

async fn refused(server: &Server) -> f64 {
    server.metric("dragoman_refused_total{limit=\"bodies_bytes\"}").await
}

/// A frame in each dialect's notation, whose tree has so many values.
fn frames(values: usize) -> [Value; 3] {
    let filling = vec![0; values];
    [
        json!({"action": "dance", "filling": filling}),
        json!({"action": "send_message", "content": "x", "conversation_id": 987_654, "filling": filling, "local_id": "temp_1"}),
        json!({"action": "api", "data": {"filling": filling, "route": "client/dance"}}),
    ]
}

/// Checks that each dialect answers a frame of so many values with its sentence, and by the name that the client has given it.
async fn are_answered(sockets: &mut [Socket], values: usize, sentences: [&str; 3]) {
    const NAMES: [(&str, &str); 3] = [("request", "dance"), ("local_id", "temp_1"), ("channel", "client/dance")];
    for (((socket, frame), sentence), (key, name)) in sockets.iter_mut().zip(frames(values)).zip(sentences).zip(NAMES) {
        socket.say(frame).await;
        let told = socket.hear_until(|told| told.to_string().contains(sentence)).await;
        assert_eq!(told[key], name, "{told}");
    }
}

#[tokio::test]
async fn unfinished_messages_are_bounded_for_a_user() {
    let server = start().await;
    let mut held = sockets(&server, JOHN, 1).await;
    held.extend(sockets(&server, JOHN, 2).await.into_iter().take(2));
    for (before, socket) in held.iter_mut().enumerate() {
        begin(socket).await;
        arrived(&server, before + 1).await;
    }
    for mut socket in sockets(&server, JOHN, 3).await {
        begin(&mut socket).await;
        assert_eq!(socket.farewell().await, (1013, "no memory to spare for the message, try again shortly".into()));
    }
    assert_eq!(refused(&server).await, 3.0);
    for mut socket in sockets(&server, JANE, 4).await {
        begin(&mut socket).await;
        socket.send(part("\"}", Data::Continue, true)).await;
        socket.heard_so_far().await;
    }
    // With room for its tree, the first message is handled, and nothing stays charged.
    held.truncate(1);
    arrived(&server, 1).await;
    held[0].send(part("\"}", Data::Continue, true)).await;
    held[0].hear_until(|told| told.to_string().contains("There is no such action")).await;
    until("the rest", async || (server.metric("dragoman_bodies_bytes").await == 0.0).then_some(())).await;
    stop(server).await;
}

#[tokio::test]
async fn the_tree_of_a_frame_is_charged_in_every_dialect() {
    let server = start().await;
    let mut john = sockets(&server, JOHN, 1).await;
    are_answered(&mut john, 100_000, ["The frame holds too many values"; 3]).await;
    let mut held = sockets(&server, JOHN, 2).await;
    for (before, socket) in held.iter_mut().enumerate() {
        begin(socket).await;
        arrived(&server, before + 1).await;
    }
    let before = refused(&server).await;
    are_answered(&mut john, 4_000, [NO_MEMORY; 3]).await;
    assert_eq!(refused(&server).await, before + 3.0);
    drop(held);
    until("the rest", async || (server.metric("dragoman_bodies_bytes").await == 0.0).then_some(())).await;
    are_answered(&mut john, 4_000, ["There is no such action", "Conversation not found", "There is no such route"]).await;
    stop(server).await;
}

/// Input on a refused socket: discarded while the close is delayed, whatever message it begins.
#[tokio::test]
async fn a_refused_socket_holds_no_message() {
    const SOCKETS: usize = 200;
    /// Refusals until the delay has its maximum.
    const EARLIER: usize = 10;
    /// Most additional memory of each, a tenth of what it sends.
    const MOST_BYTES: usize = 26_000;
    raise_the_limit_of_files(SOCKETS);
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__REFUSED_SECONDS", 3_600).start().await;
    let address = server.socket_url("/ws/chat/room/?token=x");
    for _ in 0..EARLIER {
        Socket::open(address.as_str()).await.close().await;
    }
    let before = server.memory_bytes();
    let mut held = Vec::new();
    for _ in 0..SOCKETS {
        let socket = TcpSocket::new_v4().expect("there is room for a socket");
        // Little stays in the client's kernel: the server has taken the rest.
        socket.set_send_buffer_size(4_096).expect("it can be small");
        let connected = socket.connect(server.address()).await.expect("the server listens");
        let (mut stream, _) = client_async(address.as_str(), connected).await.expect("the server gives a socket");
        let header = [&[0x81, 0xff], 262_144_u64.to_be_bytes().as_slice(), &[0; 4]].concat();
        let bytes = [header, vec![b'x'; 262_143]].concat();
        stream.get_mut().write_all(&bytes).await.expect("the server reads");
        held.push(stream);
    }
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < (SOCKETS * MOST_BYTES) as u64, "{SOCKETS} refused sockets take {grown} bytes");
    drop(held);
    stop(server).await;
}
