use std::time::Duration;

use serde::Deserialize;

use super::Secret;
use crate::auth::{Names, TokenRules};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// For HS256, in which this server makes its own tokens.
    pub secret: Secret,
    /// For RS256 or ES256: PEM, or a file that holds it.
    pub public_key: String,
    /// For RS256 and ES256: a JWKS, by the name of its file or by its URL.
    pub jwks: String,
    /// For how long it is not loaded again, whatever keys are asked for.
    pub jwks_pause_seconds: u64,
    /// Who must have made a token; empty if it does not matter.
    pub issuer: String,
    /// For whom a token must be; empty if it does not matter.
    pub audience: String,
    /// The claim that names the user.
    pub user_claim: String,
    /// What of the user that claim names; the external id if it is not set.
    pub user_claim_names: Option<UserName>,
    /// The claim that tells access tokens from others; empty if none does.
    pub type_claim: String,
    /// What that claim holds in an access token.
    pub type_value: String,
    /// For how long a token made here lets in.
    pub access_lifetime_seconds: u64,
    /// For how long after a login, or after its last renewal, tokens can be renewed.
    pub refresh_lifetime_seconds: u64,
    /// For how long after its first use a refresh token gives new tokens, a few times, to who has lost the answer.
    pub refresh_grace_seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserName {
    ExternalId,
    Uid,
    Uuid,
    Login,
}

impl Tokens {
    /// With so many families of one user.
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
            names: match self.user_claim_names.unwrap_or(UserName::ExternalId) {
                UserName::ExternalId => Names::ExternalId,
                UserName::Uid => Names::Uid,
                UserName::Uuid => Names::Uuid,
                UserName::Login => Names::Login,
            },
            type_claim,
            type_value,
            access_lifetime: Duration::from_secs(self.access_lifetime_seconds),
            refresh_lifetime: Duration::from_secs(self.refresh_lifetime_seconds),
            refresh_grace: Duration::from_secs(self.refresh_grace_seconds),
            families,
        }
    }

    /// The error is one line that names the setting.
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
