//! Parser of `Content-Disposition` in multipart forms (RFC 7578, section 4.2), tolerant of the encodings that clients use in
//! practice.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode;

/// Parameters of a part's `Content-Disposition`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Disposition {
    /// Name of the form field.
    pub name: Option<String>,
    /// File name; `None` if the part is no file.
    pub filename: Option<String>,
}

impl Disposition {
    /// Parses a header value. Ignores unreadable parameters.
    pub fn parse(value: &[u8]) -> Self {
        let (mut name, mut plain, mut extended) = (None, None, None);
        let mut rest = after(value, b';');
        while let Some(parameter) = rest {
            let (key, parsed, further) = next(parameter);
            let place = match key.as_str() {
                "name" => &mut name,
                "filename" => &mut plain,
                "filename*" => &mut extended,
                _ => &mut None,
            };
            place.get_or_insert(parsed);
            rest = further;
        }
        let extended = extended.as_deref().and_then(extended_value);
        let filename = extended.or_else(|| plain.as_deref().map(|plain| plain_name(&text(plain))));
        Self {
            name: name.as_deref().map(|name| text(name).into_owned()),
            filename: filename.filter(|filename| !filename.trim().is_empty()),
        }
    }
}

/// Decodes text as UTF-8, else as Latin-1, which curl on Windows and old Java versions write.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => latin_1(bytes).into(),
    }
}

fn latin_1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn after(bytes: &[u8], end: u8) -> Option<&[u8]> {
    let at = bytes.iter().position(|byte| *byte == end)?;
    Some(&bytes[at + 1..])
}

/// Splits off the first parameter: its name in lower case, its value, and the remaining bytes.
fn next(bytes: &[u8]) -> (String, Vec<u8>, Option<&[u8]>) {
    let end = bytes.iter().position(|byte| b"=;".contains(byte)).unwrap_or(bytes.len());
    let key = text(bytes[..end].trim_ascii()).to_ascii_lowercase();
    let rest = bytes[end..].strip_prefix(b"=").unwrap_or(&[]).trim_ascii_start();
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        let (value, rest) = unquoted(quoted);
        return (key, value, after(rest, b';'));
    }
    let value = rest.split(|byte| *byte == b';').next().unwrap_or_default();
    (key, value.trim_ascii_end().to_vec(), after(&bytes[end..], b';'))
}

/// Decodes a quoted value after its opening quote, and returns the bytes after the closing one. A backslash escapes only a quote
/// or a backslash; any other belongs to a Windows path.
fn unquoted(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let (mut value, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, bytes.get(at + 1)) {
            (b'"', _) => return (value, &bytes[at + 1..]),
            (b'\\', Some(escaped @ (b'"' | b'\\'))) => {
                value.push(*escaped);
                at += 1;
            }
            _ => value.push(*byte),
        }
        at += 1;
    }
    (value, &[])
}

