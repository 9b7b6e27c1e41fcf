//! Session routes, `/web/session/*`: log-in, log-out, and information about the session.

use poem::{Request, http::StatusCode};
use poem_openapi::{ApiResponse, OpenApi};
use serde_json::{Value, json};

use super::{
    Tag, error,
    wire::{Credentials, SessionInfo},
};
use crate::{
    auth::{self, Revocation},
    web::{
        AppContext,
        bearer::may_read_by_session,
        jsonrpc::{Call, Fault, NoJsonRpcParams, Reply, error_page, fault},
        session::{self, OptionalSession, Session},
    },
};

/// Modules reported as installed: only those that this server emulates.
const MODULES: [&str; 5] = ["base", "web", "bus", "mail", "messaging_api"];

pub(super) struct OdooSessionApi(pub(super) AppContext);

/// A redirect.
#[derive(ApiResponse)]
enum Redirect {
    /// Redirect to the start page; the session cookie is cleared.
    #[oai(status = 303)]
    SeeOther(#[oai(header = "Location")] String, #[oai(header = "Set-Cookie")] String),
}

/// Session: a cookie that authenticates the user.
#[OpenApi(tag = "Tag::Odoo")]
impl OdooSessionApi {
    /// Log in
    ///
    /// The first `Set-Cookie` holds the session. Sessions presented with the request end. A wrong password, an unknown login and
    /// a deactivated user give the same error, `odoo.exceptions.AccessDenied`.
    #[oai(path = "/web/session/authenticate", method = "post", operation_id = "session_authenticate")]
    async fn authenticate(&self, request: &Request, call: Call<Credentials>) -> Reply<SessionInfo> {
        let (from, presented) = (session::sign_in_origin(request), session::presented_ids(request));
        let mut cookie = None;
        let given = &mut cookie;
        let reply = call.unauthenticated(async move |credentials: Credentials| {
            let (db, login, password) = complete(credentials)?;
            if db != self.0.config.database {
                return Err(error::no_database(&db).into());
            }
            let (Some(login), Some(password)) = (login, password) else { return Err(Fault::access_denied().into()) };
            let entered = self.0.auth.log_in(&login, &password, from, &presented).await;
            if let Ok((_, login)) = &entered {
                self.0.chat.record_request(login);
            }
            let (id, login) = entered.map_err(|error| fault(&error))?;
            *given = Some(session::cookie(&id, self.0.auth.cookie_life(&login), &self.0));
            Ok(SessionInfo::new(&self.0, &login, Some(&id)))
        });
        reply.await.with_cookie(cookie)
    }

    /// Get the logged-in user
    #[oai(path = "/web/session/get_session_info", method = "post", operation_id = "session_get_session_info")]
    async fn get_session_info(&self, call: Call<NoJsonRpcParams>, session: Session) -> Reply<SessionInfo> {
        let id = session.id().cloned();
        let known = id.as_ref().zip(session.valid_login());
        let cookie = known.map(|(id, login)| session::cookie(id, self.0.auth.cookie_life(login), &self.0));
        let reply = call.logged_in(session, async |login, _| Ok(SessionInfo::new(&self.0, &login, id.as_ref())));
        reply.await.with_cookie(cookie)
    }

    /// Check that the session is valid
    ///
    /// The response has no result if the session is valid.
    #[oai(path = "/web/session/check", method = "post", operation_id = "session_check")]
    async fn check(&self, call: Call<NoJsonRpcParams>, session: Session) -> Reply<Value> {
        call.logged_in(session, async |_, _| Ok(Value::Null)).await.without_result()
    }

    /// Log out
    ///
    /// Ends every session that the request presents, and revokes all tokens of the log-in that the presented token descends from.
    /// A request that presents only a token of another service is refused. The response has no result.
    #[oai(path = "/web/session/destroy", method = "post", operation_id = "session_destroy")]
    async fn destroy(&self, request: &Request, call: Call<NoJsonRpcParams>, session: Session) -> Reply<Value> {
        let (from, presented) = (session::ClientAddress::of(request), session::presented_ids(request));
        let reply = call.logged_in(session, async |login, _| {
            match self.0.auth.log_out(&login, &presented, from).await.map_err(|error| fault(&error))? {
                Revocation::Done => Ok(Value::Null),
                Revocation::Foreign => Err(Fault::new("odoo.exceptions.UserError", Revocation::NOT_OURS).into()),
            }
        });
        reply.await.without_result().with_cookie(Some(session::expired_cookie(&self.0)))
    }

    /// Log out and redirect to the start page
    ///
    /// For a browser's address line and for pages of this server or of `cors.origins`; pages of other origins get 403. Works
    /// without a session, too.
    #[oai(path = "/web/session/logout", method = "get", operation_id = "session_logout")]
    async fn logout(&self, request: &Request, session: OptionalSession) -> poem::Result<Redirect> {
        if !may_read_by_session(request, &self.0.config) {
            return Err(poem::Error::from_response(error_page(
                StatusCode::FORBIDDEN,
                "A page of another origin may not log out.",
            )));
        }
        if let Some(login) = session.0.valid_login() {
            let ended = self.0.auth.log_out(login, &session::presented_ids(request), session::ClientAddress::of(request)).await;
            ended.map_err(|error| poem::Error::from_response(not_logged_out(&error)))?;
        }
        Ok(Redirect::SeeOther("/".into(), session::expired_cookie(&self.0)))
    }

    /// List the installed modules
    #[oai(path = "/web/session/modules", method = "post", operation_id = "session_modules")]
    async fn modules(&self, call: Call<NoJsonRpcParams>, session: Session) -> Reply<Vec<String>> {
        call.logged_in(session, async |_, _| Ok(MODULES.map(String::from).to_vec())).await
    }

    /// List the available languages
    ///
    /// Pairs of a code and a name.
    #[oai(path = "/web/session/get_lang_list", method = "post", operation_id = "session_get_lang_list")]
    async fn get_lang_list(&self, call: Call<NoJsonRpcParams>) -> Reply<Value> {
        call.unauthenticated(async |_| Ok(json!([["en_US", "English (US)"]]))).await
    }
}

/// Database, login and password. A member that is `null` is present, but matches no user.
fn complete(credentials: Credentials) -> Result<(String, Option<String>, Option<String>), Fault> {
    let Credentials { db, login, password } = credentials;
    let missing: Vec<_> = [("db", &db), ("login", &login), ("password", &password)]
        .into_iter()
        .filter_map(|(name, value)| value.is_undefined().then_some(name))
        .collect();
    if !missing.is_empty() {
        return Err(Fault::missing_arguments("Session.authenticate()", &missing));
    }
    Ok((db.take().unwrap_or_default(), login.take(), password.take()))
}

fn not_logged_out(error: &auth::Error) -> poem::Response {
    error.log("session not ended");
    error_page(StatusCode::SERVICE_UNAVAILABLE, "The session could not be ended. Please try again shortly.")
}
