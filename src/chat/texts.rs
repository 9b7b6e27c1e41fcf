//! Bounds of texts. Texts are kept exactly as sent; what is too long, or what no store can hold, is refused.

use super::{Chat, Error, Result};

/// The longest name of a thread, a group or a file, in characters.
pub const NAME_CHARACTERS: usize = 255;
/// The longest login, in bytes.
pub const LOGIN_BYTES: usize = 256;
/// The longest text that is searched for, in bytes.
pub(super) const QUERY_BYTES: usize = 256;

/// Refuses a text that no store can hold.
pub(super) fn storable(field: &'static str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::Invalid { field, reason: "must not contain the NUL character".into() });
    }
    Ok(())
}

/// Refuses a text that is longer than `limit_bytes`, or that no store can hold.
pub(super) fn short(field: &'static str, text: &str, limit_bytes: usize) -> Result<()> {
    if text.len() > limit_bytes {
        return Err(Error::Invalid { field, reason: format!("must not be longer than {limit_bytes} bytes").into() });
    }
    storable(field, text)
}

/// Refuses a name that is longer than [`NAME_CHARACTERS`], or that no store can hold.
pub(super) fn name(field: &'static str, text: &str) -> Result<()> {
    if is_longer(text, NAME_CHARACTERS) {
        return Err(Error::Invalid { field, reason: format!("must not be longer than {NAME_CHARACTERS} characters").into() });
    }
    storable(field, text)
}

/// True if a text has more characters than that. Reads no more of it than that.
pub fn is_longer(text: &str, characters: usize) -> bool {
    text.chars().nth(characters).is_some()
}

impl Chat {
    /// Refuses the text of a message that is longer than the rules allow, or that no store can hold.
    pub(super) fn check_body(&self, body: &str) -> Result<()> {
        let limit_bytes = self.0.rules.message_bytes;
        if body.len() > limit_bytes {
            self.0.metrics.refused("message_bytes");
            return Err(Error::TooLong { field: "body", limit_bytes });
        }
        storable("body", body)
    }
}