/// Decodes an extended value (RFC 8187), such as `UTF-8'en'na%C3%AFve.txt`.
fn extended_value(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (charset, _, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    decoded(charset, &percent_decode(encoded).collect::<Vec<_>>())
}

fn decoded(charset: &[u8], bytes: &[u8]) -> Option<String> {
    if charset.eq_ignore_ascii_case(b"utf-8") {
        return std::str::from_utf8(bytes).ok().map(str::to_owned);
    }
    charset.eq_ignore_ascii_case(b"iso-8859-1").then(|| latin_1(bytes))
}

/// Decodes the plain `filename` parameter. RFC 7578 sends it unencoded; .NET writes encoded words, aiohttp percent-encodes it,
/// and browsers percent-encode only quotes and line ends.
fn plain_name(name: &str) -> String {
    const ESCAPES: [(&str, &str); 3] = [("%22", "\""), ("%0D", "\r"), ("%0A", "\n")];

    let unescaped = || ESCAPES.iter().fold(name.to_owned(), |name, (escape, meant)| name.replace(escape, meant));
    encoded_words(name).or_else(|| percent_encoded(name)).unwrap_or_else(unescaped)
}

/// Decodes encoded words (RFC 2047) in base64 or coding Q: `=?utf-8?B?5paw5bu6LnR4dA==?=`, `=?utf-8?Q?na=C3=AFve.txt?=`.
fn encoded_words(name: &str) -> Option<String> {
    let word = |word: &str| {
        let mut parts = word.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?');
        let (charset, coding, text) = (parts.next()?, parts.next()?, parts.next()?);
        let bytes = match coding {
            "B" | "b" => STANDARD.decode(text).ok()?,
            "Q" | "q" => unquoted_printable(text)?,
            _ => return None,
        };
        decoded(charset.as_bytes(), &bytes)
    };
    let words: String = name.split_ascii_whitespace().map(word).collect::<Option<_>>()?;
    Some(words).filter(|words| !words.is_empty())
}

/// Decodes an encoded word in coding Q (RFC 2047, section 4.2).
fn unquoted_printable(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('=');
    let mut bytes = parts.next()?.replace('_', " ").into_bytes();
    for part in parts {
        bytes.extend(hex::decode(part.get(..2)?).ok()?);
        bytes.extend(part[2..].replace('_', " ").bytes());
    }
    Some(bytes)
}

/// Decodes a fully percent-encoded name. Only aiohttp encodes every reserved character.
fn percent_encoded(name: &str) -> Option<String> {
    let mut codes = name.split('%').skip(1).peekable();
    codes.peek()?;
    let is_code = |code: &str| code.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    let is_encoded = codes.all(is_code) && name.bytes().all(is_unreserved);
    is_encoded.then(|| percent_decode(name.as_bytes()).decode_utf8().ok().map(Cow::into_owned))?
}

#[cfg(test)]
mod tests {
    use super::Disposition;

    #[track_caller]
    fn check(value: &[u8], filename: Option<&str>) {
        let expected = Disposition { name: Some("file".into()), filename: filename.map(str::to_owned) };
        assert_eq!(Disposition::parse(value), expected, "{}", String::from_utf8_lossy(value));
    }

    #[test]
    fn a_name_comes_in_many_spellings() {
        for (value, filename) in [
            // Browsers, curl, requests with urllib3 2, OkHttp, React Native on iOS.
            ("form-data; name=\"file\"; filename=\"naïve café.txt\"", "naïve café.txt"),
            ("form-data; name=\"file\"; filename=\"a %22b%22.txt\"", "a \"b\".txt"),
            // Go, and curl before 7.81.
            ("form-data; name=\"file\"; filename=\"a \\\"b\\\"; c.txt\"", "a \"b\"; c.txt"),
            ("form-data; name=\"file\"; filename=\"C:\\\\temp\\\\a.txt\"", "C:\\temp\\a.txt"),
            // Internet Explorer.
            ("form-data; name=\"file\"; filename=\"C:\\temp\\a.txt\"", "C:\\temp\\a.txt"),
            // .NET with `FileName` and `FileNameStar`, and with the former alone.
            (
                "form-data; name=file; filename=\"=?utf-8?B?5paw5bu6LnR4dA==?=\"; filename*=utf-8''%E6%96%B0%E5%BB%BA.txt",
                "新建.txt",
            ),
            ("form-data; name=file; filename=\"=?utf-8?B?5paw5bu6LnR4dA==?=\"", "新建.txt"),
            ("form-data; name=file; filename=a.txt; filename*=utf-8''a.txt", "a.txt"),
            // Programs that encode forms like e-mail.
            ("form-data; name=\"file\"; filename=\"=?UTF-8?Q?na=C3=AFve_caf=c3=a9.txt?=\"", "naïve café.txt"),
            ("form-data; name=\"file\"; filename=\"=?iso-8859-1?q?=A3.txt?=\"", "£.txt"),
            ("form-data; name=\"file\"; filename=\"=?utf-8?Q?a=3?=\"", "=?utf-8?Q?a=3?="),
            ("form-data; name=\"file\"; filename=\"=?utf-8?Q?=+A?=\"", "=?utf-8?Q?=+A?="),
            // React Native on Android.
            ("form-data; name=\"file\"; filename=\".txt\"; filename*=utf-8''%E6%96%B0%E5%BB%BA.txt", "新建.txt"),
            // urllib3 1.24.
            ("form-data; name=\"file\"; filename*=utf-8''na%C3%AFve%20caf%C3%A9.txt", "naïve café.txt"),
            // aiohttp.
            ("form-data; name=\"file\"; filename=\"na%C3%AFve%20caf%C3%A9.txt\"", "naïve café.txt"),
            ("form-data; name=\"file\"; filename=\"na%C3%AFve.txt\"; filename*=utf-8''na%C3%AFve.txt", "naïve.txt"),
            // RFC 8187.
            ("form-data; name=\"file\"; filename=\"EUR.txt\"; filename*=UTF-8'en'%e2%82%ac%20rates.txt", "€ rates.txt"),
            ("form-data; name=\"file\"; filename*=iso-8859-1''%A3.txt; filename=\"x\"", "£.txt"),
            ("FORM-DATA ; NAME = \"file\" ; FileName* = \"utf-8''a.txt\"", "a.txt"),
            // An unreadable extended name falls back to the plain one.
            ("form-data; name=\"file\"; filename=\"a.txt\"; filename*=utf-8''%FF.txt", "a.txt"),
            ("form-data; name=\"file\"; filename=\"a.txt\"; filename*=x-unknown''b.txt", "a.txt"),
            ("form-data; name=\"file\"; filename=\"a.txt\"; filename*=b.txt", "a.txt"),
            // Unencoded names that resemble encoded ones.
            ("form-data; name=\"file\"; filename=\"100% sure.txt\"", "100% sure.txt"),
            ("form-data; name=\"file\"; filename=\"100%.txt\"", "100%.txt"),
            ("form-data; name=\"file\"; filename=\"%FF.txt\"", "%FF.txt"),
            ("form-data; name=\"file\"; filename=\"=?utf-8?B?!?=\"", "=?utf-8?B?!?="),
            ("form-data; name=\"file\"; filename=\"=?b\"", "=?b"),
            ("form-data; name=\"file\"; filename=\"unfinished.txt", "unfinished.txt"),
            ("form-data; filename=\"name=x.txt\"; name=\"file\"", "name=x.txt"),
        ] {
            check(value.as_bytes(), Some(filename));
        }
        // curl on Windows, and old Java.
        check(b"form-data; name=\"file\"; filename=\"M\xfcller.txt\"", Some("Müller.txt"));
    }

    #[test]
    fn what_has_no_name_is_no_file() {
        for value in [
            "form-data; name=\"file\"",
            "form-data; name=\"file\"; filename=\"\"",
            "form-data; name=\"file\"; filename=\" \"; filename*=utf-8''",
            "form-data; name=\"file\"; filename",
            "form-data; name=\"file\";;",
        ] {
            check(value.as_bytes(), None);
        }
        for value in ["", "form-data", "form-data;", "name=\"file\"", "form-data; =x; \"\""] {
            assert_eq!(Disposition::parse(value.as_bytes()), Disposition::default(), "{value}");
        }
    }
}
