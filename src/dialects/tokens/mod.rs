#![doc = include_str!("README.md")]

mod revocation;
mod session;
mod simplejwt;

use chrono::{DateTime, Utc};
use poem::{Request, http::StatusCode};
use poem_openapi::{ApiResponse, Object, OpenApi, Tags, payload::Json};
use uuid::Uuid;

use super::{
    House,
    bearer::{BearerOrSession, CHALLENGE, may_use_session, told},
    json::{Posted, PostedIfAny, Said},
    session::{From as Origin, OptionalSession},
};
use crate::auth::{self, Caller, Issued};

/// All routes of the dialect.
pub fn api(house: &House) -> impl OpenApi + use<> {
    (
        TokenApi(house.clone()),
        revocation::RevocationApi(house.clone()),
        session::SessionApi(house.clone()),
        simplejwt::SimpleJwtApi(house.clone()),
    )
}

#[derive(Tags)]
enum Tag {
    /// Access and refresh tokens, for clients that use a token instead of a cookie.
    #[oai(rename = "tokens")]
    Tokens,
}

struct TokenApi(House);

/// Renews tokens by a refresh token, at the expense of the user's rate limit.
async fn renewed(house: &House, request: &Request, refresh: &str) -> auth::Result<Issued> {
    house.auth.renew(refresh, Origin::of(request), |user| house.chat.charge_issuing(user)).await
}

/// Login and password; empty with a session cookie.
#[derive(Object)]
#[oai(example, rename = "TokenCredentials")]
struct Credentials {
    login: Option<String>,
    password: Option<String>,
}

impl poem_openapi::types::Example for Credentials {
    fn example() -> Self {
        Self { login: Some("admin@gmail.com".into()), password: Some("123456".into()) }
    }
}

/// A request to renew tokens.
#[derive(Object)]
#[oai(rename = "TokenRenewal")]
struct Renewal {
    /// The refresh token of the latest token pair.
    refresh: String,
}

/// An access token and a refresh token.
#[derive(Object)]
#[oai(rename = "TokenPair")]
struct Pair {
    /// For `Authorization: Bearer`, for a dialect's own query parameter, or, after `bearer`, among a WebSocket's subprotocols.
    access: String,
    /// Can be used once, and yields a new pair. Within `tokens.refresh_grace_seconds` a retry yields new pairs again, at most 3
    /// times, for clients that have lost the response. Later reuse revokes all tokens of the same login.
    refresh: String,
    /// `Bearer`
    token_type: String,
    /// Lifetime of `access`, in seconds.
    expires_in: u64,
}

/// The user of a token or session.
#[derive(Object)]
#[oai(rename = "TokenHolder")]
struct Holder {
    uid: i64,
    uuid: Uuid,
    login: String,
    name: String,
    /// `user`, `agent` or `admin`
    role: String,
    /// Expiry of the token, or of the session that was started with one, including the tolerated clock difference; null for the
    /// session of a log-in.
    expires_at: Option<DateTime<Utc>>,
}

impl From<&Caller> for Holder {
    fn from(caller: &Caller) -> Self {
        let Caller { user, uuid, login, name, role, expires_at, .. } = caller.clone();
        Self { uid: user.0, uuid, login, name, role: role.as_str().into(), expires_at }
    }
}

