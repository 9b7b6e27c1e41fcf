//! Bearer tokens: JSON Web Tokens made here, or by somebody else's authentication service.

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

pub use claims::Names;
pub(super) use claims::Subject;
pub use issue::{Issued, Token};
pub use revoke::Revocation;

use super::{Auth, Caller, Error, Result, lives::Grant};
use crate::{
    clock,
    lifecycle::Lifecycle,
    weighed::{self, Weighed, WeighedCache},
};
use claims::Claims;
use keys::{Header, Keys};

/// How many callers a node remembers, so that a request costs no query for its token.
const REMEMBERED: usize = 100_000;
/// The same in bytes.
const REMEMBERED_BYTES: u64 = 64 * 1024 * 1024;
/// How far clocks may differ.
const LEEWAY: TimeDelta = TimeDelta::seconds(30);

/// How tokens are verified and made. A text that is empty is a setting that is not set.
#[derive(Clone)]
pub struct TokenRules {
    /// HS256, for verifying and for making tokens.
    pub secret: String,
    /// RS256 or ES256: PEM, or the name of a file that holds it.
    pub public_key: String,
    /// RS256 and ES256: a JWKS, by the name of its file or by its URL.
    pub jwks: String,
    /// How long it is not loaded again.
    pub jwks_pause: Duration,
    pub issuer: String,
    pub audience: String,
    /// The claim that names the user, and what of the user it names.
    pub user_claim: String,
    pub names: Names,
    /// The claim that tells access tokens from others, and what it holds in them.
    pub type_claim: String,
    pub type_value: String,
    pub access_lifetime: Duration,
    pub refresh_lifetime: Duration,
    /// How long after its first use a refresh token gives new tokens, for a client that has lost the answer.
    pub refresh_grace: Duration,
    /// Families of one user; with one more the longest unrenewed ends. 0 for no limit.
    pub families: usize,
}

/// Why a token is refused: for the log, since all that its holder learns is that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is none")]
    Missing,
    #[error("it is not a token")]
    Malformed,
    #[error("its algorithm is none")]
    AlgorithmNone,
    #[error("its algorithm is unknown")]
    UnknownAlgorithm,
    #[error("no key is configured for its algorithm")]
    NoKey,
    #[error("its key is unknown")]
    UnknownKey,
    #[error("its signature is wrong")]
    BadSignature,
    #[error("it is not an access token")]
    WrongType,
    #[error("it has expired")]
    Expired,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("its issuer is another")]
    WrongIssuer,
    #[error("it is for another audience")]
    WrongAudience,
    #[error("it names nobody")]
    UnknownUser,
    #[error("its user is deactivated")]
    InactiveUser,
    #[error("it was used before: all of its login's tokens are revoked")]
    UsedAgain,
    #[error("it was used too often within its grace window")]
    UsedUp,
    #[error("it was revoked, or never made")]
    Revoked,
}

/// What verifies tokens and makes them.
pub struct Tokens {
    rules: TokenRules,
    keys: Keys,
    /// By what the token names, in a digest: that may be a text of any length.
    remembered: WeighedCache<[u8; 32], Caller>,
}

impl Tokens {
    /// Reads the keys. The error is one line that names the setting.
    pub fn open(rules: TokenRules, lifecycle: &Lifecycle) -> Result<Self, String> {
        let keys = Keys::open(&rules, lifecycle)?;
        Ok(Self { rules, keys, remembered: weighed::cache(REMEMBERED, REMEMBERED_BYTES) })
    }

    /// Whether any token at all can be verified.
    pub fn is_configured(&self) -> bool {
        !self.keys.is_empty()
    }

    /// What our own secret says of the family of a token, whether or not that lets in any more.
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
    /// Whether tokens can be verified; if not, everybody who brings one gets [`Error::NotConfigured`].
    pub fn takes_tokens(&self) -> bool {
        self.0.tokens.is_configured()
    }

    /// Whom a token stands for. What is wrong with one goes to the log, a line for each refusal.
    pub async fn bearer(&self, token: &str) -> Result<Caller> {
        if !self.takes_tokens() {
            return Err(Error::NotConfigured("tokens.secret"));
        }
        let mut named = None;
        let outcome = self.holder(token, &mut named).await;
        if let Err(Error::Refused(why)) = &outcome {
            match named {
                Some(Grant::Token(subject)) => {
                    let (claim, value) = (&self.0.tokens.rules.user_claim, subject.excerpt());
                    tracing::info!(claim, value, "a token was refused: {why}");
                }
                _ => tracing::info!("a token was refused: {why}"),
            }
        }
        outcome
    }

    /// As [`Auth::bearer`]. `named` becomes what the token stands for, as soon as that is verified.
    async fn holder(&self, token: &str, named: &mut Option<Grant>) -> Result<Caller> {
        let tokens = &self.0.tokens;
        let Claims { grant, expires_at } = tokens.verify(token, clock::now()).await?;
        let grant: &Grant = named.insert(grant);
        let key = Sha256::digest(format!("{grant:?}")).into();
        let with = |caller| Caller { expires_at: Some(expires_at), cursor: grant.cursor(token), ..caller };
        let is_fresh = |caller: &Caller| !caller.ended.is_cancelled() && caller.epoch == self.0.lives.epoch();
        if let Some(caller) = tokens.remembered.get(&key).map(|caller| caller.value).filter(is_fresh) {
            return Ok(with(caller));
        }
        let read = || async { Ok((0, self.stored_holder(grant).await?, None)) };
        let (_, caller, _) = self.admit(std::slice::from_ref(grant), read).await?;
        tokens.remembered.insert(key, Weighed::new(caller.clone(), caller.texts()));
        Ok(with(caller))
    }

    /// The user whom a token stands for, as the store has it now.
    pub(super) async fn stored_holder(&self, grant: &Grant) -> Result<User> {
        let storage: &dyn Storage = self.0.storage.as_ref();
        let user = match grant {
            Grant::Session(_) => None,
            Grant::Family(family) => Some(storage.user_of_family(*family).await?.ok_or(Refused::Revoked)?),
            Grant::Token(Subject::ExternalId(id)) => storage.user_by_external_id(id).await?,
            Grant::Token(Subject::Uid(id)) => storage.user(*id).await?,
            Grant::Token(Subject::Uuid(uuid)) => storage.user_by_uuid(*uuid).await?,
            Grant::Token(Subject::Login(login)) => storage.user_by_login(login).await?,
            Grant::Token(Subject::Nobody(_)) => None,
        };
        let user = user.ok_or(Refused::UnknownUser)?;
        if user.active { Ok(user) } else { Err(Refused::InactiveUser.into()) }
    }
}
