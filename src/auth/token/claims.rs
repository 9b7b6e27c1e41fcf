//! Claims of a token: validation (RFC 7519) and the credential that they name.

use chrono::DateTime;
use serde_json::Value;
use storage::Timestamp;
use uuid::Uuid;

use super::{LEEWAY, TokenError, TokenRules, keys::RawClaims};
use crate::auth::{
    revocation::Credential,
    subject::{Subject, read},
};

/// Claim of this server's tokens for their family.
pub(super) const FAMILY: &str = "dragoman_family";

/// Validated claims.
#[derive(Debug)]
pub(super) struct Claims {
    /// Credential: the subject, or the family for this server's tokens, whose subject does not count.
    pub(super) grant: Credential,
    /// Expiry, with the leeway.
    pub(super) expires_at: Timestamp,
}

impl Claims {
    /// Validates the claims of a token with a valid signature; `with_secret` if this server's secret has signed it.
    pub(super) fn read(claims: &RawClaims, with_secret: bool, rules: &TokenRules, now: Timestamp) -> Result<Self, TokenError> {
        let text = |name: &str| claims.get(name).and_then(|claim| read::<String>(claim));
        if !rules.type_claim.is_empty() && text(&rules.type_claim).as_ref() != Some(&rules.type_value) {
            return Err(TokenError::WrongType);
        }
        let expires_at = time(claims, "exp")?.ok_or(TokenError::Malformed)?;
        let expires_at = expires_at.checked_add_signed(LEEWAY).unwrap_or(expires_at);
        if expires_at <= now {
            return Err(TokenError::Expired);
        }
        if time(claims, "nbf")?.is_some_and(|begins_at| begins_at > now + LEEWAY) {
            return Err(TokenError::NotYetValid);
        }
        if !rules.issuer.is_empty() && text("iss").as_ref() != Some(&rules.issuer) {
            return Err(TokenError::WrongIssuer);
        }
        if !rules.audience.is_empty()
            && !claims.get("aud").and_then(|aud| read(aud)).is_some_and(|aud| is_for(&aud, &rules.audience))
        {
            return Err(TokenError::WrongAudience);
        }
        let grant = match family(claims, with_secret)? {
            Some(family) => Credential::Family(family),
            None => {
                let claim = claims.get(&rules.user_claim);
                let subject = claim.and_then(|claim| Subject::read(claim, rules.subject_kind));
                let nobody = || Subject::Unmatched(claim.map(|claim| claim.get().to_owned()).unwrap_or_default());
                Credential::Token(subject.unwrap_or_else(nobody))
            }
        };
        Ok(Self { grant, expires_at })
    }
}

/// Family of a token: only one that was signed `with_secret` can have it.
pub(super) fn family(claims: &RawClaims, with_secret: bool) -> Result<Option<Uuid>, TokenError> {
    let family = claims.get(FAMILY).filter(|_| with_secret);
    family.map(|claim| read(claim).ok_or(TokenError::Malformed)).transpose()
}

/// Last second of the year 9999, beyond which RFC 3339 has no notation.
const LAST: i64 = 253_402_300_799;

/// Time claim: seconds since 1970, perhaps with a fraction, clamped to the year 9999.
fn time(claims: &RawClaims, name: &str) -> Result<Option<Timestamp>, TokenError> {
    let Some(claim) = claims.get(name) else { return Ok(None) };
    let seconds = read(claim).filter(|seconds: &f64| *seconds >= 0.0).ok_or(TokenError::Malformed)?;
    // The cast saturates.
    let seconds = (seconds as i64).min(LAST - LEEWAY.num_seconds());
    Ok(Some(DateTime::from_timestamp(seconds, 0).expect("seconds are within the range of timestamps")))
}

/// True if `aud`, one audience or a list, contains `audience`.
fn is_for(aud: &Value, audience: &str) -> bool {
    match aud {
        Value::String(one) => one == audience,
        Value::Array(several) => several.iter().any(|one| one == audience),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
