use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use chrono::TimeDelta;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use storage::{PartnerId, Person, Presence, SetStatus, Sign, Timestamp};
use tokio::sync::Notify;

use super::{Chat, Error, Result, Signal};
use crate::{auth::Caller, clock, lifecycle::Lifecycle, telemetry};

/// How often signs of life are brought to the store, and whoever has gone is noticed.
const TICK: Duration = Duration::from_secs(5);
/// How many partners one statement tells the store of.
const FLUSHED: usize = 1_000;
/// A client may say anything.
const LONGEST_IDLE: Duration = Duration::from_secs(7 * 86_400);
/// At most so often are others told who has come, so that many who come at once are told of together.
const GATHER: Duration = Duration::from_millis(250);

/// Whether a partner can be expected to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// For how long a sign of life counts.
#[derive(Clone, Copy, Debug)]
pub struct PresenceRules {
    /// A request.
    pub request: Duration,
    /// A poll of the bus, which comes again and again as long as somebody is there.
    pub poll: Duration,
    /// Without doing anything for longer, whoever is there is away.
    pub active: Duration,
}

/// The signs of life on this node.
#[derive(Default)]
pub(super) struct Lives {
    lives: Mutex<HashMap<PartnerId, Life>>,
    /// Rung when somebody has come or turned away, or has set its status.
    news: Notify,
}

#[derive(Clone, Debug)]
struct Life {
    request: Option<Timestamp>,
    poll: Option<Timestamp>,
    sockets: usize,
    /// When the person itself last did something, where its client says so.
    active: Option<Timestamp>,
    /// There were signs of life since the store was last told.
    dirty: bool,
    /// Until when, as the store was last told, the signs of life last; and from when on the partner is away.
    stored: (Option<Timestamp>, Option<Timestamp>),
    /// What others were last told.
    told: Status,
    /// Whether what was told may be wrong in a way that the signs of life do not show.
    doubtful: bool,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            request: None,
            poll: None,
            sockets: 0,
            active: None,
            dirty: false,
            stored: (None, None),
            told: Status::Offline,
            doubtful: false,
        }
    }
}

impl Life {
    fn last_seen(&self, now: Timestamp) -> Option<Timestamp> {
        if self.sockets > 0 { Some(now) } else { self.request.max(self.poll) }
    }

    /// Until when the signs of life last, if none follows. An open socket is one, again and again.
    fn there_until(&self, rules: &PresenceRules, now: Timestamp) -> Option<Timestamp> {
        let socket = (self.sockets > 0).then_some(now);
        let (request, poll) =
            (self.request.map(|at| at + delta(rules.request)), self.poll.max(socket).map(|at| at + delta(rules.poll)));
        request.max(poll)
    }

    fn idle_from(&self, rules: &PresenceRules) -> Option<Timestamp> {
        self.active.map(|at| at + delta(rules.active))
    }

    /// Whether it says no more than the store does.
    fn is_over(&self, rules: &PresenceRules, now: Timestamp) -> bool {
        self.there_until(rules, now).is_none_or(|until| until < now)
    }

    /// What the store is to be told, if it is time: not at every sign of life, but before what it knows runs out, and when
    /// there will be no more.
    fn due(&self, partner: PartnerId, rules: &PresenceRules, now: Timestamp, all: bool) -> Option<Sign> {
        let (there_until, idle_from) = (self.there_until(rules, now)?, self.idle_from(rules));
        let slack = delta(rules.poll / 2);
        let (stored_until, stored_idle) = self.stored;
        let runs_out = stored_until.is_none_or(|stored| there_until - stored > slack);
        let turned = idle_from.is_some_and(|idle| stored_idle.is_none_or(|stored| idle - stored > slack));
        let wanted = self.sockets > 0 || self.dirty;
        let due = wanted && (runs_out || turned || (self.dirty && (all || there_until < now)));
        due.then(|| Sign { partner, last_seen: self.last_seen(now).unwrap_or(now), there_until, idle_from })
    }

    /// What the signs of life say by themselves.
    fn status(&self, rules: &PresenceRules, now: Timestamp) -> Status {
        let within = |at: Option<Timestamp>, limit: Duration| at.is_some_and(|at| now - at <= delta(limit));
        let there = self.sockets > 0 || within(self.request, rules.request) || within(self.poll, rules.poll);
        match there {
            false => Status::Offline,
            true if self.active.is_some() && !within(self.active, rules.active) => Status::Away,
            true => Status::Online,
        }
    }
}

