//! Tests of refused tokens, and of their log lines.

use reqwest::{Method, StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};

use super::{
    REFUSED, assert_refused, holder,
    making::{EC, Key, OTHER_RSA, RSA, RSA_PUBLIC, SECRET, assemble, claims, in_seconds, sign},
    text, uid,
};
use crate::{
    support::{Answer, Backend, JOHN, Server, until},
    with_every_backend,
};

const ALGORITHM_NONE: &str = "algorithm none";
const BAD_SIGNATURE: &str = "invalid signature";
const MALFORMED: &str = "malformed";
const NOBODY: &str = "unknown user";
const OTHER_AUDIENCE: &str = "wrong audience";
const OTHER_ISSUER: &str = "wrong issuer";
const WRONG_TYPE: &str = "not an access token";

async fn strict(backend: Backend) -> Server {
    let server = Server::builder(backend).set("TOKENS__SECRET", SECRET).set("TOKENS__PUBLIC_KEY", RSA_PUBLIC);
    server.set("TOKENS__ISSUER", "https://auth.example").set("TOKENS__AUDIENCE", "chat").start().await
}

fn secret(changes: Value) -> String {
    sign(Key::Secret(SECRET), None, &claims(changes))
}

fn refused() -> Vec<(&'static str, String, &'static str)> {
    let good = claims(json!({}));
    let (header, signature) = (json!({"alg": "HS256"}), "c2lnbmF0dXJl");
    let whole = secret(json!({}));
    let [first, second, third] = whole.split('.').collect::<Vec<_>>()[..] else { panic!("three parts: {whole}") };
    let other = secret(json!({"user_id": 2}));
    vec![
        ("garbage", "garbage".into(), MALFORMED),
        ("dots", "..".into(), MALFORMED),
        ("two parts", format!("{first}.{second}"), MALFORMED),
        ("four parts", format!("{whole}.{third}"), MALFORMED),
        ("no signature", format!("{first}.{second}."), BAD_SIGNATURE),
        ("the signature of another", format!("{}.{third}", other.rsplit_once('.').unwrap().0), BAD_SIGNATURE),
        ("claims that are no object", sign(Key::Secret(SECRET), None, &json!([1])), MALFORMED),
        ("a header that is no object", assemble(&json!([]), &good, signature), MALFORMED),
        ("an algorithm that is no text", assemble(&json!({"alg": 1}), &good, signature), MALFORMED),
        ("unknown extensions", assemble(&json!({"alg": "HS256", "crit": ["b64"]}), &good, signature), MALFORMED),
        ("a huge one", format!("{first}.{}.{third}", "A".repeat(20_000)), MALFORMED),
        ("alg none", assemble(&json!({"alg": "none"}), &good, ""), ALGORITHM_NONE),
        ("alg nOnE", assemble(&json!({"alg": "nOnE"}), &good, signature), ALGORITHM_NONE),
        ("alg HS384", assemble(&json!({"alg": "HS384"}), &good, signature), "unknown algorithm"),
        ("alg of the future", assemble(&json!({"alg": "XS1024"}), &good, signature), "unknown algorithm"),
        ("a guessed signature", assemble(&header, &good, signature), BAD_SIGNATURE),
        ("another secret", sign(Key::Secret("another secret that is as long as this one"), None, &good), BAD_SIGNATURE),
        ("the public key as the secret", sign(Key::Secret(RSA_PUBLIC), None, &good), BAD_SIGNATURE),
        ("another RSA key", sign(Key::Rsa(OTHER_RSA), None, &good), BAD_SIGNATURE),
        ("a kind of key that is not configured", sign(Key::Ec(EC), None, &good), "no key for its algorithm"),
        ("expired", secret(json!({"exp": in_seconds(-35)})), "expired"),
        ("expired long ago", secret(json!({"exp": 0})), "expired"),
        ("without an end", secret(json!({"exp": null})), MALFORMED),
        ("an end that is no number", secret(json!({"exp": "tomorrow"})), MALFORMED),
        ("an end before all times", secret(json!({"exp": -1e300})), MALFORMED),
        ("not yet valid", secret(json!({"nbf": in_seconds(90)})), "not valid yet"),
        ("a beginning that is no number", secret(json!({"nbf": []})), MALFORMED),
        ("without an issuer", secret(json!({"iss": null})), OTHER_ISSUER),
        ("another issuer", secret(json!({"iss": "https://evil.example"})), OTHER_ISSUER),
        ("several issuers", secret(json!({"iss": ["https://auth.example"]})), OTHER_ISSUER),
        ("without an audience", secret(json!({"aud": null})), OTHER_AUDIENCE),
        ("another audience", secret(json!({"aud": "mail"})), OTHER_AUDIENCE),
        ("other audiences", secret(json!({"aud": ["mail", "calendar"]})), OTHER_AUDIENCE),
        ("a refresh token", secret(json!({"token_type": "refresh"})), WRONG_TYPE),
        ("a token without a type", secret(json!({"token_type": null})), WRONG_TYPE),
        ("without a user", secret(json!({"user_id": null})), NOBODY),
        ("an unknown user", secret(json!({"user_id": 987_654})), NOBODY),
        ("a user beyond all numbers", secret(json!({"user_id": 1e300})), NOBODY),
        ("a user by login", secret(json!({"user_id": JOHN})), NOBODY),
        ("a family of ours that never was", secret(json!({"dragoman_family": uuid::Uuid::nil()})), "revoked, or never issued"),
        ("a family that is none", secret(json!({"dragoman_family": "Smith"})), MALFORMED),
    ]
}

