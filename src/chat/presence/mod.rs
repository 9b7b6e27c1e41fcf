//! Presence: online, away or offline, from heartbeats (requests, polls, open sockets) and from the status that a user sets.
//! Each node tracks its own heartbeats in memory, writes their lease expiry to the store in batches, and publishes changes of
//! status as signals. Heartbeats that a killed node had not yet written are lost.

mod activity;
pub(super) mod expiry;

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    time::Duration,
};

use storage::{ChosenStatus, PartnerId, Person, Presence, ShortenedLease, Timestamp};
use tokio::time::Instant;

pub(super) use self::activity::PresenceTracker;
use self::activity::{Activity, delta};
use super::{
    Chat, Error, Result,
    people::PEOPLE_STEP,
    presence::expiry::{GRACE, PAGE},
    rates::Act,
};
use crate::{
    auth::Caller,
    bus::BusNotification,
    clock,
    error::chain,
    events::{PresenceState, Signal},
    lifecycle::Lifecycle,
    telemetry,
};

/// Interval between two flushes of heartbeats to the store, and between two looks for expired presences.
pub(super) const TICK: Duration = Duration::from_secs(5);
/// Batch size: partners per statement.
const FLUSH_BATCH: usize = 1_000;
/// Upper bound of the idle time that a client may claim.
const LONGEST_IDLE: Duration = Duration::from_secs(7 * 86_400);
/// Debounce: the pause between two publications, so that many arrivals at once share one query.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// Lateness of a heartbeat in the store after which other nodes may have published the partner as offline.
const LATE: Duration = GRACE.saturating_sub(Duration::from_secs(1));

/// A person with its presence.
#[derive(Clone, Debug)]
pub struct PersonPresence {
    pub person: Person,
    pub status: PresenceState,
    /// Time of the last heartbeat; `None` if there was none.
    pub last_seen: Option<Timestamp>,
}

/// Lease durations of heartbeats, by kind.
#[derive(Clone, Copy, Debug)]
pub struct PresenceRules {
    /// Lease of a request.
    pub request: Duration,
    /// Lease of a poll of the bus, which a present client repeats; also of a socket that was lost.
    pub poll: Duration,
    /// Lease after a clean close of the partner's last socket.
    pub clean_close: Duration,
    /// Inactivity after which a present partner is away.
    pub active: Duration,
}

impl PresenceRules {
    /// Longest delay of a heartbeat on its way to the store, provided that the store can be reached.
    pub(super) fn longest_delay(&self) -> Duration {
        self.poll / 2 + 2 * TICK
    }
}

/// An open socket of a partner: a continuous heartbeat until it is dropped.
pub struct PresentSocket {
    chat: Chat,
    partner: PartnerId,
    is_closed: bool,
}

impl PresentSocket {
    /// Ends the socket's heartbeat cleanly: its client has closed it, or may not reconnect. A socket that is dropped otherwise
    /// counts as lost.
    pub fn close(mut self) {
        self.is_closed = true;
    }
}

impl Drop for PresentSocket {
    fn drop(&mut self) {
        let now = clock::now();
        self.chat.record_heartbeat(self.partner, now, |life| life.socket_gone(self.is_closed, now));
        if self.is_closed {
            self.chat.0.presence.schedule_look(self.chat.0.rules.presence.clean_close);
        }
    }
}

