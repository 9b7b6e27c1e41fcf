//! What this node knows of whoever is at it.

use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;
use parking_lot::Mutex;
use storage::{PartnerId, Sign, Timestamp};
use tokio::sync::Notify;

use super::{PresenceRules, Status};

/// The signs of life on this node.
#[derive(Default)]
pub(in crate::chat) struct Lives {
    pub(super) lives: Mutex<HashMap<PartnerId, Life>>,
    /// Rung when somebody has come or turned away, or has set its status.
    pub(super) news: Notify,
}

#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) request: Option<Timestamp>,
    pub(super) poll: Option<Timestamp>,
    pub(super) sockets: usize,
    /// When the person itself last did something, where its client says so.
    pub(super) active: Option<Timestamp>,
    /// There were signs of life since the store was last told.
    pub(super) dirty: bool,
    /// What the store was last told; `None` if nothing.
    pub(super) stored: Option<Sign>,
    /// What others were last told.
    pub(super) told: Status,
    /// Whether what was told may be wrong in a way that the signs of life do not show.
    pub(super) doubtful: bool,
    /// Whether others may have been told something else meanwhile, so that they are to be told again.
    pub(super) unheard: bool,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            request: None,
            poll: None,
            sockets: 0,
            active: None,
            dirty: false,
            stored: None,
            told: Status::Offline,
            doubtful: false,
            unheard: false,
        }
    }
}

impl Life {
    pub(super) fn last_seen(&self, now: Timestamp) -> Option<Timestamp> {
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
    pub(super) fn is_over(&self, rules: &PresenceRules, now: Timestamp) -> bool {
        self.there_until(rules, now).is_none_or(|until| until < now)
    }

    /// What the store is to be told, if it is time: not at every sign of life, but before what it knows runs out, and when
    /// there will be no more.
    pub(super) fn due(&self, partner: PartnerId, rules: &PresenceRules, now: Timestamp, all: bool) -> Option<Sign> {
        let (there_until, idle_from) = (self.there_until(rules, now)?, self.idle_from(rules));
        let sign = Sign { partner, last_seen: self.last_seen(now).unwrap_or(now), there_until, idle_from };
        let slack = delta(rules.poll / 2);
        let is_stale = self.stored.is_none_or(|stored| {
            // The one may be old though the other is not: what was seen last need not be what lasts for longest.
            sign.there_until - stored.there_until > slack || sign.last_seen - stored.last_seen > slack
        });
        let stored_idle = self.stored.and_then(|stored| stored.idle_from);
        let turned = idle_from.is_some_and(|idle| stored_idle.is_none_or(|stored| idle - stored > slack));
        let wanted = self.sockets > 0 || self.dirty;
        let due = wanted && (is_stale || turned || (self.dirty && (all || there_until < now)));
        due.then_some(sign)
    }

    /// What the signs of life say by themselves.
    pub(super) fn status(&self, rules: &PresenceRules, now: Timestamp) -> Status {
        let within = |at: Option<Timestamp>, limit: Duration| at.is_some_and(|at| now - at <= delta(limit));
        let there = self.sockets > 0 || within(self.request, rules.request) || within(self.poll, rules.poll);
        match there {
            false => Status::Offline,
            true if self.active.is_some() && !within(self.active, rules.active) => Status::Away,
            true => Status::Online,
        }
    }
}

impl Lives {
    /// The store may have lost what it was told: it is told again.
    pub(in crate::chat) fn doubt_store(&self) {
        for life in self.lives.lock().values_mut() {
            (life.dirty, life.stored) = (true, None);
        }
        self.news.notify_one();
    }

    /// Rings for whoever is no longer as others were told, and for nobody else: most are simply online.
    pub(super) fn change<T>(
        &self,
        partner: PartnerId,
        rules: &PresenceRules,
        now: Timestamp,
        change: impl FnOnce(&mut Life) -> T,
    ) -> T {
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

pub(super) fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
