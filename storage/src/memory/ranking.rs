//! Ranking of partners by a value that only grows.

use imbl::{OrdMap, OrdSet};

use crate::PartnerId;

/// Growing value of each partner. Finds the greatest value among all partners but one without a scan.
#[derive(Clone)]
pub(super) struct Ranking<V> {
    values: OrdMap<PartnerId, V>,
    ranks: OrdSet<(V, PartnerId)>,
}

impl<V: Copy + Ord> Ranking<V> {
    pub(super) fn new() -> Self {
        Self { values: OrdMap::new(), ranks: OrdSet::new() }
    }

    /// Sets the partner's value, unless it has a greater one.
    pub(super) fn raise(&mut self, partner: PartnerId, value: V) {
        match self.values.get(&partner) {
            Some(old) if *old >= value => return,
            Some(old) => self.ranks.remove(&(*old, partner)),
            None => None,
        };
        self.values.insert(partner, value);
        self.ranks.insert((value, partner));
    }

    /// Greatest value of all partners but this one.
    pub(super) fn greatest_but(&self, partner: PartnerId) -> Option<V> {
        self.ranks.iter().rev().find(|(_, whose)| *whose != partner).map(|(value, _)| *value)
    }
}
