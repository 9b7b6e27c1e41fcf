//! Classes of characters that names must not have, and their escapes.

use std::fmt;

/// True for invisible characters and those that change their surroundings: control characters, line separators, bidi controls,
/// and zero-width characters, except joiners, which some scripts need within words.
pub fn is_control(character: char) -> bool {
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

/// True if a character only changes the reading direction, or ends a line: with it, a name shows another extension than it has
/// (Unicode Standard Annex 9, "Explicit Directional Formatting").
pub fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes a text for one line of a list or a terminal: control characters and backslashes as Rust writes them, such as
/// `\u{1b}` and `\t`.
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

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_is_listed_stays_in_its_line() {
        let text = "Jane\tS\n99\u{1b}[31m \u{202e}\u{9b}\u{2028} \\ Zoë";
        assert_eq!(escaped(text).to_string(), r"Jane\tS\n99\u{1b}[31m \u{202e}\u{9b}\u{2028} \\ Zoë");
    }
}
