#![doc = include_str!("../README.md")]

mod accounts;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod columns;
mod conversations;
mod dump;
mod error;
mod events;
mod fold;
mod import;
pub mod memory;
mod messages;
mod nodes;
#[cfg(feature = "postgres")]
pub mod postgres;
mod presence;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod statement;
pub mod tables;
mod workspace;

use std::sync::Arc;

use async_trait::async_trait;

pub use accounts::address_book::{AddressBooks, WriteAddressBooks};
pub use accounts::audit::{ActorKind, Audit, AuditEntry, AuditFilter, NewAuditEntry, WriteAudit};
pub use accounts::devices::{Device, DeviceConnection, Devices, WriteDevices};
pub use accounts::directory::{Directory, WriteDirectory};
pub use accounts::groups::{Group, Groups, WriteGroups};
pub use accounts::pictures::{Picture, Pictures, WritePictures};
pub use accounts::sessions::{NewSession, Session, SessionKey, SessionToken, SessionTouch, Sessions, WriteSessions};
pub use accounts::tokens::{NewRefreshToken, RefreshToken, TokenKey, Tokens, WriteTokens};
pub use accounts::users::{NewPartner, NewUser, Partner, PasswordHash, Person, Role, User, UserChange, Users, WriteUsers};
pub use conversations::read_positions::{ReadAdvance, WriteReadPositions};
pub use conversations::support::{
    MessageSide, OpenSupportSession, Support, SupportSession, SupportSide, SupportStatus, WriteSupport,
};
pub use conversations::{
    Conversation, ConversationKind, Conversations, Document, Folder, InboxEntry, InboxFilter, ListSize, NewConversation,
    Participant, ParticipantRole, ParticipantStatus, ThreadType, UnreadTotals, WindowState, WriteConversations,
};
pub use dump::{Dump, Dumps, Restoration, RowCounts};
pub use error::{Error, Result};
pub use events::{
    Event, EventLog, EventMark, Fact, LogPage, LogState, Member, NO_CLIENT, Position, SUPPORT_AGENTS, Scope, Topic,
};
pub use fold::fold;
pub use import::{
    Import, ImportedAttachment, ImportedConversation, ImportedGroup, ImportedMessage, ImportedParticipant, ImportedReaction,
    ImportedSupport, ImportedUser, Revision, WriteImport,
};
pub use messages::attachments::{
    Attachment, AttachmentAccess, Attachments, DeletedAttachment, Media, NamedObject, NewAttachment, WriteAttachments,
};
pub use messages::changes::{ChangeKey, Changes, MessageChange};
pub use messages::held_messages::HeldMessages;
pub use messages::metadata::Metadata;
pub use messages::reactions::{ReactionCount, Reactions, WriteReactions};
pub use messages::reads::{ReadRange, Reads, UnreadByOthers};
pub use messages::search::{Search, SearchScan, SearchScanResult, SearchStart};
pub use messages::uploads::{NewUpload, Upload, UploadReference, UploadedFile, Uploads, WriteUploads};
pub use messages::{
    Author, ClientKey, ContentHash, DeletedMessage, EXCERPT_BYTES, FILE_BYTES, KeyedMessage, Message, MessageForReader,
    MessageLocation, MessageType, Messages, NewClientKey, NewMessage, PAGE_BYTES, Page, WriteMessages, page_length,
};
pub use nodes::{Node, Nodes};
pub use presence::{ChosenStatus, Heartbeat, Presence, Presences, ShortenedLease};
pub use workspace::{ImportMarks, Workspace, Workspaces, WriteWorkspace};

/// UTC time with microsecond resolution, which is PostgreSQL's.
pub type Timestamp = chrono::DateTime<chrono::Utc>;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A user's `uid`, drawn from the same sequence as [`PartnerId`].
    UserId
}
id! {
    /// A partner's id, drawn from the same sequence as [`UserId`].
    PartnerId
}
id! {
    /// A conversation's integer id.
    ConversationId
}
id! {
    /// A message's id. Within a conversation, ids become visible in increasing order.
    MessageId
}
id! {
    /// An attachment's integer id.
    AttachmentId
}
id! {
    /// A group's integer id.
    GroupId
}

/// Kind of work. Each has its own budget of store connections (a bulkhead), except [`Lane::Log`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Storing messages.
    Sends,
    /// Log-ins, sessions and tokens.
    Sessions,
    /// Reads of the event log, and its restart. Shares the connections of all other work, but goes on while the server's timeline
    /// is not accepted.
    Log,
}

/// Readiness of the store for writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writability {
    Writable,
    /// The disk is full, or the store is read-only.
    Refused,
    /// Commits wait for a synchronous standby and are not confirmed; the store begins no new ones meanwhile.
    Unconfirmed,
}

