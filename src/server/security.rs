//! Security headers for browsers and caches: no foreign content, no framing, no caching. Routes set their own where they need
//! others, such as those of files.

use poem::{
    Response,
    http::{HeaderName, HeaderValue, StatusCode, header},
};

/// Default content security policy: loads nothing, submits no form, and allows no framing.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// HTTP Strict Transport Security (HSTS): a year.
const TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// `Cross-Origin-Resource-Policy` (Fetch standard).
pub(super) const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Adds missing headers. `is_secure`: clients use TLS.
pub(super) fn protect(response: &mut Response, is_secure: bool) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let is_json = response.content_type().is_some_and(|kind| kind.starts_with("application/json"));
    let kept = HeaderValue::from_static(if is_json { "no-store" } else { "no-cache" });
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(POLICY);
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(RESOURCE_POLICY).or_insert(HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(kept);
    if headers.contains_key(header::SET_COOKIE) {
        // A shared cache would serve the cookie to others.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if is_secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT);
    }
}
