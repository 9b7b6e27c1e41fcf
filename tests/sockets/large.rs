//! Messages that are larger than they may be, in a dialect that only says so.

use futures_util::{SinkExt, future::join_all};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        Message,
        protocol::frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use super::{ADMIN, BOB, JANE, JOHN, stop};
use crate::support::{Backend, Server, Socket, token};

/// How large a message each of so many clients sends at the same time.
const LARGE: usize = 10 * 1024 * 1024;
const CLIENTS: usize = 48;
/// How much memory all of it together may take: per client a few times what one message may have.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

async fn room(server: &Server, uid: i64) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={}", token(uid)))).await;
    socket.heard_so_far().await;
    socket
}

fn part(bytes: &'static [u8], opcode: Data, is_final: bool) -> Message {
    Message::Frame(Frame::message(bytes, OpCode::Data(opcode), is_final))
}

/// Sends the header of a large frame and most of its bytes, past the client's own writer.
async fn begin_large(stream: &mut WebSocketStream<MaybeTlsStream<TcpStream>>, opcode: u8) {
    let MaybeTlsStream::Plain(connection) = stream.get_mut() else { unreachable!("nothing is encrypted here") };
    let header = [&[0x80 | opcode, 0xff], (LARGE as u64).to_be_bytes().as_slice(), &[0; 4]].concat();
    connection.write_all(&header).await.expect("the server reads");
    let piece = vec![b'x'; 64 * 1024];
    let mut left = LARGE - 1;
    while left > 0 {
        let next = left.min(piece.len());
        connection.write_all(&piece[..next]).await.expect("the server reads");
        left -= next;
    }
}

/// Whether in one frame or in parts, which end in the middle of a character: it is refused, takes no room, and the socket
/// goes on.
#[tokio::test]
async fn however_much_many_send_it_takes_no_room() {
    let server = Server::builder(Backend::memory()).with_tokens().start().await;
    let mut sockets = Vec::new();
    for number in 0..CLIENTS {
        sockets.push(room(&server, [ADMIN, JOHN, JANE, BOB][number % 4]).await);
    }
    let before = server.memory_bytes();
    let begun = sockets.into_iter().enumerate().map(async |(number, socket)| {
        let mut stream = socket.into_stream();
        if number % 2 == 0 {
            stream.send(part(b"\"\xf0\x9f\xa6", Data::Text, false)).await.expect("the server reads");
            begin_large(&mut stream, 0).await;
        } else {
            begin_large(&mut stream, 1).await;
        }
        Socket::from_stream(stream)
    });
    let mut sockets = join_all(begun).await;
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < MOST_BYTES, "{CLIENTS} messages of {LARGE} bytes took {grown}");
    for socket in &mut sockets {
        let told = socket.hear().await;
        assert_eq!((&told["action"], &told["code"]), (&json!("error"), &json!("too_large")));
    }
    let mut told = Vec::new();
    for socket in sockets {
        let mut stream = socket.into_stream();
        let MaybeTlsStream::Plain(connection) = stream.get_mut() else { unreachable!("nothing is encrypted here") };
        connection.write_all(b"x").await.expect("the server reads");
        let mut socket = Socket::from_stream(stream);
        socket.say(json!({"action": "dance"})).await;
        told.push(socket.hear().await["code"].take());
        assert_eq!(socket.heard_so_far().await, [Value::Null; 0]);
    }
    assert_eq!(told, vec![json!("unknown_action"); CLIENTS]);
    stop(server).await;
}

#[tokio::test]
async fn answers_come_in_the_order_of_what_was_said() {
    let server = Server::builder(Backend::memory()).with_tokens().start().await;
    let mut john = room(&server, JOHN).await;
    let large = "x".repeat(70_000);
    for text in ["{}", &large, "[]", &large, &large, "{}"] {
        john.say_text(text).await;
    }
    john.send(part(b"{", Data::Text, false)).await;
    john.send(Message::Ping("between".into())).await;
    john.send(Message::Frame(Frame::message(large.clone(), OpCode::Data(Data::Continue), false))).await;
    john.send(part(b"}", Data::Continue, true)).await;
    john.say_text("[]").await;
    let mut codes = Vec::new();
    for _ in 0..8 {
        codes.push(john.hear().await["code"].take());
    }
    let expected =
        ["unknown_action", "too_large", "invalid_json", "too_large", "too_large", "unknown_action", "too_large", "invalid_json"];
    assert_eq!(codes, expected);
    stop(server).await;
}
