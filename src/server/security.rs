//! Headers that tell browsers and caches what an answer is not: no page of others, no frame, nothing to be kept. Routes that
//! know better say so themselves, such as those of files.

use poem::{
    Response,
    http::{HeaderName, HeaderValue, StatusCode, header},
};

/// Of every answer that says nothing else: it loads nothing, sends no form, and stands in no frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// How long browsers come over TLS alone, once they have: a year.
const TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// `Cross-Origin-Resource-Policy` (Fetch standard).
pub(super) const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Adds what is missing. `is_secure` if clients come over TLS.
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
        // A cache that many share would hand it out.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if is_secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT);
    }
}
