//! Callers who come once and stay connected, whose session has to live meanwhile as if they came again and again.

use std::sync::Arc;

use storage::Timestamp;

use super::{Auth, Caller, Login, Result};
use crate::clock;

/// Whose session it is, and who keeps it.
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
    /// Whoever is logged in, for as long as it stays connected.
    pub fn staying(&self, login: &Arc<Login>) -> Caller {
        Caller { stay: Some(Stay { login: Arc::clone(login), auth: self.clone() }), ..Caller::clone(login) }
    }
}

impl Caller {
    /// The same on a socket.
    pub fn on_socket(self) -> Self {
        Self { is_held_back: true, ..self }
    }

    /// Notes that whoever stays connected has done something, which is a use of its session.
    pub fn goes_on(&self) {
        if let Some(Stay { login, auth }) = &self.stay {
            auth.0.sessions.use_now(login, clock::now());
        }
    }

    /// Until when the caller may stay connected if it does nothing more; `None` if nothing ends it.
    pub async fn may_stay_until(&self) -> Result<Option<Timestamp>> {
        let Some(Stay { login, auth }) = &self.stay else { return Ok(self.expires_at) };
        let sessions = &auth.0.sessions;
        let until = sessions.lasts_until(login);
        if until > clock::now() {
            return Ok(Some(until));
        }
        // It may have been used at another node.
        if let Some((session, _)) = auth.0.storage.session(login.key()).await? {
            login.was_used(session.last_used_at);
        }
        Ok(Some(sessions.lasts_until(login)))
    }
}
