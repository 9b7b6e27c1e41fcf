//! Tests of the quotas for sessions, token families and devices of a user: a new one replaces the oldest, on all nodes.

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

/// Rate limit: new sessions and tokens without a password count as writes of the user.
#[tokio::test]
async fn what_is_given_without_a_password_counts_as_a_write() {
    let server = Server::builder(Backend::memory()).with_tokens().set("LIMITS__USER__WRITES_PER_SECOND", 1);
    let mut server = server.set("LIMITS__USER__WRITES_BURST", 3).start().await;
    let john = server.log_in(JOHN).await;
    let [access, refresh] = server.tokens(JOHN).await;
    let (session, tokens, simple) = (async || john.post("/auth/token", &json!({})).await, refresh.clone(), refresh);
    let by_token =
        async || Answer::of(server.client().request(reqwest::Method::POST, "/auth/session").bearer_auth(&access)).await;
    let renewal = async || server.client().post("/auth/token/refresh", &json!({"refresh": tokens})).await;
    let simplejwt = async || server.client().post("/api/token/refresh", &json!({"refresh": simple})).await;
    // More requests in all than the burst.
    let mut given = 0;
    for _ in 0..5 {
        for answer in [session().await, by_token().await, renewal().await, simplejwt().await] {
            if answer.status == 429 {
                assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
            } else {
                given += 1;
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
    }
    // The token bucket gains a token each second.
    assert!((3..=8).contains(&given), "{given}");
    server.stop().await;
}

/// Quota of refresh tokens in a family: used ones stay stored, to detect reuse.
#[tokio::test]
async fn a_family_has_so_many_tokens_and_no_more() {
    use sqlx::{Connection, PgConnection};
    let backend = Backend::postgres().await;
    let mut server = Server::builder(backend.clone()).with_tokens().start().await;
    let [_, refresh] = server.tokens(JOHN).await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let fill = "INSERT INTO refresh_tokens (key, family, user_id, expires_at, used_at)
        SELECT sha256(int8send(n)), family, user_id, expires_at, now() FROM refresh_tokens, generate_series(1, 4999) n";
    sqlx::query(fill).execute(&mut database).await.unwrap();
    let answer = server.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (429, &"3600".parse().unwrap()), "{answer:?}");
    sqlx::query("DELETE FROM refresh_tokens WHERE key = sha256(int8send(1))").execute(&mut database).await.unwrap();
    assert!(renews(&server, &refresh).await, "when one has run out");
    server.stop().await;
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
