//! Background maintenance of the store: the node's lease, retention, the removal of files, and the sweep of
//! orphaned ones.

pub(super) mod lease;
pub(super) mod removal;
pub(super) mod retention;
pub(super) mod sweep;
