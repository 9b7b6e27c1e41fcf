//! A user has so many sessions, families of tokens and devices, and no more: with one more the oldest goes, on all nodes.

use serde_json::{Value, json};

use crate::{
    support::{Answer, Backend, Bus, Client, JOHN, Node, Server, Socket, token, until},
    with_every_backend,
};

const DEEPAK: i64 = 34;

async fn is_logged_in(client: &Client) -> bool {
    client.call("/api/messaging/threads", json!({})).await["error"]["code"].is_null()
}

async fn counts(server: &Server, access: &str) -> bool {
    Answer::of(server.client().request(reqwest::Method::GET, "/auth/token").bearer_auth(access)).await.status == 200
}

async fn renews(server: &Server, refresh: &str) -> bool {
    server.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await.status == 200
}

with_every_backend! {
    async fn with_one_session_more_the_oldest_ends(backend) {
        let mut server = Server::builder(backend).set("LIMITS__USER__SESSIONS", 2).start().await;
        let jane = server.log_in(crate::support::JANE).await;
        let first = server.log_in(JOHN).await;
        let waiting = {
            let first = first.clone();
            tokio::spawn(async move { first.call("/api/messaging/poll/messages", json!({"thread_id": 1, "timeout": 60})).await })
        };
        server.polls_waiting(1).await;
        let (second, third) = (server.log_in(JOHN).await, server.log_in(JOHN).await);
        assert_eq!(waiting.await.expect("it ends")["error"]["code"], 100, "whoever waits is told at once");
        let alive = [is_logged_in(&first).await, is_logged_in(&second).await, is_logged_in(&third).await];
        assert_eq!((alive, is_logged_in(&jane).await), ([false, true, true], true));
        server.stop().await;
    }

    async fn with_one_family_more_the_oldest_ends(backend) {
        let server = Server::builder(backend).with_tokens().set("LIMITS__USER__TOKEN_FAMILIES", 2);
        let mut server = server.set("SOCKETS__DRAIN_SECONDS", 0).start().await;
        let [first, renewing] = server.tokens(JOHN).await;
        let [second, _] = server.tokens(JOHN).await;
        let open = async |access: &str| {
            let mut socket = Socket::open(server.socket_url(&format!("/conversations/1/?token={access}"))).await;
            socket.heard_so_far().await;
            socket
        };
        let (one, other) = (open(&first).await, open(&second).await);
        let [third, last] = server.tokens(JOHN).await;
        assert_eq!(one.closed().await, 4003);
        assert_eq!([counts(&server, &first).await, counts(&server, &second).await, counts(&server, &third).await], [false, true, true]);
        assert_eq!([renews(&server, &renewing).await, renews(&server, &last).await], [false, true]);
        other.close().await;
        server.stop().await;
    }

    async fn with_one_device_more_the_oldest_is_forgotten(backend) {
        let mut server = Server::builder(backend).with_tokens().set("LIMITS__USER__DEVICES", 2).start().await;
        let connect = async |device: &str| {
            let address = server.socket_url(&format!("/concierge?deviceId={device}&Auth={}", token(DEEPAK)));
            let mut socket = Socket::open(address).await;
            let connection: Value = socket.hear().await["body"]["connection"].take();
            socket.close().await;
            connection["id"].as_str().expect("it is a text").to_owned()
        };
        let (phone, tablet) = (connect("phone").await, connect("tablet").await);
        let desk = connect("desk").await;
        assert_eq!([connect("desk").await, connect("tablet").await], [desk, tablet]);
        assert_ne!(connect("phone").await, phone);
        server.stop().await;
    }
}

#[tokio::test]
async fn what_ends_for_being_the_oldest_ends_at_all_nodes() {
    let (backend, bus) = (Backend::postgres().await, Bus::postgres());
    let node = || {
        let node = Server::builder(backend.clone()).node(&bus);
        node.set("LIMITS__USER__SESSIONS", 1).set("LIMITS__USER__TOKEN_FAMILIES", 1).start()
    };
    let (mut here, mut there) = (node().await, node().await);
    for node in [&here, &there] {
        node.ready().await;
    }
    let session = here.log_in(JOHN).await;
    let same = there.client().with_session(session.session());
    let [access, _] = here.tokens(JOHN).await;
    assert!(is_logged_in(&same).await && counts(&there, &access).await, "it is remembered there, too");
    let newer = here.log_in(JOHN).await;
    let [newest, _] = here.tokens(JOHN).await;
    until("the end", async || (!is_logged_in(&same).await && !counts(&there, &access).await).then_some(())).await;
    assert!(is_logged_in(&newer).await && counts(&there, &newest).await);
    here.stop().await;
    there.stop().await;
}
