//! Origin check: cross-site request forgery protection for requests that browsers send with cookies from any page.

use poem::http::{HeaderMap, header};
use url::Url;

use crate::config::Config;

/// True if `Origin` is our own origin or in `cors.origins`. Browsers set it on every WebSocket handshake and every form post, and
/// a page cannot change it. Our own origin is that of `base_url`; without that setting, any whose authority is the request's `Host`.
pub(super) fn is_trusted(headers: &HeaderMap, config: &Config) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return false };
    if config.cors.allows(origin) {
        return true;
    }
    match config.base_url.as_str() {
        // A proxy may terminate TLS, so the scheme of our origin is unknown here.
        "" => ["http://", "https://"]
            .into_iter()
            .filter_map(|scheme| origin.strip_prefix(scheme))
            .any(|at| Some(at) == text(header::HOST)),
        ours => Url::parse(ours).is_ok_and(|ours| ours.origin().ascii_serialization() == origin),
    }
}

/// True unless a page of a foreign origin sent a form. Clients other than browsers send no `Origin`.
pub fn may_post_form(headers: &HeaderMap, config: &Config) -> bool {
    !headers.contains_key(header::ORIGIN) || is_trusted(headers, config)
}

#[cfg(test)]
mod tests {
    use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

    use super::{is_trusted, may_post_form};
    use crate::config::Config;

    fn headers(given: &[(HeaderName, &'static str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn our_pages_and_those_of_friends_are_trusted() {
        let mut config = Config::load_defaults().expect("the defaults are settings");
        config.cors.origins = vec!["https://friend.example".into()];
        let is_ours = |config: &Config, origin: &'static str| {
            is_trusted(&headers(&[(header::ORIGIN, origin), (header::HOST, "chat.example:8069")]), config)
        };
        for (origin, ours) in [
            ("http://chat.example:8069", true),
            ("https://chat.example:8069", true),
            ("https://friend.example", true),
            ("https://chat.example", false),
            ("https://evil.example", false),
            ("https://friend.example.evil.example", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(is_ours(&config, origin), ours, "{origin}");
        }
        config.base_url = "https://chat.example/".into();
        for (origin, ours) in [
            ("https://chat.example", true),
            ("https://friend.example", true),
            ("http://chat.example", false),
            ("http://chat.example:8069", false),
        ] {
            assert_eq!(is_ours(&config, origin), ours, "{origin} with base_url");
        }
        assert!(!is_trusted(&headers(&[(header::HOST, "chat.example:8069")]), &config), "without an origin");
        assert!(may_post_form(&headers(&[(header::HOST, "chat.example:8069")]), &config));
        assert!(!may_post_form(&headers(&[(header::ORIGIN, "null")]), &config));
    }
}
