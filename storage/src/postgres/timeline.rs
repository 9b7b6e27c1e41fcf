//! Timelines of the database server. One that has taken over from another, or was restored, is on another timeline than the one
//! before, and may lack what that one had confirmed.

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

/// Timeline of the server, in SQL. A standby has none of its own.
macro_rules! timeline {
    () => {
        "CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END"
    };
}
pub(super) use timeline;

const TIMELINE: &str = concat!("SELECT ", timeline!(), " AS timeline");
/// What stands for the timeline of a standby: it is never accepted, because a standby may become the primary at any moment.
const STANDBY: i64 = -1;
/// What a server says that has no such functions, or does not let everybody use them.
const NOT_TOLD: [&str; 3] = ["0A000", "42501", "42883"];

/// The timeline that new connections have found, and the one that was accepted. Connections of another one wait.
pub(super) struct Timelines {
    state: watch::Sender<State>,
    /// Set once the server has refused to tell its timeline.
    unknown: AtomicBool,
    /// The head of the event log, as far as this process knows it. No event comes to a log that ends before.
    head: AtomicI64,
}

#[derive(Clone, Copy, Default)]
struct State {
    seen: Option<i64>,
    /// When a connection last found another timeline than the one before it.
    changed: Option<Instant>,
    /// `None` before the first call of [`Timelines::accept`]: anything goes.
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
    /// Whether the server tells its timeline.
    pub(super) fn are_known(&self) -> bool {
        !self.unknown.load(Ordering::Relaxed)
    }

    /// Notes that the event log has gone as far as this.
    pub(super) fn know(&self, head: Position) {
        self.head.fetch_max(head.0, Ordering::AcqRel);
    }

    pub(super) fn head(&self) -> i64 {
        self.head.load(Ordering::Acquire)
    }

    /// Notes the timeline of a new connection.
    pub(super) async fn note(&self, connection: &mut PgConnection) -> sqlx::Result<()> {
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
            Err(error) if code(&error).is_some_and(|code| NOT_TOLD.contains(&code.as_str())) => {
                self.unknown.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn accept(&self, timeline: Option<i64>) {
        self.state.send_modify(|state| state.accepted = Some(timeline));
    }

    /// Whether a connection of this age may be used again: not one from before the timeline changed, nor any while the newest one
    /// is not accepted, since only another new connection shows when that is over.
    pub(super) fn trust(&self, age: Duration) -> bool {
        let state = self.state.borrow();
        state.is_accepted() && state.changed.is_none_or(|changed| age < changed.elapsed())
    }

    /// Whether connections of several timelines may be about.
    pub(super) fn have_changed(&self) -> bool {
        self.state.borrow().changed.is_some()
    }

    /// Whether the timeline of the newest connection is accepted.
    pub(super) fn are_accepted(&self) -> bool {
        self.state.borrow().is_accepted()
    }

    /// Waits until the timeline of the newest connection is accepted; false if that takes longer.
    pub(super) async fn accepted(&self, patience: Duration) -> bool {
        self.are_accepted() || matches!(timeout(patience, self.state.subscribe().wait_for(State::is_accepted)).await, Ok(Ok(_)))
    }
}
