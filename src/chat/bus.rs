//! Subscription of a polling client to everything that concerns its user: events and signals.

use storage::{Scope, Timestamp};
use tokio::time::Instant;

use super::{Chat, Error, PollSlot, Result};
use crate::{
    auth::Caller,
    events::{Feed, FeedBatch, SignalMark, SubscriptionStart},
    lifecycle::Lifecycle,
};

/// Start of a subscription.
#[derive(Clone, Copy, Debug)]
pub enum SubscribeSince {
    /// After this mark; a mark beyond the newest counts as the newest.
    Seen(SignalMark),
    /// After this time.
    Time(Timestamp),
}

/// Subscription to the events and signals that concern one user, in the order of the event log. Holds one of the user's slots for
/// waiting polls.
pub struct UserSubscription {
    feed: Feed,
    caller: Caller,
    requests: Lifecycle,
    _place: PollSlot,
}

impl Chat {
    /// Subscribes to everything that concerns the caller.
    ///
    /// # Errors
    /// `Unavailable` if this node does not catch up in time with a position from another node; `TooFast` beyond the limit of
    /// waiting polls.
    ///
    /// # Cancel safety
    /// The subscription ends.
    pub async fn subscribe_user(&self, caller: &Caller, since: SubscribeSince) -> Result<UserSubscription> {
        let from = match since {
            SubscribeSince::Seen(mark) => {
                self.wait_for_position(mark.position).await?;
                SubscriptionStart::Seen(mark)
            }
            SubscribeSince::Time(time) => SubscriptionStart::Time { time, position: self.0.storage.position_at(time).await? },
        };
        let own = Scope::Partner(caller.partner);
        let feed = self.subscribe_with_signals(&[own], from, &[own]).read_by(caller.partner);
        // The subscription precedes the slot: a poll that is counted as waiting misses nothing.
        let place = self.take_poll_slot(caller)?;
        Ok(UserSubscription { feed, caller: caller.clone(), requests: self.0.requests.clone(), _place: place })
    }
}

impl UserSubscription {
    /// Waits for the next batch; `None` at the deadline, when the server stops, or once the event log was restarted.
    ///
    /// # Errors
    /// `Ended` once the session of the caller has ended, `Unavailable` if the event log cannot be read.
    ///
    /// # Cancel safety
    /// No event is lost.
    pub async fn next(&mut self, deadline: Instant) -> Result<Option<FeedBatch>> {
        next_until(&mut self.feed, &self.caller, &self.requests, deadline).await
    }
}

/// Waits for the next batch of a feed, as [`Feed::next_until`], as long as the caller's session lasts.
///
/// # Errors
/// `Ended` once the session has ended; `Unavailable` if the event log cannot be read.
///
/// # Cancel safety
/// No event is lost.
pub(super) async fn next_until(
    feed: &mut Feed,
    caller: &Caller,
    requests: &Lifecycle,
    deadline: Instant,
) -> Result<Option<FeedBatch>> {
    tokio::select! {
        biased;
        () = caller.ended.cancelled() => Err(Error::Ended),
        batch = feed.next_until(requests, deadline) => Ok(batch?),
    }
}
