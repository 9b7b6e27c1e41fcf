//! JWKS (RFC 7517): the public keys of another authentication service, from a file or a URL.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use parking_lot::RwLock;
use reqwest::{Method, Request};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use crate::{
    auth::{Error, Result},
    error::chain,
    lifecycle::Lifecycle,
    outgoing::{Outgoing, OutgoingLimits, Reach},
};

/// Limits of a download. No key set is nearly as large.
const LIMITS: OutgoingLimits = OutgoingLimits { time: Duration::from_secs(5), answer_bytes: 1024 * 1024 };

type LoadError = Box<dyn std::error::Error + Send + Sync>;

/// Cache of public keys. Clones share it.
///
/// A token with an unknown key triggers a load, so that the service can rotate its keys; at most one load per `pause`, so that
/// tokens with invented keys do not flood the service. If a load fails, the former keys stay.
#[derive(Clone)]
pub(super) struct Jwks(Arc<JwksParts>);

struct JwksParts {
    source: Source,
    pause: Duration,
    /// `None` before the first successful load.
    keys: RwLock<Option<Vec<JwksKey>>>,
    /// Lock of the load, with the time of the last one.
    turn: Arc<Mutex<Option<Instant>>>,
    lifecycle: Lifecycle,
}

enum Source {
    File(PathBuf),
    Url(Url, Outgoing),
}

struct JwksKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

impl Jwks {
    /// Reads keys of a file now; those of a URL are loaded for the first token.
    pub(super) fn open(address: &str, pause: Duration, lifecycle: &Lifecycle) -> Result<Self, LoadError> {
        let (source, known) = if address.starts_with("http://") || address.starts_with("https://") {
            let (url, outgoing) = (Url::parse(address)?, Outgoing::new(Reach::Internal, LIMITS)?);
            outgoing.check(&url)?;
            (Source::Url(url, outgoing), None)
        } else {
            let text = fs::read(address).map_err(|error| format!("{address}: {error}"))?;
            (Source::File(address.into()), Some(keys(&text).map_err(|error| format!("{address}: {error}"))?))
        };
        let (known, turn) = (RwLock::new(known), Arc::default());
        Ok(Self(Arc::new(JwksParts { source, pause, keys: known, turn, lifecycle: lifecycle.clone() })))
    }

    /// Candidate keys for a token: the key with this id, or, without an id, all keys of the algorithm.
    pub(super) async fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> Result<Vec<DecodingKey>> {
        let found = self.known(algorithm, id);
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            return Ok(found);
        }
        self.load().await;
        self.known(algorithm, id).ok_or_else(|| Error::Unavailable(Arc::from(LoadError::from("tokens.jwks not loaded yet"))))
    }

    fn known(&self, algorithm: Algorithm, id: Option<&str>) -> Option<Vec<DecodingKey>> {
        let known = self.0.keys.read();
        let fits = |known: &&JwksKey| known.algorithm == algorithm && (id.is_none() || known.id.as_deref() == id);
        Some(known.as_ref()?.iter().filter(fits).map(|known| known.key.clone()).collect())
    }

    /// Loads the keys, unless another caller has done so since this call, or within the last `pause`. The load continues if this
    /// caller is cancelled, since others wait for it.
    async fn load(&self) {
        let asked = Instant::now();
        let mut turn = Arc::clone(&self.0.turn).lock_owned().await;
        if turn.is_some_and(|last| last + self.0.pause > asked) {
            return;
        }
        let this = self.clone();
        self.0.lifecycle.spawn(async move {
            match this.0.source.read().await {
                Ok(keys) => {
                    tracing::info!(keys = keys.len(), "tokens.jwks loaded");
                    *this.0.keys.write() = Some(keys);
                }
                Err(error) => tracing::warn!(error = %chain(error.as_ref()), "tokens.jwks not loaded"),
            }
            *turn = Some(Instant::now());
        });
        drop(self.0.turn.lock().await);
    }
}

impl Source {
    async fn read(&self) -> Result<Vec<JwksKey>, LoadError> {
        match self {
            Self::File(path) => keys(&tokio::fs::read(path).await?),
            Self::Url(url, outgoing) => {
                let answer = outgoing.send(Request::new(Method::GET, url.clone())).await?;
                let status = answer.status();
                if !status.is_success() {
                    let hint = if status.is_redirection() { ", and redirects are not followed" } else { "" };
                    return Err(format!("its server answers {status}{hint}").into());
                }
                keys(answer.body())
            }
        }
    }
}

/// The usable keys of a key set; ignores the others.
fn keys(text: &[u8]) -> Result<Vec<JwksKey>, LoadError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(text)?;
    Ok(set.keys.into_iter().filter_map(|key| JwksKey::of(&serde_json::from_value(key).ok()?)).collect())
}

impl JwksKey {
    /// Parses a key. Symmetric keys are ignored: a published one would let everybody sign.
    fn of(jwk: &Jwk) -> Option<Self> {
        let (algorithm, its_name) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            _ => return None,
        };
        let is_for_it = jwk.common.key_algorithm.is_none_or(|name| name == its_name)
            && jwk.common.public_key_use.as_ref().is_none_or(|purpose| *purpose == PublicKeyUse::Signature);
        let key = DecodingKey::from_jwk(jwk).ok().filter(|_| is_for_it)?;
        Some(Self { id: jwk.common.key_id.clone(), algorithm, key })
    }
}
