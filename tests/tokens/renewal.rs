//! Tests of our own tokens: issued at the login, from a session, and by a refresh.

use reqwest::{Method, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::{REFUSED, assert_refused, holder, making::SECRET, text, uid};
use crate::{
    on_every_backend,
    support::{Answer, Backend, Client, JANE, JOHN, PASSWORD, Server, until},
    with_every_backend,
};

const REVOKED: &str = "revoked, or never issued";

/// Access token and refresh token in an answer.
async fn pair(answer: Answer) -> [String; 2] {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let pair = answer.json();
    assert_eq!((&pair["token_type"], &pair["expires_in"]), (&json!("Bearer"), &json!(3600)), "{pair}");
    ["access", "refresh"].map(|member| text(&pair, member))
}

async fn log_in(client: &Client, login: &str) -> [String; 2] {
    pair(client.post("/auth/token", &json!({"login": login, "password": PASSWORD})).await).await
}

async fn renew(server: &Server, refresh: &str) -> Answer {
    server.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await
}

async fn assert_not_renewed(server: &Server, refresh: &str) {
    let answer = renew(server, refresh).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::UNAUTHORIZED, REFUSED), "{}", server.log());
}

/// Starts a server without grace: a refresh token works once.
async fn without_grace(backend: Backend) -> Server {
    let server = Server::builder(backend).set("TOKENS__SECRET", SECRET);
    server.set("TOKENS__REFRESH_GRACE_SECONDS", 0).start().await
}

with_every_backend! {
    async fn a_refresh_token_works_once(backend) {
        let mut server = without_grace(backend).await;
        let [access, refresh] = log_in(&server.client(), JOHN).await;
        assert_eq!(uid(&server, &access).await, 4);
        let [second, last] = pair(renew(&server, &refresh).await).await;
        let [third, last] = pair(renew(&server, &last).await).await;
        for token in [&access, &second, &third] {
            assert_eq!(uid(&server, token).await, 4);
        }
        let other = log_in(&server.client(), JOHN).await;

        assert_not_renewed(&server, &refresh).await;
        assert_not_renewed(&server, &last).await;
        for token in [&access, &second, &third] {
            assert_refused(&server, "of a family that was revoked", token, REVOKED).await;
        }
        assert_eq!(uid(&server, &other[0]).await, 4, "another login has nothing to do with it");
        pair(renew(&server, &other[1]).await).await;
        server.stop().await;
    }

    /// Simultaneous renewals without grace: the second is taken for a replay, and revokes the first's tokens.
    async fn of_two_who_renew_at_once_without_grace_one_is_too_late(backend) {
        let mut server = without_grace(backend).await;
        for _ in 0..5 {
            let [access, refresh] = log_in(&server.client(), JOHN).await;
            let both = tokio::join!(renew(&server, &refresh), renew(&server, &refresh));
            let (won, lost) = if both.0.status == StatusCode::OK { both } else { (both.1, both.0) };
            assert_eq!((lost.status, lost.body.as_str()), (StatusCode::UNAUTHORIZED, REFUSED));
            let [_, refresh] = pair(won).await;
            assert_not_renewed(&server, &refresh).await;
            assert_refused(&server, "of a family that was revoked", &access, REVOKED).await;
        }
        server.stop().await;
    }
}

on_every_backend! {
    async fn a_session_is_as_good_as_a_password(server) {
        let john = server.log_in(JOHN).await;
        let bare = Answer::of(john.request(Method::POST, "/auth/token").header("Origin", server.url(""))).await;
        assert_eq!(uid(server, &pair(bare).await[0]).await, 4, "a body is not needed");
        let [access, refresh] = pair(john.post("/auth/token", &json!({})).await).await;
        john.call("/web/session/destroy", json!({})).await;
        assert_eq!(uid(server, &access).await, 4, "tokens live on without it");
        pair(renew(server, &refresh).await).await;
        for client in [john, server.client()] {
            let answer = client.post("/auth/token", &json!({})).await;
            assert_eq!((answer.status, answer.body.as_str()), (StatusCode::UNAUTHORIZED, REFUSED));
        }
    }

    async fn what_is_asked_for_wrongly_is_refused_in_a_sentence(server) {
        let client = server.client();
        let message = |answer: &Answer| text(&answer.json(), "message");
        let answer = client.post("/auth/token", &json!({"login": JOHN, "password": "wrong"})).await;
        assert_eq!((answer.status, message(&answer).as_str()), (StatusCode::UNAUTHORIZED, "Wrong login or password."));
        for login in ["nobody", "no\0body"] {
            let unknown = client.post("/auth/token", &json!({"login": login, "password": PASSWORD})).await;
            assert_eq!((unknown.status, unknown.body), (answer.status, answer.body.clone()), "{login:?}");
        }
        for (path, body) in [
            ("/auth/token", json!({"login": JOHN})),
            ("/auth/token", json!({"password": PASSWORD})),
            ("/auth/token", json!({"login": {}, "password": []})),
            ("/auth/token", json!([])),
            ("/auth/token/refresh", json!({})),
            ("/auth/token/refresh", json!({"refresh": null})),
        ] {
            let answer = client.post(path, &body).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {body}");
            assert!(!message(&answer).is_empty());
        }
        for path in ["/auth/token", "/auth/token/refresh"] {
            let request = client.request(Method::POST, path);
            assert_eq!(Answer::of(request.header(CONTENT_TYPE, "text/plain").body("{}")).await.status, StatusCode::BAD_REQUEST);
            let huge = client.request(Method::POST, path).header(CONTENT_TYPE, "application/json").body(vec![b' '; 2_000_000]);
            assert_eq!(Answer::of(huge).await.status, StatusCode::PAYLOAD_TOO_LARGE);
        }
        for refresh in ["", "x", "\0", &"0".repeat(40)] {
            assert_not_renewed(server, refresh).await;
        }
    }

    async fn guessing_passwords_is_limited(server) {
        let guess = json!({"login": JANE, "password": "guess"});
        let mut refused = None;
        for _ in 0..11 {
            refused = Some(server.client().post("/auth/token", &guess).await);
        }
        let refused = refused.expect("it was tried");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let seconds: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
    }
}

