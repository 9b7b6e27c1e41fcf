use serde::Deserialize;

use crate::{
    chat::{RateRules, UploadQuota},
    shares::Sizes,
    token_bucket::Rate,
};

/// Limits on what clients may send, hold and ask for. Bounds in bytes are for the whole process unless they say otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open connections; more wait to be accepted. A twentieth of them serves only `/healthz`, `/readyz` and the proxies.
    pub connections: usize,
    /// Open connections of one address, an IPv6 address by its /64; three quarters of `connections` if it is not set, and
    /// no limit if it is 0.
    pub connections_per_address: Option<usize>,
    /// The largest body of a JSON request.
    pub body_bytes: usize,
    /// Within which the body of a JSON request must be there, and each next piece of a file.
    pub body_seconds: u64,
    /// Bytes of request bodies in memory; one user or address may have an eighth of it.
    pub bodies_bytes: u64,
    /// Bytes of answers in memory until they are written; one user or address may have an eighth of it.
    pub answers_bytes: u64,
    /// The longest text of a message, in bytes of UTF-8.
    pub message_bytes: usize,
    /// The largest file.
    pub upload_bytes: u64,
    /// Waiting polls of one user on one node.
    pub waiting_polls_per_user: usize,
    /// Within which a request's header must be there; also how long an idle connection is kept.
    pub header_seconds: u64,
    /// Within which a client takes the next of what is written to it, of answers and on sockets.
    pub write_seconds: u64,
    /// Failed logins in a minute with one login from one address.
    pub failed_logins_per_login: u32,
    /// Failed logins in a minute from one address.
    pub failed_logins_per_address: u32,
    /// Log-ins that wait for their password to be checked; half of it for one network (/24, IPv6 /48).
    pub password_checks_waiting: usize,
    /// Recent events remembered for those who listen.
    pub recent_events: usize,
    /// Bytes of recent events remembered for those who listen.
    pub ring_bytes: usize,
    /// For how long requests in flight may finish at the stop.
    pub stop_seconds: u64,
    pub user: UserLimits,
    pub address: AddressLimits,
}

/// Limits of one user on one node, over HTTP and sockets together. 0 means no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserLimits {
    /// The rate of sends, edits, marks and typing.
    pub writes_per_second: u32,
    /// Writes at once, before the rate counts.
    pub writes_burst: u32,
    /// The rate at which conversations are begun.
    pub conversations_per_second: u32,
    /// Conversations begun at once, before the rate counts.
    pub conversations_burst: u32,
    /// The rate of searches, of people and of messages.
    pub searches_per_second: u32,
    /// Requests in the store at a time; others of the user queue. Waiting polls and sockets do not count.
    pub requests_at_once: usize,
    /// Bytes of files within a day.
    pub upload_bytes_per_day: u64,
    /// Uploads under way.
    pub uploads_at_once: usize,
    /// Sessions; with one more the oldest ends.
    pub sessions: usize,
    /// Refresh tokens' families; with one more the oldest ends.
    pub token_families: usize,
    /// Devices; with one more the oldest goes.
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

/// Limits of one address whose requests name no user yet. 0 means no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressLimits {
    /// Requests in the store at a time; others from the address queue.
    pub requests_at_once: usize,
}

impl Limits {
    /// Sizes of everybody's shares.
    pub fn shares(&self) -> Sizes {
        Sizes {
            bodies_bytes: usize::try_from(self.bodies_bytes).unwrap_or(usize::MAX),
            answers_bytes: usize::try_from(self.answers_bytes).unwrap_or(usize::MAX),
            requests_per_user: self.user.requests_at_once,
            requests_per_address: self.address.requests_at_once,
        }
    }

    /// Most connections of one address; 0 for no limit.
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