#[derive(ApiResponse)]
enum HolderAnswer {
    /// The user of the token or session.
    #[oai(status = 200)]
    Holder(Json<Holder>),
    /// No valid token or session.
    #[oai(status = 401)]
    Unauthorized(Json<Said>, #[oai(header = "WWW-Authenticate")] String),
    /// Internal error; the server's log has the cause.
    #[oai(status = 500)]
    Internal(Json<Said>),
    /// The server cannot reach its store, or has no keys to verify tokens.
    #[oai(status = 503)]
    Unavailable(Json<Said>),
}

#[derive(ApiResponse)]
enum Answer {
    /// The tokens.
    #[oai(status = 200)]
    Pair(Json<Pair>, #[oai(header = "Cache-Control")] String),
    /// The request body is invalid; `message` says how.
    #[oai(status = 400)]
    BadRequest(Json<Said>),
    /// Wrong login or password, no session, or an invalid refresh token.
    #[oai(status = 401)]
    Unauthorized(Json<Said>, #[oai(header = "WWW-Authenticate")] String),
    /// The session cookie was sent by a page of an origin that may not use it.
    #[oai(status = 403)]
    Forbidden(Json<Said>),
    /// Too many failed logins, or the user's rate limit for tokens is exceeded.
    #[oai(status = 429)]
    TooMany(Json<Said>, #[oai(header = "Retry-After")] u64),
    /// Internal error; the server's log has the cause.
    #[oai(status = 500)]
    Internal(Json<Said>),
    /// Too many log-ins wait for the check of their password (with `Retry-After`), the server cannot reach its store, or it has
    /// no secret to sign tokens.
    #[oai(status = 503)]
    Unavailable(Json<Said>, #[oai(header = "Retry-After")] Option<u64>),
}

impl Answer {
    fn of(outcome: auth::Result<Issued>) -> Self {
        let error = match outcome {
            Ok(Issued { access, refresh, lifetime }) => {
                let pair = Pair {
                    access: access.expose().to_owned(),
                    refresh: refresh.expose().to_owned(),
                    token_type: "Bearer".into(),
                    expires_in: lifetime.as_secs(),
                };
                return Self::Pair(Json(pair), "no-store".into());
            }
            Err(error) => error,
        };
        let (status, message) = told(&error);
        let said = Json(Said::new(message));
        match (status, &error) {
            (_, auth::Error::TooManyAttempts { retry_after } | auth::Error::TooFast { retry_after }) => {
                Self::TooMany(said, retry_after.as_secs().max(1))
            }
            (_, auth::Error::TooManyWaiting { retry_after }) => Self::Unavailable(said, Some(retry_after.as_secs().max(1))),
            (StatusCode::UNAUTHORIZED, _) => Self::Unauthorized(said, CHALLENGE.into()),
            (StatusCode::SERVICE_UNAVAILABLE, _) => Self::Unavailable(said, None),
            _ => Self::Internal(said),
        }
    }
}

#[OpenApi(prefix_path = "/auth", tag = "Tag::Tokens")]
impl TokenApi {
    /// Log in with tokens
    ///
    /// Send `login` and `password`; or only the cookie of a session, with JSON as `Content-Type`, or with an `Origin` that is the
    /// server's own or one of `cors.origins`. The tokens outlive that session. They are revoked when the user is deactivated or
    /// gets a new password.
    #[oai(path = "/token", method = "post", operation_id = "token")]
    async fn token(&self, request: &Request, credentials: PostedIfAny<Credentials>, session: OptionalSession) -> Answer {
        let auth = &self.0.auth;
        let outcome = match credentials.0.unwrap_or(Credentials { login: None, password: None }) {
            Credentials { login: Some(login), password: Some(password) } => {
                auth.tokens_by_password(&login, &password, Origin::of(request)).await
            }
            Credentials { login: None, password: None } => match session.0.outcome() {
                Ok(_) if !may_use_session(request, &self.0.config) => {
                    let message = "The Content-Type must be application/json, or the Origin this server's own.";
                    return Answer::Forbidden(Json(Said::new(message)));
                }
                Ok(login) => match self.0.chat.charge_issuing(login.user) {
                    Ok(()) => auth.tokens_by_session(login, Origin::of(request)).await,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error.clone()),
            },
            Credentials { .. } => return Answer::BadRequest(Json(Said::new("login and password belong together."))),
        };
        Answer::of(outcome)
    }

    /// Get the user of a token
    ///
    /// Checks whether this server accepts the tokens of an authentication service. Accepts a session cookie, too.
    #[oai(path = "/token", method = "get", operation_id = "token_holder")]
    async fn holder(&self, caller: BearerOrSession) -> HolderAnswer {
        match caller.0 {
            Ok(caller) => HolderAnswer::Holder(Json((&caller).into())),
            Err(error) => {
                let (status, message) = told(&error);
                let said = Json(Said::new(message));
                match status {
                    StatusCode::SERVICE_UNAVAILABLE => HolderAnswer::Unavailable(said),
                    StatusCode::INTERNAL_SERVER_ERROR => HolderAnswer::Internal(said),
                    _ => HolderAnswer::Unauthorized(said, CHALLENGE.into()),
                }
            }
        }
    }

    /// Renew tokens
    #[oai(path = "/token/refresh", method = "post", operation_id = "token_refresh")]
    async fn refresh(&self, request: &Request, renewal: Posted<Renewal>) -> Answer {
        Answer::of(renewed(&self.0, request, &renewal.0.refresh).await)
    }
}
