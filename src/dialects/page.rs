//! Pages that go on by id, as long as what is really written of them.

use std::io;

use serde::Serialize;
use storage::PAGE_BYTES;

/// As many of the items as one answer holds in `copies` of each: it ends before the one that would go beyond [`PAGE_BYTES`],
/// unless that is its first.
pub fn fitting<T: Serialize>(mut items: Vec<T>, copies: usize) -> Vec<T> {
    let mut bytes = 0;
    let goes_beyond = |item: &T| {
        let is_first = bytes == 0;
        bytes += copies * written(item);
        bytes > PAGE_BYTES && !is_first
    };
    let end = items.iter().position(goes_beyond).unwrap_or(items.len());
    items.truncate(end);
    items
}

/// The length of a value as JSON.
pub fn written(value: &impl Serialize) -> usize {
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
    use super::{fitting, written};

    #[test]
    fn a_page_holds_what_is_written_of_it() {
        assert_eq!(written(&["a\n", "\u{1}"]), r#"["a\n","\u0001"]"#.len());
        // Of a control character six bytes are written.
        let text = "\u{1}".repeat(100_000);
        assert_eq!(fitting(vec![&text; 3], 1).len(), 1);
        assert_eq!(fitting(vec!["x"; 3], 1).len(), 3);
        let text = "x".repeat(300_000);
        assert_eq!([1, 2, 4].map(|copies| fitting(vec![&text; 5], copies).len()), [3, 1, 1]);
    }
}
