//! Tokens in the wire format of `djangorestframework-simplejwt`, for clients of such a server. Refresh tokens rotate, as with its
//! settings `ROTATE_REFRESH_TOKENS` and `BLACKLIST_AFTER_ROTATION`.

use poem::{IntoResponse, Request, Response, http::StatusCode};
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};
use serde_json::{Map, Value, json};

use super::{Tag, renew_tokens};
use crate::{
    auth::{self, IssuedTokens},
    shares::{self, RETRY_AFTER_SECONDS},
    web::{
        AppContext,
        bearer::status_and_message,
        form::{BodyErrorResponse, JsonOrForm},
        json::UnusableBody,
        session::sign_in_origin,
    },
};

pub(super) struct SimpleJwtApi(pub(super) AppContext);

/// A login, as `username` or as `email`, and a password.
#[derive(Object)]
#[oai(example, rename = "SimpleJwtCredentials")]
struct SimpleJwtCredentials {
    /// The login.
    username: Option<String>,
    /// The login, for clients that log in by e-mail address.
    email: Option<String>,
    password: Option<String>,
}

impl poem_openapi::types::Example for SimpleJwtCredentials {
    fn example() -> Self {
        Self { username: Some("admin@gmail.com".into()), email: None, password: Some("123456".into()) }
    }
}

/// A request to renew tokens.
#[derive(Object)]
#[oai(rename = "SimpleJwtRefresh")]
struct SimpleJwtRefresh {
    refresh: Option<String>,
}

#[derive(Object)]
#[oai(rename = "SimpleJwtPair")]
struct SimpleJwtPair {
    /// Renews both tokens, once.
    refresh: String,
    /// For `Authorization: Bearer`.
    access: String,
}

#[derive(Object)]
#[oai(rename = "SimpleJwtFailure")]
struct SimpleJwtFailure {
    /// One sentence for people.
    detail: String,
    /// `token_not_valid` for an invalid token.
    #[oai(skip_serializing_if_is_none)]
    code: Option<String>,
}

#[derive(ApiResponse)]
enum SimpleJwtResponse {
    /// The tokens.
    #[oai(status = 200)]
    Pair(Json<SimpleJwtPair>, #[oai(header = "Cache-Control")] String),
    /// Missing or empty fields: a list of sentences for each.
    #[oai(status = 400)]
    BadRequest(Json<Value>),
    /// Wrong login or password, or an invalid refresh token.
    #[oai(status = 401)]
    Unauthorized(Json<SimpleJwtFailure>, #[oai(header = "WWW-Authenticate")] String),
    /// Too many failed logins, the user's rate limit for tokens is exceeded, or the user has too many requests at once.
    #[oai(status = 429)]
    TooMany(Json<SimpleJwtFailure>, #[oai(header = "Retry-After")] u64),
    /// Internal error; the server's log has the cause.
    #[oai(status = 500)]
    Internal(Json<SimpleJwtFailure>),
    /// Too many log-ins wait for the check of their password (with `Retry-After`), the server cannot reach its store, or it has
    /// no secret to sign tokens.
    #[oai(status = 503)]
    Unavailable(Json<SimpleJwtFailure>, #[oai(header = "Retry-After")] Option<u64>),
}

const CHALLENGE: &str = r#"Bearer realm="api""#;

fn failure(detail: impl Into<String>, code: Option<&str>) -> Json<SimpleJwtFailure> {
    Json(SimpleJwtFailure { detail: detail.into(), code: code.map(str::to_owned) })
}

impl From<auth::Result<IssuedTokens>> for SimpleJwtResponse {
    fn from(outcome: auth::Result<IssuedTokens>) -> Self {
        use auth::Error::{
            Denied, Expired, Internal, InvalidToken, NoShare, NotConfigured, TooFast, TooManyAttempts, TooManyWaiting,
            Unavailable,
        };
        let error = match outcome {
            Ok(IssuedTokens { access, refresh, .. }) => {
                let pair = SimpleJwtPair { refresh: refresh.expose().to_owned(), access: access.expose().to_owned() };
                return Self::Pair(Json(pair), "no-store".into());
            }
            Err(error) => error,
        };
        let ((_, message), retry_after) = (status_and_message(&error), error.retry_after_seconds());
        match error {
            Denied => Self::Unauthorized(failure("No active account found with the given credentials", None), CHALLENGE.into()),
            Expired | InvalidToken(_) => {
                Self::Unauthorized(failure("Token is invalid or expired", Some("token_not_valid")), CHALLENGE.into())
            }
            TooManyAttempts { .. } | TooFast { .. } | NoShare(shares::NoShare::Requests) => {
                let seconds = retry_after.unwrap_or(RETRY_AFTER_SECONDS);
                let detail = format!("Request was throttled. Expected available in {seconds} seconds.");
                Self::TooMany(failure(detail, None), seconds)
            }
            TooManyWaiting { .. } | NoShare(shares::NoShare::Memory) | NotConfigured(_) | Unavailable(_) => {
                Self::Unavailable(failure(message, None), retry_after)
            }
            Internal(_) => Self::Internal(failure(message, None)),
        }
    }
}

/// Error texts of Django REST framework.
struct Drf;

impl BodyErrorResponse for Drf {
    fn unusable(UnusableBody { status, message }: UnusableBody) -> Response {
        let detail = match status {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => "Unsupported media type in request.".to_owned(),
            StatusCode::BAD_REQUEST => format!("JSON parse error - {message}"),
            _ => message.to_owned(),
        };
        failure(detail, None).with_status(status).into_response()
    }
}

/// Returns the values of required fields, or an error for each missing or empty one.
fn complete<const N: usize>(fields: [(&str, Option<String>); N]) -> Result<[String; N], SimpleJwtResponse> {
    let sentence = |value: &Option<String>| match value.as_deref() {
        None => Some("This field is required."),
        Some("") => Some("This field may not be blank."),
        Some(_) => None,
    };
    let wrong = fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), json!([sentence(value)?]))));
    let wrong: Map<_, _> = wrong.collect();
    if wrong.is_empty() {
        return Ok(fields.map(|(_, value)| value.unwrap_or_default()));
    }
    Err(SimpleJwtResponse::BadRequest(Json(Value::Object(wrong))))
}

#[OpenApi(prefix_path = "/api", tag = "Tag::Tokens")]
impl SimpleJwtApi {
    /// Log in with tokens, as with simplejwt
    ///
    /// Returns the same tokens as `/auth/token`.
    #[oai(path = "/token", method = "post", operation_id = "simplejwt_token")]
    async fn token(&self, request: &Request, credentials: JsonOrForm<SimpleJwtCredentials, Drf>) -> SimpleJwtResponse {
        let SimpleJwtCredentials { username, email, password } = credentials.0;
        let login = if username.is_none() && email.is_some() { ("email", email) } else { ("username", username) };
        match complete([login, ("password", password)]) {
            Ok([login, password]) => self.0.auth.tokens_by_password(&login, &password, sign_in_origin(request)).await.into(),
            Err(answer) => answer,
        }
    }

    /// Renew tokens, as with simplejwt
    ///
    /// Does the same as `/auth/token/refresh`.
    #[oai(path = "/token/refresh", method = "post", operation_id = "simplejwt_refresh")]
    async fn refresh(&self, request: &Request, refresh: JsonOrForm<SimpleJwtRefresh, Drf>) -> SimpleJwtResponse {
        match complete([("refresh", refresh.0.refresh)]) {
            Ok([refresh]) => renew_tokens(&self.0, request, &refresh).await.into(),
            Err(answer) => answer,
        }
    }
}
