//! `/auth/token`: tokens for the rooms whose clients bring them (spec `15-tokens.md`); `/auth/session`, a cookie for a token; and
//! `/api/token/`, the same in the words of Django's simplejwt.

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

/// The routes of this room.
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
    /// Tokens for clients that bring one instead of a cookie.
    #[oai(rename = "tokens")]
    Tokens,
}

struct TokenApi(House);

/// New tokens for a refresh token, counted as something that its user does.
async fn renewed(house: &House, request: &Request, refresh: &str) -> auth::Result<Issued> {
    house.auth.renew(refresh, Origin::of(request), |user| house.chat.charge_issuing(user)).await
}

/// A login; or nothing, with the cookie of a session.
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

/// What renews tokens.
#[derive(Object)]
#[oai(rename = "TokenRenewal")]
struct Renewal {
    /// As it came with the last tokens.
    refresh: String,
}

/// What lets in, and what renews it.
#[derive(Object)]
#[oai(rename = "TokenPair")]
struct Pair {
    /// For `Authorization: Bearer`, for a room's own query parameter, or, after `bearer`, among a socket's subprotocols.
    access: String,
    /// Works once, and gives a new one. Within `tokens.refresh_grace_seconds` it gives new ones again, at most 3 times, to who has lost
    /// the answer; using it later ends all tokens that descend from the same login.
    refresh: String,
    /// `Bearer`
    token_type: String,
    /// Seconds for which `access` lets in.
    expires_in: u64,
}

/// Whom a token or a session stands for.
#[derive(Object)]
#[oai(rename = "TokenHolder")]
struct Holder {
    uid: i64,
    uuid: Uuid,
    login: String,
    name: String,
    /// `user`, `agent` or `admin`
    role: String,
    /// Until when the token counts, or the session that was begun with one, differences between clocks allowed for; null for the
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
    /// Whom it stands for.
    #[oai(status = 200)]
    Holder(Json<Holder>),
    /// No token or session, or none that counts.
    #[oai(status = 401)]
    Unauthorized(Json<Said>, #[oai(header = "WWW-Authenticate")] String),
    /// The server failed; its log says why.
    #[oai(status = 500)]
    Internal(Json<Said>),
    /// The server cannot reach its store, or has no keys to verify tokens with.
    #[oai(status = 503)]
    Unavailable(Json<Said>),
}

#[derive(ApiResponse)]
enum Answer {
    /// The tokens.
    #[oai(status = 200)]
    Pair(Json<Pair>, #[oai(header = "Cache-Control")] String),
    /// The body is not what it should be; `message` says how.
    #[oai(status = 400)]
    BadRequest(Json<Said>),
    /// Wrong login or password, no session, or a refresh token that does not count.
    #[oai(status = 401)]
    Unauthorized(Json<Said>, #[oai(header = "WWW-Authenticate")] String),
    /// The cookie of a session, from a page that may not use it.
    #[oai(status = 403)]
    Forbidden(Json<Said>),
    /// Too many failed logins, or more tokens than the user may be given at a time.
    #[oai(status = 429)]
    TooMany(Json<Said>, #[oai(header = "Retry-After")] u64),
    /// The server failed; its log says why.
    #[oai(status = 500)]
    Internal(Json<Said>),
    /// Too many log-ins wait for their password to be checked (with `Retry-After`), the server cannot reach its store, or it has
    /// no secret to make tokens with.
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
    /// With `login` and `password`, or with nothing but the cookie of a session: then the `Content-Type` is to be JSON, or the `Origin`
    /// the server's own or one of `cors.origins`. The tokens live on when that session ends, and end when the user is deactivated or
    /// gets another password.
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

    /// Whom a token stands for
    ///
    /// To see whether the tokens of an authentication service are understood here. Answers for the cookie of a session,
    /// too.
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
