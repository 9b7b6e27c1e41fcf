//! Tests of the message size limit: larger ones close the socket, in every dialect, without taking memory.

use futures_util::{SinkExt, StreamExt, future::join_all};
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

/// Bytes of a message that each client sends at the same time.
const LARGE: usize = 10 * 1024 * 1024;
const CLIENTS: usize = 48;
/// Memory limit of all clients together: for each a few times the message limit.
const MOST_BYTES: u64 = 32 * 1024 * 1024;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens one socket of each dialect.
pub(super) async fn sockets(server: &Server, uid: i64, device: usize) -> Vec<Socket> {
    let token = token(uid);
    let mut sockets = Vec::new();
    for path in ["/ws/chat/room/?token=", "/conversations/?token=", &format!("/concierge?deviceId={device}&Auth=")] {
        let mut socket = Socket::open(server.socket_url(&format!("{path}{token}"))).await;
        socket.heard_so_far().await;
        sockets.push(socket);
    }
    sockets
}

pub(super) fn part(bytes: impl Into<bytes::Bytes>, opcode: Data, is_final: bool) -> Message {
    Message::Frame(Frame::message(bytes, OpCode::Data(opcode), is_final))
}

/// Sends the header of a large frame and as many bytes as the server takes, past the client's own writer.
async fn begin_large(stream: &mut Stream, opcode: u8) {
    let MaybeTlsStream::Plain(connection) = stream.get_mut() else { unreachable!("nothing is encrypted here") };
    let header = [&[0x80 | opcode, 0xff], (LARGE as u64).to_be_bytes().as_slice(), &[0; 4]].concat();
    let bytes = [header, vec![b'x'; LARGE - 1]].concat();
    // Disconnect by the server before the end: expected.
    let _ = connection.write_all(&bytes).await;
}

#[tokio::test]
async fn what_is_too_large_ends_the_socket_in_every_dialect() {
    let server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__MESSAGE_BYTES", 100_000).start().await;
    for mut socket in sockets(&server, JOHN, 1).await {
        socket.say_text(&"x".repeat(100_001)).await;
        assert_eq!(socket.closed().await, 1009);
    }
    // Fragments of one message count together, with control frames in between.
    for mut socket in sockets(&server, JANE, 1).await {
        socket.send(part("x".repeat(60_000), Data::Text, false)).await;
        socket.send(Message::Ping("between".into())).await;
        socket.send(part("x".repeat(60_000), Data::Continue, true)).await;
        assert_eq!(socket.closed().await, 1009);
    }
    stop(server).await;
}

/// Large messages in one frame, and in fragments that split a character.
#[tokio::test]
async fn however_much_many_send_it_takes_no_room() {
    let server = Server::builder(Backend::memory()).with_tokens().start().await;
    let mut all = Vec::new();
    for number in 0..CLIENTS / 3 {
        all.extend(sockets(&server, [ADMIN, JOHN, JANE, BOB][number % 4], number).await);
    }
    let before = server.memory_bytes();
    let ends = all.into_iter().enumerate().map(async |(number, socket)| {
        let mut stream = socket.into_stream();
        if number % 2 == 0 {
            stream.send(part(b"\"\xf0\x9f\xa6".as_slice(), Data::Text, false)).await.expect("the server reads");
            begin_large(&mut stream, 0).await;
        } else {
            begin_large(&mut stream, 1).await;
        }
        while let Some(Ok(told)) = stream.next().await {
            if let Message::Close(Some(frame)) = told {
                return u16::from(frame.code);
            }
        }
        1006
    });
    let codes = join_all(ends).await;
    let grown = server.memory_bytes().saturating_sub(before);
    assert!(grown < MOST_BYTES, "{CLIENTS} messages of {LARGE} bytes took {grown}");
    assert_eq!(codes, vec![1009; CLIENTS]);
    stop(server).await;
}
