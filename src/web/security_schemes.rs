//! Security schemes of the API description (OpenAPI): bearer tokens and session cookies.

use poem_openapi::registry::{MetaSecurityScheme, Registry};

/// Name of the scheme of bearer tokens.
pub(super) const BEARER: &str = "bearer";
/// Name of the scheme of session cookies.
pub(super) const SESSION: &str = "session";
/// Name of the session cookie.
pub const COOKIE: &str = "session_id";

/// Registers the scheme of bearer tokens.
pub(super) fn register_bearer(registry: &mut Registry) {
    registry.create_security_scheme(
        BEARER,
        MetaSecurityScheme {
            ty: "http",
            description: Some("`access` from `/auth/token`, or a token of the authentication service that is configured."),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: Some("JWT"),
            flows: None,
            openid_connect_url: None,
        },
    );
}

/// Registers the scheme of session cookies.
pub(super) fn register_session(registry: &mut Registry) {
    registry.create_security_scheme(
        SESSION,
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
