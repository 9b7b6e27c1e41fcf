//! Settings of CORS: allowed origins, exact or with a wildcard for one label.

use serde::Deserialize;
use url::Url;

/// Cross-origin requests (CORS).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSettings {
    /// Origins whose pages may call with the user's cookie: `https://app.example`; `https://*.app.example` for one label in place
    /// of the star; `capacitor://localhost` and other schemes of apps.
    pub origins: Vec<String>,
}

impl CorsSettings {
    /// True if pages of this origin, as in the header `Origin`, may call with the user's cookie.
    pub fn allows(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| match allowed.split_once(WILDCARD) {
            Some((scheme, domain)) => label(origin, scheme, domain).is_some_and(is_label),
            None => allowed == origin,
        })
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self.origins.iter().find(|origin| !is_origin(origin)) {
            Some(origin) => Err(format!(
                "cors.origins must hold origins such as https://app.example, https://*.app.example or capacitor://localhost, not \
                 {origin}"
            )),
            None => Ok(()),
        }
    }
}

/// Separator between the scheme and the domain of a wildcard origin.
const WILDCARD: &str = "://*.";

/// Text in place of the wildcard.
fn label<'a>(origin: &'a str, scheme: &str, domain: &str) -> Option<&'a str> {
    origin.strip_prefix(scheme)?.strip_prefix("://")?.strip_suffix(domain)?.strip_suffix('.')
}

fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// True for an origin as browsers write it (RFC 6454, section 6.2), or one with a wildcard. A wildcard directly below a top-level
/// domain would allow strangers, and is refused.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    if !["http", "https"].contains(&scheme) {
        return is_scheme(scheme) && is_opaque_host(scheme, host);
    }
    let is_written_so =
        |text: &str| !text.contains('*') && Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text);
    match text.split_once(WILDCARD) {
        Some((_, domain)) => {
            let name = domain.split(':').next().unwrap_or_default();
            (name.contains('.') || name == "localhost") && is_written_so(&format!("{scheme}://a.{domain}"))
        }
        None => is_written_so(text),
    }
}

/// True for a scheme (RFC 3986, section 3.1) in lower case, as browsers write it.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
}

/// True for the host of a non-HTTP scheme, such as that of an app's own pages. Pages of files have none.
fn is_opaque_host(scheme: &str, host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    (!host.is_empty() || scheme == "file") && host.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::CorsSettings;

    fn cors(origin: &str) -> CorsSettings {
        CorsSettings { origins: vec![origin.to_owned()] }
    }

    #[test]
    fn origins_of_every_scheme_are_taken() {
        for good in [
            "https://app.example",
            "http://localhost:3000",
            "http://[::1]:8080",
            "https://*.app.example",
            "https://*.app.example:8443",
            "http://*.localhost:3000",
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "app://.",
            "file://",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://75140d72-8b20-4549-885c-20599badb486",
        ] {
            cors(good).check().unwrap_or_else(|error| panic!("{good}: {error}"));
            assert!(good.contains('*') || cors(good).allows(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "app.example",
            "https://",
            "https://*",
            "https://*.example",
            "https://*.*.example.org",
            "https://a.*.example.org",
            "https://*app.example",
            "https://app.example/",
            "https://app.example/path",
            "https://app.example:443",
            "HTTPS://app.example",
            "https://App.example",
            "https://user@app.example",
            "capacitor://",
            "capacitor://localhost/",
            "capacitor://*.localhost",
            "capacitor:localhost",
            "Capacitor://localhost",
            "1app://localhost",
            "app://a b",
        ] {
            let error = cors(bad).check().expect_err(bad);
            assert!(error.starts_with("cors.origins must hold origins") && error.ends_with(&format!(", not {bad}")), "{error}");
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let all = cors("https://*.example.org");
        for good in ["https://app.example.org", "https://a-b_1.example.org"] {
            assert!(all.allows(good), "{good}");
        }
        for bad in [
            "https://example.org",
            "https://.example.org",
            "https://a.b.example.org",
            "https://*.example.org",
            "http://app.example.org",
            "https://app.example.org:8443",
            "https://app.example.org.evil.example",
            "https://evil.example/app.example.org",
            "https://evil.example:1.example.org",
            "https://appexample.org",
            "https://user@app.example.org",
            "null",
            "",
        ] {
            assert!(!all.allows(bad), "{bad}");
        }
        assert!(cors("http://*.localhost:3000").allows("http://app.localhost:3000"));
    }
}
