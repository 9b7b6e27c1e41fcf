//! Background maintenance of the store: the node's lease, retention, and the sweep of orphaned files.

pub(super) mod lease;
pub(super) mod retention;
pub(super) mod sweep;
