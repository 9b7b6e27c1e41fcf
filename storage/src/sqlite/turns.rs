//! Turns of the one writer: a queue with two levels, each fair.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Urgent turns in a row after which another one comes, so that nobody waits for ever.
const URGENT_IN_A_ROW: u32 = 8;

/// Queue of those who wait to write. Urgent ones go first.
#[derive(Default)]
pub(super) struct TurnQueue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    is_taken: bool,
    urgent: VecDeque<oneshot::Sender<Turn>>,
    others: VecDeque<oneshot::Sender<Turn>>,
    /// Urgent turns since another one.
    urgent_in_a_row: u32,
}

/// Right to write. There is one at a time; its drop passes it on.
pub(super) struct Turn(Arc<TurnQueue>);

impl TurnQueue {
    /// Waits for the turn.
    ///
    /// # Cancel safety
    /// A dropped call leaves the queue.
    pub(super) async fn turn(self: &Arc<Self>, is_urgent: bool) -> Turn {
        let passed_on = {
            let mut waiting = self.0.lock();
            if !std::mem::replace(&mut waiting.is_taken, true) {
                return Turn(Arc::clone(self));
            }
            let (pass_on, passed_on) = oneshot::channel();
            let level = if is_urgent { &mut waiting.urgent } else { &mut waiting.others };
            level.push_back(pass_on);
            passed_on
        };
        passed_on.await.expect("the queue passes each turn on, and the caller holds the queue")
    }

    /// Takes the next one from the queue; frees the turn if there is none.
    fn next(&self) -> Option<oneshot::Sender<Turn>> {
        let mut waiting = self.0.lock();
        loop {
            let Waiting { urgent, others, urgent_in_a_row, .. } = &mut *waiting;
            let is_others = urgent.is_empty() || (*urgent_in_a_row >= URGENT_IN_A_ROW && !others.is_empty());
            *urgent_in_a_row = if is_others { 0 } else { *urgent_in_a_row + 1 };
            let level = if is_others { others } else { urgent };
            match level.pop_front() {
                Some(next) if next.is_closed() => {}
                Some(next) => return Some(next),
                None => {
                    waiting.is_taken = false;
                    return None;
                }
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(next) = self.0.next() {
            // A turn that nobody receives is dropped here, and passed on by that.
            let _ = next.send(Self(Arc::clone(&self.0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[test]
    fn urgent_ones_go_first_and_each_level_is_fair() {
        let queue = Arc::<TurnQueue>::default();
        let first = poll(pin!(queue.turn(false))).expect("nobody writes");
        let (mut a, mut b) = (Box::pin(queue.turn(false)), Box::pin(queue.turn(false)));
        let (mut c, mut d) = (Box::pin(queue.turn(true)), Box::pin(queue.turn(true)));
        for waiting in [&mut a, &mut b, &mut c, &mut d] {
            assert!(poll(waiting.as_mut()).is_none());
        }
        drop(first);
        for (at, mut next) in [c, d, a, b].into_iter().enumerate() {
            assert!(poll(next.as_mut()).is_some(), "{at}");
        }
        assert!(poll(pin!(queue.turn(true))).is_some(), "the turn is free again");
    }

    #[test]
    fn others_come_after_some_urgent_ones() {
        let queue = Arc::<TurnQueue>::default();
        let mut turn = poll(pin!(queue.turn(true)));
        let mut other = Box::pin(queue.turn(false));
        assert!(poll(other.as_mut()).is_none());
        let mut urgent = 0;
        while poll(other.as_mut()).is_none() {
            let mut next = Box::pin(queue.turn(true));
            assert!(poll(next.as_mut()).is_none());
            drop(turn.take());
            turn = poll(next.as_mut());
            urgent += 1;
        }
        assert_eq!(urgent, URGENT_IN_A_ROW + 1);
    }

    #[test]
    fn who_has_left_gets_no_turn() {
        let queue = Arc::<TurnQueue>::default();
        let turn = poll(pin!(queue.turn(false)));
        let (mut gone, mut got) = (Box::pin(queue.turn(true)), Box::pin(queue.turn(true)));
        let mut last = Box::pin(queue.turn(false));
        for waiting in [&mut gone, &mut got, &mut last] {
            assert!(poll(waiting.as_mut()).is_none());
        }
        drop(gone);
        drop(turn);
        // It was passed to one who leaves before it looks.
        drop(got);
        assert!(poll(last.as_mut()).is_some());
    }
}
