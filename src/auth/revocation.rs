//! Revocation registry: the credentials in use on this node, so that revocation reaches every request, poll and socket that came
//! with one, however long ago, and whatever is cached.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use storage::{SessionKey, UserId};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::subject::Subject;

/// A credential: the unit of revocation. All callers with the same credential are cut off together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Credential {
    Session(SessionKey),
    /// A token of this server, by its family: all tokens that descend from one log-in.
    Family(Uuid),
    /// A token of another service, by the subject that it names.
    Token(Subject),
}

impl Credential {
    /// Key of the cursor for a caller with this token. A token of this server: by family, which one device has. A token of
    /// another service, which says nothing about devices: by the token itself. A session: none.
    pub(super) fn cursor(&self, token: &str) -> Option<SessionKey> {
        let name = match self {
            Self::Session(_) => return None,
            Self::Family(family) => format!("token of family {family}"),
            Self::Token(_) => format!("token {token}"),
        };
        Some(SessionKey(Sha256::digest(name).into()))
    }

    /// Family of a token of this server.
    pub(super) fn family(&self) -> Option<Uuid> {
        match self {
            Self::Family(family) => Some(*family),
            Self::Session(_) | Self::Token(_) => None,
        }
    }
}

/// Revocation registry of one node. Clones share it.
#[derive(Clone, Default)]
pub(super) struct RevocationRegistry(Arc<Registry>);

#[derive(Default)]
struct Registry {
    entries: Mutex<HashMap<Credential, Entry>>,
    /// Counter of changed users and ended token families.
    changes: AtomicU64,
    /// Counter of cache invalidations that end no caller.
    epochs: AtomicU64,
}

struct Entry {
    handle: Weak<RevocationHandle>,
    ended: CancellationToken,
    /// `None` until the credential's user is known.
    user: Option<UserId>,
    /// Token family that a session was begun with.
    family: Option<Uuid>,
}

/// Handle that keeps a credential's entry in the registry while any clone of a caller holds it.
pub(super) struct RevocationHandle {
    grant: Credential,
    ended: CancellationToken,
    lives: RevocationRegistry,
}

/// Value of the counter of changed users and ended families.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ChangeCount(u64);

/// Value of the invalidation counter. A cached caller is valid only within its epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CacheEpoch(u64);

impl RevocationRegistry {
    /// The handle of a credential. Call it before the credential's data is read: an event in between then ends this handle and is
    /// not missed.
    pub(super) fn register(&self, grant: &Credential) -> Arc<RevocationHandle> {
        let mut entries = self.0.entries.lock();
        if let Some(life) = entries.get(grant).and_then(|entry| entry.handle.upgrade()) {
            return life;
        }
        let ended = CancellationToken::new();
        let life = Arc::new(RevocationHandle { grant: grant.clone(), ended: ended.clone(), lives: self.clone() });
        entries.insert(grant.clone(), Entry { handle: Arc::downgrade(&life), ended, user: None, family: None });
        life
    }

    pub(super) fn changes(&self) -> ChangeCount {
        ChangeCount(self.0.changes.load(Ordering::Acquire))
    }

    pub(super) fn epoch(&self) -> CacheEpoch {
        CacheEpoch(self.0.epochs.load(Ordering::Acquire))
    }

    /// Invalidates all cached callers, so that the next request reads them again. Ends no connection.
    pub(super) fn invalidate_caches(&self) {
        self.0.epochs.fetch_add(1, Ordering::AcqRel);
        self.0.changes.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn revoke(&self, grant: &Credential) {
        let entry = self.0.entries.lock().remove(grant);
        if let Some(entry) = entry {
            entry.ended.cancel();
        }
    }

    pub(super) fn end_family(&self, family: Uuid) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        self.end_where(|grant, entry| *grant == Credential::Family(family) || entry.family == Some(family));
    }

    pub(super) fn end_user(&self, user: UserId) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        self.end_where(|_, entry| entry.user == Some(user));
    }

    fn end_where(&self, ends: impl Fn(&Credential, &Entry) -> bool) {
        let mut ended = Vec::new();
        self.0.entries.lock().retain(|grant, entry| {
            let ends = ends(grant, entry);
            if ends {
                ended.push(entry.ended.clone());
            }
            !ends
        });
        // Outside the lock: a task that wakes up drops its handle, which takes the lock.
        ended.iter().for_each(CancellationToken::cancel);
    }
}

impl RevocationHandle {
    /// Notes the credential's user, and the token family that a session was begun with, as read since `read_at`. False if the
    /// data may be stale and must be read again.
    pub(super) fn bind_user(&self, user: UserId, family: Option<Uuid>, read_at: ChangeCount) -> bool {
        if let Some(entry) = self.lives.0.entries.lock().get_mut(&self.grant) {
            (entry.user, entry.family) = (Some(user), family);
        }
        !self.ended.is_cancelled() && self.lives.changes() == read_at
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.grant
    }

    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }
}

