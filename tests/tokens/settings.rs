//! Tests of the token settings.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{
    assert_refused, holder,
    making::{EC, EC_PUBLIC, Key, OTHER_RSA, RSA, RSA_PUBLIC, SECRET, claims, sign},
    text, uid,
};
use crate::support::{Answer, Backend, JOHN, PASSWORD, Server, Socket, run};

/// No key: the server starts, refuses all tokens, and logs the missing setting.
#[tokio::test]
async fn without_a_key_tokens_are_for_nobody() {
    let mut server = Server::builder(Backend::memory()).empty().start().await;
    let token = sign(Key::Secret(SECRET), None, &claims(json!({})));
    let answers = [
        holder(&server, &token).await,
        server.client().post("/auth/token", &json!({"login": JOHN, "password": PASSWORD})).await,
        server.client().post("/auth/token/refresh", &json!({"refresh": "x"})).await,
    ];
    for answer in answers {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
        assert_eq!(text(&answer.json(), "message"), "This server is not set up for tokens.");
    }
    let wish = json!({"filename": "a.png", "mimeType": "image/png", "type": "chat-images"});
    let wish = server.client().request(Method::POST, "/file-new/get-upload-url").bearer_auth(&token).json(&wish);
    let answer = Answer::of(wish).await;
    let expected = (StatusCode::SERVICE_UNAVAILABLE, json!({"message": "This server is not set up for tokens."}));
    assert_eq!((answer.status, answer.json()), expected);
    let (status, body) = Socket::refused(server.socket_url(&format!("/concierge?deviceId=a&Auth={token}"))).await;
    assert_eq!((status, body), (503, json!({"message": "This server is not set up for tokens."})));
    for path in ["/ws/chat/room/?token=", "/conversations/1/?token="] {
        let farewell = Socket::open(server.socket_url(&format!("{path}{token}"))).await.farewell().await;
        assert_eq!(farewell, (1013, "this server is not set up for tokens".into()), "{path}");
    }
    let call = server.client().request(Method::POST, "/api/messaging/threads").bearer_auth(&token).json(&json!({}));
    assert_eq!(Answer::of(call).await.json()["error"]["code"], 100, "no session, where one is asked for");
    assert!(server.log().contains("tokens.secret is not set"), "{}", server.log());
    assert!(!server.log().contains("unreachable"), "{}", server.log());
    server.stop().await;
}

/// Verification keys without a secret: tokens are verified, but not issued.
#[tokio::test]
async fn without_a_secret_tokens_are_verified_and_not_made() {
    let mut server = Server::builder(Backend::memory()).empty().set("TOKENS__PUBLIC_KEY", EC_PUBLIC).start().await;
    assert!(!server.log().contains("tokens.secret is not set"), "{}", server.log());
    let made = server.client().post("/auth/token", &json!({"login": JOHN, "password": PASSWORD})).await;
    assert_eq!(made.status, StatusCode::SERVICE_UNAVAILABLE);
    let (by_ec, by_public) = (Key::Ec(EC), Key::Secret(EC_PUBLIC));
    assert_refused(&server, "nobody is in the store", &sign(by_ec, None, &claims(json!({}))), "unknown user").await;
    let no_key = "no key for its algorithm";
    assert_refused(&server, "the public key as a secret", &sign(by_public, None, &claims(json!({}))), no_key).await;
    assert_refused(&server, "another kind", &sign(Key::Rsa(OTHER_RSA), None, &claims(json!({}))), no_key).await;
    server.stop().await;
}

#[tokio::test]
async fn users_are_named_as_the_settings_say() {
    for (names, right, wrong) in [
        ("external_id", json!("4"), json!(JOHN)),
        ("uid", json!(4), json!("302e305b-6e73-4f9c-bac7-551a92b106b0")),
        ("uuid", json!("302e305b-6e73-4f9c-bac7-551a92b106b0"), json!(4)),
        ("login", json!(JOHN), json!("no\0body")),
    ] {
        let server = Server::builder(Backend::memory())
            .set("TOKENS__SECRET", SECRET)
            .set("TOKENS__USER_CLAIM", "sub")
            .set("TOKENS__USER_CLAIM_NAMES", names)
            .set("TOKENS__TYPE_CLAIM", "");
        let mut server = server.start().await;
        let token =
            |subject| sign(Key::Secret(SECRET), None, &claims(json!({"sub": subject, "token_type": null, "user_id": null})));
        assert_eq!(uid(&server, &token(right)).await, 4, "{names}");
        assert_refused(&server, names, &token(wrong), "unknown user").await;
        let made = server.client().post("/auth/token", &json!({"login": JOHN, "password": PASSWORD})).await.json();
        assert_eq!(uid(&server, &text(&made, "access")).await, 4, "{names}: our own");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_public_key_may_be_in_a_file_or_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    std::fs::write(&path, RSA_PUBLIC).unwrap();
    for given in [path.to_str().unwrap(), &RSA_PUBLIC.replace('\n', "\\n")] {
        let mut server = Server::builder(Backend::memory()).set("TOKENS__PUBLIC_KEY", given).start().await;
        assert_eq!(uid(&server, &sign(Key::Rsa(RSA), None, &claims(json!({})))).await, 4);
        server.stop().await;
    }
}

/// Invalid settings: one line names the setting, without a secret.
#[tokio::test]
async fn settings_that_cannot_be_are_refused_at_the_start() {
    for (key, value, says) in [
        ("SECRET", RSA_PUBLIC, "tokens.secret must not be a PEM key"),
        ("SECRET", "short-4711", "tokens.secret must have 32 bytes or more"),
        ("PUBLIC_KEY", RSA, "tokens.public_key: must be a public key in PEM"),
        ("PUBLIC_KEY", "/nowhere/key.pem", "tokens.public_key: /nowhere/key.pem"),
        ("PUBLIC_KEY", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "tokens.public_key: must be"),
        ("JWKS", "/nowhere/jwks.json", "tokens.jwks: /nowhere/jwks.json"),
        ("JWKS", "http://", "tokens.jwks: "),
        ("JWKS", "http://169.254.169.254/keys", "tokens.jwks: 169.254.169.254 has no allowed address"),
        ("USER_CLAIM", "", "tokens.user_claim must not be empty"),
        ("USER_CLAIM_NAMES", "email", "tokens.user_claim_names"),
        ("ACCESS_LIFETIME_SECONDS", "0", "tokens.access_lifetime_seconds"),
        ("REFRESH_GRACE_SECONDS", "86401", "tokens.refresh_grace_seconds"),
        ("REFRESH_LIFETIME_SECONDS", "60", "tokens.refresh_lifetime_seconds must not be less"),
    ] {
        let key = format!("DRAGOMAN__TOKENS__{key}");
        let output = run(&["serve", "--demo", "--listen", "127.0.0.1:0"], &[(&key, value)], "").await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{key} {value}");
        let line = said.lines().last().unwrap_or_default();
        assert!(line.starts_with("dragoman: ") && line.contains(says), "{key} {value}: {said}");
        assert!(!said.contains("short-4711"), "{said}");
    }
}
