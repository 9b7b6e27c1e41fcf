//! What this node knows of whoever is at it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use parking_lot::Mutex;
use storage::{Fact, PartnerId, Shortened, Sign, Timestamp, Topic};
use tokio::{sync::Notify, time::Instant};

use super::{PresenceRules, Status};
use crate::chat::Observer;

/// The signs of life on this node.
#[derive(Default)]
pub(in crate::chat) struct Lives {
    pub(super) lives: Mutex<HashMap<PartnerId, Life>>,
    /// Rung when somebody has come or turned away, or has set its status.
    pub(super) news: Notify,
    /// When it is to be looked at those who have closed their last socket properly, by rising time.
    closes: Mutex<VecDeque<Instant>>,
    /// Partners whose accounts have changed since they were last looked at: one of them may be deactivated.
    pub(super) changed: Mutex<HashSet<PartnerId>>,
}

#[derive(Clone, Debug)]
pub(super) struct Life {
    pub(super) request: Option<Timestamp>,
    pub(super) poll: Option<Timestamp>,
    pub(super) sockets: usize,
    /// When a socket was lost: whoever lost its connection is back within the time for which a poll counts.
    lost: Option<Timestamp>,
    /// When the last socket was closed properly, which nobody comes back from.
    closed: Option<Timestamp>,
    /// The end of its signs of life may be earlier than the store was told.
    shortened: bool,
    /// Its account is deactivated: nothing is a sign of life.
    pub(super) barred: bool,
    /// Another node has told that it has gone.
    pub(super) denied: bool,
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
            lost: None,
            closed: None,
            shortened: false,
            barred: false,
            denied: false,
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
        if self.sockets > 0 { Some(now) } else { self.request.max(self.poll).max(self.lost).max(self.closed) }
    }

    /// Takes note that a socket has gone.
    pub(super) fn socket_gone(&mut self, properly: bool, now: Timestamp) {
        self.sockets -= 1;
        match (properly, self.sockets) {
            (false, _) => self.lost = Some(now),
            (true, 0) => (self.lost, self.closed, self.shortened) = (None, Some(now), true),
            // The others give what there is.
            (true, _) => {}
        }
    }

    /// Until when the signs of life last, if none follows. An open socket is one, again and again.
    fn there_until(&self, rules: &PresenceRules, now: Timestamp) -> Option<Timestamp> {
        if self.barred {
            return None;
        }
        let socket = (self.sockets > 0).then_some(now);
        let request = self.request.map(|at| at + delta(rules.request));
        let poll = self.poll.max(socket).max(self.lost).map(|at| at + delta(rules.poll));
        request.max(poll).max(self.closed.map(|at| at + delta(rules.clean_close)))
    }

    /// What the store is to be told if it knows a later end.
    pub(super) fn shortened(&mut self, partner: PartnerId, rules: &PresenceRules, now: Timestamp) -> Option<Shortened> {
        if !std::mem::take(&mut self.shortened) {
            return None;
        }
        let there_until = self.there_until(rules, now)?;
        let stored = self.stored.as_mut()?;
        (there_until < stored.there_until).then(|| Shortened {
            partner,
            known: Some(std::mem::replace(&mut stored.there_until, there_until)),
            there_until,
        })
    }

    /// Takes note that the store could not be told that.
    pub(super) fn keep_shortened(&mut self, end: &Shortened) {
        self.shortened = true;
        if let (Some(stored), Some(known)) = (self.stored.as_mut(), end.known) {
            stored.there_until = known;
        }
    }

    fn idle_from(&self, rules: &PresenceRules) -> Option<Timestamp> {
        self.active.map(|at| at + delta(rules.active))
    }

    /// Whether it says no more than the store does.
    pub(super) fn is_over(&self, rules: &PresenceRules, now: Timestamp) -> bool {
        self.sockets == 0 && self.there_until(rules, now).is_none_or(|until| until < now)
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
        let there = self.sockets > 0
            || within(self.request, rules.request)
            || within(self.poll.max(self.lost), rules.poll)
            || within(self.closed, rules.clean_close);
        match there {
            _ if self.barred => Status::Offline,
            false => Status::Offline,
            true if self.active.is_some() && !within(self.active, rules.active) => Status::Away,
            true => Status::Online,
        }
    }
}

impl Lives {
    /// Takes note of accounts that have changed.
    pub(in crate::chat) fn observer(self: &Arc<Self>) -> Observer {
        let lives = Arc::clone(self);
        Box::new(move |event, _| {
            if let (Topic::Partner(partner), Fact::UserChanged { .. }) = (event.topic, &event.fact) {
                lives.changed.lock().insert(partner);
                lives.news.notify_one();
            }
        })
    }

    /// Has it looked at those who are here once a socket that was closed properly counts no more.
    pub(super) fn look_again_in(&self, pause: Duration) {
        // Not at the moment itself, at which it still counts.
        self.closes.lock().push_back(Instant::now() + pause + Duration::from_millis(1));
        self.news.notify_one();
    }

    /// When it is to be looked at those who are here, beside every so often; what has passed is forgotten.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let (mut closes, now) = (self.closes.lock(), Instant::now());
        while closes.front().is_some_and(|at| *at <= now) {
            closes.pop_front();
        }
        closes.front().copied()
    }

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
