//! Tests of socket credentials: admission, expiry and revocation.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{client::IntoClientRequest, http::Request};

use super::{ADMIN, BOB, JANE, JOHN, enter, hear, open, send, url};
use crate::{
    support::{self, Server, Socket, token, token_until, unsigned_token, until},
    with_every_backend, with_tokens_on_every_backend,
};

/// Handshake request for the socket of conversation 1, with these headers.
fn asking(server: &Server, headers: &[(&'static str, String)]) -> Request<()> {
    let mut request = server.socket_url("/conversations/1").into_client_request().expect("it is an address");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("it is a header"));
    }
    request
}

with_tokens_on_every_backend! {
    async fn nobody_gets_in_without_a_token_that_counts(server) {
        for bad in ["", "x", "a.b.c", "%00", &unsigned_token(JOHN), &token_until(JOHN, -31), &token(987_654), &token(-1)] {
            assert_eq!(Socket::open(url(server, 1, bad)).await.closed().await, 4003, "{bad:?}");
        }
        let without = server.socket_url("/conversations/1/");
        assert_eq!(Socket::open(without).await.closed().await, 4003);
        let altered = format!("{}x", token(JOHN));
        assert_eq!(Socket::open(url(server, 1, &altered)).await.closed().await, 4003);
    }

    /// Foreign and unknown ids: the same close code, so that ids cannot be probed.
    async fn what_is_of_others_is_as_if_it_were_not(server) {
        let unknown = "75140d72-8b20-4549-885c-20599badb486";
        for id in ["1", "987654", "0", "-1", "99999999999999999999", unknown, "abc", "1.5", "%00", "%ff", "1%2f2"] {
            assert_eq!(open(server, BOB, id).await.closed().await, 4004, "{id}");
        }
    }

    async fn a_conversation_goes_by_its_id_and_by_its_uuid(server) {
        let john = server.log_in(support::JOHN).await;
        let session = john.result("/im_chat/api/get_or_create_session", json!({"user_to": 6})).await;
        let uuid = session["uuid"].as_str().unwrap();
        let mut by_uuid = enter(server, JANE, uuid).await;
        by_uuid.say(json!({"action": "fetch_messages", "conversation_id": uuid})).await;
        let fetched = hear(&mut by_uuid, "messages_fetched").await;
        let id = fetched["conversation_id"].as_str().unwrap();
        let without_slash = server.socket_url(&format!("/conversations/{id}?token={}", token(JOHN)));
        let mut by_id = Socket::open(without_slash).await;
        send(&mut by_id, "the same one").await;
        assert_eq!(hear(&mut by_uuid, "chat_message").await["message"]["content"], "the same one");
    }

    /// Tokens in a header, or in a subprotocol for browsers, which cannot set headers.
    async fn a_token_may_come_in_other_ways(server) {
        let bearer = asking(server, &[("authorization", format!("Bearer {}", token(JOHN)))]);
        send(&mut Socket::open(bearer).await, "by a header").await;
        let offered = asking(server, &[("sec-websocket-protocol", format!("bearer, {}", token(JOHN)))]);
        let (mut socket, response) = Socket::opened(offered).await;
        assert_eq!(response.headers()["sec-websocket-protocol"], "bearer", "a browser insists on it");
        send(&mut socket, "by a subprotocol").await;
        let offered = asking(server, &[("sec-websocket-protocol", "bearer, x".into())]);
        let (socket, response) = Socket::opened(offered).await;
        assert_eq!(response.headers()["sec-websocket-protocol"], "bearer", "or would hide the code");
        assert_eq!(socket.closed().await, 4003);
    }

    /// Removal from a conversation: messages from before it are delivered, later ones are not.
    async fn who_leaves_is_sent_away(server) {
        let (jane, bob) = (server.log_in(support::JANE).await, server.log_in(support::BOB).await);
        let session = jane.result("/im_chat/api/get_or_create_session", json!({"user_to": 4})).await;
        let uuid = session["uuid"].as_str().unwrap();
        let call = |method: &str, args: Value| json!({"model": "im_chat.session", "method": method, "args": args, "kwargs": {}});
        let added = jane.call("/web/dataset/call_kw", call("add_user", json!([uuid, 8]))).await;
        assert!(added.get("error").is_none(), "{added}");
        let (mut there, mut stays) = (enter(server, BOB, uuid).await, enter(server, JOHN, uuid).await);
        send(&mut stays, "before").await;
        hear(&mut there, "chat_message").await;
        let left = bob.call("/web/dataset/call_kw", call("quit_user", json!([uuid]))).await;
        assert_eq!(left["result"], true, "{left}");
        assert_eq!(there.closed().await, 4004);
        assert_eq!(open(server, BOB, uuid).await.closed().await, 4004);
        send(&mut stays, "after").await;
    }
}

