//! Tests of token revocation (RFC 7009).

use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::{
    holder,
    making::{Key, SECRET, claims, in_seconds, sign},
    text,
};
use crate::{
    support::{Answer, Backend, JOHN, PASSWORD, Server, Socket, until},
    with_every_backend,
};

const REVOKE: &str = "/auth/token/revoke";

async fn server(backend: Backend) -> Server {
    Server::builder(backend).set("TOKENS__SECRET", SECRET).set("SOCKETS__DRAIN_SECONDS", 0).start().await
}

async fn log_in(server: &Server) -> [String; 2] {
    let pair = server.client().post("/auth/token", &json!({"login": JOHN, "password": PASSWORD})).await.json();
    ["access", "refresh"].map(|member| text(&pair, member))
}

async fn by_form(server: &Server, form: &str) -> Answer {
    let request = server.client().request(reqwest::Method::POST, REVOKE);
    Answer::of(request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.to_owned())).await
}

async fn counts(server: &Server, access: &str) -> bool {
    holder(server, access).await.status == StatusCode::OK
}

with_every_backend! {
    /// Revocation by either token, in either format: ends all tokens of a login.
    async fn all_tokens_of_a_login_end(backend) {
        let mut server = server(backend).await;
        let [stays, _] = log_in(&server).await;
        for way in 0..5 {
            let [access, refresh] = log_in(&server).await;
            let socket = Socket::open(server.socket_url(&format!("/conversations/1/?token={access}"))).await;
            let pair = server.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await.json();
            let [second, next] = ["access", "refresh"].map(|member| text(&pair, member));
            let answer = match way {
                0 => server.client().post(REVOKE, &json!({"token": next})).await,
                1 => server.client().post(REVOKE, &json!({"token": access, "token_type_hint": "refresh_token"})).await,
                2 => server.client().post(REVOKE, &json!({"refresh": refresh})).await,
                3 => by_form(&server, &format!("token={next}&token_type_hint=refresh_token")).await,
                _ => by_form(&server, &format!("token_type_hint=nonsense&token={second}")).await,
            };
            assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""), "{way}");
            assert_eq!([counts(&server, &access).await, counts(&server, &second).await], [false, false], "{way}");
            for refresh in [&refresh, &next] {
                let answer = server.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{way}");
            }
            assert_eq!(socket.closed().await, 4003, "{way}");
            let again = server.client().post(REVOKE, &json!({"token": next})).await;
            assert_eq!(again.status, StatusCode::OK, "what lets nobody in is revoked already");
        }
        assert!(counts(&server, &stays).await);
        server.stop().await;
    }

    /// Expired access token: still revokes its login.
    async fn an_access_token_that_has_run_out_ends_its_login(backend) {
        let mut server = server(backend).await;
        let [access, refresh] = log_in(&server).await;
        let mut own: Value = crate::tokens::claims(&access);
        own["exp"] = in_seconds(-3_600).into();
        let old = sign(Key::Secret(SECRET), None, &own);
        assert!(!counts(&server, &old).await);
        assert_eq!(server.client().post(REVOKE, &json!({"token": old})).await.status, StatusCode::OK);
        assert!(!counts(&server, &access).await);
        assert_eq!(server.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await.status, 401);
        server.stop().await;
    }

    async fn what_is_no_token_of_ours_revokes_nothing(backend) {
        let mut server = server(backend).await;
        let [access, _] = log_in(&server).await;
        let mut forged: Value = crate::tokens::claims(&access);
        forged["exp"] = in_seconds(300).into();
        let forged = sign(Key::Secret("a guessed secret, which is as long as ours"), None, &forged);
        for token in ["", "x", "\0", &"0".repeat(40), &forged, &"a.".repeat(20_000)] {
            let answer = server.client().post(REVOKE, &json!({"token": token})).await;
            assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""), "{token:?}");
        }
        let foreign = sign(Key::Secret(SECRET), None, &claims(json!({})));
        let answer = server.client().post(REVOKE, &json!({"token": foreign})).await;
        assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::BAD_REQUEST, &json!("unsupported_token_type")));
        assert!(counts(&server, &foreign).await && counts(&server, &access).await);
        for answer in [server.client().post(REVOKE, &json!({})).await, by_form(&server, "a=b").await] {
            assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_request")));
        }
        for (kind, body) in [
            ("text/plain", "token=x"),
            ("application/json", "{"),
            ("application/json", "[]"),
            ("application/json", r#"{"token": []}"#),
        ] {
            let post = async |path: &str| {
                let request = server.client().request(reqwest::Method::POST, path).header(CONTENT_TYPE, kind);
                Answer::of(request.body(body)).await
            };
            let answer = post(REVOKE).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
            let said = answer.json();
            assert_eq!((&said["error"], said["error_description"].is_string()), (&json!("invalid_request"), true), "{said}");
            for path in ["/api/token/", "/api/token/refresh/"] {
                let answer = post(path).await;
                assert_eq!(answer.status, if kind == "text/plain" { 415 } else { 400 }, "{path} {body}");
                assert!(answer.json()["detail"].is_string() || body.contains("token"), "{path} {body}: {answer:?}");
            }
        }
        server.stop().await;
    }
}

/// Revocation at another node.
#[tokio::test]
async fn revoked_here_is_revoked_there() {
    let backend = Backend::postgres().await;
    let (mut here, mut there) = (server(backend.clone()).await, server(backend).await);
    let [access, refresh] = log_in(&here).await;
    assert!(counts(&there, &access).await);
    here.client().post(REVOKE, &json!({"token": refresh})).await;
    until("the news", async || (!counts(&there, &access).await).then_some(())).await;
    here.stop().await;
    there.stop().await;
}
