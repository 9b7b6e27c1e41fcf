//! Tests of the socket loop that all dialects share, through one of them, and of the WebSocket protocol, through an echo.

mod autobahn;
mod ends;
mod large;
mod limits;
mod memory;
mod protocol;
mod rates;
mod slow;

use serde_json::{Value, json};

use crate::support::{Backend, Server, Socket, token, until};

/// Uids of the demo data's users.
const ADMIN: i64 = 2;
const JOHN: i64 = 4;
const JANE: i64 = 6;
const BOB: i64 = 8;

/// The address of a socket of the conversation with all of them.
fn url(server: &Server, uid: i64) -> String {
    server.socket_url(&format!("/conversations/2/?token={}", token(uid)))
}

/// A socket after its greeting.
async fn enter(server: &Server, uid: i64) -> Socket {
    let mut socket = Socket::open(url(server, uid)).await;
    for _ in 0..4 {
        assert_eq!(socket.hear().await["type"], "user_status");
    }
    socket
}

/// Checks that a socket still sends and receives.
async fn is_well(socket: &mut Socket) {
    socket.say(json!({"action": "send_message", "content": "all is well"})).await;
    socket.hear_until(|told| told["message"]["content"] == "all is well").await;
}

/// Waits until a socket was closed with this code.
async fn closed_with(server: &Server, code: u16) {
    let line = format!("dragoman_sockets_closed_total{{code=\"{code}\",dialect=\"conversations\"}} 1");
    until(&line, async || {
        let metrics = server.get("/metrics").await.text().await.expect("the answer is whole");
        metrics.lines().any(|found| found == line).then_some(())
    })
    .await;
}

/// Stops the server. Fails if a task panicked.
async fn stop(mut server: Server) {
    assert_eq!(server.metric("dragoman_panics_total").await, 0.0, "{}", server.log());
    server.stop().await;
}

async fn start() -> Server {
    Server::with_tokens(Backend::memory()).await
}

fn is_error(told: &Value) -> bool {
    told["type"] == "error"
}
