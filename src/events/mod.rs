//! Delivery of the event log: a tail follows the log, a hub keeps the recent events and signals, and feeds give them to subscribers
//! in order. It knows the storage, the bus and the lifecycle; no caller and no rule of the chat.

mod delivered_event;
mod feed;
#[cfg(test)]
pub(crate) mod fixtures;
mod hub;
mod log_restart;
mod members;
mod ring;
mod signals;
mod tail;

pub use delivered_event::{DeliveredEvent, Encoding};
pub use feed::{Feed, FeedBatch};
pub use hub::Hub;
pub(crate) use hub::SubscriptionStart;
pub(crate) use log_restart::KnownLog;
pub use log_restart::{restart_log_if_lost, restart_restored_log};
pub(crate) use members::MembersCache;
pub(crate) use ring::Capacity;
pub(crate) use signals::{PresenceAudience, SignalAudience};
pub use signals::{PresenceState, RecentSignal, Signal, SignalMark, TypingPost};
pub(crate) use tail::start;
pub use tail::{CommitReceiver, Observer, Publisher, publisher};
