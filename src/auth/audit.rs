//! Audit trail of sign-ins: entries in the store, each also a line of the program's log (target `dragoman::audit`). Entries
//! identify people by id only.

use std::{net::IpAddr, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use storage::{ActorKind, NewAuditEntry, Storage, UserId};
use tokio::sync::OnceCell;

use super::secret;
use crate::{clock, telemetry, transaction::transaction};

/// Name of the hash key in the store.
const KEY: &str = "audit";
/// Bytes of a hash that are written: enough to tell texts apart.
const HASH_BYTES: usize = 16;

/// Writer of the audit trail.
pub(super) struct AuditTrail {
    storage: Arc<dyn Storage>,
    /// Key of the HMAC over logins that unknown clients send; the same on all nodes.
    key: OnceCell<String>,
}

/// Actor of an entry.
#[derive(Clone, Debug)]
pub(super) enum AuditActor {
    User(UserId),
    /// An unknown client, by the keyed hash of the login it sent, if any.
    Stranger(Option<String>),
}

/// Action of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) enum AuditAction {
    SignIn,
    /// Start of a lock-out: further log-ins are refused for a while, whatever their password.
    LockOut,
    SignOut,
    TokensRevoked,
}

impl AuditAction {
    fn word(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::LockOut => "lock_out",
            Self::SignOut => "sign_out",
            Self::TokensRevoked => "tokens_revoked",
        }
    }
}

/// Outcome of a successful action.
pub(super) const OK: &str = "ok";
/// Outcome of a revocation that only another service can perform.
pub(super) const NOT_OURS: &str = "not_ours";

/// Audit entry at the current time. `object` is the target or the method of the action.
pub(super) fn entry(
    actor: AuditActor,
    from: Option<IpAddr>,
    action: AuditAction,
    object: Option<String>,
    outcome: &'static str,
) -> NewAuditEntry {
    let (actor, actor_id) = match actor {
        AuditActor::User(id) => (ActorKind::User, Some(id.to_string())),
        AuditActor::Stranger(hash) => (ActorKind::Stranger, hash),
    };
    NewAuditEntry {
        at: clock::now(),
        actor,
        actor_id,
        address: from.map(|address| address.to_canonical().to_string()),
        action: action.word().into(),
        object,
        outcome: outcome.into(),
        correlation: Some(telemetry::correlation()),
    }
}

/// A user as the object of an entry.
pub(super) fn user(id: UserId) -> String {
    format!("user {id}")
}

/// Writes an entry to the program's log; for an entry that a transaction stores, call it after the commit.
pub(super) fn log(entry: &NewAuditEntry) {
    let NewAuditEntry { actor, actor_id, address, action, object, outcome, correlation, .. } = entry;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    tracing::info!(
        target: "dragoman::audit",
        actor = actor.as_str(),
        actor_id = text(actor_id),
        address = text(address),
        object = text(object),
        correlation = text(correlation),
        "{action}: {outcome}"
    );
}

impl AuditTrail {
    pub(super) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, key: OnceCell::new() }
    }

    /// Writes an entry that belongs to no transaction. A failure of the store is logged and not returned: the program's log has
    /// the entry.
    pub(super) async fn write(&self, entry: NewAuditEntry) {
        log(&entry);
        if let Err(error) = self.storage.audit(&[entry]).await {
            telemetry::deferred("audit entry not stored", &error, error.is_transient());
        }
    }

    /// Actor for a client that sent an unverified login, which may even be a password: a keyed hash of it, or none if the store
    /// cannot return the key.
    pub(super) async fn stranger(&self, login: &str) -> AuditActor {
        let key = match self.key.get_or_try_init(|| self.read_key()).await {
            Ok(key) => key,
            Err(error) => {
                telemetry::deferred("audit key unreadable", &error, error.is_transient());
                return AuditActor::Stranger(None);
            }
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(login.as_bytes());
        AuditActor::Stranger(Some(hex::encode(&mac.finalize().into_bytes()[..HASH_BYTES])))
    }

    async fn read_key(&self) -> storage::Result<String> {
        let fresh = secret();
        transaction(self.storage.as_ref(), |mut tx| {
            let fresh = fresh.clone();
            async move {
                let key = tx.secret(KEY, &fresh).await?;
                tx.commit().await?;
                Ok(key)
            }
        })
        .await
    }
}