/// All queries, and the single writes that need no transaction because losing one does no harm (for example the time of last
/// use). Each method is one consistent read. The rules below hold for the methods of all supertraits.
///
/// # Errors
/// - [`Error::Unavailable`]: the store cannot be reached, does not answer in time, or was closed.
/// - [`Error::Contention`]: the store rolled a write back for the sake of other transactions.
/// - [`Error::Corrupt`]: a stored value cannot be decoded.
/// - [`Error::Internal`]: any other failure.
///
/// # Cancel safety
/// A dropped read leaves nothing behind. A dropped single write is applied completely or not at all, and the caller cannot know
/// which (`forget_events` and `fold_people` take several such steps). Its connection returns to the pool once the server answers,
/// and is closed otherwise.
#[async_trait]
pub trait Storage:
    Users
    + AddressBooks
    + Pictures
    + Groups
    + Sessions
    + Tokens
    + Conversations
    + Directory
    + Messages
    + Search
    + Reactions
    + Reads
    + Changes
    + Attachments
    + Dumps
    + HeldMessages
    + Audit
    + Nodes
    + Uploads
    + Presences
    + Support
    + Devices
    + EventLog
    + Workspaces
    + Send
    + Sync
    + 'static
{
    /// Opens a transaction. A task has at most one open, and awaits nothing but storage while it is open.
    ///
    /// # Cancel safety
    /// A dropped call leaves no open transaction.
    async fn begin(&self) -> Result<Box<dyn Tx>>;

    /// Returns the readiness for writes, as far as it is known without a write. Costs one round trip.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be reached now.
    async fn writability(&self) -> Result<Writability>;

    /// Reads the shared clock of all nodes that use the store; `here`, the caller's own time, if the store has no clock.
    async fn now(&self, here: Timestamp) -> Result<Timestamp>;

    /// True if the store has no partner yet. Demo data goes only into an empty store.
    async fn is_empty(&self) -> Result<bool>;

    /// True if the store was ever started with the demo data.
    async fn is_demo(&self) -> Result<bool>;

    /// Returns the same store with the connection budget of this lane.
    fn lane(&self, lane: Lane) -> Arc<dyn Storage>;

    /// Accepts a timeline of the database server. From the first call on, work on another timeline waits, except in
    /// [`Lane::Log`]: after a failover that lost events, the server takes no new ones before the event log was restarted.
    fn accept_timeline(&self, timeline: Option<i64>);

    /// Checkpoint of a store with a write-ahead log of its own: moves the log into the file and empties it, unless a reader takes
    /// long. Elsewhere it does nothing.
    async fn checkpoint(&self) -> Result<()> {
        Ok(())
    }

    /// Closes the connections, within a few seconds. Later calls fail with [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// A dropped call may leave connections open.
    async fn close(&self);
}

/// One transaction. Dropping it rolls it back. After a method has failed, dropping it is the only use left.
///
/// All transactions take locks in one order, so that they cannot deadlock: the workspace, users, refresh tokens, conversations by
/// rising id, attachments by id, participants by rising (conversation, partner), messages by id, uploads by name, and last the
/// head of the event log, which [`Tx::commit`] takes. Events follow their message: the lock on a message covers its copies in the
/// event log, and statements that forget events wait for no lock. The rules below hold for the methods of all supertraits.
///
/// # Errors
/// Those of [`Storage`], and [`Error::Conflict`] where a method names it. After [`Error::Contention`] the same work, begun anew,
/// may succeed at once.
///
/// # Cancel safety
/// After a dropped method the state of the transaction is unknown. Drop the transaction, which rolls it back.
#[async_trait]
pub trait Tx:
    WriteUsers
    + WriteAddressBooks
    + WritePictures
    + WriteGroups
    + WriteSessions
    + WriteTokens
    + WriteConversations
    + WriteReadPositions
    + WriteDirectory
    + WriteMessages
    + WriteReactions
    + WriteAttachments
    + WriteUploads
    + WriteSupport
    + WriteDevices
    + WriteAudit
    + WriteWorkspace
    + WriteImport
    + Send
{
    /// Queues a fact for the event log. The fact gets its position when the transaction commits.
    fn record(&mut self, topic: Topic, fact: Fact, at: Timestamp);

    /// Marks the store as one that holds the demo data. Returns true if it did not before. Waits for a concurrent transaction
    /// that sets the same mark.
    async fn mark_demo(&mut self) -> Result<bool>;

    /// Returns the store's secret of this name. Stores `fresh` first if there is none; a stored secret never changes.
    async fn secret(&mut self, name: &str, fresh: &str) -> Result<String>;

    /// Advances all id sequences to `by` above their highest value, and the head of the event log to `by` above the higher of its
    /// own value and `known`. Returns the first and the last position without an event; a [`Fact::LogRestarted`] of the same
    /// transaction accounts for them.
    async fn skip_positions(&mut self, known: Position, by: i64) -> Result<(Position, Position)>;

    /// Commits: makes all writes and all recorded facts visible at once, durably. Returns the facts as events, in order.
    ///
    /// # Errors
    /// After an error nothing was written. To be sure of that, a store whose connection breaks during the commit is asked again
    /// for as long as it takes. One exception: [`Error::Unavailable`] from a reachable store that has not decided, because
    /// commits wait for a standby, or for longer than a statement may take. Then the transaction may still be committed later.
    ///
    /// # Cancel safety
    /// A dropped call may have committed or not.
    ///
    /// # Ordering
    /// Positions have no gaps except those of a [`Fact::LogRestarted`]: a reader that has seen every event before the first of
    /// these has missed none.
    async fn commit(self: Box<Self>) -> Result<Vec<Event>>;
}

/// Proof that this transaction holds the row's lock until it ends. Only the `lock_…` methods create one.
#[derive(Debug)]
pub struct Locked<T>(T);

impl<T> std::ops::Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
