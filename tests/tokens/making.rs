//! Tokens of an external authentication service.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};

pub const SECRET: &str = "a secret that both know, and nobody else";
pub const RSA: &str = include_str!("keys/rsa.pem");
pub const RSA_PUBLIC: &str = include_str!("keys/rsa.pub.pem");
pub const OTHER_RSA: &str = include_str!("keys/other-rsa.pem");
pub const EC: &str = include_str!("keys/ec.pem");
pub const EC_PUBLIC: &str = include_str!("keys/ec.pub.pem");
pub const OTHER_EC: &str = include_str!("keys/other-ec.pem");

/// Signing key of a token.
#[derive(Clone, Copy)]
pub enum Key {
    Secret(&'static str),
    Rsa(&'static str),
    Ec(&'static str),
}

impl Key {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Secret(_) => Algorithm::HS256,
            Self::Rsa(_) => Algorithm::RS256,
            Self::Ec(_) => Algorithm::ES256,
        }
    }

    fn encoding(self) -> EncodingKey {
        match self {
            Self::Secret(secret) => EncodingKey::from_secret(secret.as_bytes()),
            Self::Rsa(pem) => EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
            Self::Ec(pem) => EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(),
        }
    }

    /// This key as a JWK.
    pub fn published(self, id: &str) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.encoding(), self.algorithm()).unwrap();
        jwk.common.key_id = Some(id.to_owned());
        serde_json::to_value(jwk).unwrap()
    }
}

/// Unix time in so many seconds.
pub fn in_seconds(seconds: i64) -> i64 {
    Utc::now().timestamp() + seconds
}

/// Claims of an access token for John as simplejwt makes it, with some replaced; null removes one.
pub fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "token_type": "access", "exp": in_seconds(300), "iat": in_seconds(0), "jti": "61c1dd4bd1c34b3daf2ab85dcd40ba04", "user_id": 4,
        "iss": "https://auth.example", "aud": "chat",
    });
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        members.remove(name);
        if !value.is_null() {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

pub fn sign(key: Key, id: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(key.algorithm()) };
    jsonwebtoken::encode(&header, claims, &key.encoding()).unwrap()
}

/// A token with any header and signature.
pub fn assemble(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}
