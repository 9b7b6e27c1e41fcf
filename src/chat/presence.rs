use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use storage::{PartnerId, Person, Presence, SetStatus, Storage, Timestamp};

use super::{Chat, Result};
use crate::{auth::Caller, clock, lifecycle::Lifecycle, telemetry};

/// How often "last seen" is brought to the store.
const FLUSH: Duration = Duration::from_secs(5);

/// Whether a partner can be expected to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Online,
    Away,
    Offline,
}

/// A person and whether it is there.
#[derive(Clone, Debug)]
pub struct PersonPresence {
    pub person: Person,
    pub status: Status,
    /// `None` if never.
    pub last_seen: Option<Timestamp>,
}

/// When partners were last seen on this node, since the last flush.
#[derive(Clone, Default)]
pub(super) struct LastSeen(Arc<Mutex<HashMap<PartnerId, Timestamp>>>);

impl LastSeen {
    pub(super) fn start(storage: Arc<dyn Storage>, lifecycle: &Lifecycle) -> Self {
        let seen = Self::default();
        let (flushed, stop) = (seen.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            loop {
                let stopping = tokio::select! {
                    () = tokio::time::sleep(FLUSH) => false,
                    () = stop.stopping() => true,
                };
                flushed.flush(storage.as_ref()).await;
                if stopping {
                    return;
                }
            }
        });
        seen
    }

    async fn flush(&self, storage: &dyn Storage) {
        let seen: Vec<_> = std::mem::take(&mut *self.0.lock()).into_iter().collect();
        if seen.is_empty() {
            return;
        }
        if let Err(error) = storage.touch_presences(&seen).await {
            tracing::warn!(error = %telemetry::chain(&error), "when partners were last seen could not be stored");
            let mut kept = self.0.lock();
            for (partner, at) in seen {
                kept.entry(partner).or_insert(at);
            }
        }
    }
}

impl Chat {
    /// Notes a sign of life of the caller.
    pub fn seen(&self, caller: &Caller) {
        self.0.presence.0.lock().insert(caller.partner, clock::now());
    }

    /// Sets what others see of the caller. `Online` means: as its activity says.
    pub async fn set_status(&self, caller: &Caller, status: Status) -> Result<()> {
        let set = match status {
            Status::Online => None,
            Status::Away => Some(SetStatus::Away),
            Status::Offline => Some(SetStatus::Offline),
        };
        let presence = Presence { partner: caller.partner, set, last_seen: clock::now() };
        self.visit("set_presence", self.0.storage.set_presence(presence)).await
    }

    /// Whether these people are there, in the order given.
    pub async fn presence(&self, people: Vec<Person>) -> Result<Vec<PersonPresence>> {
        let ids: Vec<_> = people.iter().map(|person| person.partner.id).collect();
        let stored = self.visit("presences", self.0.storage.presences(&ids)).await?;
        let stored: HashMap<_, _> = stored.into_iter().map(|presence| (presence.partner, presence)).collect();
        let recent = self.0.presence.0.lock();
        let now = clock::now();
        Ok(people
            .into_iter()
            .map(|person| {
                let stored = stored.get(&person.partner.id);
                let last_seen = stored.map(|stored| stored.last_seen).max(recent.get(&person.partner.id).copied());
                let active = last_seen.is_some_and(|seen| (now - seen).to_std().unwrap_or_default() <= self.0.rules.online_for);
                let status = match stored.and_then(|stored| stored.set) {
                    Some(SetStatus::Away) => Status::Away,
                    Some(SetStatus::Offline) => Status::Offline,
                    None if active => Status::Online,
                    None => Status::Offline,
                };
                PersonPresence { person, status, last_seen }
            })
            .collect())
    }
}
