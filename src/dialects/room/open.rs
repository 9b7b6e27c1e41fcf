//! Who has a socket of this room open on this node, and which of their uploads wait to be shown.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;
use storage::{MessageId, PartnerId};

/// How many uploads of one user wait at most. Any further one is shown at once.
const MOST_WAITING: usize = 100;

/// Sockets of other dialects do not count: nobody would ever show a file from there. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Open(Arc<Mutex<HashMap<PartnerId, Place>>>);

#[derive(Debug, Default)]
struct Place {
    sockets: usize,
    waiting: BTreeSet<MessageId>,
}

impl Open {
    pub(super) fn enter(&self, partner: PartnerId) {
        self.0.lock().entry(partner).or_default().sockets += 1;
    }

    /// A socket is gone. With the last one nobody is left to show what waits, which is given.
    pub(super) fn leave(&self, partner: PartnerId) -> BTreeSet<MessageId> {
        let mut places = self.0.lock();
        let Some(place) = places.get_mut(&partner) else { return BTreeSet::new() };
        place.sockets -= 1;
        if place.sockets > 0 {
            return BTreeSet::new();
        }
        places.remove(&partner).map(|place| place.waiting).unwrap_or_default()
    }

    pub(super) fn is_here(&self, partner: PartnerId) -> bool {
        self.0.lock().contains_key(&partner)
    }

    /// Whether the upload can wait: else it must be shown now.
    pub(super) fn waits(&self, partner: PartnerId, upload: MessageId) -> bool {
        let mut places = self.0.lock();
        let place = places.get_mut(&partner).filter(|place| place.waiting.len() < MOST_WAITING);
        place.is_some_and(|place| place.waiting.insert(upload))
    }

    pub(super) fn shown(&self, partner: PartnerId, upload: MessageId) {
        if let Some(place) = self.0.lock().get_mut(&partner) {
            place.waiting.remove(&upload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOHN: PartnerId = PartnerId(1);

    #[test]
    fn what_waits_is_left_with_the_last_socket() {
        let open = Open::default();
        assert!(!open.is_here(JOHN) && !open.waits(JOHN, MessageId(1)));
        open.enter(JOHN);
        open.enter(JOHN);
        assert!(open.is_here(JOHN) && [1, 2, 3].into_iter().all(|id| open.waits(JOHN, MessageId(id))));
        open.shown(JOHN, MessageId(2));
        assert_eq!(open.leave(JOHN), BTreeSet::new());
        assert_eq!(open.leave(JOHN), BTreeSet::from([MessageId(1), MessageId(3)]));
        assert!(!open.is_here(JOHN));
    }

    #[test]
    fn only_so_many_wait() {
        let open = Open::default();
        open.enter(JOHN);
        let waiting = (0..200).filter(|id| open.waits(JOHN, MessageId(*id))).count();
        assert_eq!(waiting, MOST_WAITING);
    }
}
