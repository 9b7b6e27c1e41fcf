//! The cookie session as the Odoo-like rooms take it from a request.

use std::{future::Future, net::IpAddr, sync::Arc, time::Duration};

use cookie::Cookie;
use poem::{Request, RequestBody, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    registry::{MetaSecurityScheme, Registry},
};

use super::{bearer::Presented, jsonrpc::Fault};
use crate::{
    auth::{self, Auth, Caller, Login, SessionId},
    chat::Chat,
    clock,
    shares::{NoShare, Turn},
};

pub const COOKIE: &str = "session_id";
const SCHEME: &str = "session";

/// The session that a request presents: known by its cookie, or, if there is none, by `X-Openerp-Session-Id`.
#[derive(Clone)]
pub struct Session {
    id: Option<SessionId>,
    login: Result<Arc<Login>, auth::Error>,
}

impl Session {
    /// Who is logged in.
    pub fn login(&self) -> Result<Arc<Login>, Fault> {
        self.login.clone().map_err(|error| fault(&error))
    }

    /// Who is logged in, for routes that answer outside the envelope.
    pub fn outcome(&self) -> Result<&Arc<Login>, &auth::Error> {
        self.login.as_ref()
    }

    /// Who is logged in, if anybody is.
    pub fn known(&self) -> Option<&Arc<Login>> {
        self.login.as_ref().ok()
    }

    /// What the request presents, alive or not.
    pub fn id(&self) -> Option<&SessionId> {
        self.id.as_ref()
    }

    /// Who is logged in, where it does not matter by what means.
    pub(super) fn caller(&self) -> Result<Caller, auth::Error> {
        self.login.as_ref().map(|login| Caller::clone(login)).map_err(Clone::clone)
    }

    pub(super) async fn of(request: &Request) -> Self {
        match request.data::<Presented>() {
            Some(Presented::Session(session)) => session.clone(),
            _ => Self::look(request, presented(request)).await,
        }
    }

    async fn look(request: &Request, id: Option<SessionId>) -> Self {
        let auth = request.data::<Auth>().expect("the server puts it into every request");
        let login = match &id {
            Some(id) => auth.session(id).await,
            None => Err(auth::Error::Expired),
        };
        Self { id, login }
    }

    /// The session that a request presents, looked at under a turn if the store has to be asked.
    pub async fn presented(
        request: &Request,
        turn: impl Future<Output = Result<Turn, NoShare>>,
    ) -> Result<Option<Self>, NoShare> {
        let Some(id) = presented(request) else { return Ok(None) };
        let auth = request.data::<Auth>().expect("the server puts it into every request");
        if let Some(login) = auth.remembered_session(&id) {
            return Ok(Some(Self { id: Some(id), login: Ok(login) }));
        }
        let _turn = turn.await?;
        Ok(Some(Self::look(request, Some(id)).await))
    }

    /// Notes that whoever is logged in was seen.
    fn seen(self, request: &Request) -> Self {
        if let (Ok(login), Some(chat)) = (&self.login, request.data::<Chat>()) {
            chat.seen(login);
        }
        self
    }
}

/// How a failure of the doorkeeper reads in the envelope.
pub fn fault(error: &auth::Error) -> Fault {
    use poem::http::StatusCode;
    match error {
        auth::Error::Denied => Fault::access_denied(),
        auth::Error::Expired | auth::Error::Refused(_) => Fault::session_expired(),
        // Status 200, as Odoo has it: published clients cannot read another one.
        auth::Error::TooManyAttempts { retry_after } | auth::Error::TooManyWaiting { retry_after } => {
            let text = "Too many login failures, please wait a bit before trying again.";
            Fault::new("odoo.exceptions.AccessDenied", text).retry_after(StatusCode::OK, retry_after.as_secs().max(1))
        }
        auth::Error::Unavailable(cause) => Fault::unavailable(cause),
        auth::Error::NotConfigured(_) => Fault::unavailable(error),
        auth::Error::Internal(cause) => Fault::internal(cause),
    }
}

/// Some clients send a whole `Set-Cookie` line back, or end in `;`: the first `session_id` among the pairs counts. An
/// empty one is none.
pub(super) fn presented(request: &Request) -> Option<SessionId> {
    let cookies = request.headers().get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut ids =
        cookies.flat_map(Cookie::split_parse).flatten().filter(|cookie| cookie.name() == COOKIE && !cookie.value().is_empty());
    match ids.next() {
        Some(cookie) => SessionId::parse(cookie.value()),
        None => SessionId::parse(request.header("X-Openerp-Session-Id")?),
    }
}

/// The `Set-Cookie` of a new session, or of one that is given again. The order of its parts is Odoo's.
pub fn cookie(id: &SessionId, lifetime: Duration, secure: bool) -> String {
    bake(id.expose(), lifetime, secure)
}

/// The `Set-Cookie` that makes a client forget its session.
pub fn no_cookie(secure: bool) -> String {
    bake("", Duration::ZERO, secure)
}

fn bake(value: &str, lifetime: Duration, secure: bool) -> String {
    let expires = (clock::now() + lifetime).format("%a, %d %b %Y %H:%M:%S GMT");
    let secure = if secure { "; Secure" } else { "" };
    let lifetime = lifetime.as_secs();
    format!("{COOKIE}={value}; Expires={expires}; Max-Age={lifetime}; HttpOnly; Path=/; SameSite=Lax{secure}")
}

impl<'a> ApiExtractor<'a> for Session {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
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
        vec![SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self::of(request).await.seen(request))
    }
}

/// The session for the one route that says by itself what sign of life its caller gives: a poll of the bus.
pub struct PollingSession(pub Session);

impl<'a> ApiExtractor<'a> for PollingSession {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        <Session as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(Session::of(request).await))
    }
}

/// The session for routes that answer also those who have none.
pub struct OptionalSession(pub Session);

impl<'a> ApiExtractor<'a> for OptionalSession {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];

    type ParamRawType = ();
    type ParamType = ();

    fn register(registry: &mut Registry) {
        <Session as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(request: &'a Request, _: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        Ok(Self(Session::of(request).await.seen(request)))
    }
}

/// Where a request comes from, behind proxies that are trusted.
#[derive(Clone, Copy, Debug)]
pub struct From(pub IpAddr);

impl From {
    /// What the server found out; loopback where there is no socket.
    pub fn of(request: &Request) -> IpAddr {
        request.data::<Self>().map_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), |from| from.0)
    }
}
