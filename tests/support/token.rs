//! Access tokens of an external authentication service.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{Backend, Server, server::ServerBuilder};

/// Secret of the tokens that servers under test verify.
const SECRET: &str = "an authentication service's secret, known to this server";

/// An access token as Django's simplejwt makes it, valid for an hour.
pub fn token(uid: i64) -> String {
    token_until(uid, 3_600)
}

/// A token that expires in so many seconds. Servers add a leeway of half a minute.
pub fn token_until(uid: i64, seconds: i64) -> String {
    signed(&json!({"token_type": "access", "exp": now() + seconds, "user_id": uid}))
}

/// A token without a signature.
pub fn unsigned_token(uid: i64) -> String {
    // The header `{"alg":"none","typ":"JWT"}`.
    let signed = token(uid);
    let claims = signed.split('.').nth(1).expect("a token has three parts");
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}

fn signed(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("claims can be signed")
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(since.as_secs()).expect("and not that much later")
}

impl ServerBuilder {
    /// Sets the secret of the tokens that tests make.
    pub fn with_tokens(self) -> Self {
        self.set("TOKENS__SECRET", SECRET)
    }
}

impl Server {
    /// Starts a server with the demo data that verifies the tokens that tests make.
    pub async fn with_tokens(backend: Backend) -> Self {
        Self::builder(backend).with_tokens().start().await
    }

    /// URL of a socket.
    pub fn socket_url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address())
    }
}
