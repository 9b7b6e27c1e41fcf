//! Bounds of texts. Texts are kept exactly as sent; what is too long, or what no store can hold, is refused.

use std::fmt;

use super::{Chat, Error, Result};

/// The longest name of a thread, a group or a file, in characters.
pub const NAME_CHARACTERS: usize = 255;
/// The longest login, in bytes.
pub const LOGIN_BYTES: usize = 256;
/// The longest e-mail address, in bytes.
const EMAIL_BYTES: usize = 254;
/// The longest id of another system, in bytes.
const EXTERNAL_ID_BYTES: usize = 255;
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

/// Checks the login of an account to be made: it is at most [`LOGIN_BYTES`] long, in one line, and has no white space
/// around it.
///
/// # Errors
/// [`Error::Invalid`], of `login`.
pub fn check_login(login: &str) -> Result<()> {
    short("login", login, LOGIN_BYTES)?;
    plain("login", login)
}

/// Checks the name of an account or a group to be made: it is at most [`NAME_CHARACTERS`] long, in one line, and has no
/// white space around it.
///
/// # Errors
/// [`Error::Invalid`], of `name`.
pub fn check_name(text: &str) -> Result<()> {
    name("name", text)?;
    plain("name", text)
}

/// Checks the e-mail address of an account to be made: it is at most 254 bytes long, in one line, and has no white space
/// around it. Nothing is sent there, so no more is asked of it.
///
/// # Errors
/// [`Error::Invalid`], of `email`.
pub fn check_email(email: &str) -> Result<()> {
    short("email", email, EMAIL_BYTES)?;
    plain("email", email)
}

/// Checks an id of the host application: it has 1 to 255 bytes, no control characters, and does not begin with `@`, which is how
/// own ids are told apart from it. Otherwise it may be anything, since it is compared byte by byte.
///
/// # Errors
/// [`Error::Invalid`], of `external_id`.
pub fn check_external_id(id: &str) -> Result<()> {
    let field = "external_id";
    short(field, id, EXTERNAL_ID_BYTES)?;
    let reason = if id.is_empty() {
        "must not be empty"
    } else if id.contains(is_control) {
        "must not contain control characters"
    } else if id.starts_with('@') {
        "must not begin with @"
    } else {
        return Ok(());
    };
    Err(Error::Invalid { field, reason: reason.into() })
}

/// Refuses a text that is empty, has white space around it, or control characters in it: two such texts may look alike, and a
/// list of them may lie.
fn plain(field: &'static str, text: &str) -> Result<()> {
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

/// True for characters that change what stands around them, or are not seen: control characters, separators of lines, marks of
/// the direction of writing (bidi), and what has no width. Not for joiners, which some scripts need within words.
fn is_control(character: char) -> bool {
    let is_format = matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
    );
    character.is_control() || is_format
}

/// A text in one line, for a list or a terminal: control characters and backslashes as Rust writes them, as in `\u{1b}` and `\t`.
pub fn escaped(text: &str) -> impl fmt::Display + '_ {
    struct Escaped<'a>(&'a str);

    impl fmt::Display for Escaped<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            use fmt::Write;
            self.0.chars().try_for_each(|character| match character {
                '\t' | '\r' | '\n' | '\\' => write!(f, "{}", character.escape_default()),
                character if is_control(character) => write!(f, "{}", character.escape_unicode()),
                character => f.write_char(character),
            })
        }
    }

    Escaped(text)
}

/// True if a text has more characters than that. Reads no more of it than that.
fn is_longer(text: &str, characters: usize) -> bool {
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
        let (longest, longer) = ("x".repeat(EXTERNAL_ID_BYTES), "x".repeat(EXTERNAL_ID_BYTES + 1));
        for good in ["17", "-1", "a", " a ", "user@example.com", "a/b?c", "é", longest.as_str()] {
            assert!(check_external_id(good).is_ok(), "{good:?}");
        }
        for bad in ["", "@4", "a\0", "a\nb", "\u{1b}[31m", "a\u{7f}", "a\u{85}", "\u{202e}a", longer.as_str()] {
            assert!(matches!(check_external_id(bad), Err(Error::Invalid { field: "external_id", .. })), "{bad:?}");
        }
    }

    #[test]
    fn what_is_listed_stays_in_its_line() {
        let text = "Jane\tS\n99\u{1b}[31m \u{202e}\u{9b}\u{2028} \\ Zoë";
        assert_eq!(escaped(text).to_string(), r"Jane\tS\n99\u{1b}[31m \u{202e}\u{9b}\u{2028} \\ Zoë");
    }
}
