//! Timelines of the database server. After a failover or a restore the server is on another timeline, and may lack events that
//! were confirmed on the one before.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use sqlx::PgConnection;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{error::code, get};
use crate::Position;

/// SQL expression for the server's timeline; NULL on a standby, which has none of its own.
macro_rules! timeline {
    () => {
        "CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END"
    };
}
pub(super) use timeline;

const TIMELINE: &str = concat!("SELECT ", timeline!(), " AS timeline");
/// Placeholder for the timeline of a standby. Differs from every accepted timeline, because a standby may become the primary at
/// any moment.
const STANDBY: i64 = -1;
/// SQLSTATE codes of a server that lacks these functions, or does not allow them to every user.
const TIMELINE_UNSUPPORTED: [&str; 3] = ["0A000", "42501", "42883"];

/// Timeline of the newest connection, and the accepted timeline. Connections of another timeline wait.
pub(super) struct Timelines {
    state: watch::Sender<State>,
    /// True once the server has refused to report its timeline.
    unknown: AtomicBool,
    /// Head of the event log, as far as this process knows it. A shorter event log takes no events.
    head: AtomicI64,
}

#[derive(Clone, Copy, Default)]
struct State {
    seen: Option<i64>,
    /// Time at which a connection last found another timeline than the one before it.
    changed: Option<Instant>,
    /// Accepted timeline; `None` before the first call of [`Timelines::accept`]: any timeline is accepted.
    accepted: Option<Option<i64>>,
}

impl State {
    fn is_accepted(&self) -> bool {
        match (self.accepted, self.seen) {
            (Some(Some(accepted)), Some(seen)) => accepted == seen,
            _ => true,
        }
    }
}

impl Default for Timelines {
    fn default() -> Self {
        Self { state: watch::Sender::default(), unknown: AtomicBool::new(false), head: AtomicI64::new(0) }
    }
}

impl Timelines {
    /// True if the server reports its timeline.
    pub(super) fn are_known(&self) -> bool {
        !self.unknown.load(Ordering::Relaxed)
    }

    /// Records a known head of the event log; never moves back.
    pub(super) fn record_head(&self, head: Position) {
        self.head.fetch_max(head.0, Ordering::AcqRel);
    }

    pub(super) fn head(&self) -> i64 {
        self.head.load(Ordering::Acquire)
    }

    /// Records the timeline of a new connection.
    pub(super) async fn record_timeline(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
        if !self.are_known() {
            return Ok(());
        }
        match sqlx::query(TIMELINE).fetch_one(connection).await {
            Ok(row) => {
                let timeline = get::<Option<i64>, _>(&row, "timeline")?.unwrap_or(STANDBY);
                self.state.send_if_modified(|state| {
                    let before = state.seen.replace(timeline);
                    let is_other = before.is_some_and(|before| before != timeline);
                    if is_other {
                        state.changed = Some(Instant::now());
                    }
                    is_other
                });
                Ok(())
            }
            Err(error) if code(&error).is_some_and(|code| TIMELINE_UNSUPPORTED.contains(&code.as_str())) => {
                self.unknown.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn accept(&self, timeline: Option<i64>) {
        self.state.send_modify(|state| state.accepted = Some(timeline));
    }

    /// True if a connection of this age may be reused. Connections from before the last change of timeline may not, nor any while
    /// the newest one is not accepted, since only a new connection shows the end of that state.
    pub(super) fn may_reuse(&self, age: Duration) -> bool {
        let state = self.state.borrow();
        state.is_accepted() && state.changed.is_none_or(|changed| age < changed.elapsed())
    }

    /// True if connections of several timelines may exist.
    pub(super) fn have_changed(&self) -> bool {
        self.state.borrow().changed.is_some()
    }

    /// True if the timeline of the newest connection is accepted.
    pub(super) fn are_accepted(&self) -> bool {
        self.state.borrow().is_accepted()
    }

    /// Waits until the timeline of the newest connection is accepted; false after the time limit.
    pub(super) async fn wait_until_accepted(&self, patience: Duration) -> bool {
        self.are_accepted() || matches!(timeout(patience, self.state.subscribe().wait_for(State::is_accepted)).await, Ok(Ok(_)))
    }
}
