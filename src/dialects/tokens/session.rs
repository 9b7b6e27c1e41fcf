//! Exchange of a bearer token for a session cookie.

use poem::{Request, http::StatusCode};
use poem_openapi::{ApiResponse, OpenApi, payload::Json};

use super::{Tag, TokenHolder};
use crate::{
    auth,
    shares::RETRY_AFTER_SECONDS,
    web::{
        AppContext,
        bearer::{BearerAlone, CHALLENGE, status_and_message},
        json::ErrorMessage,
        session::{self, ClientAddress as Origin, presented_ids},
    },
};

pub(super) struct TokenSessionApi(pub(super) AppContext);

#[derive(ApiResponse)]
enum TokenSessionResponse {
    /// The session is created; the cookie holds its id.
    #[oai(status = 200)]
    Begun(Json<TokenHolder>, #[oai(header = "Set-Cookie")] String, #[oai(header = "Cache-Control")] String),
    /// No valid token.
    #[oai(status = 401)]
    Unauthorized(Json<ErrorMessage>, #[oai(header = "WWW-Authenticate")] String),
    /// The user's rate limit for sessions is exceeded.
    #[oai(status = 429)]
    TooMany(Json<ErrorMessage>, #[oai(header = "Retry-After")] u64),
    /// Internal error; the server's log has the cause.
    #[oai(status = 500)]
    Internal(Json<ErrorMessage>),
    /// The server cannot reach its store, or has no keys to verify tokens.
    #[oai(status = 503)]
    Unavailable(Json<ErrorMessage>),
}

impl From<auth::Error> for TokenSessionResponse {
    fn from(error: auth::Error) -> Self {
        let (status, message) = status_and_message(&error);
        let said = Json(ErrorMessage::new(message));
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::TooMany(said, error.retry_after_seconds().unwrap_or(RETRY_AFTER_SECONDS)),
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable(said),
            StatusCode::INTERNAL_SERVER_ERROR => Self::Internal(said),
            _ => Self::Unauthorized(said, CHALLENGE.into()),
        }
    }
}

#[OpenApi(prefix_path = "/auth", tag = "Tag::Tokens")]
impl TokenSessionApi {
    /// Exchange a token for a session
    ///
    /// Send the token in `Authorization: Bearer`. The session ends when the token expires (`expires_at`) or is revoked, by
    /// `/web/session/destroy`, by a new password, or when the user is deactivated. Sessions presented with the request end. Such
    /// a session cannot obtain tokens at `/auth/token`.
    #[oai(path = "/session", method = "post", operation_id = "auth_session")]
    async fn begin(&self, request: &Request, caller: BearerAlone) -> TokenSessionResponse {
        let auth = &self.0.auth;
        let begun = match &caller.0 {
            Ok(caller) => match self.0.chat.charge_issuing(caller.user) {
                Ok(()) => auth.session_by_token(caller, Origin::of(request), &presented_ids(request)).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error.clone()),
        };
        match begun {
            Ok((id, login)) => {
                let cookie = session::cookie(&id, auth.cookie_life(&login), &self.0);
                TokenSessionResponse::Begun(Json((&**login).into()), cookie, "no-store".into())
            }
            Err(error) => error.into(),
        }
    }
}