with_every_backend! {
    /// New password: revokes all tokens. Durable stores only: a store in memory has no command line.
    async fn a_new_password_ends_all_tokens(backend) {
        let mut server = Server::builder(backend.clone()).set("TOKENS__SECRET", SECRET).start().await;
        let [access, refresh] = log_in(&server.client(), JANE).await;
        assert_eq!(uid(&server, &access).await, 6);
        if backend.is_durable() {
            backend.administer(&["user", "passwd", JANE], "another password\n").await;
            until("the end of the tokens", async || {
                (holder(&server, &access).await.status == StatusCode::UNAUTHORIZED).then_some(())
            })
            .await;
            assert_refused(&server, "from before the new password", &access, REVOKED).await;
            assert_not_renewed(&server, &refresh).await;

            let environment = [("DRAGOMAN__STORAGE", backend.url()), ("DRAGOMAN__TOKENS__SECRET", SECRET)];
            let issued = crate::support::run(&["token", "issue", "--user", JANE], &environment, "").await;
            assert!(issued.status.success(), "{issued:?}");
            assert_eq!(uid(&server, String::from_utf8(issued.stdout).unwrap().trim()).await, 6);
            let issued = crate::support::run(&["token", "issue", "--user", "nobody"], &environment, "").await;
            assert!(String::from_utf8(issued.stderr).unwrap().contains("no user with the login nobody"));
            let issued = crate::support::run(&["token", "issue", "--user", JANE], &environment[..1], "").await;
            assert!(String::from_utf8(issued.stderr).unwrap().contains("tokens.secret"), "it names the setting");
            backend.administer(&["user", "deactivate", JANE], "").await;
            let issued = crate::support::run(&["token", "issue", "--user", JANE], &environment, "").await;
            assert!(!issued.status.success());
        }
        server.stop().await;
    }

    /// Revocation across nodes: effective despite the other node's cache.
    async fn what_one_node_revokes_the_other_refuses(backend) {
        if !backend.is_postgres() {
            return;
        }
        let (first, second) = (without_grace(backend.clone()).await, without_grace(backend).await);
        let [access, refresh] = log_in(&first.client(), JOHN).await;
        assert_eq!(uid(&second, &access).await, 4);
        pair(renew(&first, &refresh).await).await;
        assert_not_renewed(&first, &refresh).await;
        until("the news of the revocation", async || {
            (holder(&second, &access).await.status == StatusCode::UNAUTHORIZED).then_some(())
        })
        .await;
    }
}

/// Claims of a token, unverified.
pub(crate) fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// Claims of our own tokens: as the settings require.
#[tokio::test]
async fn our_own_tokens_follow_the_settings() {
    let server = Server::builder(crate::support::Backend::memory())
        .set("TOKENS__SECRET", SECRET)
        .set("TOKENS__ISSUER", "us")
        .set("TOKENS__AUDIENCE", "you")
        .set("TOKENS__USER_CLAIM", "sub")
        .set("TOKENS__USER_CLAIM_NAMES", "uuid")
        .set("TOKENS__TYPE_CLAIM", "typ")
        .set("TOKENS__TYPE_VALUE", "Bearer")
        .start()
        .await;
    let [access, _] = log_in(&server.client(), JOHN).await;
    assert_eq!(uid(&server, &access).await, 4);
    let claims = claims(&access);
    let expected = json!({"iss": "us", "aud": "you", "typ": "Bearer", "sub": "302e305b-6e73-4f9c-bac7-551a92b106b0"});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&claims[name], value, "{claims}");
    }
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
}
