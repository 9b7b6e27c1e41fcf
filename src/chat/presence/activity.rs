//! Presence activity: the heartbeats of partners on this node, with the state last stored and the status last published.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use chrono::TimeDelta;
use parking_lot::Mutex;
use storage::{Fact, Heartbeat, PartnerId, ShortenedLease, Timestamp, Topic};
use tokio::{sync::Notify, time::Instant};

use super::PresenceRules;
use crate::events::{Observer, PresenceState};

/// The presence tracker of this node.
#[derive(Default)]
pub(in crate::chat) struct PresenceTracker {
    pub(super) activities: Mutex<HashMap<PartnerId, Activity>>,
    /// Notified when a status may differ from the published one.
    pub(super) wake: Notify,
    /// Times at which leases of cleanly closed sockets expire, in rising order.
    close_expiries: Mutex<VecDeque<Instant>>,
    /// Partners whose accounts changed since the last check for deactivation.
    pub(super) changed: Mutex<HashSet<PartnerId>>,
}

#[derive(Clone, Debug)]
pub(super) struct Activity {
    pub(super) request: Option<Timestamp>,
    pub(super) poll: Option<Timestamp>,
    pub(super) sockets: usize,
    /// Time at which a socket was lost. Its client may reconnect within the lease of a poll.
    lost: Option<Timestamp>,
    /// Time of the clean close of the last socket.
    closed: Option<Timestamp>,
    /// The lease may end earlier than the stored one.
    is_shortened: bool,
    /// The account is deactivated: heartbeats do not count.
    pub(super) is_barred: bool,
    /// Another node has published the partner as offline.
    pub(super) is_denied_elsewhere: bool,
    /// Last activity of the user itself, if a client reports it.
    pub(super) active: Option<Timestamp>,
    /// There are heartbeats that the store does not have yet.
    pub(super) dirty: bool,
    /// The heartbeat last written to the store; `None` if there is none.
    pub(super) stored: Option<Heartbeat>,
    /// The status last published.
    pub(super) published: PresenceState,
    /// The published status may be wrong although the heartbeats agree with it: the set status, or another node's, may have
    /// changed.
    pub(super) is_doubtful: bool,
    /// Other nodes may have published another status meanwhile, so this one is due again.
    pub(super) must_republish: bool,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            request: None,
            poll: None,
            sockets: 0,
            lost: None,
            closed: None,
            is_shortened: false,
            is_barred: false,
            is_denied_elsewhere: false,
            active: None,
            dirty: false,
            stored: None,
            published: PresenceState::Offline,
            is_doubtful: false,
            must_republish: false,
        }
    }
}

impl Activity {
    pub(super) fn last_seen(&self, now: Timestamp) -> Option<Timestamp> {
        if self.sockets > 0 { Some(now) } else { self.request.max(self.poll).max(self.lost).max(self.closed) }
    }

    /// Records the end of a socket.
    pub(super) fn socket_gone(&mut self, properly: bool, now: Timestamp) {
        self.sockets -= 1;
        match (properly, self.sockets) {
            (false, _) => self.lost = Some(now),
            (true, 0) => (self.lost, self.closed, self.is_shortened) = (None, Some(now), true),
            // The remaining sockets continue the heartbeat.
            (true, _) => {}
        }
    }

    /// Lease expiry, if no heartbeat follows; an open socket renews it continuously.
    fn lease_expiry(&self, rules: &PresenceRules, now: Timestamp) -> Option<Timestamp> {
        if self.is_barred {
            return None;
        }
        let socket = (self.sockets > 0).then_some(now);
        let request = self.request.map(|at| at + delta(rules.request));
        let poll = self.poll.max(socket).max(self.lost).map(|at| at + delta(rules.poll));
        request.max(poll).max(self.closed.map(|at| at + delta(rules.clean_close)))
    }

    /// The shortened lease to store, if the stored one ends later.
    pub(super) fn take_shortened(&mut self, partner: PartnerId, rules: &PresenceRules, now: Timestamp) -> Option<ShortenedLease> {
        if !std::mem::take(&mut self.is_shortened) {
            return None;
        }
        let there_until = self.lease_expiry(rules, now)?;
        let stored = self.stored.as_mut()?;
        (there_until < stored.there_until).then(|| ShortenedLease {
            partner,
            expected: Some(std::mem::replace(&mut stored.there_until, there_until)),
            there_until,
        })
    }

