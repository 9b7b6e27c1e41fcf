//! Session keep-alive: activity on an open connection extends its session as a request would.

use std::sync::Arc;

use storage::Timestamp;

use super::{Auth, Caller, Login, Result};
use crate::clock;

/// The login to extend, and the service that stores it.
#[derive(Clone)]
pub(super) struct KeepAlive {
    login: Arc<Login>,
    auth: Auth,
}

impl std::fmt::Debug for KeepAlive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stay(..)")
    }
}

impl Auth {
    /// A caller that keeps its session alive while it stays connected.
    pub fn with_keep_alive(&self, login: &Arc<Login>) -> Caller {
        Caller { keep_alive: Some(KeepAlive { login: Arc::clone(login), auth: self.clone() }), ..Caller::clone(login) }
    }
}

impl Caller {
    /// The caller with back-pressure in place of rate-limit refusals.
    pub fn on_socket(self) -> Self {
        Self { has_back_pressure: true, ..self }
    }

    /// Notes activity of a connection as a use of its session.
    pub fn record_activity(&self) {
        if let Some(KeepAlive { login, auth }) = &self.keep_alive {
            auth.0.sessions.record_use(login, clock::now());
        }
    }

    /// End of the caller's session or token without further activity; `None` if it has no end. Reads the store only after the
    /// time that this node knows of, since the session may be in use at another node.
    pub async fn session_end(&self) -> Result<Option<Timestamp>> {
        let Some(KeepAlive { login, auth }) = &self.keep_alive else { return Ok(self.expires_at) };
        let sessions = &auth.0.sessions;
        let until = sessions.lasts_until(login);
        if until > clock::now() {
            return Ok(Some(until));
        }
        // Another node may have recorded a later use.
        if let Some((session, _)) = auth.0.storage.session(login.key()).await? {
            login.raise_last_used(session.last_used_at);
        }
        Ok(Some(sessions.lasts_until(login)))
    }
}
