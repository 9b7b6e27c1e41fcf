//! Bearer token authentication of requests and WebSocket handshakes, with the cookie session as the fallback and the CSRF
//! check that the cookie needs.

use std::sync::Arc;

use poem::{
    Request, RequestBody,
    http::{HeaderMap, Method, StatusCode, header},
};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, registry::Registry};

use super::{
    AppContext,
    json::UnusableBody,
    jsonrpc::is_json,
    origin, security_schemes,
    session::{self, RequestCredentials, Session, authorization},
};
use crate::{
    auth::{self, Auth, Caller, Login, TokenError},
    chat::Chat,
    config::Config,
    telemetry,
};

/// Value of `WWW-Authenticate` in a 401 response.
pub const CHALLENGE: &str = "Bearer";
/// WebSocket subprotocol that announces a token as the next list entry. Browsers cannot set other headers of a handshake.
const SUBPROTOCOL: &str = "bearer";

/// Caller by `Authorization: Bearer`, else by the session. The session's cookie counts only if the request passes the CSRF check
/// of `may_read_by_session`: a GET or HEAD that no foreign page sends, a body declared as JSON, or an origin that is ours or in
/// `cors.origins`.
pub struct Bearer(pub Result<Caller, auth::Error>);

/// Caller by `Authorization: Bearer` alone. The session cookie is ignored.
pub struct BearerAlone(pub Result<Caller, auth::Error>);

/// Caller by `Authorization: Bearer`, else by the session, without an origin check.
pub struct BearerOrSession(pub Result<Caller, auth::Error>);

/// Authenticates a WebSocket handshake. Order of precedence: the token in the query (if the dialect has one there), the token
/// after `bearer` in `Sec-WebSocket-Protocol`, `Authorization: Bearer`, the session. The session's cookie counts only from our
/// own origin or from `cors.origins`.
///
/// Also returns the subprotocol for the response, even if authentication fails: a browser drops a connection whose response lacks
/// it.
pub async fn socket_caller(
    request: &Request,
    query_token: Option<&str>,
    app: &AppContext,
) -> (Result<Caller, auth::Error>, Option<&'static str>) {
    let offered = offered_subprotocol(request.headers());
    let subprotocol = offered.is_some().then_some(SUBPROTOCOL);
    let token = [query_token, offered.flatten()].into_iter().flatten().map(bare_token).find(|token| !token.is_empty());
    let caller = match token {
        // A token in the query or the subprotocol comes from the client itself and never from a proxy, so there is no fallback.
        Some(token) => app.auth.bearer(token).await,
        None => {
            let may_use_session = session::is_by_header(request) || origin::is_trusted(request.headers(), &app.config);
            by_token_or_session(request, may_use_session, |login| app.auth.with_keep_alive(login)).await
        }
    };
    let caller = caller.map(Caller::on_socket);
    if let Ok(caller) = &caller {
        app.chat.wait_for_opening(caller).await;
    }
    (caller, subprotocol)
}

/// HTTP status and message for an authentication error. Logs the cause of a server-side failure.
pub fn status_and_message(error: &auth::Error) -> (StatusCode, &'static str) {
    match error {
        auth::Error::Denied => (StatusCode::UNAUTHORIZED, "Wrong login or password."),
        auth::Error::Expired | auth::Error::InvalidToken(_) => (StatusCode::UNAUTHORIZED, "Not logged in, or no longer."),
        auth::Error::TooManyAttempts { .. } => (StatusCode::TOO_MANY_REQUESTS, "Too many failed logins. Please wait a minute."),
        auth::Error::TooFast { .. } => (StatusCode::TOO_MANY_REQUESTS, "Too many tokens or sessions. Please wait."),
        auth::Error::TooManyWaiting { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "Too many log-ins at this moment. Please try again shortly.")
        }
        auth::Error::NoShare(why) => {
            let UnusableBody { status, message } = (*why).into();
            (status, message)
        }
        auth::Error::NotConfigured(_) => (StatusCode::SERVICE_UNAVAILABLE, "This server is not set up for tokens."),
        auth::Error::Unavailable(_) => {
            telemetry::unavailable("not available", error);
            (StatusCode::SERVICE_UNAVAILABLE, "The server is not available now. Please try again shortly.")
        }
        auth::Error::Internal(_) => {
            telemetry::failed("internal error", error);
            (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong on our side.")
        }
    }
}

/// Removes white space and a leading `Bearer` from a token. Some clients send the whole value of `Authorization` in its place.
fn bare_token(given: &str) -> &str {
    let given = given.trim();
    match given.split_once(char::is_whitespace) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ if given.eq_ignore_ascii_case("bearer") => "",
        _ => given,
    }
}

/// `Some` if `bearer` is among the offered subprotocols, with the entry that follows it.
fn offered_subprotocol(headers: &HeaderMap) -> Option<Option<&str>> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|list| list.to_str().ok());
    let mut offered = lists.flat_map(|list| list.split(',')).map(str::trim);
    offered.find(|name| *name == SUBPROTOCOL)?;
    Some(offered.next())
}

