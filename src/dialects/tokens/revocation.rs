//! Revocation of tokens (RFC 7009).

use poem::{IntoResponse, Request, Response, http::StatusCode};
use poem_openapi::{ApiResponse, Object, OpenApi, payload::Json};

use super::Tag;
use crate::{
    auth::{self, Revocation},
    web::{
        AppContext,
        bearer::status_and_message,
        form::{BodyErrorResponse, JsonOrForm},
        json::UnusableBody,
        session::sign_in_origin,
    },
};

pub(super) struct RevocationApi(pub(super) AppContext);

/// The token to revoke. No other credentials are needed.
#[derive(Object)]
#[oai(rename = "TokenRevocation")]
struct RevocationRequest {
    /// A refresh token or an access token.
    token: Option<String>,
    /// Ignored: the server recognises the type of a token.
    token_type_hint: Option<String>,
    /// Another name for `token`, as in the response of a log-in.
    refresh: Option<String>,
}

/// The reason of a failed revocation.
#[derive(Object)]
#[oai(rename = "TokenRevocationFailure")]
struct RevocationFailure {
    /// `invalid_request`, `unsupported_token_type` or `server_error`.
    error: String,
    /// One sentence for people.
    error_description: String,
}

#[derive(ApiResponse)]
enum RevocationResponse {
    /// The token and all other tokens of the same login are revoked, or the token was not valid anyway.
    #[oai(status = 200)]
    Done(#[oai(header = "Cache-Control")] String),
    /// The request has no token, or the token was issued by another service, which alone can revoke it.
    #[oai(status = 400)]
    BadRequest(Json<RevocationFailure>),
    /// Internal error; the server's log has the cause.
    #[oai(status = 500)]
    Internal(Json<RevocationFailure>),
    /// The user has too many requests at once, or the server cannot reach its store, or has no keys to verify tokens.
    #[oai(status = 503)]
    Unavailable(Json<RevocationFailure>),
}

fn failure(error: &str, description: &str) -> Json<RevocationFailure> {
    Json(RevocationFailure { error: error.into(), error_description: description.into() })
}

/// Error codes of RFC 7009, which uses those of RFC 6749, section 5.2.
struct Rfc7009;

impl BodyErrorResponse for Rfc7009 {
    fn unusable(UnusableBody { status, message }: UnusableBody) -> Response {
        let error = if status == StatusCode::SERVICE_UNAVAILABLE { "server_error" } else { "invalid_request" };
        let status = if status == StatusCode::UNSUPPORTED_MEDIA_TYPE { StatusCode::BAD_REQUEST } else { status };
        failure(error, message).with_status(status).into_response()
    }
}

impl From<auth::Error> for RevocationResponse {
    fn from(error: auth::Error) -> Self {
        let (status, message) = status_and_message(&error);
        let failure = failure("server_error", message);
        // RFC 7009, section 2.2.1, has no status but 503 for a client that may try again.
        if status == StatusCode::INTERNAL_SERVER_ERROR { Self::Internal(failure) } else { Self::Unavailable(failure) }
    }
}

#[OpenApi(prefix_path = "/auth", tag = "Tag::Tokens")]
impl RevocationApi {
    /// Log out with tokens
    ///
    /// Revokes all tokens that descend from the same login, at once (RFC 7009). The request may be JSON or a form. WebSockets
    /// opened with one of these tokens are closed.
    #[oai(path = "/token/revoke", method = "post", operation_id = "token_revoke")]
    async fn revoke(&self, request: &Request, given: JsonOrForm<RevocationRequest, Rfc7009>) -> RevocationResponse {
        let RevocationRequest { token, refresh, .. } = given.0;
        let Some(token) = token.or(refresh) else {
            return RevocationResponse::BadRequest(failure("invalid_request", "token is missing."));
        };
        match self.0.auth.revoke(&token, sign_in_origin(request)).await {
            Ok(Revocation::Done) => RevocationResponse::Done("no-store".into()),
            Ok(Revocation::Foreign) => RevocationResponse::BadRequest(failure("unsupported_token_type", Revocation::NOT_OURS)),
            Err(error) => error.into(),
        }
    }
}
