//! Unicode case folding for search, the same on every backend.

use caseless::default_case_fold_str;
use unicode_normalization::UnicodeNormalization;

/// COMBINING DOT ABOVE, the remainder of a folded İ next to its i.
const DOT_ABOVE: char = '\u{307}';
/// Separator of texts that are searched together. No keyboard produces it.
const SEPARATOR: &str = "\u{1e}";

/// Folds a text for comparison: ignores case and composition (NFKC), and treats all forms of the Turkish i as one.
pub fn fold(text: &str) -> String {
    let composed: String = text.nfkc().collect();
    let folded = default_case_fold_str(&composed);
    folded
        .nfkc()
        .filter(|character| *character != DOT_ABOVE)
        .map(|character| if character == 'ı' { 'i' } else { character })
        .collect()
}

/// Lower-cases each character by itself, as PostgreSQL does.
pub(crate) fn lower(text: &str) -> String {
    text.chars().filter_map(|character| character.to_lowercase().next()).collect()
}

/// Folds the searchable texts of a person into one.
pub(crate) fn fold_person(name: &str, email: Option<&str>, phone: Option<&str>) -> String {
    let texts: Vec<_> = std::iter::once(name).chain(email).chain(phone).map(fold).collect();
    texts.join(SEPARATOR)
}

#[cfg(test)]
mod tests {
    use super::{fold, fold_person};

    #[test]
    fn what_reads_alike_is_alike() {
        for (one, other) in [
            ("JOSÉ", "jose\u{301}"),
            ("Straße", "STRASSE"),
            ("İbrahim Işık", "ibrahim ışik"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("ﬁ", "FI"),
            ("ＡＢＣ", "abc"),
            ("Ŕ", "R\u{301}"),
            ("i\u{307}", "I"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_eq!(fold("Plain 100 % text_"), "plain 100 % text_");
        assert_ne!(fold("josé"), fold("jose"), "marks count");
        assert_eq!(fold("Ż"), fold("z\u{307}"), "a dot that belongs to a letter stays");
    }

    #[test]
    fn people_are_found_by_any_of_their_texts() {
        assert_eq!(fold_person("Ann", None, Some("+49")), "ann\u{1e}+49");
        assert_eq!(fold_person("Ann", Some("A@X.example"), None), "ann\u{1e}a@x.example");
    }
}