/// True if the session of a request counts (CSRF check). Browsers send its cookie with requests of foreign pages too, but a
/// foreign page can set neither the session header nor the content type of JSON.
pub fn may_use_session(request: &Request, config: &Config) -> bool {
    is_json(request) || session::is_by_header(request) || origin::is_trusted(request.headers(), config)
}

/// Like [`may_use_session`], but a GET or HEAD also passes, unless `Origin` or `Sec-Fetch-Site` shows that a page sends it from
/// elsewhere: that page cannot read the response, and a navigation from the address bar has no origin.
pub fn may_read_by_session(request: &Request, config: &Config) -> bool {
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let is_of_page = request.headers().contains_key(header::ORIGIN)
        || request.header("Sec-Fetch-Site").is_some_and(|site| !["same-origin", "none"].contains(&site));
    (is_read && !is_of_page) || may_use_session(request, config)
}

/// Caller by `Authorization: Bearer`, else by the session if `may_use_session`. An invalid token does not disable the session:
/// proxies have tokens of their own, which their clients send along with the cookie.
async fn by_token_or_session(
    request: &Request,
    may_use_session: bool,
    stands_for: impl FnOnce(&Arc<Login>) -> Caller,
) -> Result<Caller, auth::Error> {
    let refused = match by_token(request).await {
        Some(Ok(caller)) => return Ok(caller),
        Some(Err(error)) => error,
        None => TokenError::Missing.into(),
    };
    if session::presented(request).is_none() {
        return Err(refused);
    }
    if !may_use_session {
        tracing::info!("a session was refused: its cookie came from no page that may use it");
        return Err(refused);
    }
    match Session::of(request).await.login_result() {
        Ok(login) => Ok(stands_for(login)),
        Err(auth::Error::Expired) => Err(refused),
        Err(error) => Err(error.clone()),
    }
}

async fn by_token(request: &Request) -> Option<Result<Caller, auth::Error>> {
    match request.data::<RequestCredentials>() {
        Some(RequestCredentials::Token(caller)) => return Some(Ok(caller.clone())),
        Some(RequestCredentials::BadToken(error, _)) => return Some(Err(error.clone())),
        Some(RequestCredentials::Session(_) | RequestCredentials::Missing) | None => {}
    }
    Some(auth_of(request).bearer(authorization(request.headers())?).await)
}

fn auth_of(request: &Request) -> &Auth {
    request.data().expect("the server puts it into every request")
}

fn with_activity(caller: Result<Caller, auth::Error>, request: &Request) -> Result<Caller, auth::Error> {
    if let (Ok(caller), Some(chat)) = (&caller, request.data::<Chat>()) {
        chat.record_request(caller);
    }
    caller
}

impl<'a> ApiExtractor<'a> for Bearer {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        <Session as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        <BearerOrSession as ApiExtractor>::security_schemes()
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let config: &Arc<Config> = request.data().expect("the server puts it into every request");
        let may_use_session = may_read_by_session(request, config);
        Ok(Self(with_activity(by_token_or_session(request, may_use_session, |login| Caller::clone(login)).await, request)))
    }
}

impl<'a> ApiExtractor<'a> for BearerAlone {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        security_schemes::register_bearer(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![security_schemes::BEARER]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let caller = by_token(request).await.unwrap_or_else(|| Err(TokenError::Missing.into()));
        Ok(Self(with_activity(caller, request)))
    }
}

impl<'a> ApiExtractor<'a> for BearerOrSession {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        <Session as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        <Session as ApiExtractor>::security_schemes()
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(with_activity(by_token_or_session(request, true, |login| Caller::clone(login)).await, request)))
    }
}

#[cfg(test)]
mod tests {
    use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

    use super::{bare_token, offered_subprotocol};

    fn headers(given: &[(HeaderName, &'static str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_token_follows_its_subprotocol() {
        for (list, token) in [
            ("bearer, a.b.c", Some(Some("a.b.c"))),
            ("chat,bearer,a.b.c", Some(Some("a.b.c"))),
            ("bearer", Some(None)),
            ("chat, a.b.c", None),
            ("", None),
        ] {
            assert_eq!(offered_subprotocol(&headers(&[(header::SEC_WEBSOCKET_PROTOCOL, list)])), token, "{list}");
        }
        let two = |first, second| {
            let mut headers = headers(&[(header::SEC_WEBSOCKET_PROTOCOL, first)]);
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(second));
            headers
        };
        assert_eq!(offered_subprotocol(&two("bearer", "a.b.c")), Some(Some("a.b.c")));
        assert_eq!(offered_subprotocol(&HeaderMap::new()), None);
    }

    #[test]
    fn a_token_is_taken_as_the_value_of_the_header() {
        for given in ["a.b.c", "Bearer a.b.c", "bearer\ta.b.c", " BEARER  a.b.c\r\n", "a.b.c\n"] {
            assert_eq!(bare_token(given), "a.b.c", "{given:?}");
        }
        for given in ["", " ", "Bearer", "Bearer ", " bearer\t"] {
            assert_eq!(bare_token(given), "", "{given:?}");
        }
        assert_eq!(bare_token("Bearera.b.c"), "Bearera.b.c");
        assert_eq!(bare_token("Basic a.b.c"), "Basic a.b.c");
    }
}