/// User claim in the log, literally, if it matches no user: an administrator needs the service's ids.
#[tokio::test]
async fn the_log_has_the_claim_that_names_nobody() {
    let mut server = Server::builder(Backend::memory()).set("TOKENS__SECRET", SECRET).start().await;
    for (claim, value) in [
        ("null", "null"),
        ("true", "true"),
        ("4.0", "4.0"),
        ("1e3", "1e3"),
        ("[4]", "[4]"),
        (r#""""#, r#""""#),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775809", "-9223372036854775809"),
        (r#""nobody""#, "nobody"),
    ] {
        let claims = format!(r#"{{"token_type":"access","exp":{},"user_id":{claim}}}"#, in_seconds(60));
        let raw: Box<serde_json::value::RawValue> = serde_json::from_str(&claims).unwrap();
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &raw, &key).unwrap();
        assert_refused(&server, claim, &token, NOBODY).await;
        let log = server.log();
        let line = log.lines().rev().find(|line| line.contains("access token refused")).expect("it is there");
        assert!(line.contains("claim=\"user_id\"") && line.contains(&format!("value={value:?}")), "{claim}: {line}");
    }
    server.stop().await;
}

/// External id with more digits than 64 bits hold.
#[tokio::test]
async fn an_external_id_may_be_a_number_of_any_length() {
    const ID: &str = "184467440737095516170000000000000000001";
    let backend = Backend::postgres().await;
    let mut server = Server::builder(backend.clone()).set("TOKENS__SECRET", SECRET).start().await;
    backend.administer(&["user", "add", "anne@example.com", "--name", "Anne"], "a password\n").await;
    backend.administer(&["user", "edit", "anne@example.com", "--external-id", ID], "").await;
    let claims = format!(r#"{{"token_type":"access","exp":{},"user_id":{ID}}}"#, in_seconds(60));
    let raw: Box<serde_json::value::RawValue> = serde_json::from_str(&claims).unwrap();
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &raw, &key).unwrap();
    assert_eq!(holder(&server, &token).await.json()["login"], "anne@example.com");
    server.stop().await;
}

with_every_backend! {
    /// Refusals: one answer for all causes, and a log line with the cause.
    async fn what_is_wrong_with_a_token_is_for_the_log_alone(backend) {
        let mut server = strict(backend.clone()).await;
        for (what, token, reason) in refused() {
            assert_refused(&server, what, &token, reason).await;
        }
        let pair = server.client().post("/auth/token", &json!({"login": JOHN, "password": "123456"})).await.json();
        let [access, refresh] = ["access", "refresh"].map(|member| text(&pair, member));
        assert_eq!(uid(&server, &access).await, 4);
        assert_refused(&server, "our own refresh token", &refresh, MALFORMED).await;
        if backend.is_durable() {
            let foreign = secret(json!({}));
            assert_eq!(uid(&server, &foreign).await, 4);
            backend.administer(&["user", "deactivate", JOHN], "").await;
            until("the end of a deactivated user's tokens", async || {
                let answer = holder(&server, &foreign).await;
                (answer.status == StatusCode::UNAUTHORIZED).then_some(())
            })
            .await;
            assert_refused(&server, "a deactivated user", &foreign, "user deactivated").await;
            assert_refused(&server, "a deactivated user's own", &access, "revoked, or never issued").await;
        }
        server.stop().await;
    }

    /// Accepted variants: clock skew, one audience of several, a uid as a string.
    async fn what_is_right_with_a_token_is_enough(backend) {
        let mut server = strict(backend).await;
        for (what, token) in [
            ("a good one", secret(json!({}))),
            ("with the public key's private one", sign(Key::Rsa(RSA), None, &claims(json!({})))),
            ("with a key id that means nothing here", sign(Key::Rsa(RSA), Some("7"), &claims(json!({})))),
            ("expired just now", secret(json!({"exp": in_seconds(-20)}))),
            ("valid in a moment", secret(json!({"nbf": in_seconds(20)}))),
            ("an end with a fraction", secret(json!({"exp": 4_102_444_800.5}))),
            ("an end beyond all times", secret(json!({"exp": 1e300}))),
            ("one audience of several", secret(json!({"aud": ["mail", "chat"]}))),
            ("a uid as a text", secret(json!({"user_id": "4"}))),
        ] {
            assert_eq!(uid(&server, &token).await, 4, "{what}");
        }
        let endless = holder(&server, &secret(json!({"exp": 1e300}))).await.json();
        assert_eq!(endless["expires_at"], "9999-12-31T23:59:59+00:00", "as clients can read it");
        server.stop().await;
    }

    /// Session cookie: used without a token, and with another authorization scheme.
    async fn without_a_token_there_is_the_session(backend) {
        let mut server = strict(backend).await;
        let token = secret(json!({}));
        let asked = |client: crate::support::Client, authorization: Option<String>| async move {
            let request = client.request(Method::GET, "/auth/token");
            let request = match authorization {
                Some(value) => request.header(AUTHORIZATION, value),
                None => request,
            };
            Answer::of(request).await
        };
        for given in [None, Some("Basic am9objoxMjM0NTY=".into()), Some("Bearer".into()), Some(String::new())] {
            let answer = asked(server.client(), given).await;
            assert_eq!((answer.status, answer.body.as_str()), (StatusCode::UNAUTHORIZED, REFUSED));
        }
        for given in [format!("bearer {token}"), format!("BEARER  {token} ")] {
            assert_eq!(asked(server.client(), Some(given)).await.json()["uid"], 4);
        }
        let admin = server.log_in(crate::support::ADMIN).await;
        let answer = asked(admin.clone(), None).await.json();
        assert_eq!((&answer["uid"], &answer["expires_at"]), (&json!(2), &Value::Null));
        assert_eq!(asked(admin.clone(), Some(format!("Bearer {token}"))).await.json()["uid"], 4, "a token counts first");
        let answer = asked(admin, Some("Bearer garbage".into())).await;
        assert_eq!(answer.json()["uid"], 2, "a bad one takes nothing from the session");
        server.stop().await;
    }
}
