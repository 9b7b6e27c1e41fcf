//! Bearer tokens: JSON Web Tokens that this server or another authentication service has issued.

mod claims;
mod issue;
mod jwks;
mod keys;
mod revoke;

use std::time::Duration;

use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use storage::{Storage, Timestamp, User};
use uuid::Uuid;

pub use issue::{IssuedTokens, Token};
pub use revoke::Revocation;

use super::{
    Auth, Caller, Error, Result,
    revocation::Credential,
    subject::{Subject, SubjectKind},
};
use crate::{
    clock,
    lifecycle::Lifecycle,
    weighed::{self, Weighed, WeighedCache},
};
use claims::Claims;
use keys::{Header, Keys};

/// Capacity of the cache of callers by token: a request costs no query for its token.
const REMEMBERED: usize = 100_000;
/// Capacity of the same cache in bytes.
const REMEMBERED_BYTES: u64 = 64 * 1024 * 1024;
/// Allowed clock skew.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);

/// Settings for verifying and issuing tokens. An empty text is a setting that is not set.
#[derive(Clone)]
pub struct TokenRules {
    /// HS256 secret for verifying and issuing tokens.
    pub secret: String,
    /// Key for RS256 or ES256: PEM, or the name of a file that holds it.
    pub public_key: String,
    /// JWKS for RS256 and ES256: a file name or a URL.
    pub jwks: String,
    /// Minimum time between two loads of the JWKS.
    pub jwks_pause: Duration,
    pub issuer: String,
    pub audience: String,
    /// Claim that names the user.
    pub user_claim: String,
    pub subject_kind: SubjectKind,
    /// Claim that marks access tokens.
    pub type_claim: String,
    pub type_value: String,
    pub access_lifetime: Duration,
    pub refresh_lifetime: Duration,
    /// Grace period after the first use of a refresh token, for a client that has lost the response.
    pub refresh_grace: Duration,
    /// Token families of one user; with one more, the least recently renewed ends. 0 for no limit.
    pub families: usize,
}

/// Reason for refusing a token: for the log only; the holder learns no more than the refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("missing")]
    Missing,
    #[error("malformed")]
    Malformed,
    #[error("algorithm none")]
    AlgorithmNone,
    #[error("unknown algorithm")]
    UnknownAlgorithm,
    #[error("no key for its algorithm")]
    NoKey,
    #[error("unknown key")]
    UnknownKey,
    #[error("invalid signature")]
    BadSignature,
    #[error("not an access token")]
    WrongType,
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYetValid,
    #[error("wrong issuer")]
    WrongIssuer,
    #[error("wrong audience")]
    WrongAudience,
    #[error("unknown user")]
    UnknownUser,
    #[error("user deactivated")]
    InactiveUser,
    #[error("used before: token family revoked")]
    UsedAgain,
    #[error("used too often within its grace period")]
    UsedUp,
    #[error("revoked, or never issued")]
    Revoked,
}

/// Verifier and issuer of tokens.
pub struct Tokens {
    rules: TokenRules,
    keys: Keys,
    /// Cache of callers, by digest of the credential, which may be of any length.
    cache: WeighedCache<[u8; 32], Caller>,
}

impl Tokens {
    /// Reads the keys. The error is one line that names the setting.
    pub fn open(rules: TokenRules, lifecycle: &Lifecycle) -> Result<Self, String> {
        let keys = Keys::open(&rules, lifecycle)?;
        Ok(Self { rules, keys, cache: weighed::cache(REMEMBERED, REMEMBERED_BYTES) })
    }

    /// True if a key is set, so that tokens can be verified.
    pub fn is_configured(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Family of a token that this server's secret has signed, be the token expired or not.
    async fn family(&self, token: &str) -> Result<Option<Uuid>> {
        let header = Header::of(token)?;
        let claims = self.keys.verify(token, &header).await?;
        Ok(claims::family(&claims, header.is_secret())?)
    }

    async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims> {
        let header = Header::of(token)?;
        let claims = self.keys.verify(token, &header).await?;
        Ok(Claims::read(&claims, header.is_secret(), &self.rules, now)?)
    }
}

impl Auth {
    /// True if tokens can be verified; otherwise every token fails with [`Error::NotConfigured`].
    pub fn takes_tokens(&self) -> bool {
        self.0.tokens.is_configured()
    }

    /// The caller of a token. Logs the reason for each refusal.
    ///
    /// # Errors
    /// [`Error::InvalidToken`] for an invalid token, [`Error::NotConfigured`] without any key, [`Error::Unavailable`] also while the
    /// JWKS could never be loaded.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind; a key that is being fetched still arrives for others.
    pub async fn bearer(&self, token: &str) -> Result<Caller> {
        if !self.takes_tokens() {
            return Err(Error::NotConfigured("tokens.secret"));
        }
        let mut named = None;
        let outcome = self.token_caller(token, &mut named).await;
        if let Err(Error::InvalidToken(why)) = &outcome {
            match named {
                Some(Credential::Token(subject)) => {
                    let (claim, value) = (&self.0.tokens.rules.user_claim, subject.excerpt());
                    tracing::info!(claim, value, "access token refused: {why}");
                }
                _ => tracing::info!("access token refused: {why}"),
            }
        }
        outcome
    }

    /// As [`Auth::bearer`]. Sets `named` to the token's credential once it is verified.
    async fn token_caller(&self, token: &str, named: &mut Option<Credential>) -> Result<Caller> {
        let tokens = &self.0.tokens;
        let Claims { grant, expires_at } = tokens.verify(token, clock::now()).await?;
        let grant: &Credential = named.insert(grant);
        let key = Sha256::digest(format!("{grant:?}")).into();
        let with = |caller| Caller { expires_at: Some(expires_at), cursor: grant.cursor(token), ..caller };
        let is_fresh = |caller: &Caller| !caller.ended.is_cancelled() && caller.epoch == self.0.revocations.epoch();
        if let Some(caller) = tokens.cache.get(&key).map(|caller| caller.value).filter(is_fresh) {
            return Ok(with(caller));
        }
        let read = || async { Ok((0, self.stored_user(grant).await?, None)) };
        let (_, caller, _) = self.admit(std::slice::from_ref(grant), read).await?;
        tokens.cache.insert(key, Weighed::new(caller.clone(), caller.texts()));
        Ok(with(caller))
    }

    /// The user of a credential as the store has it now.
    pub(super) async fn stored_user(&self, grant: &Credential) -> Result<User> {
        let storage: &dyn Storage = self.0.storage.as_ref();
        let user = match grant {
            Credential::Session(_) => None,
            Credential::Family(family) => Some(storage.user_of_family(*family).await?.ok_or(TokenError::Revoked)?),
            Credential::Token(Subject::ExternalId(id)) => storage.user_by_external_id(id).await?,
            Credential::Token(Subject::Uid(id)) => storage.user(*id).await?,
            Credential::Token(Subject::Uuid(uuid)) => storage.user_by_uuid(*uuid).await?,
            Credential::Token(Subject::Login(login)) => storage.user_by_login(login).await?,
            Credential::Token(Subject::Unmatched(_)) => None,
        };
        let user = user.ok_or(TokenError::UnknownUser)?;
        if user.active { Ok(user) } else { Err(TokenError::InactiveUser.into()) }
    }
}