    /// Restores the state after a failed write of a shortened lease.
    pub(super) fn restore_shortened(&mut self, end: &ShortenedLease) {
        self.is_shortened = true;
        if let (Some(stored), Some(known)) = (self.stored.as_mut(), end.expected) {
            stored.there_until = known;
        }
    }

    fn idle_since(&self, rules: &PresenceRules) -> Option<Timestamp> {
        self.active.map(|at| at + delta(rules.active))
    }

    /// True if all leases here have expired and no socket is open: the entry adds nothing to the store.
    pub(super) fn is_expired(&self, rules: &PresenceRules, now: Timestamp) -> bool {
        self.sockets == 0 && self.lease_expiry(rules, now).is_none_or(|until| until < now)
    }

    /// The heartbeat to store, if a write is due. Writes are debounced: one is due before the stored lease expires, and for the
    /// last heartbeat.
    pub(super) fn due_heartbeat(
        &self,
        partner: PartnerId,
        rules: &PresenceRules,
        now: Timestamp,
        all: bool,
    ) -> Option<Heartbeat> {
        let (there_until, idle_from) = (self.lease_expiry(rules, now)?, self.idle_since(rules));
        let sign = Heartbeat { partner, last_seen: self.last_seen(now).unwrap_or(now), there_until, idle_from };
        let slack = delta(rules.poll / 2);
        let is_stale = self.stored.is_none_or(|stored| {
            // Both are compared: the latest heartbeat need not be the one with the latest expiry.
            sign.there_until - stored.there_until > slack || sign.last_seen - stored.last_seen > slack
        });
        let stored_idle = self.stored.and_then(|stored| stored.idle_from);
        let turned = idle_from.is_some_and(|idle| stored_idle.is_none_or(|stored| idle - stored > slack));
        let wanted = self.sockets > 0 || self.dirty;
        let due = wanted && (is_stale || turned || (self.dirty && (all || there_until < now)));
        due.then_some(sign)
    }

    /// The status according to the heartbeats alone.
    pub(super) fn status(&self, rules: &PresenceRules, now: Timestamp) -> PresenceState {
        let within = |at: Option<Timestamp>, limit: Duration| at.is_some_and(|at| now - at <= delta(limit));
        let there = self.sockets > 0
            || within(self.request, rules.request)
            || within(self.poll.max(self.lost), rules.poll)
            || within(self.closed, rules.clean_close);
        match there {
            _ if self.is_barred => PresenceState::Offline,
            false => PresenceState::Offline,
            true if self.active.is_some() && !within(self.active, rules.active) => PresenceState::Away,
            true => PresenceState::Online,
        }
    }
}

impl PresenceTracker {
    /// Observer of the event log that collects changed accounts.
    pub(in crate::chat) fn observer(self: &Arc<Self>) -> Observer {
        let lives = Arc::clone(self);
        Box::new(move |event, _| {
            if let (Topic::Partner(partner), Fact::UserChanged { .. }) = (event.topic, &event.fact) {
                lives.changed.lock().insert(partner);
                lives.wake.notify_one();
            }
        })
    }

    /// Schedules a look at all presences for the expiry of a cleanly closed socket's lease.
    pub(super) fn schedule_look(&self, pause: Duration) {
        // A millisecond later: at the exact time the lease still counts.
        self.close_expiries.lock().push_back(Instant::now() + pause + Duration::from_millis(1));
        self.wake.notify_one();
    }

    /// The next scheduled look beside the regular ones. Removes times that have passed.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let (mut closes, now) = (self.close_expiries.lock(), Instant::now());
        while closes.front().is_some_and(|at| *at <= now) {
            closes.pop_front();
        }
        closes.front().copied()
    }

    /// Marks all heartbeats as unsaved, because the store may have lost them.
    pub(in crate::chat) fn mark_unsaved(&self) {
        for life in self.activities.lock().values_mut() {
            (life.dirty, life.stored) = (true, None);
        }
        self.wake.notify_one();
    }

    /// Changes the activity of a partner, and notifies the task only if the status then differs from the published one.
    pub(super) fn change<T>(
        &self,
        partner: PartnerId,
        rules: &PresenceRules,
        now: Timestamp,
        change: impl FnOnce(&mut Activity) -> T,
    ) -> T {
        let mut lives = self.activities.lock();
        let life = lives.entry(partner).or_default();
        let outcome = change(life);
        life.dirty = true;
        if life.is_doubtful || life.status(rules, now) != life.published {
            self.wake.notify_one();
        }
        outcome
    }
}

pub(super) fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
