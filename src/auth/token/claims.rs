use chrono::DateTime;
use serde_json::{Map, Value};
use storage::{Timestamp, UserId};
use uuid::Uuid;

use super::{LEEWAY, Refused, TokenRules};
use crate::{auth::lives::Grant, chat::check_external_id};

/// What of a user a claim names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    ExternalId,
    Uid,
    Uuid,
    Login,
}

/// Whom a token names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::auth) enum Subject {
    ExternalId(String),
    Uid(UserId),
    Uuid(Uuid),
    Login(String),
}

/// The claim of our own tokens that says from which login they come.
pub(super) const FAMILY: &str = "dragoman_family";

/// What a token says that counts, all of it checked.
#[derive(Debug)]
pub(super) struct Claims {
    /// Whom it names; of our own tokens their family, which alone says whose they are.
    pub(super) grant: Grant,
    /// The leeway included.
    pub(super) expires_at: Timestamp,
}

impl Claims {
    /// Reads the claims of a token with a proper signature, which `with_secret` says is of our own secret.
    pub(super) fn read(
        claims: &Map<String, Value>,
        with_secret: bool,
        rules: &TokenRules,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let is_access = rules.type_claim.is_empty()
            || claims.get(&rules.type_claim).and_then(Value::as_str) == Some(rules.type_value.as_str());
        if !is_access {
            return Err(Refused::WrongType);
        }
        let expires_at = time(claims, "exp")?.ok_or(Refused::Malformed)?;
        let expires_at = expires_at.checked_add_signed(LEEWAY).unwrap_or(expires_at);
        if expires_at <= now {
            return Err(Refused::Expired);
        }
        if time(claims, "nbf")?.is_some_and(|begins_at| begins_at > now + LEEWAY) {
            return Err(Refused::NotYetValid);
        }
        if !rules.issuer.is_empty() && claims.get("iss").and_then(Value::as_str) != Some(rules.issuer.as_str()) {
            return Err(Refused::WrongIssuer);
        }
        if !rules.audience.is_empty() && !claims.get("aud").is_some_and(|aud| is_for(aud, &rules.audience)) {
            return Err(Refused::WrongAudience);
        }
        let grant = match family(claims, with_secret)? {
            Some(family) => Grant::Family(family),
            None => {
                let subject = claims.get(&rules.user_claim).and_then(|claim| Subject::read(claim, rules.names));
                Grant::Token(subject.ok_or(Refused::UnknownUser)?)
            }
        };
        Ok(Self { grant, expires_at })
    }
}

/// The family of a token of our own: one that was made `with_secret`, and has one.
pub(super) fn family(claims: &Map<String, Value>, with_secret: bool) -> Result<Option<Uuid>, Refused> {
    match claims.get(FAMILY).filter(|_| with_secret) {
        Some(family) => Ok(Some(family.as_str().and_then(|text| text.parse().ok()).ok_or(Refused::Malformed)?)),
        None => Ok(None),
    }
}

impl Subject {
    /// The beginning of it, for the log.
    pub(super) fn excerpt(&self) -> String {
        /// Far beyond what names anybody.
        const CHARACTERS: usize = 255;

        match self {
            Self::ExternalId(text) | Self::Login(text) => text.chars().take(CHARACTERS).collect(),
            Self::Uid(uid) => uid.to_string(),
            Self::Uuid(uuid) => uuid.to_string(),
        }
    }

    /// A uid may be a text, as Django's newer tokens have it; an external id may be a number, which is its decimal text.
    fn read(claim: &Value, names: Names) -> Option<Self> {
        match names {
            Names::ExternalId => {
                let id = match claim {
                    Value::String(text) => text.clone(),
                    Value::Number(number) if !number.is_f64() => number.to_string(),
                    Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
                };
                check_external_id(&id).is_ok().then_some(Self::ExternalId(id))
            }
            Names::Uid => {
                let uid = claim.as_i64().or_else(|| claim.as_str()?.parse().ok())?;
                Some(Self::Uid(UserId(uid)))
            }
            Names::Uuid => Some(Self::Uuid(claim.as_str()?.parse().ok()?)),
            // No account has a NUL in its login, and PostgreSQL refuses to look for one.
            Names::Login => claim.as_str().filter(|login| !login.contains('\0')).map(|login| Self::Login(login.to_owned())),
        }
    }
}

/// The last second that can be written with four digits for its year, as RFC 3339 has it.
const LAST: i64 = 253_402_300_799;

/// Seconds since 1970, perhaps with a fraction; what is beyond all times that can be written is the last of them.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Refused> {
    let Some(claim) = claims.get(name) else { return Ok(None) };
    let seconds = claim.as_f64().filter(|seconds| *seconds >= 0.0).ok_or(Refused::Malformed)?;
    // Saturates.
    let seconds = (seconds as i64).min(LAST - LEEWAY.num_seconds());
    Ok(Some(DateTime::from_timestamp(seconds, 0).expect("years of four digits are times")))
}

/// One audience, or a list of them.
fn is_for(aud: &Value, audience: &str) -> bool {
    match aud {
        Value::String(one) => one == audience,
        Value::Array(several) => several.iter().any(|one| one == audience),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
