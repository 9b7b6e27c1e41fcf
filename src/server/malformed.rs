//! Early refusal of malformed requests, before their body is read: a missing or ambiguous host, or an unknown content coding.

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, uri::Authority},
};

use crate::{dialects, web::jsonrpc};

/// The refusal of a request without exactly one valid Host header, or with a body in an unknown content coding.
pub(super) fn refusal(request: &Request) -> Option<Response> {
    if !names_host(request) {
        let text = "The request must have one Host header, which names a host.";
        return Some(jsonrpc::error_page(StatusCode::BAD_REQUEST, text));
    }
    let has_body = ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    (has_body && !is_plain(request.headers())).then(|| {
        let mut response = dialects::unsupported_content_encoding(request);
        // RFC 9110, section 15.5.16.
        response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        response
    })
}

/// True if the Host header is valid (RFC 9112, section 3.2). HTTP/1.0 may lack it. An empty one stands for a target without a
/// host.
fn names_host(request: &Request) -> bool {
    let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
    match hosts[..] {
        [] => request.version() < Version::HTTP_11,
        [host] => host.is_empty() || is_host(host.as_bytes()),
        _ => false,
    }
}

/// True for a host with an optional port (RFC 3986, section 3.2.2).
fn is_host(bytes: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(bytes) else { return false };
    let port = authority.as_str().strip_prefix(authority.host());
    let is_port =
        |port: &str| port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.is_empty() || port.parse::<u16>().is_ok());
    !authority.host().is_empty() && port.is_some_and(is_port)
}

/// True if the body has no content coding.
fn is_plain(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings
        .map(|list| list.to_str().unwrap_or("unreadable"))
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, version: Version, headers: &[(&'static str, &str)]) -> Request {
        let builder = Request::builder().method(method).version(version);
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).finish()
    }

    fn status(method: Method, version: Version, headers: &[(&'static str, &str)]) -> Option<u16> {
        refusal(&request(method, version, headers)).map(|response| response.status().as_u16())
    }

    #[test]
    fn a_request_names_one_host() {
        let get = |version, headers: &[_]| status(Method::GET, version, headers);
        assert_eq!(get(Version::HTTP_11, &[("host", "a")]), None);
        assert_eq!(get(Version::HTTP_11, &[("host", "")]), None);
        assert_eq!(get(Version::HTTP_11, &[]), Some(400));
        assert_eq!(get(Version::HTTP_11, &[("host", "a"), ("host", "b")]), Some(400));
        assert_eq!(get(Version::HTTP_10, &[]), None);
        for host in
            ["chat.example.com", "chat.example:8069", "a:", "10.0.0.5:80", "[::1]", "[2001:db8::1]:8069", "xn--bcher-kva.example"]
        {
            assert_eq!(get(Version::HTTP_11, &[("host", host)]), None, "{host}");
        }
        for host in
            ["a b", "a/b", "http://a", "user@a", "a:b", "a:99999", "a:1:2", ":80", "[::1", "::1", "a?b", "a#b", "a\\b", "\"a\""]
        {
            assert_eq!(get(Version::HTTP_11, &[("host", host)]), Some(400), "{host}");
            assert_eq!(get(Version::HTTP_10, &[("host", host)]), Some(400), "{host}");
        }
    }

    #[test]
    fn a_body_is_in_no_coding() {
        let with = |method, coding| status(method, Version::HTTP_11, &[("host", "a"), ("content-encoding", coding)]);
        for plain in ["", "identity", "Identity", "identity, identity"] {
            assert_eq!(with(Method::POST, plain), None, "{plain}");
        }
        for coded in ["gzip", "br", "identity, gzip", "utf-8", "x"] {
            assert_eq!(with(Method::POST, coded), Some(415), "{coded}");
            assert_eq!(with(Method::GET, coded), None, "{coded}");
        }
    }
}
