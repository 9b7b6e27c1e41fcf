use storage::{Scope, Timestamp};
use tokio::time::Instant;

use super::{Batch, Chat, Feed, Place, Result, SignalMark, hub::Start};
use crate::{auth::Caller, lifecycle::Lifecycle};

/// From where on somebody listens.
#[derive(Clone, Copy, Debug)]
pub enum Since {
    /// What follows this; what is beyond the newest counts as the newest.
    Seen(SignalMark),
    /// What happened after this time.
    Time(Timestamp),
}

/// All that concerns one person, in the order of the log, with signals. Holds one of its places for waiting.
pub struct Bus {
    feed: Feed,
    caller: Caller,
    requests: Lifecycle,
    _place: Place,
}

impl Chat {
    /// Begins to listen to everything that concerns the caller.
    pub async fn listen(&self, caller: &Caller, since: Since) -> Result<Bus> {
        let from = match since {
            Since::Seen(mark) => {
                self.reach(mark.position).await?;
                Start::Seen(mark)
            }
            Since::Time(time) => Start::Time { time, position: self.0.storage.position_at(time).await? },
        };
        let own = Scope::Partner(caller.partner);
        let feed = self.follow_hearing(&[own], from, &[own]).read_by(caller);
        // Whoever is seen to wait listens already.
        let place = self.take_place(caller)?;
        Ok(Bus { feed, caller: caller.clone(), requests: self.0.requests.clone(), _place: place })
    }
}

impl Bus {
    /// What there is, as soon as there is something; `None` at the deadline or when the server stops. Fails once the
    /// listener's session has ended.
    pub async fn next(&mut self, deadline: Instant) -> Result<Option<Batch>> {
        self.feed.next_for(&self.caller, &self.requests, deadline).await
    }
}
