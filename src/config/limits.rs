//! Settings of limits: rates, quotas, sizes and time-outs.

use serde::Deserialize;

use crate::{
    chat::{RateRules, UploadQuota},
    shares::Sizes,
    token_bucket::Rate,
};

/// Limits on requests, connections and memory. Sizes in bytes are for the whole process unless they say otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Open connections; more wait to be accepted. A twentieth of them serves only `/healthz`, `/readyz` and the proxies.
    pub connections: usize,
    /// Open connections of one address, an IPv6 address by its /64; three quarters of `limits.connections` if it is not set, and
    /// no limit if it is 0. The proxies have no limit.
    pub connections_per_address: Option<usize>,
    /// Size limit of a JSON request's body.
    pub body_bytes: usize,
    /// Read time-out of a request: for the whole body of a JSON request, and for each next piece of a file.
    pub body_seconds: u64,
    /// Memory budget for request bodies and for messages that arrive on sockets; one user may have an eighth of it, and all
    /// addresses without a user together a half.
    pub bodies_bytes: u64,
    /// Memory budget for responses until they are written; one user may have an eighth of it, or one larger response and nothing
    /// else, and all addresses without a user together a half.
    pub answers_bytes: u64,
    /// Size limit of a message's text, in bytes of UTF-8.
    pub message_bytes: usize,
    /// Participants of a conversation; 0 for no limit. A conversation that has more keeps them.
    pub participants: usize,
    /// Size limit of a file.
    pub upload_bytes: u64,
    /// Waiting polls of one user on one node.
    pub waiting_polls_per_user: usize,
    /// Header time-out of a request; also the keep-alive of an idle connection.
    pub header_seconds: u64,
    /// Write time-out: a connection whose client accepts no bytes for this long is closed, HTTP or socket. So is one that takes
    /// less than 10 kB/s over 30 s, or more than two minutes for a response in memory.
    pub write_seconds: u64,
    /// Failed log-ins within a minute with one login from one address.
    pub failed_logins_per_login: u32,
    /// Failed log-ins within a minute from one address.
    pub failed_logins_per_address: u32,
    /// Log-ins that wait for a password check; one network (/24, IPv6 /48) may have half of what others leave. Networks take turns.
    pub password_checks_waiting: usize,
    /// Recent events kept in memory for subscribers.
    pub recent_events: usize,
    /// Bytes of recent events kept in memory for subscribers.
    pub ring_bytes: usize,
    /// Deadline for requests in flight at the stop.
    pub stop_seconds: u64,
    pub user: UserLimits,
    pub address: AddressLimits,
}

/// Limits of one user on one node, over HTTP and sockets together. 0 means no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserLimits {
    /// Rate limit of sends, edits, marks as read and typing.
    pub writes_per_second: u32,
    /// Burst of sends, edits, marks as read and typing.
    pub writes_burst: u32,
    /// Rate limit of new conversations. One counts once for each started hundred participants, at most as a whole burst.
    pub conversations_per_second: u32,
    /// Burst of new conversations.
    pub conversations_burst: u32,
    /// Rate limit of searches, for people and for messages. One in all people counts once for each started 50,000 people times
    /// terms. A look-up of more than 100 people by id counts once for each started 1,000.
    pub searches_per_second: u32,
    /// Concurrent requests in the store; the user's others queue. Waiting polls and sockets do not count.
    pub requests_at_once: usize,
    /// Upload quota: bytes of files within a day.
    pub upload_bytes_per_day: u64,
    /// Concurrent uploads.
    pub uploads_at_once: usize,
    /// Sessions; with one more, the least recently used ends.
    pub sessions: usize,
    /// Refresh token families; with one more, the least recently renewed ends.
    pub token_families: usize,
    /// Devices; with one more, the least recently registered is removed.
    pub devices: usize,
}

impl UserLimits {
    pub(super) fn upload_quota(&self) -> UploadQuota {
        UploadQuota { bytes_per_day: self.upload_bytes_per_day, at_once: self.uploads_at_once }
    }

    pub(super) fn rates(&self) -> RateRules {
        let rate = |burst: u32, per_second: u32| Rate { burst: burst.into(), per_second: per_second.into() };
        let rate = |burst, per_second| (per_second > 0).then(|| rate(burst, per_second));
        RateRules {
            writes: rate(self.writes_burst, self.writes_per_second),
            conversations: rate(self.conversations_burst, self.conversations_per_second),
            searches: rate(self.searches_per_second, self.searches_per_second),
        }
    }
}

/// Limits of one address whose requests have no user yet. 0 means no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressLimits {
    /// Concurrent requests in the store; the address's others queue.
    pub requests_at_once: usize,
}

impl LimitSettings {
    /// Sizes of the memory budgets and concurrency limits.
    pub fn shares(&self) -> Sizes {
        Sizes {
            bodies_bytes: usize::try_from(self.bodies_bytes).unwrap_or(usize::MAX),
            answers_bytes: usize::try_from(self.answers_bytes).unwrap_or(usize::MAX),
            requests_per_user: self.user.requests_at_once,
            requests_per_address: self.address.requests_at_once,
        }
    }

    /// Connection limit of one address; 0 for no limit.
    pub fn of_one_address(&self) -> usize {
        self.connections_per_address.unwrap_or((self.connections * 3 / 4).max(1))
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.bodies_bytes / 8 < self.body_bytes as u64 {
            return Err("limits.bodies_bytes must be at least 8 times limits.body_bytes: a user may have an eighth of it".into());
        }
        let user = &self.user;
        for (kind, rate, burst) in [
            ("writes", user.writes_per_second, user.writes_burst),
            ("conversations", user.conversations_per_second, user.conversations_burst),
        ] {
            if rate > 0 && burst == 0 {
                return Err(format!("limits.user.{kind}_burst must be greater than 0 where there is a rate"));
            }
        }
        Ok(())
    }
}