impl Chat {
    /// Starts the presence task: it publishes changes of status and flushes heartbeats to the store.
    pub(super) fn watch_presence(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut tick = tokio::time::interval(TICK);
            loop {
                let next_look = chat.0.presence.next_look();
                let stopping = tokio::select! {
                    _ = tick.tick() => false,
                    () = chat.0.presence.wake.notified() => false,
                    () = tokio::time::sleep_until(next_look.unwrap_or_else(Instant::now)), if next_look.is_some() => false,
                    () = stop.stopping() => true,
                };
                if let Err(error) = chat.bar_deactivated().await {
                    tracing::debug!(error = %chain(&error), "deactivated users unreadable");
                }
                chat.shorten_presence().await;
                // Store before publication: a node killed between the two would otherwise leave the partner online for ever.
                chat.flush_presence(stopping).await;
                if stopping {
                    return;
                }
                chat.publish_changed_presences().await;
                tokio::time::sleep(DEBOUNCE).await;
            }
        });
    }

    /// Records a heartbeat.
    fn record_heartbeat<T>(&self, partner: PartnerId, now: Timestamp, change: impl FnOnce(&mut Activity) -> T) -> T {
        self.0.presence.change(partner, &self.0.rules.presence, now, change)
    }

    /// Records a request of the caller.
    pub fn record_request(&self, caller: &Caller) {
        let now = clock::now();
        self.record_heartbeat(caller.partner, now, |life| life.request = Some(now));
    }

    /// Records a poll of the bus. `idle`: inactivity of the user, as the client reports it.
    pub fn record_poll(&self, caller: &Caller, idle: Option<Duration>) {
        let now = clock::now();
        self.record_heartbeat(caller.partner, now, |life| {
            life.poll = Some(now);
            if let Some(idle) = idle {
                // Longer inactivity than [`LONGEST_IDLE`] changes no status.
                life.active = Some(now - delta(idle.min(LONGEST_IDLE)));
            }
        });
    }

    /// Records activity of the caller itself. It overrides the idle time that the caller's clients have reported.
    pub(super) fn record_activity(&self, caller: &Caller) {
        let now = clock::now();
        self.record_heartbeat(caller.partner, now, |life| life.active = life.active.map(|_| now));
    }

    /// Records an open socket of the caller, until the result is dropped.
    ///
    /// # Errors
    /// `TooMany` beyond the sockets of one user on this node.
    pub fn record_socket(&self, caller: &Caller) -> Result<PresentSocket> {
        let most = self.0.rules.sockets_per_user;
        let has_room = self.record_heartbeat(caller.partner, clock::now(), |life| {
            let has_room = life.sockets < most;
            life.sockets += usize::from(has_room);
            has_room
        });
        match has_room {
            true => Ok(PresentSocket { chat: self.clone(), partner: caller.partner, is_closed: false }),
            false => {
                self.0.metrics.refused("sockets.per_user");
                Err(Error::TooMany("sockets"))
            }
        }
    }

    /// Sets the caller's visible status. `Online` clears it: the status follows the heartbeats again.
    ///
    /// # Errors
    /// `TooFast` beyond the caller's rate limit, `Unavailable` if the store cannot be reached.
    ///
    /// # Cancel safety
    /// A dropped future may have stored the status without publishing it here; the next change of the caller's presence
    /// publishes it.
    pub async fn set_status(&self, caller: &Caller, status: PresenceState) -> Result<()> {
        self.charge(caller, Act::Write)?;
        let set = match status {
            PresenceState::Online => None,
            PresenceState::Away => Some(ChosenStatus::Away),
            PresenceState::Offline => Some(ChosenStatus::Offline),
        };
        self.0.storage.set_presence(caller.partner, set, clock::now()).await?;
        self.record_heartbeat(caller.partner, clock::now(), |life| life.is_doubtful = true);
        Ok(())
    }

    /// Reads the presence of people, in the order given.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached.
    ///
    /// # Cancel safety
    /// A dropped future leaves nothing behind.
    pub async fn presence(&self, people: Vec<Person>) -> Result<Vec<PersonPresence>> {
        let mut present = Vec::with_capacity(people.len());
        let mut people = people.into_iter();
        while people.len() > 0 {
            present.extend(self.presence_of(people.by_ref().take(PEOPLE_STEP).collect()).await?);
            if people.len() > 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(present)
    }

    async fn presence_of(&self, people: Vec<Person>) -> Result<Vec<PersonPresence>> {
        let ids: Vec<_> = people.iter().map(|person| person.partner.id).collect();
        let stored = self.0.storage.presences(&ids).await?;
        let stored: HashMap<_, _> = stored.into_iter().map(|presence| (presence.partner, presence)).collect();
        let lives = self.0.presence.activities.lock();
        let now = clock::now();
        let presence = |person: Person| {
            let id = person.partner.id;
            let (status, last_seen) = self.status(stored.get(&id), lives.get(&id), now);
            PersonPresence { person, status, last_seen }
        };
        Ok(people.into_iter().map(presence).collect())
    }

    /// Selects the `most` partners with the latest heartbeats, in no particular order.
    pub(super) async fn seen_last(&self, partners: Vec<PartnerId>, most: usize) -> Result<Vec<PartnerId>> {
        if partners.len() <= most {
            return Ok(partners);
        }
        let mut stored = HashMap::new();
        for step in partners.chunks(PEOPLE_STEP) {
            let presences = self.0.storage.presences(step).await?;
            stored.extend(presences.into_iter().map(|presence| (presence.partner, presence.last_seen)));
            tokio::task::yield_now().await;
        }
        let now = clock::now();
        let mut seen: Vec<_> = {
            let lives = self.0.presence.activities.lock();
            let seen_here = |partner| lives.get(partner).and_then(|life| life.last_seen(now));
            partners.iter().map(|partner| (Reverse(seen_here(partner).max(stored.get(partner).copied())), *partner)).collect()
        };
        seen.sort_by_key(|(seen, _)| *seen);
        Ok(seen.into_iter().take(most).map(|(_, partner)| partner).collect())
    }

    /// Derives a status: the one that the user has set, else the one of heartbeats on this node, else the one of other nodes'
    /// heartbeats in the store.
    fn status(&self, stored: Option<&Presence>, life: Option<&Activity>, now: Timestamp) -> (PresenceState, Option<Timestamp>) {
        let rules = &self.0.rules.presence;
        let here = life.map_or(PresenceState::Offline, |life| life.status(rules, now));
        let seen_here = life.and_then(|life| life.last_seen(now));
        let seen_elsewhere = stored.map(|stored| stored.last_seen);
        let signs = match (here, stored) {
            (PresenceState::Offline, Some(stored)) if stored.lease_expires_at.is_some_and(|until| until >= now) => {
                if stored.idle_since.is_some_and(|idle| idle < now) { PresenceState::Away } else { PresenceState::Online }
            }
            _ => here,
        };
        let status = match stored.and_then(|stored| stored.chosen) {
            Some(ChosenStatus::Away) => PresenceState::Away,
            Some(ChosenStatus::Offline) => PresenceState::Offline,
            None => signs,
        };
        (status, seen_here.max(seen_elsewhere))
    }

    async fn publish_changed_presences(&self) {
        let now = clock::now();
        let changed: Vec<PartnerId> = {
            let lives = self.0.presence.activities.lock();
            let rules = &self.0.rules.presence;
            let differs = |life: &Activity| {
                let is_over = !life.dirty && life.is_expired(rules, now);
                life.is_doubtful
                    || life.must_republish
                    || life.is_denied_elsewhere
                    || life.status(rules, now) != life.published
                    || is_over
            };
            lives.iter().filter(|(_, life)| differs(life)).map(|(partner, _)| *partner).collect()
        };
        for changed in changed.chunks(PAGE) {
            if let Err(error) = self.publish_presences_of(changed, now).await {
                // The next tick retries.
                let mut lives = self.0.presence.activities.lock();
                for partner in changed {
                    lives.entry(*partner).and_modify(|life| life.is_doubtful = true);
                }
                return tracing::debug!(error = %chain(&error), "presence not delivered");
            }
        }
    }

    async fn publish_presences_of(&self, partners: &[PartnerId], now: Timestamp) -> Result<()> {
        let stored = self.0.storage.presences(partners).await?;
        let stored: HashMap<_, _> = stored.into_iter().map(|presence| (presence.partner, presence)).collect();
        let rules = &self.0.rules.presence;
        let is_news = |partner: &PartnerId| {
            let mut lives = self.0.presence.activities.lock();
            let Some(life) = lives.get_mut(partner) else { return false };
            let (status, _) = self.status(stored.get(partner), Some(life), now);
            life.is_doubtful = false;
            let was_denied = std::mem::take(&mut life.is_denied_elsewhere) && status != PresenceState::Offline;
            let is_news = life.must_republish || was_denied || life.published != status;
            if !is_news && status == PresenceState::Offline && !life.dirty && life.is_expired(rules, now) {
                lives.remove(partner);
            }
            is_news
        };
        let news: Vec<_> = partners.iter().copied().filter(is_news).collect();
        let mut shown = Vec::with_capacity(news.len());
        for (partner, acquainted) in self.presence_audiences(&news).await? {
            let status = {
                let mut lives = self.0.presence.activities.lock();
                let Some(life) = lives.get_mut(&partner) else { continue };
                let (status, _) = self.status(stored.get(&partner), Some(life), now);
                (life.published, life.must_republish) = (status, false);
                if status == PresenceState::Offline && !life.dirty && life.is_expired(rules, now) {
                    lives.remove(&partner);
                }
                status
            };
            self.0.link.notify(BusNotification::Signal(Signal::Presence { partner, status }));
            shown.push((partner, status, acquainted));
        }
        self.publish_presences(shown);
        Ok(())
    }

    /// Handles a status that another node has published. If the partner has heartbeats here, this node derives the status anew
    /// and stores its heartbeats again: the other node may have shortened the shared lease. Returns false if the partner has
    /// none here.
    pub(super) fn on_remote_presence(&self, partner: PartnerId, said: PresenceState) -> bool {
        let mut lives = self.0.presence.activities.lock();
        let Some(life) = lives.get_mut(&partner) else { return false };
        life.is_doubtful = true;
        life.is_denied_elsewhere |= said == PresenceState::Offline;
        if life.sockets > 0 {
            (life.dirty, life.stored) = (true, None);
        }
        self.0.presence.wake.notify_one();
        true
    }

    /// Bars the heartbeats of deactivated accounts, and admits those of reactivated ones.
    async fn bar_deactivated(&self) -> Result<()> {
        let changed: Vec<_> = {
            // Removed before the query: an account that changes meanwhile is inserted again, and the next round reads it.
            let mut waiting = self.0.presence.changed.lock();
            let changed: Vec<_> = waiting.iter().copied().take(FLUSH_BATCH).collect();
            waiting.retain(|partner| !changed.contains(partner));
            changed
        };
        if changed.is_empty() {
            return Ok(());
        }
        let outcome = self.bar(&changed).await;
        if outcome.is_err() {
            self.0.presence.changed.lock().extend(changed);
        }
        outcome
    }

    async fn bar(&self, changed: &[PartnerId]) -> Result<()> {
        let contacts = self.contacts_by_id(changed).await?;
        let inactive: HashSet<_> =
            contacts.iter().filter(|contact| !contact.is_active()).map(|contact| contact.partner.id).collect();
        let now = clock::now();
        let ends: Vec<_> =
            inactive.iter().map(|partner| ShortenedLease { partner: *partner, expected: None, there_until: now }).collect();
        self.0.storage.shorten_leases(&ends).await?;
        let mut lives = self.0.presence.activities.lock();
        for partner in changed {
            if let Some(life) = lives.get_mut(partner) {
                life.is_barred = inactive.contains(partner);
            }
        }
        Ok(())
    }

    /// Shortens the stored leases of partners that have closed their last socket here. Other nodes with heartbeats of the
    /// partner renew the lease when they receive the signal.
    async fn shorten_presence(&self) {
        let (now, rules) = (clock::now(), &self.0.rules.presence);
        let ends: Vec<_> = {
            let mut lives = self.0.presence.activities.lock();
            lives.iter_mut().filter_map(|(partner, life)| life.take_shortened(*partner, rules, now)).collect()
        };
        for ends in ends.chunks(FLUSH_BATCH) {
            match self.0.storage.shorten_leases(ends).await {
                Ok(()) => {
                    let lives = self.0.presence.activities.lock();
                    for partner in ends.iter().map(|end| end.partner) {
                        let status = lives.get(&partner).map_or(PresenceState::Offline, |life| life.published);
                        if status != PresenceState::Offline {
                            self.0.link.notify(BusNotification::Signal(Signal::Presence { partner, status }));
                        }
                    }
                }
                Err(error) => {
                    let error = Error::from(error);
                    telemetry::deferred("presence end not stored", &error, error.is_unavailable());
                    let mut lives = self.0.presence.activities.lock();
                    for end in ends {
                        lives.entry(end.partner).and_modify(|life| life.restore_shortened(end));
                    }
                }
            }
        }
    }

    /// Flushes heartbeats to the store: those that are due, or all.
    async fn flush_presence(&self, all: bool) {
        let (now, rules) = (clock::now(), &self.0.rules.presence);
        let (signs, known): (Vec<_>, Vec<_>) = {
            let mut lives = self.0.presence.activities.lock();
            let due = |(partner, life): (&PartnerId, &mut Activity)| {
                let sign = life.due_heartbeat(*partner, rules, now, all)?;
                let known = life.stored;
                life.dirty = false;
                let was_late = life.stored.is_some_and(|stored| now - stored.there_until >= delta(LATE));
                life.must_republish |= was_late && life.published != PresenceState::Offline;
                life.stored = Some(sign);
                Some((sign, known))
            };
            lives.iter_mut().filter_map(due).unzip()
        };
        for (signs, known) in signs.chunks(FLUSH_BATCH).zip(known.chunks(FLUSH_BATCH)) {
            if let Err(error) = self.0.storage.record_heartbeats(signs).await.map_err(Error::from) {
                telemetry::deferred("last-seen times not stored", &error, error.is_unavailable());
                let mut lives = self.0.presence.activities.lock();
                for (sign, known) in signs.iter().zip(known) {
                    let life = lives.entry(sign.partner).or_default();
                    (life.dirty, life.stored) = (true, *known);
                }
            }
        }
    }
}
