//! Cookie sessions of the Odoo-compatible dialects: authentication by cookie or header, and renewal of the cookie.

use std::{
    future::Future,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use cookie::Cookie;
use poem::{
    Request, RequestBody, Response,
    http::{HeaderMap, HeaderValue, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use super::{
    AppContext,
    bearer::{self, RequestCredentials},
    jsonrpc::Fault,
};
use crate::{
    auth::{self, Auth, Login, SessionId},
    chat::Chat,
    clock,
    config::SameSite,
    shares::{NoShare, StoreTurn},
};

pub const COOKIE: &str = "session_id";
const SCHEME: &str = "session";

/// Session of a request: by its cookie, or, if no cookie holds an id, by `X-Openerp-Session-Id`. A caller with a bearer token
/// also has one, without an id.
#[derive(Clone)]
pub struct Session {
    id: Option<SessionId>,
    login: Result<Arc<Login>, auth::Error>,
}

impl Session {
    /// The log-in, or the error for the JSON-RPC envelope.
    pub fn login(&self) -> Result<Arc<Login>, Fault> {
        self.login.clone().map_err(|error| fault(&error))
    }

    /// The log-in, or its error, for routes without the envelope.
    pub fn login_result(&self) -> Result<&Arc<Login>, &auth::Error> {
        self.login.as_ref()
    }

    /// The log-in, if there is a valid one.
    pub fn valid_login(&self) -> Option<&Arc<Login>> {
        self.login.as_ref().ok()
    }

    /// Id of the presented session, valid or not.
    pub fn id(&self) -> Option<&SessionId> {
        self.id.as_ref()
    }

    pub async fn of(request: &Request) -> Self {
        match request.data::<RequestCredentials>() {
            Some(RequestCredentials::Session(session)) => session.clone(),
            Some(RequestCredentials::Token(caller)) => Self { id: None, login: auth_of(request).login_by_token(caller).await },
            // Proxies have tokens of their own, which their clients send along with the cookie.
            Some(RequestCredentials::BadToken(_, Some(session))) => session.clone(),
            Some(RequestCredentials::BadToken(error, None)) => Self { id: None, login: Err(error.clone()) },
            Some(RequestCredentials::Missing) | None => match presented(request) {
                Some(given) => Self::load(request, given).await,
                None => Self { id: None, login: Err(auth::Error::Expired) },
            },
        }
    }

    /// Loads the first valid session of those presented.
    async fn load(request: &Request, given: PresentedSessions) -> Self {
        match auth_of(request).session(&given.ids).await {
            Ok((id, login)) => Self::loaded(request, &given, id, login),
            Err(error) => Self { id: given.ids.into_iter().next(), login: Err(error) },
        }
    }

    fn loaded(request: &Request, given: &PresentedSessions, id: &SessionId, login: Arc<Login>) -> Self {
        if let Some(slot) = request.data::<CookieSlot>()
            && given.is_cookie
            && let Some(life) = auth_of(request).renews_cookie(&login)
        {
            // Fails only if it is set already. A request has one session.
            let _ = slot.0.set((id.clone(), life));
        }
        Self { id: Some(id.clone()), login: Ok(login) }
    }

    /// Session of a request. `turn` is taken first if the session is not cached and needs a query.
    pub async fn presented(
        request: &Request,
        turn: impl Future<Output = Result<StoreTurn, NoShare>>,
    ) -> Result<Option<Self>, NoShare> {
        let Some(given) = presented(request) else { return Ok(None) };
        if let Some(id) = given.ids.first()
            && let Some(login) = auth_of(request).cached_session(id)
        {
            return Ok(Some(Self::loaded(request, &given, id, login)));
        }
        let _turn = turn.await?;
        Ok(Some(Self::load(request, given).await))
    }

    /// Records the caller's activity.
    fn with_activity(self, request: &Request) -> Self {
        if let (Ok(login), Some(chat)) = (&self.login, request.data::<Chat>()) {
            chat.record_request(login);
        }
        self
    }
}

/// JSON-RPC fault for an authentication error.
pub fn fault(error: &auth::Error) -> Fault {
    use poem::http::StatusCode;
    match error {
        auth::Error::Denied => Fault::access_denied(),
        // Without verification keys, every token is invalid.
        auth::Error::Expired | auth::Error::InvalidToken(_) | auth::Error::NotConfigured(_) => Fault::session_expired(),
        // Status 200, as in Odoo: published clients cannot read the body of any other.
        auth::Error::TooManyAttempts { retry_after } | auth::Error::TooManyWaiting { retry_after } => {
            let text = "Too many login failures, please wait a bit before trying again.";
            Fault::new("odoo.exceptions.AccessDenied", text).retry_after(StatusCode::OK, retry_after.as_secs().max(1))
        }
        auth::Error::TooFast { retry_after } => {
            Fault::too_fast("Too many log-ins, please wait", Some(retry_after.as_secs().max(1)))
        }
        auth::Error::Unavailable(cause) => Fault::unavailable(cause),
        auth::Error::Internal(cause) => Fault::internal(cause),
    }
}

/// Session ids of a request, in their order; at least one.
pub struct PresentedSessions {
    ids: Vec<SessionId>,
    is_cookie: bool,
}

/// Session ids of a request, for operations that end all of its sessions: a log-out, or the start of a new session.
pub fn presented_ids(request: &Request) -> Vec<SessionId> {
    presented(request).map(|given| given.ids).unwrap_or_default()
}

/// Session ids of a request, valid or not. The size limit of its headers bounds their number.
pub fn presented(request: &Request) -> Option<PresentedSessions> {
    let ids: Vec<_> = cookies(request.headers()).filter_map(|id| SessionId::parse(&id)).collect();
    let is_cookie = !ids.is_empty();
    let ids = if is_cookie { ids } else { by_header(request).into_iter().collect() };
    (!ids.is_empty()).then_some(PresentedSessions { ids, is_cookie })
}

/// True if the request has a session header, which a foreign page cannot set (CSRF protection).
pub fn is_by_header(request: &Request) -> bool {
    by_header(request).is_some()
}

fn by_header(request: &Request) -> Option<SessionId> {
    SessionId::parse(request.header("X-Openerp-Session-Id")?)
}

/// Values of the session cookie. Each cookie is parsed separately, from bytes (RFC 6265, section 5.4), because other applications
/// on the same host set arbitrary ones. Quotes do not belong to a value. Some clients send a whole `Set-Cookie` line back, or end
/// in `;`; an empty value is ignored.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let cookies = pairs.filter_map(|pair| Cookie::parse(str::from_utf8(pair).ok()?).ok());
    let values = cookies.filter(|cookie| cookie.name() == COOKIE).map(|cookie| cookie.value_trimmed().to_owned());
    values.filter(|value| !value.is_empty())
}

fn auth_of(request: &Request) -> &Auth {
    request.data().expect("the server puts it into every request")
}

/// Slot for a renewed session cookie, in the extensions of every request. Any response can deliver it.
#[derive(Clone, Default)]
pub struct CookieSlot(Arc<OnceLock<(SessionId, Duration)>>);

impl CookieSlot {
    /// Adds the cookie to a response, unless the response sets the session cookie itself, or shared caches may store it.
    pub fn renew(&self, response: &mut Response, house: &AppContext) {
        let Some((id, life)) = self.0.get() else { return };
        let headers = response.headers_mut();
        let is_ours =
            |cookie: &HeaderValue| cookie.as_bytes().strip_prefix(COOKIE.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
        let is_shared = |kept: &HeaderValue| {
            let text = kept.to_str().unwrap_or_default();
            ["public", "immutable", "s-maxage"].iter().any(|word| text.contains(word))
        };
        let is_left_alone = headers.get_all(header::SET_COOKIE).iter().any(is_ours)
            || headers.get_all(header::CACHE_CONTROL).iter().any(is_shared);
        if !is_left_alone {
            let cookie = HeaderValue::from_str(&cookie(id, *life, house)).expect("a cookie of ours is plain ASCII");
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// `Set-Cookie` of a new or renewed session. The order of its attributes is Odoo's.
pub fn cookie(id: &SessionId, life: Duration, house: &AppContext) -> String {
    set_cookie(id.expose(), life, house)
}

/// `Set-Cookie` that deletes the client's session cookie.
pub fn expired_cookie(house: &AppContext) -> String {
    set_cookie("", Duration::ZERO, house)
}

fn set_cookie(value: &str, life: Duration, house: &AppContext) -> String {
    // Rounded, because the remaining lifetime of a new session is slightly below its full length.
    let life = (life.as_secs_f64()).round();
    let expires = (clock::now() + Duration::from_secs_f64(life)).format("%a, %d %b %Y %H:%M:%S GMT");
    let same_site = match house.config.session.same_site {
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    let secure = if house.is_secure() { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Expires={expires}; Max-Age={life}; HttpOnly; Path=/; SameSite={same_site}{secure}")
}

impl<'a> ApiExtractor<'a> for Session {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        bearer::register(registry);
        registry.create_security_scheme(
            SCHEME,
            MetaSecurityScheme {
                ty: "apiKey",
                description: Some(
                    "Log in with `/web/session/authenticate`: the browser keeps the cookie and sends it by itself. Clients \
                     without cookies send the id as `X-Openerp-Session-Id`.",
                ),
                name: Some(COOKIE),
                key_in: Some("cookie"),
                scheme: None,
                bearer_format: None,
                flows: None,
                openid_connect_url: None,
            },
        );
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME, bearer::SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self::of(request).await.with_activity(request))
    }
}

/// Session for the polling route of the bus, which records its caller's activity itself.
pub struct PollingSession(pub Session);

impl<'a> ApiExtractor<'a> for PollingSession {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        <Session as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME, bearer::SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(Session::of(request).await))
    }
}

/// Session for routes that also accept unauthenticated requests.
pub struct OptionalSession(pub Session);

impl<'a> ApiExtractor<'a> for OptionalSession {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        <Session as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME, bearer::SCHEME]
    }

    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(Session::of(request).await.with_activity(request)))
    }
}

/// Client address of a request, as seen behind trusted proxies.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The address that the server has determined; loopback for a request without a connection.
    pub fn of(request: &Request) -> IpAddr {
        request.data::<Self>().map_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), |from| from.0)
    }
}
