//! Settings of bearer tokens.

use std::time::Duration;

use serde::Deserialize;

use super::Secret;
use crate::auth::{SubjectKind, TokenRules};

/// Bearer tokens. They need a secret, a public key or a JWKS.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenSettings {
    /// HS256 secret, for verifying tokens and for issuing those of `/auth/token`: 32 bytes or more, the same on all nodes.
    /// `--demo` generates one that is valid until the program ends.
    pub secret: Secret,
    /// Public key for verifying tokens (RS256, ES256): PEM, or the name of a file that holds it.
    pub public_key: String,
    /// JWKS for verifying tokens (RS256, ES256): a file name or a URL. It is loaded again when a token names an unknown key. The
    /// URL is requested directly: redirects and the environment's proxies are not followed.
    pub jwks: String,
    /// Minimum time between two loads of the JWKS.
    pub jwks_pause_seconds: u64,
    /// Expected issuer (`iss`); empty to accept any.
    pub issuer: String,
    /// Expected audience, which must be in `aud`; empty to accept any.
    pub audience: String,
    /// Claim that names the user.
    pub user_claim: String,
    /// Kind of identifier in that claim: `external_id` (a text, or an integer, which is read as its decimal text), `uid`, `uuid`
    /// or `login`; `external_id` if it is not set.
    pub user_claim_names: Option<UserClaimKind>,
    /// Claim that marks access tokens; empty to accept tokens without a mark.
    pub type_claim: String,
    /// Value of that claim in an access token. A token with another value is refused.
    pub type_value: String,
    /// Lifetime of an access token that this server issues.
    pub access_lifetime_seconds: u64,
    /// Lifetime of a refresh token, from the log-in or the last renewal.
    pub refresh_lifetime_seconds: u64,
    /// Grace period after the first use of a refresh token, in which it gives new tokens again, at most 3 times, to a client that
    /// has lost the response; 0 for none.
    pub refresh_grace_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserClaimKind {
    ExternalId,
    Uid,
    Uuid,
    Login,
}

impl TokenSettings {
    /// Token rules with at most `families` families per user.
    pub fn rules(&self, families: usize) -> TokenRules {
        let Self { secret, public_key, jwks, issuer, audience, user_claim, type_claim, type_value, .. } = self.clone();
        TokenRules {
            secret: secret.0,
            public_key,
            jwks,
            jwks_pause: Duration::from_secs(self.jwks_pause_seconds),
            issuer,
            audience,
            user_claim,
            subject_kind: match self.user_claim_names.unwrap_or(UserClaimKind::ExternalId) {
                UserClaimKind::ExternalId => SubjectKind::ExternalId,
                UserClaimKind::Uid => SubjectKind::Uid,
                UserClaimKind::Uuid => SubjectKind::Uuid,
                UserClaimKind::Login => SubjectKind::Login,
            },
            type_claim,
            type_value,
            access_lifetime: Duration::from_secs(self.access_lifetime_seconds),
            refresh_lifetime: Duration::from_secs(self.refresh_lifetime_seconds),
            refresh_grace: Duration::from_secs(self.refresh_grace_seconds),
            families,
        }
    }

    /// Checks the combination. The error is one line that names the setting.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.user_claim.is_empty() {
            return Err("tokens.user_claim must not be empty".into());
        }
        if self.refresh_lifetime_seconds < self.access_lifetime_seconds {
            return Err("tokens.refresh_lifetime_seconds must not be less than tokens.access_lifetime_seconds".into());
        }
        Ok(())
    }
}
