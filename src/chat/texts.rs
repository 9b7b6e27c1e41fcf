//! Validation of texts: length limits and forbidden characters. A valid text is stored exactly as sent; any other is refused.

use super::{Chat, Error, Result};
use crate::{
    auth::{LOGIN_BYTES, external_id_fault},
    characters::is_control,
};

/// Maximum length of the name of a thread, a group or a file, in characters.
pub const NAME_CHARACTERS: usize = 255;
/// Maximum length of an e-mail address, in bytes.
const EMAIL_BYTES: usize = 254;
/// Maximum length of a search query, in bytes.
pub(super) const QUERY_BYTES: usize = 256;

/// Refuses a text with a NUL character, which PostgreSQL cannot store.
pub(super) fn check_storable(field: &'static str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::Invalid { field, reason: "must not contain the NUL character".into() });
    }
    Ok(())
}

/// Refuses a text that is longer than `limit_bytes`, or has a NUL character.
pub(super) fn check_bytes(field: &'static str, text: &str, limit_bytes: usize) -> Result<()> {
    if text.len() > limit_bytes {
        return Err(Error::Invalid { field, reason: format!("must not be longer than {limit_bytes} bytes").into() });
    }
    check_storable(field, text)
}

/// Refuses a name that is longer than [`NAME_CHARACTERS`], or has a NUL character.
pub(super) fn check_name_length(field: &'static str, text: &str) -> Result<()> {
    if is_longer(text, NAME_CHARACTERS) {
        return Err(Error::Invalid { field, reason: format!("must not be longer than {NAME_CHARACTERS} characters").into() });
    }
    check_storable(field, text)
}

/// Checks the login of a new account: at most [`LOGIN_BYTES`] long, on one line, without surrounding white space.
///
/// # Errors
/// [`Error::Invalid`] for `login`.
pub fn check_login(login: &str) -> Result<()> {
    check_bytes("login", login, LOGIN_BYTES)?;
    check_line("login", login)
}

/// Checks the name of a new account or group: at most [`NAME_CHARACTERS`] long, on one line, without surrounding white space.
///
/// # Errors
/// [`Error::Invalid`] for `name`.
pub fn check_name(text: &str) -> Result<()> {
    check_name_length("name", text)?;
    check_line("name", text)
}

/// Checks the e-mail address of a new account: at most 254 bytes long, on one line, without surrounding white space. The server
/// sends no mail, so the syntax is not checked.
///
/// # Errors
/// [`Error::Invalid`] for `email`.
pub fn check_email(email: &str) -> Result<()> {
    check_bytes("email", email, EMAIL_BYTES)?;
    check_line("email", email)
}

/// Checks an id of the host application: 1 to 255 bytes, no control characters, no leading `@`, which marks the server's own
/// ids. Comparison is byte by byte, so nothing else is restricted.
///
/// # Errors
/// [`Error::Invalid`] for `external_id`.
pub fn check_external_id(id: &str) -> Result<()> {
    external_id_fault(id).map_or(Ok(()), |reason| Err(Error::Invalid { field: "external_id", reason }))
}

/// Refuses a text that is empty, has surrounding white space, or control characters: two such texts may look alike, and forge
/// lines of a list.
fn check_line(field: &'static str, text: &str) -> Result<()> {
    let reason = if text.is_empty() {
        "must not be empty"
    } else if text.contains(is_control) {
        "must not contain control characters"
    } else if text.trim() != text {
        "must not begin or end with white space"
    } else {
        return Ok(());
    };
    Err(Error::Invalid { field, reason: reason.into() })
}

/// True if a text has more characters than `characters`. Reads no further than that.
fn is_longer(text: &str, characters: usize) -> bool {
    text.chars().nth(characters).is_some()
}

impl Chat {
    /// Refuses the body of a message that is longer than the limit, or has a NUL character.
    pub(super) fn check_body(&self, body: &str) -> Result<()> {
        let limit_bytes = self.0.rules.message_bytes;
        if body.len() > limit_bytes {
            self.0.metrics.refused("message_bytes");
            return Err(Error::TooLong { field: "body", limit_bytes });
        }
        check_storable("body", body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_accounts_are_in_one_line_and_as_they_look() {
        for good in
            ["jane@example.com", "Jane Smith", "Zoë", "محمد", "می\u{200c}خواهم", "👩\u{200d}🚀 Ada", "O'Brien \\ Sons", "7"]
        {
            assert!(check_login(good).is_ok() && check_name(good).is_ok() && check_email(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            " ",
            " a",
            "a ",
            "a\u{a0}",
            "\u{3000}a",
            "a\tb",
            "a\nb",
            "a\r",
            "a\0b",
            "a\u{1b}[31m",
            "a\u{85}b",
            "a\u{7f}",
            "a\u{9b}31m",
            "a\u{2028}b",
            "a\u{2029}",
            "\u{202e}a",
            "a\u{2066}b",
            "a\u{200f}",
            "\u{feff}a",
            "a\u{200b}b",
        ] {
            for refused in [check_login(bad), check_name(bad), check_email(bad)] {
                assert!(matches!(refused, Err(Error::Invalid { .. })), "{bad:?}");
            }
        }
        assert!(check_login(&"x".repeat(LOGIN_BYTES + 1)).is_err() && check_name(&"é".repeat(NAME_CHARACTERS)).is_ok());
        assert!(check_email(&"x".repeat(EMAIL_BYTES + 1)).is_err());
    }

    #[test]
    fn an_external_id_is_short_and_has_no_control_characters() {
        let (longest, longer) = ("x".repeat(255), "x".repeat(255 + 1));
        for good in ["17", "-1", "a", " a ", "user@example.com", "a/b?c", "é", longest.as_str()] {
            assert!(check_external_id(good).is_ok(), "{good:?}");
        }
        for bad in ["", "@4", "a\0", "a\nb", "\u{1b}[31m", "a\u{7f}", "a\u{85}", "\u{202e}a", longer.as_str()] {
            assert!(matches!(check_external_id(bad), Err(Error::Invalid { field: "external_id", .. })), "{bad:?}");
        }
    }
}