/// An open socket of a partner, which is there as long as this is.
pub struct PresentSocket {
    chat: Chat,
    partner: PartnerId,
}

impl Drop for PresentSocket {
    fn drop(&mut self) {
        let now = clock::now();
        self.chat.lives(self.partner, now, |life| {
            life.sockets -= 1;
            // Whoever lost its connection is back within that time.
            life.poll = Some(now);
        });
    }
}

impl Lives {
    /// Rings for whoever is no longer as others were told, and for nobody else: most are simply online.
    fn change<T>(&self, partner: PartnerId, rules: &PresenceRules, now: Timestamp, change: impl FnOnce(&mut Life) -> T) -> T {
        let mut lives = self.lives.lock();
        let life = lives.entry(partner).or_default();
        let outcome = change(life);
        life.dirty = true;
        if life.doubtful || life.status(rules, now) != life.told {
            self.news.notify_one();
        }
        outcome
    }
}

impl Chat {
    /// Starts the task that tells others who has come and gone, and the store when partners were last seen.
    pub(super) fn watch_presence(&self, lifecycle: &Lifecycle) {
        let (chat, stop) = (self.clone(), lifecycle.clone());
        lifecycle.spawn(async move {
            let mut tick = tokio::time::interval(TICK);
            loop {
                let stopping = tokio::select! {
                    _ = tick.tick() => { chat.flush_presence(false).await; false }
                    () = chat.0.lives.news.notified() => false,
                    () = stop.stopping() => true,
                };
                if stopping {
                    return chat.flush_presence(true).await;
                }
                chat.tell_presence().await;
                tokio::time::sleep(GATHER).await;
            }
        });
    }

    /// Notes a sign of life.
    fn lives<T>(&self, partner: PartnerId, now: Timestamp, change: impl FnOnce(&mut Life) -> T) -> T {
        self.0.lives.change(partner, &self.0.rules.presence, now, change)
    }

    /// Notes that the caller has made a request.
    pub fn seen(&self, caller: &Caller) {
        let now = clock::now();
        self.lives(caller.partner, now, |life| life.request = Some(now));
    }

    /// Notes that the caller polls the bus. `idle` is for how long its person has done nothing, where the client says so.
    pub fn polls(&self, caller: &Caller, idle: Option<Duration>) {
        let now = clock::now();
        self.lives(caller.partner, now, |life| {
            life.poll = Some(now);
            if let Some(idle) = idle {
                // Beyond what makes a partner away, longer is the same.
                life.active = Some(now - delta(idle.min(LONGEST_IDLE)));
            }
        });
    }

    /// Notes that the caller itself does something, whatever the clients of its that have polled say of it.
    pub(super) fn acts(&self, caller: &Caller) {
        let now = clock::now();
        self.lives(caller.partner, now, |life| life.active = life.active.map(|_| now));
    }

    /// Notes that the caller has a socket open, until the result is dropped; only so many at a time.
    pub fn connects(&self, caller: &Caller) -> Result<PresentSocket> {
        let most = self.0.rules.sockets_per_user;
        let has_room = self.lives(caller.partner, clock::now(), |life| {
            let has_room = life.sockets < most;
            life.sockets += usize::from(has_room);
            has_room
        });
        match has_room {
            true => Ok(PresentSocket { chat: self.clone(), partner: caller.partner }),
            false => Err(Error::TooMany("sockets")),
        }
    }

    /// Sets what others see of the caller. `Online` means: as its activity says.
    pub async fn set_status(&self, caller: &Caller, status: Status) -> Result<()> {
        let set = match status {
            Status::Online => None,
            Status::Away => Some(SetStatus::Away),
            Status::Offline => Some(SetStatus::Offline),
        };
        self.visit("set_presence", self.0.storage.set_presence(caller.partner, set, clock::now())).await?;
        self.lives(caller.partner, clock::now(), |life| life.doubtful = true);
        Ok(())
    }

    /// Whether these people are there, in the order given.
    pub async fn presence(&self, people: Vec<Person>) -> Result<Vec<PersonPresence>> {
        let ids: Vec<_> = people.iter().map(|person| person.partner.id).collect();
        let stored = self.visit("presences", self.0.storage.presences(&ids)).await?;
        let stored: HashMap<_, _> = stored.into_iter().map(|presence| (presence.partner, presence)).collect();
        let lives = self.0.lives.lives.lock();
        let now = clock::now();
        let presence = |person: Person| {
            let id = person.partner.id;
            let (status, last_seen) = self.status(stored.get(&id), lives.get(&id), now);
            PersonPresence { person, status, last_seen }
        };
        Ok(people.into_iter().map(presence).collect())
    }

