//! Session keep-alive: activity on an open connection extends its session as a request would.

use std::sync::Arc;

use storage::Timestamp;

use super::{Auth, Caller, Login, Result};
use crate::clock;

/// The login to extend, and the service that stores it.
#[derive(Clone)]
pub(super) struct Stay {
    login: Arc<Login>,
    auth: Auth,
}

impl std::fmt::Debug for Stay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stay(..)")
    }
}

impl Auth {
    /// A caller that keeps its session alive while it stays connected.
    pub fn staying(&self, login: &Arc<Login>) -> Caller {
        Caller { stay: Some(Stay { login: Arc::clone(login), auth: self.clone() }), ..Caller::clone(login) }
    }
}

impl Caller {
    /// The caller with back-pressure in place of rate-limit refusals.
    pub fn on_socket(self) -> Self {
        Self { is_held_back: true, ..self }
    }

    /// Notes activity of a connection as a use of its session.
    pub fn goes_on(&self) {
        if let Some(Stay { login, auth }) = &self.stay {
            auth.0.sessions.use_now(login, clock::now());
        }
    }

    /// End of the caller's session or token without further activity; `None` if it has no end. Reads the store only after the
    /// time that this node knows of, since the session may be in use at another node.
    pub async fn may_stay_until(&self) -> Result<Option<Timestamp>> {
        let Some(Stay { login, auth }) = &self.stay else { return Ok(self.expires_at) };
        let sessions = &auth.0.sessions;
        let until = sessions.lasts_until(login);
        if until > clock::now() {
            return Ok(Some(until));
        }
        // Another node may have recorded a later use.
        if let Some((session, _)) = auth.0.storage.session(login.key()).await? {
            login.was_used(session.last_used_at);
        }
        Ok(Some(sessions.lasts_until(login)))
    }
}
