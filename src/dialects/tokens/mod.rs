#![doc = include_str!("README.md")]

mod revocation;
mod session;
mod simplejwt;

use chrono::{DateTime, Utc};
use poem::{Request, http::StatusCode};
use poem_openapi::{ApiResponse, Object, OpenApi, Tags, payload::Json};
use uuid::Uuid;

use crate::{
    auth::{self, Caller, IssuedTokens},
    shares::RETRY_AFTER_SECONDS,
    web::{
        AppContext,
        bearer::{BearerOrSession, CHALLENGE, may_use_session, status_and_message},
        json::{ErrorMessage, JsonBody, OptionalJsonBody},
        session::{ClientAddress as Origin, OptionalSession, sign_in_origin},
    },
};

/// All routes of the dialect.
pub fn api(app: &AppContext) -> impl OpenApi + use<> {
    (
        TokenApi(app.clone()),
        revocation::RevocationApi(app.clone()),
        session::TokenSessionApi(app.clone()),
        simplejwt::SimpleJwtApi(app.clone()),
    )
}

#[derive(Tags)]
enum Tag {
    /// Access and refresh tokens, for clients that use a token instead of a cookie.
    #[oai(rename = "tokens")]
    Tokens,
}

struct TokenApi(AppContext);

/// Renews tokens by a refresh token, at the expense of the user's rate limit.
async fn renew_tokens(app: &AppContext, request: &Request, refresh: &str) -> auth::Result<IssuedTokens> {
    app.auth.renew_tokens(refresh, sign_in_origin(request), |user| app.chat.charge_issuing(user)).await
}

/// Login and password; empty with a session cookie.
#[derive(Object)]
#[oai(example, rename = "TokenCredentials")]
struct TokenCredentials {
    login: Option<String>,
    password: Option<String>,
}

impl poem_openapi::types::Example for TokenCredentials {
    fn example() -> Self {
        Self { login: Some("admin@gmail.com".into()), password: Some("123456".into()) }
    }
}

/// A request to renew tokens.
#[derive(Object)]
#[oai(rename = "TokenRenewal")]
struct RenewalRequest {
    /// The refresh token of the latest token pair.
    refresh: String,
}