    /// The rule: what somebody has set itself to, else what the signs of life say, here or as other nodes stored them.
    fn status(&self, stored: Option<&Presence>, life: Option<&Life>, now: Timestamp) -> (Status, Option<Timestamp>) {
        let rules = &self.0.rules.presence;
        let here = life.map_or(Status::Offline, |life| life.status(rules, now));
        let seen_here = life.and_then(|life| life.last_seen(now));
        let seen_elsewhere = stored.map(|stored| stored.last_seen);
        let signs = match (here, stored) {
            (Status::Offline, Some(stored)) if stored.there_until.is_some_and(|until| until >= now) => {
                if stored.idle_from.is_some_and(|idle| idle < now) { Status::Away } else { Status::Online }
            }
            _ => here,
        };
        let status = match stored.and_then(|stored| stored.set) {
            Some(SetStatus::Away) => Status::Away,
            Some(SetStatus::Offline) => Status::Offline,
            None => signs,
        };
        (status, seen_here.max(seen_elsewhere))
    }

    async fn tell_presence(&self) {
        let now = clock::now();
        let changed: Vec<PartnerId> = {
            let lives = self.0.lives.lives.lock();
            let rules = &self.0.rules.presence;
            let differs =
                |life: &Life| life.doubtful || life.status(rules, now) != life.told || (!life.dirty && life.is_over(rules, now));
            lives.iter().filter(|(_, life)| differs(life)).map(|(partner, _)| *partner).collect()
        };
        if changed.is_empty() {
            return;
        }
        let stored = match self.visit("presences", self.0.storage.presences(&changed)).await {
            Ok(stored) => stored,
            Err(error) => return tracing::debug!(error = %telemetry::chain(&error), "presence could not be told"),
        };
        let stored: HashMap<_, _> = stored.into_iter().map(|presence| (presence.partner, presence)).collect();
        for partner in changed {
            let status = {
                let mut lives = self.0.lives.lives.lock();
                let Some(life) = lives.get(&partner) else { continue };
                let (status, _) = self.status(stored.get(&partner), Some(life), now);
                let life = lives.get_mut(&partner).expect("it was there a moment ago, under the same lock");
                let changed = std::mem::replace(&mut life.told, status) != status;
                life.doubtful = false;
                if status == Status::Offline && !life.dirty && life.is_over(&self.0.rules.presence, now) {
                    lives.remove(&partner);
                }
                if !changed {
                    continue;
                }
                status
            };
            self.signal(Signal::Presence { partner, status }).await;
        }
    }

    /// Another node says how a partner is. If it is here as well, this node looks for itself.
    pub(super) fn doubt_presence(&self, partner: PartnerId) -> bool {
        let mut lives = self.0.lives.lives.lock();
        let Some(life) = lives.get_mut(&partner) else { return false };
        life.doubtful = true;
        self.0.lives.news.notify_one();
        true
    }

    /// Who is told whether the partner is there: itself, everybody who shares a conversation with it, and everybody in
    /// whose address book it is.
    pub(super) async fn acquainted_with(&self, partner: PartnerId) -> Result<BTreeSet<PartnerId>> {
        let contacts = self.visit("contacts", self.0.storage.contacts(partner)).await?;
        let owners = self.visit("known_by", self.0.storage.known_by(partner)).await?;
        Ok(contacts.into_iter().chain(owners).chain([partner]).collect())
    }

    /// Brings signs of life to the store: those that it is time for, or all.
    async fn flush_presence(&self, all: bool) {
        let (now, rules) = (clock::now(), &self.0.rules.presence);
        let signs: Vec<_> = {
            let mut lives = self.0.lives.lives.lock();
            let due = |(partner, life): (&PartnerId, &mut Life)| {
                let sign = life.due(*partner, rules, now, all)?;
                life.dirty = false;
                life.stored = (Some(sign.there_until), sign.idle_from);
                Some(sign)
            };
            lives.iter_mut().filter_map(due).collect()
        };
        for signs in signs.chunks(FLUSHED) {
            if let Err(error) = self.visit("touch_presences", self.0.storage.touch_presences(signs)).await {
                telemetry::put_off("when partners were last seen could not be stored", &error, error.is_unavailable());
                let mut lives = self.0.lives.lives.lock();
                for sign in signs {
                    let life = lives.entry(sign.partner).or_default();
                    (life.dirty, life.stored) = (true, (None, None));
                }
            }
        }
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
