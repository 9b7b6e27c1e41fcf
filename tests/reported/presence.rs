//! Tests of presence: a socket's clean close makes a user offline, a request counts in every dialect, and a deactivated user
//! is offline at once.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    support::{self, ADMIN, Backend, Client, JOHN, Server, ServerBuilder, Socket, token, until},
    with_every_backend,
};

const UID_OF_JOHN: i64 = 4;
/// The same uid in the notation of `conversations`.
const UID_AS_TEXT: &str = "4";
const UID_OF_ADMIN: i64 = 2;

/// Settings with TTLs for requests and lost sockets that no test outlasts.
fn builder(backend: Backend) -> ServerBuilder {
    let server = Server::builder(backend).with_tokens().set("PRESENCE__ONLINE_SECONDS", 3_600);
    server.set("PRESENCE__POLL_SECONDS", 3_600).set("PRESENCE__CLEAN_CLOSE_SECONDS", 1)
}

/// Status of John in three dialects.
async fn statuses(server: &Server, admin: &Client) -> [String; 3] {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value} is a status")).to_owned();
    let messaging = admin.messaging("presence/status", json!({"partner_ids": [UID_OF_JOHN]})).await;
    let im_chat = admin.result("/longpolling/im_status", json!({"partner_ids": [5]})).await;
    let mut socket = Socket::open(server.socket_url(&format!("/conversations/1/?token={}", token(UID_OF_ADMIN)))).await;
    let told = socket.hear_until(|told| told["type"] == "user_status" && told["user_id"] == UID_AS_TEXT).await;
    socket.close().await;
    [text(&messaging["presence"][0]["status"]), text(&im_chat[0]["im_status"]), text(&told["status"])]
}

async fn are(server: &Server, admin: &Client, status: &str) {
    until(status, async || (statuses(server, admin).await == [status; 3]).then_some(())).await;
}

async fn open(server: &Server, path: &str) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("{path}{}", token(UID_OF_JOHN)))).await;
    socket.heard_so_far().await;
    socket
}

const PATHS: [&str; 4] =
    ["/conversations/1/?token=", "/conversations/?token=", "/ws/chat/room/?token=", "/concierge?deviceId=a&Auth="];

with_every_backend! {
    async fn a_clean_close_ends_what_sockets_gave(backend) {
        let mut server = builder(backend).start().await;
        let admin = server.log_in(ADMIN).await;
        let mut watching = Socket::open(server.socket_url(&format!("/conversations/1/?token={}", token(UID_OF_ADMIN)))).await;
        for path in PATHS {
            let (one, other) = (open(&server, path).await, open(&server, PATHS[2]).await);
            let is_johns = |told: &Value| told["type"] == "user_status" && told["user_id"] == UID_AS_TEXT;
            watching.hear_until(|told| is_johns(told) && told["status"] == "online").await;
            are(&server, &admin, "online").await;
            one.close().await;
            assert_eq!(statuses(&server, &admin).await, ["online"; 3], "the other is open: {path}");
            let closed = Instant::now();
            other.close().await;
            watching.hear_until(|told| is_johns(told) && told["status"] == "offline").await;
            assert!(closed.elapsed() >= Duration::from_secs(1), "for a second he may come back: {path}");
            assert_eq!(statuses(&server, &admin).await, ["offline"; 3], "{path}");
        }
        drop(watching);
        server.stop().await;
    }

    /// A lost socket keeps the user online, in expectation of a reconnect, until another one is closed cleanly.
    async fn a_lost_connection_counts_until_one_is_closed(backend) {
        let mut server = builder(backend).start().await;
        let admin = server.log_in(ADMIN).await;
        drop(open(&server, PATHS[0]).await);
        let again = open(&server, PATHS[0]).await;
        drop(open(&server, PATHS[2]).await);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(statuses(&server, &admin).await, ["online"; 3]);
        again.close().await;
        are(&server, &admin, "offline").await;
        server.stop().await;
    }

    /// A request makes the user online in every dialect, and a socket's close does not end that.
    async fn a_request_counts_in_every_dialect(backend) {
        let mut server = builder(backend).start().await;
        let admin = server.log_in(ADMIN).await;
        assert_eq!(statuses(&server, &admin).await, ["offline"; 3]);
        let bearer = server.client().request(reqwest::Method::GET, "/chat/user/threads/").bearer_auth(token(UID_OF_JOHN));
        assert_eq!(support::Answer::of(bearer).await.status, 200);
        assert_eq!(statuses(&server, &admin).await, ["online"; 3]);
        open(&server, PATHS[0]).await.close().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(statuses(&server, &admin).await, ["online"; 3], "the socket gave no more than there was");
        server.stop().await;
    }
}

/// A store in memory cannot be changed by the command line while its server runs.
#[tokio::test]
async fn who_is_deactivated_is_offline_at_once() {
    let mut server = builder(Backend::postgres().await).start().await;
    let admin = server.log_in(ADMIN).await;
    let john = server.log_in(JOHN).await;
    john.messaging("threads", json!({})).await;
    let socket = open(&server, PATHS[0]).await;
    let mut watching = Socket::open(server.socket_url(&format!("/conversations/1/?token={}", token(UID_OF_ADMIN)))).await;
    assert_eq!(statuses(&server, &admin).await, ["online"; 3]);
    server.backend().administer(&["user", "deactivate", JOHN], "").await;
    assert_eq!(socket.closed().await, 4003);
    watching.hear_until(|told| told["user_id"] == UID_AS_TEXT && told["status"] == "offline").await;
    assert_eq!(statuses(&server, &admin).await, ["offline"; 3]);
    // After activation the user is online again.
    server.backend().administer(&["user", "activate", JOHN], "").await;
    until("John can log in", async || {
        let params = json!({"db": "odoo2", "login": JOHN, "password": support::PASSWORD});
        let answer = server.client().call("/web/session/authenticate", params).await;
        answer.get("result").is_some().then_some(())
    })
    .await;
    are(&server, &admin, "online").await;
    drop(watching);
    server.stop().await;
}
