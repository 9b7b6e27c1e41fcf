//! Restarts of the event log. A database that was failed over without its newest commits, or restored from a backup, has lost
//! events that clients have received.
//! The event log then continues after a gap, above all ids and positions that any client may know.

use chrono::TimeDelta;
use storage::{EventMark, Fact, Lane, LogState, NO_CLIENT, Position, Result, Storage, Timestamp, Topic, Workspace};

use crate::{clock, transaction::transaction};

/// Width of the gap, in positions. Other nodes, dead ones included, may know so much more than the one that restarts the event
/// log.
const GAP: i64 = 1_000_000;
/// Width of the gap for each second since a backup: more events and ids a second than a store gives out for long.
const GAP_PER_SECOND: i64 = 100;

/// Pause of the orphan sweep after a restart: rows that refer to the objects may still be restored.
const SWEEP_PAUSE: TimeDelta = TimeDelta::days(7);

/// Log line for the operator: the event log was restarted.
pub(crate) const RESTART_MESSAGE: &str = "event log restarted after a gap: the database was failed over or restored, \
    and may have lost its last confirmed commits";

/// The event log as this node knows it.
#[derive(Debug, Default)]
pub(crate) struct KnownLog {
    epoch: i64,
    timeline: Option<i64>,
    newest: Option<EventMark>,
}

/// Evidence that the event log has lost events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The database server was replaced by another one, or restored.
    Timeline,
    /// The event log ends before the newest event that this node knows.
    Behind,
    /// Another event is at a position that this node knows.
    Replaced,
}

/// Restarts the event log if the database was failed over or restored since the last check. Call it before any write.
///
/// # Errors
/// Those of the store.
///
/// # Cancel safety
/// The restart is committed or not. Idempotent.
pub async fn restart_log_if_lost(storage: &dyn Storage) -> Result<()> {
    KnownLog::load(storage.lane(Lane::Log).as_ref()).await.map(drop)
}

/// Restarts the event log of a store that was restored from a backup of that time, above everything that clients may have
/// received since then.
///
/// # Errors
/// Those of the store.
///
/// # Cancel safety
/// The restart is committed or not. A repeat restarts it again.
pub async fn restart_restored_log(storage: &dyn Storage, taken_at: Timestamp) -> Result<()> {
    let mut known = KnownLog { epoch: storage.workspace().await?.epoch, ..KnownLog::default() };
    let state = storage.log_state(known.compared_position()).await?;
    let age = (clock::now() - taken_at).num_seconds().max(0);
    known.settle(storage, &state, Some(Loss::Behind), state.head, GAP.max(age.saturating_mul(GAP_PER_SECOND))).await
}

