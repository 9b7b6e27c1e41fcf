use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use storage::{SessionKey, UserId};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::token::Subject;

/// What somebody comes in with. All who come in with the same are sent away together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Grant {
    Session(SessionKey),
    Token {
        subject: Subject,
        /// Of our own tokens: those that were made from one login.
        family: Option<Uuid>,
    },
}

/// Everybody who is in, so that they can be sent away, however long ago they came and whatever is remembered of them.
#[derive(Clone, Default)]
pub(super) struct Lives(Arc<Registry>);

#[derive(Default)]
struct Registry {
    entries: Mutex<HashMap<Grant, Entry>>,
    /// Counts the users that have changed.
    changes: AtomicU64,
}

struct Entry {
    life: Weak<Life>,
    ended: CancellationToken,
    /// `None` until it is known whose grant it is.
    user: Option<UserId>,
}

/// Keeps a grant's entry for as long as anybody holds it: every clone of a caller does.
pub(super) struct Life {
    grant: Grant,
    ended: CancellationToken,
    lives: Lives,
}

/// How far changes of users had come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Changes(u64);

impl Lives {
    /// The life of a grant. To be begun before what the grant stands for is read, so that nothing which happens in
    /// between is missed: it ends the life that has begun.
    pub(super) fn begin(&self, grant: &Grant) -> Arc<Life> {
        let mut entries = self.0.entries.lock();
        if let Some(life) = entries.get(grant).and_then(|entry| entry.life.upgrade()) {
            return life;
        }
        let ended = CancellationToken::new();
        let life = Arc::new(Life { grant: grant.clone(), ended: ended.clone(), lives: self.clone() });
        entries.insert(grant.clone(), Entry { life: Arc::downgrade(&life), ended, user: None });
        life
    }

    pub(super) fn changes(&self) -> Changes {
        Changes(self.0.changes.load(Ordering::Acquire))
    }

    pub(super) fn end(&self, grant: &Grant) {
        let entry = self.0.entries.lock().remove(grant);
        if let Some(entry) = entry {
            entry.ended.cancel();
        }
    }

    pub(super) fn end_family(&self, family: Uuid) {
        self.end_where(|grant, _| matches!(grant, Grant::Token { family: Some(of), .. } if *of == family));
    }

    pub(super) fn end_user(&self, user: UserId) {
        self.0.changes.fetch_add(1, Ordering::AcqRel);
        self.end_where(|_, of| of == Some(user));
    }

    fn end_where(&self, ends: impl Fn(&Grant, Option<UserId>) -> bool) {
        let mut ended = Vec::new();
        self.0.entries.lock().retain(|grant, entry| {
            let ends = ends(grant, entry.user);
            if ends {
                ended.push(entry.ended.clone());
            }
            !ends
        });
        // Without the lock, since whoever wakes up drops its life.
        ended.iter().for_each(CancellationToken::cancel);
    }
}

impl Life {
    /// Notes whose life it is, as was read since `read_at`; false if that may be stale and is to be read again.
    pub(super) fn is_of(&self, user: UserId, read_at: Changes) -> bool {
        if let Some(entry) = self.lives.0.entries.lock().get_mut(&self.grant) {
            entry.user = Some(user);
        }
        !self.ended.is_cancelled() && self.lives.changes() == read_at
    }

    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let mut entries = self.lives.0.entries.lock();
        // The grant may have a new life.
        if entries.get(&self.grant).is_some_and(|entry| entry.life.strong_count() == 0) {
            entries.remove(&self.grant);
        }
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life").field("ended", &self.ended.is_cancelled()).finish()
    }
}
