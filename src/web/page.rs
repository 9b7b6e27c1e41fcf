//! Keyset pagination by id, with pages bounded by the length of their JSON.

use std::io;

use serde::Serialize;
use storage::PAGE_BYTES;

/// Truncates a page so that `copies` of each item fit in [`PAGE_BYTES`] of JSON. The first item always stays.
pub fn truncated_to_page<T: Serialize>(mut items: Vec<T>, copies: usize) -> Vec<T> {
    let mut bytes = 0;
    let goes_beyond = |item: &T| {
        let is_first = bytes == 0;
        bytes += copies * json_len(item);
        bytes > PAGE_BYTES && !is_first
    };
    let end = items.iter().position(goes_beyond).unwrap_or(items.len());
    items.truncate(end);
    items
}

/// Length of a value as JSON, in bytes.
pub fn json_len(value: &impl Serialize) -> usize {
    struct Length(usize);

    impl io::Write for Length {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).expect("what is answered has text keys only");
    length.0
}

#[cfg(test)]
mod tests {
    use super::{json_len, truncated_to_page};

    #[test]
    fn a_page_holds_what_is_written_of_it() {
        assert_eq!(json_len(&["a\n", "\u{1}"]), r#"["a\n","\u0001"]"#.len());
        // JSON escapes a control character as six bytes.
        let text = "\u{1}".repeat(100_000);
        assert_eq!(truncated_to_page(vec![&text; 3], 1).len(), 1);
        assert_eq!(truncated_to_page(vec!["x"; 3], 1).len(), 3);
        let text = "x".repeat(300_000);
        assert_eq!([1, 2, 4].map(|copies| truncated_to_page(vec![&text; 5], copies).len()), [3, 1, 1]);
    }
}