impl Drop for RevocationHandle {
    fn drop(&mut self) {
        let mut entries = self.lives.0.entries.lock();
        // A new handle of the same credential may exist by now.
        if entries.get(&self.grant).is_some_and(|entry| entry.handle.strong_count() == 0) {
            entries.remove(&self.grant);
        }
    }
}

impl std::fmt::Debug for RevocationHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life").field("ended", &self.ended.is_cancelled()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use storage::{SessionKey, UserId};
    use uuid::Uuid;

    use super::{Credential, RevocationHandle, RevocationRegistry};

    const ANN: UserId = UserId(1);
    const BEN: UserId = UserId(2);

    fn session(n: u8) -> Credential {
        Credential::Session(SessionKey([n; 32]))
    }

    fn token(family: u128) -> Credential {
        Credential::Family(Uuid::from_u128(family))
    }

    fn life(lives: &RevocationRegistry, grant: &Credential, user: UserId) -> Arc<RevocationHandle> {
        let life = lives.register(grant);
        assert!(life.bind_user(user, None, lives.changes()), "nothing has happened meanwhile");
        life
    }

    fn ended<const N: usize>(of: [&Arc<RevocationHandle>; N]) -> [bool; N] {
        of.map(|life| life.ended().is_cancelled())
    }

    #[test]
    fn a_grant_ends_for_all_who_came_with_it() {
        let lives = RevocationRegistry::default();
        let (one, again, other) =
            (life(&lives, &session(1), ANN), life(&lives, &session(1), ANN), life(&lives, &session(2), ANN));
        lives.revoke(&session(1));
        assert_eq!(ended([&one, &again, &other]), [true, true, false]);
    }

    #[test]
    fn a_family_ends_without_another() {
        let lives = RevocationRegistry::default();
        let (one, other, cookie) = (life(&lives, &token(1), ANN), life(&lives, &token(2), ANN), life(&lives, &session(1), ANN));
        lives.end_family(Uuid::from_u128(1));
        assert_eq!(ended([&one, &other, &cookie]), [true, false, false]);
    }

    #[test]
    fn a_family_ends_with_the_sessions_that_were_begun_with_it() {
        let lives = RevocationRegistry::default();
        let (session, changes) = (lives.register(&session(1)), lives.changes());
        assert!(session.bind_user(ANN, Some(Uuid::from_u128(2)), changes));
        lives.end_family(Uuid::from_u128(1));
        assert_eq!(ended([&session]), [false]);
        assert!(!session.bind_user(ANN, Some(Uuid::from_u128(1)), changes), "what was read may be from before");
        lives.end_family(Uuid::from_u128(1));
        assert_eq!(ended([&session]), [true]);
    }

    #[test]
    fn a_user_ends_with_all_that_it_came_with() {
        let lives = RevocationRegistry::default();
        let (ann, hers, ben) = (life(&lives, &session(1), ANN), life(&lives, &token(1), ANN), life(&lives, &session(2), BEN));
        lives.end_user(ANN);
        assert_eq!(ended([&ann, &hers, &ben]), [true, true, false]);
    }

    #[test]
    fn what_happens_before_it_is_known_whose_grant_it_is_is_not_missed() {
        let lives = RevocationRegistry::default();
        let (life, changes) = (lives.register(&session(1)), lives.changes());
        lives.end_user(ANN);
        assert!(!life.bind_user(ANN, None, changes), "what was read may be from before");

        let (life, changes) = (lives.register(&session(2)), lives.changes());
        lives.revoke(&session(2));
        assert!(!life.bind_user(ANN, None, changes));
    }

    #[test]
    fn when_all_is_read_anew_nobody_is_sent_away() {
        let lives = RevocationRegistry::default();
        let (one, epoch) = (life(&lives, &session(1), ANN), lives.epoch());
        let (begun, changes) = (lives.register(&session(2)), lives.changes());
        lives.invalidate_caches();
        assert_eq!(ended([&one, &begun]), [false, false]);
        assert_ne!(lives.epoch(), epoch, "what is cached counts no longer");
        assert!(!begun.bind_user(BEN, None, changes), "what was being read may be from before");
    }

    #[test]
    fn after_the_end_there_is_a_new_beginning() {
        let lives = RevocationRegistry::default();
        let old = life(&lives, &session(1), ANN);
        lives.revoke(&session(1));
        let new = life(&lives, &session(1), ANN);
        assert_eq!(ended([&old, &new]), [true, false]);
        drop(old);
        lives.end_user(ANN);
        assert_eq!(ended([&new]), [true], "the old one has not taken the new one along");
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_gone() {
        let lives = RevocationRegistry::default();
        let (one, same) = (life(&lives, &session(1), ANN), life(&lives, &session(1), ANN));
        drop(one);
        assert_eq!(lives.0.entries.lock().len(), 1);
        drop(same);
        assert_eq!(lives.0.entries.lock().len(), 0);
    }
}
