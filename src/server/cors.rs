//! Calls from pages of other origins (the CORS protocol of the Fetch standard).

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};

use crate::config;

/// Headers that a preflight allows which asks for none by name.
const USUAL_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, X-Openerp-Session-Id, X-Requested-With");
/// Headers of an answer that a page may read beside those that it always may.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Accept-Ranges, Content-Disposition, Content-Range, ETag, Retry-After, WWW-Authenticate");

/// The origin of the page that a request comes from, if the settings allow it.
pub(super) fn allowed(cors: &config::Cors, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    origin.to_str().is_ok_and(|text| cors.allows(text)).then(|| origin.clone())
}

/// Whether a browser asks for leave before a request of its page.
pub(super) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Leave for a page of an allowed origin, with whatever headers it asks for: which ones count is up to the routes.
pub(super) fn preflight(asked: &HeaderMap) -> Response {
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|wanted| !wanted.is_empty());
    Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT")
        .header(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.cloned().unwrap_or(USUAL_HEADERS))
        .header(header::ACCESS_CONTROL_MAX_AGE, "86400")
        .header(header::VARY, "Access-Control-Request-Headers")
        .finish()
}

/// Lets a page of `origin` read an answer. `Vary` stands in answers to others as well, since a browser that has kept one would
/// give it to the page.
pub(super) fn expose(cors: &config::Cors, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    if !cors.origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}
