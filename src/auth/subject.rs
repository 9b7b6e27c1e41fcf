//! Subjects: the identifiers by which tokens and log-ins name users, and their form.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use storage::UserId;
use uuid::Uuid;

use crate::characters::is_control;

/// Maximum length of a login, in bytes.
pub const LOGIN_BYTES: usize = 256;
/// Maximum length of an external id, in bytes.
const EXTERNAL_ID_BYTES: usize = 255;

/// Kind of identifier in the user claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    ExternalId,
    Uid,
    Uuid,
    Login,
}

/// Subject of a foreign token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    ExternalId(String),
    Uid(UserId),
    Uuid(Uuid),
    Login(String),
    /// A claim that cannot name a user, in its original spelling; empty if it is missing.
    Unmatched(String),
}

impl Subject {
    /// Excerpt for the log.
    pub(super) fn excerpt(&self) -> String {
        /// More than any identifier of a user has.
        const CHARACTERS: usize = 255;

        match self {
            Self::ExternalId(text) | Self::Login(text) | Self::Unmatched(text) => text.chars().take(CHARACTERS).collect(),
            Self::Uid(uid) => uid.to_string(),
            Self::Uuid(uuid) => uuid.to_string(),
        }
    }

    /// Parses the user claim. A uid may be a text, as in Django's newer tokens. An external id may be a whole number, which
    /// stands for its decimal digits as they are written.
    pub(super) fn read(claim: &RawValue, names: SubjectKind) -> Option<Self> {
        match names {
            SubjectKind::ExternalId => {
                let digits = claim.get().strip_prefix('-').unwrap_or(claim.get());
                let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
                let id = if is_whole { claim.get().to_owned() } else { read(claim)? };
                external_id_fault(&id).is_none().then_some(Self::ExternalId(id))
            }
            SubjectKind::Uid => read(claim).or_else(|| read::<String>(claim)?.parse().ok()).map(|uid| Self::Uid(UserId(uid))),
            SubjectKind::Uuid => Some(Self::Uuid(read::<String>(claim)?.parse().ok()?)),
            // No account has a NUL in its login, and PostgreSQL refuses to search for one.
            SubjectKind::Login => read(claim).filter(|login: &String| !login.contains('\0')).map(Self::Login),
        }
    }
}

/// The rule that an external id breaks, as the end of a sentence about it; `None` for a valid one.
pub fn external_id_fault(id: &str) -> Option<Cow<'static, str>> {
    if id.len() > EXTERNAL_ID_BYTES {
        return Some(format!("must not be longer than {EXTERNAL_ID_BYTES} bytes").into());
    }
    let fault = if id.is_empty() {
        "must not be empty"
    } else if id.contains('\0') {
        "must not contain the NUL character"
    } else if id.contains(is_control) {
        "must not contain control characters"
    } else if id.starts_with('@') {
        "must not begin with @"
    } else {
        return None;
    };
    Some(fault.into())
}

/// Value of a claim, if it has this type.
pub(super) fn read<T: DeserializeOwned>(claim: &RawValue) -> Option<T> {
    serde_json::from_str(claim.get()).ok()
}
