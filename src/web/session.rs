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
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions, registry::Registry};
use storage::UserId;

use super::{AppContext, body, security_schemes};
use crate::{
    auth::{self, Auth, Caller, Login, SessionId, SignInOrigin},
    chat::Chat,
    clock,
    config::SameSite,
    shares::{NoShare, StoreTurn},
};

pub use super::security_schemes::COOKIE;

/// Session of a request: by its cookie, or, if no cookie holds an id, by `X-Openerp-Session-Id`. A caller with a bearer token
/// also has one, without an id.
#[derive(Clone)]
pub struct Session {
    id: Option<SessionId>,
    login: Result<Arc<Login>, auth::Error>,
}

impl Session {
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
    pub fn renew(&self, response: &mut Response, app: &AppContext) {
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
            let cookie = HeaderValue::from_str(&cookie(id, *life, app)).expect("a cookie of ours is plain ASCII");
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// `Set-Cookie` of a new or renewed session. The order of its attributes is Odoo's.
pub fn cookie(id: &SessionId, life: Duration, app: &AppContext) -> String {
    set_cookie(id.expose(), life, app)
}

/// `Set-Cookie` that deletes the client's session cookie.
pub fn expired_cookie(app: &AppContext) -> String {
    set_cookie("", Duration::ZERO, app)
}

fn set_cookie(value: &str, life: Duration, app: &AppContext) -> String {
    // Rounded, because the remaining lifetime of a new session is slightly below its full length.
    let life = (life.as_secs_f64()).round();
    let expires = (clock::now() + Duration::from_secs_f64(life)).format("%a, %d %b %Y %H:%M:%S GMT");
    let same_site = match app.config.session.same_site {
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    let secure = if app.is_secure() { "; Secure" } else { "" };
    format!("{COOKIE}={value}; Expires={expires}; Max-Age={life}; HttpOnly; Path=/; SameSite={same_site}{secure}")
}

/// Credentials of a request, examined before the rest of it. Each route decides if they are sufficient.
#[derive(Clone)]
pub enum RequestCredentials {
    Missing,
    Token(Caller),
    /// An invalid token, and the session beside it.
    BadToken(auth::Error, Option<Session>),
    Session(Session),
}

impl RequestCredentials {
    /// Examines the credentials. `turn` is taken first if an unauthenticated client could cause a query.
    ///
    /// # Errors
    ///
    /// [`NoShare::Requests`] if no turn is free.
    pub async fn of(request: &Request, turn: impl Future<Output = Result<StoreTurn, NoShare>>) -> Result<Self, NoShare> {
        // The token's signature is verified before any query.
        if let Some(token) = authorization(request.headers()) {
            return Ok(match auth_of(request).bearer(token).await {
                Ok(caller) => Self::Token(caller),
                Err(error) => Self::BadToken(error, Session::presented(request, turn).await?),
            });
        }
        Ok(Session::presented(request, turn).await?.map_or(Self::Missing, Self::Session))
    }

    /// The authenticated user, if the credentials are valid.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::Token(caller) => Some(caller.user),
            Self::Session(session) | Self::BadToken(_, Some(session)) => session.valid_login().map(|login| login.user),
            Self::Missing | Self::BadToken(_, None) => None,
        }
    }
}

pub(super) fn authorization(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl<'a> ApiExtractor<'a> for Session {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        security_schemes::register_bearer(registry);
        security_schemes::register_session(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![security_schemes::SESSION, security_schemes::BEARER]
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
        vec![security_schemes::SESSION, security_schemes::BEARER]
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
        vec![security_schemes::SESSION, security_schemes::BEARER]
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

/// Origin of a request that brings a password or a refresh token.
pub fn sign_in_origin(request: &Request) -> SignInOrigin<'_> {
    SignInOrigin { address: ClientAddress::of(request), account: body::account(request) }
}
