//! Tests of several nodes on one database, with each bus: an event at one node reaches the clients of the other.

mod access;
mod all_conversations;
mod bell;
mod caches;
mod credentials;
mod cut;
mod leases;
mod messages;
mod novelty;
mod presence;
mod signals;
mod start;
mod updates;
mod uploads;
mod vanished;

use futures_util::FutureExt;
use serde_json::{Value, json};

use crate::support::{Backend, Bus, Client, Node, Server, Socket, token};

/// Uids of the demo data's users.
const ADMIN: i64 = 2;
const JOHN: i64 = 4;
const JANE: i64 = 6;
/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;

/// Runs each test with every bus, on two nodes. The list of buses is here.
macro_rules! on_every_bus {
    ($($(#[$meta:meta])* async fn $name:ident($here:ident, $there:ident $(, $bus:ident)?) $body:block)+) => {
        $(
            mod $name {
                use super::*;

                $(#[$meta])*
                async fn check(bus: $crate::support::Bus) {
                    let backend = $crate::support::Backend::postgres().await;
                    let [mut here, mut there] = $crate::support::two_nodes(&backend, &bus).await;
                    {
                        let ($here, $there) = (&mut here, &mut there);
                        $(let $bus = &bus;)?
                        $body
                    }
                    here.stop().await;
                    there.stop().await;
                }

                #[tokio::test]
                async fn postgres() {
                    check($crate::support::Bus::postgres()).await;
                }

                #[tokio::test]
                async fn nats() {
                    check($crate::support::Bus::nats()).await;
                }
            }
        )+
    };
}
use on_every_bus;

/// Like `on_every_bus`, for tests that start their own nodes: each is an async function of a bus.
macro_rules! with_every_bus {
    ($($name:ident)+) => {
        $(
            mod $name {
                #[tokio::test]
                async fn postgres() {
                    super::$name($crate::support::Bus::postgres()).await;
                }

                #[tokio::test]
                async fn nats() {
                    super::$name($crate::support::Bus::nats()).await;
                }
            }
        )+
    };
}
pub(crate) use with_every_bus;

/// Two nodes with a short TTL of heartbeats.
async fn short_lives(bus: &Bus, seconds: u64) -> [Server; 2] {
    let backend = Backend::postgres().await;
    let start = || {
        let server = Server::builder(backend.clone()).node(bus);
        server
            .set("PRESENCE__ONLINE_SECONDS", seconds)
            .set("PRESENCE__POLL_SECONDS", seconds)
            .set("IM_CHAT__POLL_SECONDS", 1)
            .start()
    };
    let nodes = [start().await, start().await];
    for node in &nodes {
        node.ready().await;
    }
    nodes
}

/// A user's socket of a conversation.
async fn enter(server: &Server, uid: i64, conversation: i64) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("/conversations/{conversation}/?token={}", token(uid)))).await;
    // The subscription begins before the greeting.
    socket.hear_until(|told| told["type"] == "user_status").await;
    socket
}

/// A user's socket of the dialect `room`, with all events of the user.
async fn enter_room(server: &Server, uid: i64) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={}", token(uid)))).await;
    // The subscription exists once the server answers.
    socket.heard_so_far().await;
    socket
}

/// Sends a text. Returns its id.
async fn send(client: &Client, body: &str) -> i64 {
    let sent = client.messaging("message/send", json!({"thread_id": PAIR, "body": body})).await;
    sent["message_id"].as_i64().unwrap_or_else(|| panic!("{sent}"))
}

/// The next frame of a kind. Skips others.
async fn hear(socket: &mut Socket, kind: &str) -> Value {
    socket.hear_until(|told| told["type"] == kind).await
}

/// Begins a poll. Resolves to its result.
fn poll(client: &Client, path: &str, params: Value) -> tokio::task::JoinHandle<Value> {
    let (client, path) = (client.clone(), path.to_owned());
    tokio::spawn(async move { client.call(&path, params).await }.map(|mut answer| answer["result"].take()))
}
