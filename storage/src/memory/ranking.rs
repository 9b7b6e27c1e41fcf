use imbl::{OrdMap, OrdSet};

use crate::PartnerId;

/// A value for each of many partners, which only grows; knows the greatest among all but one without looking at all.
#[derive(Clone)]
pub(super) struct Ranking<V> {
    values: OrdMap<PartnerId, V>,
    ranks: OrdSet<(V, PartnerId)>,
}

impl<V: Copy + Ord> Ranking<V> {
    pub(super) fn new() -> Self {
        Self { values: OrdMap::new(), ranks: OrdSet::new() }
    }

    /// Gives the partner this value, unless it has a greater one.
    pub(super) fn raise(&mut self, partner: PartnerId, value: V) {
        match self.values.get(&partner) {
            Some(old) if *old >= value => return,
            Some(old) => self.ranks.remove(&(*old, partner)),
            None => None,
        };
        self.values.insert(partner, value);
        self.ranks.insert((value, partner));
    }

    /// The greatest value that anybody but `partner` has.
    pub(super) fn greatest_but(&self, partner: PartnerId) -> Option<V> {
        self.ranks.iter().rev().find(|(_, whose)| *whose != partner).map(|(value, _)| *value)
    }
}
