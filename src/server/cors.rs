//! Cross-origin resource sharing (CORS, Fetch standard): requests from pages of other origins.

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
};

use crate::config;

/// Headers that a preflight without a list allows.
const USUAL_HEADERS: HeaderValue =
    HeaderValue::from_static("Authorization, Content-Type, X-Openerp-Session-Id, X-Requested-With");
/// Response headers that a page may read besides the safelisted ones.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Accept-Ranges, Content-Disposition, Content-Range, ETag, Retry-After, WWW-Authenticate");

/// Origin of the page that sends a request, if the settings allow it.
pub(super) fn allowed(cors: &config::CorsSettings, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    origin.to_str().is_ok_and(|text| cors.allows(text)).then(|| origin.clone())
}

/// True for a CORS preflight.
pub(super) fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Response to a preflight from an allowed origin. Allows any headers; the routes decide which ones count.
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

/// Lets a page of `origin` read a response. All responses have `Vary: Origin`, or a browser would reuse a cached one for another
/// origin.
pub(super) fn expose(cors: &config::CorsSettings, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    if !cors.origins.is_empty() {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}
