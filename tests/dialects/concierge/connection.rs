//! Tests of connections: credentials, device replacement, and close codes.

use serde_json::json;

use super::{Client, DEEPAK, JOHN, SECRET, address, signed, start, token};
use crate::{
    support::{Server, Socket},
    with_every_backend,
};

with_every_backend! {
    async fn a_device_has_one_connection(backend) {
        let mut server = start(backend).await;
        let first = Client::connect(&server, DEEPAK, "phone").await;
        let other_device = Client::connect(&server, DEEPAK, "tablet").await;
        let other_user = Client::connect(&server, JOHN, "phone").await;
        let mut second = Client::connect(&server, DEEPAK, "phone").await;
        assert_eq!(first.socket.closed().await, 4009);
        for key in ["id", "createdAt", "deviceId"] {
            assert_eq!(first.connection[key], second.connection[key], "{key}");
        }
        assert_ne!(first.connection["connectionId"], second.connection["connectionId"]);
        assert_ne!(other_device.connection["id"], second.connection["id"]);
        for mut alive in [other_device, other_user] {
            alive.body("client/get-unread-msg-count", json!({})).await;
        }
        let got = second.init().await;
        let whole = second.body("client/get-chat-session", json!({"chatSessionId": got})).await;
        assert_eq!(whole["connection"]["connectionId"], second.connection["connectionId"]);
        drop(second);
        server.stop().await;
    }

    /// Connection replacement on one device: of several simultaneous connections the last stays; all earlier ones are closed.
    async fn of_many_at_once_one_stays(backend) {
        let mut server = start(backend).await;
        let at = address(&server, &format!("/concierge?Auth={}&deviceId=phone", token(DEEPAK)));
        let clients = futures_util::future::join_all((0..8).map(|_| Client::at(&at))).await;
        let mut endings = futures_util::stream::FuturesUnordered::new();
        for client in clients {
            endings.push(client.socket.closed());
        }
        use futures_util::StreamExt;
        for _ in 0..7 {
            assert_eq!(endings.next().await, Some(4009));
        }
        server.terminate();
        assert_eq!(endings.next().await, Some(1001), "the last one stays until the end");
        assert!(server.ended().await.success());
    }

    async fn an_unused_connection_runs_out(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET).set("CONCIERGE__CONNECTION_SECONDS", 1);
        let mut server = builder.set("SOCKETS__PING_SECONDS", 1).start().await;
        let mut client = Client::connect(&server, DEEPAK, "phone").await;
        let last = client.event().await;
        assert_eq!((&last["channel"], &last["status"]), (&json!("connection"), &json!(408)));
        assert_eq!(last["body"]["connection"]["connectionId"], client.connection["connectionId"]);
        assert_eq!(client.socket.closed().await, 1001);
        server.stop().await;
    }

    async fn who_may_not_come_in_is_told_so(backend) {
        let mut server = start(backend).await;
        let now = chrono::Utc::now().timestamp();
        let expired = signed(json!({"user_id": DEEPAK, "token_type": "access", "exp": now - 3_600}));
        let refresh = signed(json!({"user_id": DEEPAK, "token_type": "refresh", "exp": now + 3_600}));
        let unsigned = "eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjozNCwidG9rZW5fdHlwZSI6ImFjY2VzcyIsImV4cCI6OTk5OTk5OTk5OX0.";
        // Refusals before the upgrade, as API Gateway sends them: 403 for a valid token of an unknown user.
        for (token, status) in [("", 401), ("x", 401), (&expired, 401), (&refresh, 401), (unsigned, 401), (&token(987_654), 403)] {
            for path in ["concierge", "uat"] {
                let (refused, body) = Socket::refused(address(&server, &format!("/{path}?Auth={token}&deviceId=x"))).await;
                assert_eq!((refused, body), (status, json!({"message": "Not logged in, or no longer."})), "{token}");
            }
        }
        for device in ["", "&deviceId=", "&deviceId=a%00b", &format!("&deviceId={}", "x".repeat(300))] {
            let mut socket = Socket::open(address(&server, &format!("/concierge?Auth={}{device}", token(DEEPAK)))).await;
            let last = socket.hear().await;
            assert_eq!((&last["channel"], &last["status"]), (&json!("connection"), &json!(400)), "{device}");
            assert_eq!(socket.closed().await, 1008);
        }
        assert!(!server.log().contains(&token(DEEPAK)[..40]), "no token is in the log");
        server.stop().await;
    }

    async fn a_token_runs_out_with_its_socket(backend) {
        let mut server = start(backend).await;
        // Token expiry with half a minute of leeway, less the time of the handshake.
        let exp = chrono::Utc::now().timestamp() - 20;
        let short = signed(json!({"user_id": DEEPAK, "token_type": "access", "exp": exp}));
        let client = Client::at(&address(&server, &format!("/concierge?Auth={short}&deviceId=x"))).await;
        assert_eq!(client.socket.closed().await, 4003);
        server.stop().await;
    }

    /// Other credentials: the cookie only from pages of our own origin, the token from anywhere.
    async fn other_credentials_do_as_well(backend) {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest;
        let mut server = start(backend).await;
        let session = server.log_in("deepak@tis.co.th").await;
        let cookie = format!("session_id={}", session.session().expect("it is logged in"));
        let at = address(&server, "/concierge?deviceId=page");
        let with = |headers: &[(&'static str, String)]| {
            let mut request = at.as_str().into_client_request().expect("it is an address");
            for (name, value) in headers {
                request.headers_mut().insert(*name, value.parse().expect("it is a header"));
            }
            request
        };
        let foreign = with(&[("cookie", cookie.clone()), ("origin", "https://evil.example".into())]);
        assert_eq!(Socket::refused(foreign).await.0, 401);
        let own = format!("http://{}", server.address());
        for headers in [
            vec![("cookie", cookie), ("origin", own)],
            vec![("authorization", format!("Bearer {}", token(DEEPAK)))],
            vec![("sec-websocket-protocol", format!("bearer, {}", token(DEEPAK)))],
        ] {
            let mut socket = Socket::open(with(&headers)).await;
            assert_eq!(socket.hear().await["body"]["connection"]["entityId"], "34");
            socket.close().await;
        }
        server.stop().await;
    }
}
