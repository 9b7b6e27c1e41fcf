use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{Backend, Server, server::ServerBuilder};

/// With which servers under test verify tokens, if they are started so.
const SECRET: &str = "an authentication service's secret, known to this server";

/// A token of an authentication service, as Django's makes them, that lets a user in for a while.
pub fn token(uid: i64) -> String {
    token_until(uid, 3_600)
}

/// One that runs out so many seconds from now. Servers give half a minute on top.
pub fn token_until(uid: i64, seconds: i64) -> String {
    signed(&json!({"token_type": "access", "exp": now() + seconds, "user_id": uid}))
}

/// One without any signature.
pub fn unsigned_token(uid: i64) -> String {
    // {"alg":"none","typ":"JWT"}
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
    /// Verifies the tokens that tests make.
    pub fn with_tokens(self) -> Self {
        self.set("TOKENS__SECRET", SECRET)
    }
}

impl Server {
    /// A server with the demo data, which verifies the tokens that tests make.
    pub async fn with_tokens(backend: Backend) -> Self {
        Self::builder(backend).with_tokens().start().await
    }

    /// The address of a socket.
    pub fn socket_url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address())
    }
}