impl KnownLog {
    /// Reads the state of the event log at the start, and restarts it if the database is on another timeline than at the last
    /// check.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn load(storage: &dyn Storage) -> Result<Self> {
        let Workspace { epoch, timeline, .. } = storage.workspace().await?;
        let mut known = Self { epoch, timeline, newest: None };
        let state = storage.log_state(known.compared_position()).await?;
        if timeline != state.timeline {
            let loss = timeline.and(state.timeline).map(|_| Loss::Timeline);
            known.settle(storage, &state, loss, state.head, GAP).await?;
            if known.epoch > epoch {
                tracing::error!(epoch = known.epoch, "{RESTART_MESSAGE}");
            }
        }
        storage.accept_timeline(known.timeline);
        Ok(known)
    }

    /// The position of the event whose mark is compared.
    pub(crate) fn compared_position(&self) -> Position {
        self.newest.map_or(Position(0), |newest| newest.position)
    }

    /// Compares the event log with the known state, where everything up to `head` was delivered. Without a loss, the newest mark
    /// becomes the known one.
    pub(crate) fn compare(&mut self, head: Position, state: &LogState) -> Option<Loss> {
        let is_replaced = |known: EventMark| state.requested.is_some_and(|there| there != known);
        let loss = match self.newest {
            _ if state.timeline.is_some() && state.timeline != self.timeline => Some(Loss::Timeline),
            _ if state.head < head.max(self.compared_position()) => Some(Loss::Behind),
            Some(known) if is_replaced(known) => Some(Loss::Replaced),
            _ => None,
        };
        if loss.is_none() {
            self.newest = state.newest.or(self.newest);
        }
        loss
    }

    /// Restarts the event log above everything that is known of it, unless another node has done so already.
    ///
    /// # Errors
    /// Those of the store; then nothing has changed.
    pub(crate) async fn restart(&mut self, storage: &dyn Storage, state: &LogState, loss: Loss, head: Position) -> Result<()> {
        self.settle(storage, state, Some(loss), head, GAP).await?;
        storage.accept_timeline(self.timeline);
        Ok(())
    }

    async fn settle(
        &mut self,
        storage: &dyn Storage,
        state: &LogState,
        loss: Option<Loss>,
        head: Position,
        gap: i64,
    ) -> Result<()> {
        let (epoch, known, timeline) = (self.epoch, head.max(self.compared_position()), state.timeline);
        let settled: Result<_> = transaction(storage, |mut tx| async move {
            let mut workspace = tx.lock_workspace().await?;
            let is_settled = match loss {
                None | Some(Loss::Timeline) => workspace.timeline == timeline,
                Some(Loss::Behind | Loss::Replaced) => workspace.epoch > epoch,
            };
            if is_settled {
                return Ok(workspace);
            }
            if loss.is_some() {
                let (from, to) = tx.skip_positions(known, gap).await?;
                workspace.epoch = workspace.epoch.max(epoch) + 1;
                let now = clock::now();
                workspace.sweep_not_before = workspace.sweep_not_before.max(Some(now + SWEEP_PAUSE));
                tx.record(Topic::Partner(NO_CLIENT), Fact::LogRestarted { epoch: workspace.epoch, from, to }, now);
            }
            workspace.timeline = timeline;
            tx.set_workspace(&workspace).await?;
            tx.commit().await?;
            Ok(workspace)
        })
        .await;
        *self = Self { epoch: settled?.epoch, timeline, newest: None };
        Ok(())
    }

    /// Records a restart of the event log.
    pub(crate) fn record_restart(&mut self, epoch: i64) {
        (self.epoch, self.newest) = (epoch, None);
    }

    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use storage::{EventLog, Scope, memory::Memory};
    use uuid::Uuid;

    use super::*;

    fn mark(position: i64, mark: u128) -> EventMark {
        EventMark { position: Position(position), mark: Some(Uuid::from_u128(mark)) }
    }

    /// Known state: event 10 with mark 1, on timeline 3.
    fn known() -> KnownLog {
        KnownLog { epoch: 4, timeline: Some(3), newest: Some(mark(10, 1)) }
    }

    fn state(head: i64, asked: Option<EventMark>, timeline: Option<i64>) -> LogState {
        LogState { head: Position(head), requested: asked, newest: Some(mark(head, 9)), timeline }
    }

    #[test]
    fn a_log_that_only_grows_has_lost_nothing() {
        let mut known = known();
        assert_eq!(known.compare(Position(12), &state(12, Some(mark(10, 1)), Some(3))), None);
        assert_eq!(known.compared_position(), Position(12), "the newest mark is known from now on");
        assert_eq!(known.compare(Position(12), &state(15, None, Some(3))), None, "event 12 was forgotten");
        assert_eq!(known.compare(Position(15), &state(15, None, None)), None, "its timeline is not told");
    }

    #[test]
    fn a_log_that_has_lost_events_is_seen() {
        let head = Position(12);
        assert_eq!(known().compare(head, &state(11, Some(mark(10, 1)), Some(3))), Some(Loss::Behind));
        assert_eq!(known().compare(Position(9), &state(9, None, Some(3))), Some(Loss::Behind), "event 10 was known");
        assert_eq!(known().compare(head, &state(20, Some(mark(10, 2)), Some(3))), Some(Loss::Replaced));
        let unmarked = EventMark { mark: None, ..mark(10, 0) };
        assert_eq!(known().compare(head, &state(20, Some(unmarked), Some(3))), Some(Loss::Replaced));
        assert_eq!(known().compare(head, &state(12, Some(mark(10, 1)), Some(4))), Some(Loss::Timeline));
    }

    /// One of several nodes that detect the same loss restarts the event log.
    #[tokio::test]
    async fn a_log_is_restarted_once() {
        let store = Memory::new();
        let mut tx = store.begin().await.unwrap();
        let workspace = tx.lock_workspace().await.unwrap();
        tx.set_workspace(&Workspace { epoch: 4, timeline: Some(3), ..workspace }).await.unwrap();
        tx.commit().await.unwrap();
        let moved = state(7, None, Some(5));
        let mut nodes = [known(), known()];
        for known in &mut nodes {
            known.restart(&store, &moved, Loss::Timeline, Position(12)).await.unwrap();
            assert_eq!((known.epoch(), known.timeline, known.compared_position()), (5, Some(5), Position(0)));
        }
        let again = state(3, None, Some(5));
        for known in &mut nodes {
            known.restart(&store, &again, Loss::Behind, Position(12)).await.unwrap();
            assert_eq!(known.epoch(), 6);
        }
        let told = store.events(Position(0), Scope::Everything, 10).await.unwrap();
        let epochs: Vec<_> = told
            .iter()
            .map(|event| match event.fact {
                Fact::LogRestarted { epoch, from, to } => (epoch, from.0, to.0, event.position.0),
                _ => panic!("{event:?}"),
            })
            .collect();
        assert_eq!(epochs, [(5, 1, GAP + 12, GAP + 13), (6, GAP + 14, 2 * GAP + 13, 2 * GAP + 14)]);
    }
}
