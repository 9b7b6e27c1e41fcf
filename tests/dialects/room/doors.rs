//! Tests of socket credentials: admission, expiry and revocation.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{ADMIN, BOB, JANE, JOHN, failure, show, text};
use crate::{
    support::{Answer, Server, Socket, token, token_until, unsigned_token},
    with_every_backend,
};

const ROUTES: [(&str, &str); 6] = [
    ("GET", "/chat/messages/75140d72-8b20-4549-885c-20599badb486/"),
    ("POST", "/chat/attachment/"),
    ("GET", "/chat/user/threads/"),
    ("GET", "/chat/thread/files/1/"),
    ("POST", "/chat/chat-attachment/"),
    ("GET", "/chat/get-user-threads/"),
];

with_every_backend! {
    async fn without_a_good_token_nobody_gets_in(backend) {
        let mut server = Server::with_tokens(backend).await;
        let strangers = [String::new(), "garbage".into(), token_until(4, -60), unsigned_token(4), token(987_654)];
        let refused = failure("Not logged in, or no longer.");
        for (method, path) in ROUTES {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let cookie = server.log_in(JOHN.email).await;
            let foreign = cookie.request(method.clone(), path).header("Origin", "https://evil.example");
            let answer = Answer::of(foreign).await;
            assert_eq!((answer.status, answer.json()), (StatusCode::UNAUTHORIZED, refused.clone()), "a foreign page at {path}");
            for token in &strangers {
                let request = server.client().request(method.clone(), path).bearer_auth(token);
                let answer = Answer::of(request).await;
                assert_eq!((answer.status, answer.json()), (StatusCode::UNAUTHORIZED, refused.clone()), "{token} at {path}");
                assert_eq!(answer.headers["www-authenticate"], "Bearer", "{token} at {path}");
            }
        }
        for token in &strangers {
            let socket = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={token}"))).await;
            assert_eq!(socket.closed().await, 4003, "{token}");
        }
        for path in ["/ws/chat/room/", "/ws/chat/room"] {
            assert_eq!(Socket::open(server.socket_url(path)).await.closed().await, 4003);
        }
        for token in strangers.iter().filter(|token| token.len() > 20) {
            assert!(!server.log().contains(token.as_str()), "tokens are in no log");
        }
        server.stop().await;
    }

    /// Token in a header or a subprotocol, or the cookie from our own pages. An empty token in the query is ignored.
    async fn a_socket_takes_every_kind_of_credentials(backend) {
        let mut server = Server::with_tokens(backend).await;
        let cookie = format!("session_id={}", server.log_in(JOHN.email).await.session().unwrap());
        let ours = server.url("");
        let request = |headers: &[(&'static str, &str)]| {
            let mut request = server.socket_url("/ws/chat/room/?token=").into_client_request().unwrap();
            for (name, value) in headers {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
            request
        };
        let bearer = format!("Bearer {}", token(JOHN.uid));
        let subprotocol = format!("bearer, {}", token(JOHN.uid));
        for headers in [
            vec![("authorization", bearer.as_str())],
            vec![("sec-websocket-protocol", subprotocol.as_str())],
            vec![("cookie", cookie.as_str()), ("origin", ours.as_str())],
        ] {
            let mut john = Socket::open(request(&headers)).await;
            john.say(text(&ADMIN, "hello")).await;
            assert_eq!(john.hear().await["sender_id"], JOHN.uuid);
        }
        for headers in [vec![("cookie", cookie.as_str())], vec![("cookie", cookie.as_str()), ("origin", "https://evil.example")]] {
            assert_eq!(Socket::open(request(&headers)).await.closed().await, 4003);
        }
        server.stop().await;
    }

    /// Ids of others' messages and files: refused.
    async fn what_is_of_others_stays_theirs(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin, mut bob) = (JOHN.socket(&server).await, ADMIN.socket(&server).await, BOB.socket(&server).await);
        let file = JOHN.upload(&server, &ADMIN, "hush", 10).await["id"].take();
        john.say(text(&JANE, "hush")).await;
        let said = john.hear().await["created_msg_id"].take();
        // Refused users: an outsider, the receiver of a file, and the author of a message without a file.
        let expected = json!({"action": "error", "message": "You have uploaded no file with this chat_id",
            "code": "not_found", "request": "file_message"});
        let missing = json!(987_654);
        for (socket, ids) in [(&mut bob, [&file, &said, &missing].as_slice()), (&mut admin, &[&file]), (&mut john, &[&said])] {
            for id in ids {
                socket.say(show(id)).await;
                assert_eq!(socket.hear().await, expected, "{id}");
            }
        }
        assert_eq!(BOB.history(&server, &JOHN).await, [Value::Null; 0]);
        john.say(show(&file)).await;
        assert_eq!(admin.hear().await["created_msg_id"], file, "nobody has shown it before");
        server.stop().await;
    }

    /// Token expiry and deactivation: the socket closes. Durable stores only for the latter: a store in memory has no command
    /// line.
    async fn whoever_is_let_in_no_longer_is_shown_out(backend) {
        let mut server = Server::with_tokens(backend.clone()).await;
        let soon = token_until(JOHN.uid, -28);
        let socket = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={soon}"))).await;
        assert_eq!(socket.closed().await, 4003);
        if backend.is_durable() {
            let (jane, mut john) = (JANE.socket(&server).await, JOHN.socket(&server).await);
            backend.administer(&["user", "deactivate", JANE.email], "").await;
            assert_eq!(jane.closed().await, 4003);
            assert_eq!(JANE.get(&server, "/chat/user/threads/").await.status, StatusCode::UNAUTHORIZED);
            john.say(text(&JANE, "are you there?")).await;
            let answer = john.hear().await;
            assert_eq!([&answer["code"], &answer["message"]], ["not_found", "Invalid receipient"]);
        }
        server.stop().await;
    }

    /// Stop of the server: each socket gets a close frame.
    async fn the_stop_closes_sockets(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__DRAIN_SECONDS", 0).start().await;
        let john = JOHN.socket(&server).await;
        server.terminate();
        assert_eq!(john.closed().await, 1001);
        assert!(server.ended().await.success());
    }
}
