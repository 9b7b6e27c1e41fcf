//! Tests of access and refresh tokens: acceptance, refusal, renewal and revocation.

mod every_dialect;
mod grace;
mod jwks;
mod making;
mod refusals;
mod renewal;
mod revocation;
mod settings;
mod simplejwt;

pub(crate) use renewal::claims;
use reqwest::{Method, StatusCode, header::AUTHORIZATION};
use serde_json::Value;

use crate::support::{Answer, Server};

/// The whole answer to any refused token, whatever the reason.
const REFUSED: &str = r#"{"message":"Not logged in, or no longer."}"#;

/// Requests the holder of a token.
async fn holder(server: &Server, token: &str) -> Answer {
    Answer::of(server.client().request(Method::GET, "/auth/token").header(AUTHORIZATION, format!("Bearer {token}"))).await
}

/// The uid of an accepted token's holder.
async fn uid(server: &Server, token: &str) -> i64 {
    let answer = holder(server, token).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}: {}", server.log());
    answer.json()["uid"].as_i64().expect("a uid is a number")
}

/// Checks that a token is refused, with one log line for the reason and for an unknown user's name in the token.
async fn assert_refused(server: &Server, what: &str, token: &str, reason: &str) {
    let before = server.log().lines().count();
    let answer = holder(server, token).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::UNAUTHORIZED, REFUSED), "{what}");
    assert_eq!(answer.headers["www-authenticate"], "Bearer", "{what}");
    let log = server.log();
    let said = log.lines().skip(before).filter(|line| line.contains("access token refused")).collect::<Vec<_>>();
    let reason = format!("access token refused: {reason}");
    assert!(matches!(said.as_slice(), [line] if line.contains(&reason)), "{what}: {said:?}");
}

/// Text of a member of an answer.
fn text(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap_or_else(|| panic!("no {member} in {answer}")).to_owned()
}
