//! The caller of a request.

use std::sync::Arc;

use storage::{PartnerId, Role, SessionKey, Timestamp, User, UserId};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    revocation::{CacheEpoch, RevocationHandle},
    session::KeepAlive,
};

/// The authenticated user of a request, with its credential.
#[derive(Clone, Debug)]
pub struct Caller {
    pub user: UserId,
    pub uuid: Uuid,
    pub partner: PartnerId,
    pub name: String,
    /// Empty for a user who signs in with tokens only.
    pub login: String,
    pub role: Role,
    /// True if the caller may edit and delete messages of others.
    pub can_moderate: bool,
    pub language: String,
    pub time_zone: String,
    /// Cancelled at revocation: the session or token of the caller has ended, or the user has changed. Everything that waits for
    /// the caller ends as well.
    pub ended: CancellationToken,
    /// Expiry of the caller's token, or of the session that was begun with it; each connection watches it by itself. `None`
    /// without a token.
    pub expires_at: Option<Timestamp>,
    /// Key of the stored cursor for a caller with a token.
    pub(super) cursor: Option<SessionKey>,
    /// True on a socket: a rate limit then acts as back-pressure, which slows reading, instead of refusals.
    pub has_back_pressure: bool,
    /// Keep-alive of the session while its connection stays open.
    pub(super) keep_alive: Option<KeepAlive>,
    /// Registration of the credential, which keeps `ended` in the revocation registry.
    pub(super) revocation: Option<Arc<RevocationHandle>>,
    /// Cache epoch in which the caller was read.
    pub(super) epoch: CacheEpoch,
}

impl Caller {
    /// A caller for one request of this user, without revocation.
    pub fn of(user: User) -> Self {
        Self {
            user: user.id,
            uuid: user.uuid,
            partner: user.partner.id,
            name: user.partner.name,
            login: user.login.unwrap_or_default(),
            role: user.role,
            can_moderate: user.can_moderate || user.role == Role::Admin,
            language: user.language,
            time_zone: user.time_zone,
            ended: CancellationToken::new(),
            expires_at: None,
            cursor: None,
            has_back_pressure: false,
            keep_alive: None,
            revocation: None,
            epoch: CacheEpoch::default(),
        }
    }

    /// Bytes of its texts.
    pub(super) fn texts(&self) -> usize {
        [&self.name, &self.login, &self.language, &self.time_zone].into_iter().map(String::len).sum()
    }

    pub(super) fn revocable(user: User, life: Arc<RevocationHandle>, epoch: CacheEpoch) -> Self {
        Self { ended: life.ended().clone(), revocation: Some(life), epoch, ..Self::of(user) }
    }
}
