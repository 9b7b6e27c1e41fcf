//! Signature verification (JWS, RFC 7515) with HS256, RS256 and ES256; each key serves the algorithms of its own kind only.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, errors::ErrorKind};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{Token, TokenError, TokenRules, jwks::Jwks};
use crate::{
    auth::{Error, Result, internal},
    error::chain,
    lifecycle::Lifecycle,
};

/// Maximum length of a token.
const LONGEST_BYTES: usize = 16 * 1024;
/// Minimum length of an HS256 secret (RFC 7518).
const SECRET_BYTES: usize = 32;
const PEM: &str = "-----BEGIN ";

/// Claims of a token in their original spelling: numbers may have more digits than any type here.
pub(super) type RawClaims = HashMap<String, Box<RawValue>>;

/// JOSE header: read before the signature is verified, and trusted only for the choice of the key.
pub(super) struct Header {
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl Header {
    pub(super) fn of(token: &str) -> Result<Self, TokenError> {
        #[derive(Deserialize)]
        struct JoseHeader {
            alg: String,
            kid: Option<String>,
            /// Extensions that the reader must understand. This one supports none.
            crit: Option<Value>,
        }
        let (header, _) = token.split_once('.').filter(|_| token.len() <= LONGEST_BYTES).ok_or(TokenError::Malformed)?;
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
        let JoseHeader { alg, kid, crit } = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
        if crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let algorithm = match alg.as_str() {
            "HS256" => Algorithm::HS256,
            "RS256" => Algorithm::RS256,
            "ES256" => Algorithm::ES256,
            other if other.eq_ignore_ascii_case("none") => return Err(TokenError::AlgorithmNone),
            _ => return Err(TokenError::UnknownAlgorithm),
        };
        Ok(Self { algorithm, key_id: kid })
    }

    /// True if the header claims HS256, the algorithm of the secret.
    pub(super) fn is_secret(&self) -> bool {
        self.algorithm == Algorithm::HS256
    }
}

/// Keys that may sign a token. Each serves the algorithms of its own kind only: otherwise anybody with a public key could sign
/// with it as an HS256 secret.
pub(super) struct Keys {
    secret: Option<(EncodingKey, DecodingKey)>,
    public: Option<DecodingKey>,
    jwks: Option<Jwks>,
}

impl Keys {
    /// Reads the keys of the settings. The error is one line that names the setting.
    pub(super) fn open(rules: &TokenRules, lifecycle: &Lifecycle) -> Result<Self, String> {
        let secret = match rules.secret.as_str() {
            "" => None,
            pem if pem.contains(PEM) => {
                return Err("tokens.secret must not be a PEM key: one belongs in tokens.public_key".into());
            }
            short if short.len() < SECRET_BYTES => {
                return Err(format!("tokens.secret must have {SECRET_BYTES} bytes or more"));
            }
            secret => Some((EncodingKey::from_secret(secret.as_bytes()), DecodingKey::from_secret(secret.as_bytes()))),
        };
        let public = match rules.public_key.as_str() {
            "" => None,
            given => Some(public_key(given).map_err(|error| format!("tokens.public_key: {error}"))?),
        };
        let jwks = match rules.jwks.as_str() {
            "" => None,
            address => {
                let jwks = Jwks::open(address, rules.jwks_pause, lifecycle);
                Some(jwks.map_err(|error| format!("tokens.jwks: {}", chain(error.as_ref())))?)
            }
        };
        Ok(Self { secret, public, jwks })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.secret.is_none() && self.public.is_none() && self.jwks.is_none()
    }

    pub(super) fn can_sign(&self) -> bool {
        self.secret.is_some()
    }

    /// Signs a token of this server.
    pub(super) fn sign(&self, claims: &Map<String, Value>) -> Result<Token> {
        let (key, _) = self.secret.as_ref().ok_or(Error::NotConfigured("tokens.secret"))?;
        let header = jsonwebtoken::Header::new(Algorithm::HS256);
        jsonwebtoken::encode(&header, claims, key).map(Token::new).map_err(internal)
    }

    /// Verifies the signature with any of the keys, and returns the claims.
    pub(super) async fn verify(&self, token: &str, header: &Header) -> Result<RawClaims> {
        let own = self.configured_key(header);
        // The configured keys first: a failing JWKS service is no reason to refuse a token that they verify.
        if let Some(claims) = signed_by(own, token, header)? {
            return Ok(claims);
        }
        let jwks = self.jwks.as_ref().filter(|_| !header.is_secret());
        let published = match jwks {
            Some(jwks) => jwks.candidates(header.algorithm, header.key_id.as_deref()).await?,
            None => Vec::new(),
        };
        if let Some(claims) = signed_by(&published, token, header)? {
            return Ok(claims);
        }
        Err(match (own.is_none() && published.is_empty(), jwks) {
            (false, _) => TokenError::BadSignature.into(),
            (true, Some(_)) => TokenError::UnknownKey.into(),
            (true, None) => TokenError::NoKey.into(),
        })
    }

    /// The configured key for the algorithm of this header.
    fn configured_key(&self, header: &Header) -> Option<&DecodingKey> {
        match header.is_secret() {
            true => self.secret.as_ref().map(|(_, key)| key),
            false => self.public.as_ref().filter(|key| key.family() == header.algorithm.family()),
        }
    }
}

/// The claims, if one of these keys has signed the token.
fn signed_by<'a>(
    keys: impl IntoIterator<Item = &'a DecodingKey>,
    token: &str,
    header: &Header,
) -> Result<Option<RawClaims>, TokenError> {
    for key in keys {
        match claims(token, key, header.algorithm) {
            Err(TokenError::BadSignature) => {}
            outcome => return outcome.map(Some),
        }
    }
    Ok(None)
}

/// Verifies only the signature; `Claims::read` validates the claims by this program's clock.
fn claims(token: &str, key: &DecodingKey, algorithm: Algorithm) -> Result<RawClaims, TokenError> {
    let mut signature_only = Validation::new(algorithm);
    signature_only.required_spec_claims = HashSet::new();
    signature_only.validate_exp = false;
    signature_only.validate_aud = false;
    match jsonwebtoken::decode(token, key, &signature_only) {
        Ok(decoded) => Ok(decoded.claims),
        Err(error) => Err(match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidRsaKey(_) | ErrorKind::InvalidEcdsaKey => TokenError::BadSignature,
            _ => TokenError::Malformed,
        }),
    }
}

/// Parses a public key: PEM, or the name of a file that holds it. In an environment variable, `\n` may stand for a line break.
fn public_key(given: &str) -> Result<DecodingKey, String> {
    let pem = match given.contains(PEM) {
        true => given.replace("\\n", "\n"),
        false => fs::read_to_string(given).map_err(|error| format!("{given}: {error}"))?,
    };
    if !pem.contains("PUBLIC KEY-----") {
        return Err("must be a public key in PEM".into());
    }
    let keys = [DecodingKey::from_rsa_pem(pem.as_bytes()), DecodingKey::from_ec_pem(pem.as_bytes())];
    keys.into_iter().find_map(Result::ok).ok_or_else(|| "must be a public key for RS256 or ES256 in PEM".into())
}