with_every_backend! {
    /// Origin check of the session cookie: browsers send it along from any page, so only our own pages may use it.
    async fn a_session_counts_for_our_own_pages(backend) {
        let server = Server::builder(backend).with_tokens().set("CORS__ORIGINS", "https://app.example");
        let mut server = server.start().await;
        let john = server.log_in(support::JOHN).await;
        let cookie = ("cookie", format!("session_id={}", john.session().unwrap()));
        for origin in [format!("http://{}", server.address()), "https://app.example".into()] {
            let mut socket = Socket::open(asking(&server, &[cookie.clone(), ("origin", origin)])).await;
            send(&mut socket, "from our page").await;
        }
        for origin in ["https://evil.example", "null", "https://app.example.evil.example"] {
            let socket = Socket::open(asking(&server, &[cookie.clone(), ("origin", origin.into())])).await;
            assert_eq!(socket.closed().await, 4003, "{origin}");
        }
        assert_eq!(Socket::open(asking(&server, std::slice::from_ref(&cookie))).await.closed().await, 4003, "from no page");
        let origin = format!("http://{}", server.address());
        let socket = Socket::open(asking(&server, &[cookie, ("origin", origin)])).await;
        john.call("/web/session/destroy", json!({})).await;
        assert_eq!(socket.closed().await, 4003, "logged out while connected");
        server.stop().await;
    }

    /// Keep-alive of the session: activity on its socket extends it, and the socket closes when the session ends.
    async fn a_session_lives_as_long_as_its_socket_is_used(backend) {
        let server = Server::builder(backend).with_tokens().set("SESSION__LIFETIME_SECONDS", 4);
        let mut server = server.set("SOCKETS__FRAMES_BURST", 100_000).start().await;
        let john = server.log_in(support::JOHN).await;
        let cookie = ("cookie", format!("session_id={}", john.session().unwrap()));
        let origin = ("origin", format!("http://{}", server.address()));
        let mut socket = Socket::open(asking(&server, &[cookie, origin])).await;
        let begun = Instant::now();
        until("a session that was used for longer than it lives", async || {
            socket.say(json!({"action": "heartbeat"})).await;
            (begun.elapsed() > Duration::from_secs(5)).then_some(())
        })
        .await;
        // Last use of the session.
        assert_eq!(john.messaging("unread/count", json!({})).await["unread_count"], 0);
        assert_eq!(socket.closed().await, 4003);
        let late = john.call("/api/messaging/unread/count", json!({})).await;
        assert!(late.get("error").is_some(), "{late}");
        server.stop().await;
    }

    async fn who_is_deactivated_is_sent_away(backend) {
        // Durable stores only: a store in memory has no command line.
        if !backend.is_durable() {
            return;
        }
        let mut server = Server::with_tokens(backend.clone()).await;
        let (john, mut admin) = (enter(&server, JOHN, 1).await, enter(&server, ADMIN, 1).await);
        backend.administer(&["user", "deactivate", support::JOHN], "").await;
        assert_eq!(john.closed().await, 4003);
        assert_eq!(open(&server, JOHN, 1).await.closed().await, 4003, "and stays out");
        send(&mut admin, "others stay").await;
        server.stop().await;
    }
}