/// An access token and a refresh token.
#[derive(Object)]
#[oai(rename = "TokenPair")]
struct TokenPair {
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
struct TokenHolder {
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

impl From<&Caller> for TokenHolder {
    fn from(caller: &Caller) -> Self {
        let Caller { user, uuid, login, name, role, expires_at, .. } = caller.clone();
        Self { uid: user.0, uuid, login, name, role: role.as_str().into(), expires_at }
    }
}

#[derive(ApiResponse)]
enum TokenHolderResponse {
    /// The user of the token or session.
    #[oai(status = 200)]
    Holder(Json<TokenHolder>),
    /// No valid token or session.
    #[oai(status = 401)]
    Unauthorized(Json<ErrorMessage>, #[oai(header = "WWW-Authenticate")] String),
    /// Internal error; the server's log has the cause.
    #[oai(status = 500)]
    Internal(Json<ErrorMessage>),
    /// The server cannot reach its store, or has no keys to verify tokens.
    #[oai(status = 503)]
    Unavailable(Json<ErrorMessage>),
}

#[derive(ApiResponse)]
enum TokenResponse {
    /// The tokens.
    #[oai(status = 200)]
    Pair(Json<TokenPair>, #[oai(header = "Cache-Control")] String),
    /// The request body is invalid; `message` says how.
    #[oai(status = 400)]
    BadRequest(Json<ErrorMessage>),
    /// Wrong login or password, no session, or an invalid refresh token.
    #[oai(status = 401)]
    Unauthorized(Json<ErrorMessage>, #[oai(header = "WWW-Authenticate")] String),
    /// The session cookie was sent by a page of an origin that may not use it.
    #[oai(status = 403)]
    Forbidden(Json<ErrorMessage>),
    /// Too many failed logins, the user's rate limit for tokens is exceeded, or the user has too many requests at once.
    #[oai(status = 429)]
    TooMany(Json<ErrorMessage>, #[oai(header = "Retry-After")] u64),
    /// Internal error; the server's log has the cause.
    #[oai(status = 500)]
    Internal(Json<ErrorMessage>),
    /// Too many log-ins wait for the check of their password (with `Retry-After`), the server cannot reach its store, or it has
    /// no secret to sign tokens.
    #[oai(status = 503)]
    Unavailable(Json<ErrorMessage>, #[oai(header = "Retry-After")] Option<u64>),
}

impl TokenResponse {
    fn of(outcome: auth::Result<IssuedTokens>) -> Self {
        let error = match outcome {
            Ok(IssuedTokens { access, refresh, lifetime }) => {
                let pair = TokenPair {
                    access: access.expose().to_owned(),
                    refresh: refresh.expose().to_owned(),
                    token_type: "Bearer".into(),
                    expires_in: lifetime.as_secs(),
                };
                return Self::Pair(Json(pair), "no-store".into());
            }
            Err(error) => error,
        };
        let ((status, message), retry_after) = (status_and_message(&error), error.retry_after_seconds());
        let said = Json(ErrorMessage::new(message));
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::TooMany(said, retry_after.unwrap_or(RETRY_AFTER_SECONDS)),
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable(said, retry_after),
            StatusCode::INTERNAL_SERVER_ERROR => Self::Internal(said),
            _ => Self::Unauthorized(said, CHALLENGE.into()),
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
    async fn token(
        &self,
        request: &Request,
        credentials: OptionalJsonBody<TokenCredentials>,
        session: OptionalSession,
    ) -> TokenResponse {
        let auth = &self.0.auth;
        let outcome = match credentials.0.unwrap_or(TokenCredentials { login: None, password: None }) {
            TokenCredentials { login: Some(login), password: Some(password) } => {
                auth.tokens_by_password(&login, &password, sign_in_origin(request)).await
            }
            TokenCredentials { login: None, password: None } => match session.0.login_result() {
                Ok(_) if !may_use_session(request, &self.0.config) => {
                    let message = "The Content-Type must be application/json, or the Origin this server's own.";
                    return TokenResponse::Forbidden(Json(ErrorMessage::new(message)));
                }
                Ok(login) => match self.0.chat.charge_issuing(login.user) {
                    Ok(()) => auth.tokens_by_session(login, Origin::of(request)).await,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error.clone()),
            },
            TokenCredentials { .. } => {
                return TokenResponse::BadRequest(Json(ErrorMessage::new("login and password belong together.")));
            }
        };
        TokenResponse::of(outcome)
    }

    /// Get the user of a token
    ///
    /// Checks whether this server accepts the tokens of an authentication service. Accepts a session cookie, too.
    #[oai(path = "/token", method = "get", operation_id = "token_holder")]
    async fn holder(&self, caller: BearerOrSession) -> TokenHolderResponse {
        match caller.0 {
            Ok(caller) => TokenHolderResponse::Holder(Json((&caller).into())),
            Err(error) => {
                let (status, message) = status_and_message(&error);
                let said = Json(ErrorMessage::new(message));
                match status {
                    StatusCode::SERVICE_UNAVAILABLE => TokenHolderResponse::Unavailable(said),
                    StatusCode::INTERNAL_SERVER_ERROR => TokenHolderResponse::Internal(said),
                    _ => TokenHolderResponse::Unauthorized(said, CHALLENGE.into()),
                }
            }
        }
    }

    /// Renew tokens
    #[oai(path = "/token/refresh", method = "post", operation_id = "token_refresh")]
    async fn refresh(&self, request: &Request, renewal: JsonBody<RenewalRequest>) -> TokenResponse {
        TokenResponse::of(renew_tokens(&self.0, request, &renewal.0.refresh).await)
    }
}
