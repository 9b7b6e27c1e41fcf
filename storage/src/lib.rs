#![doc = include_str!("../README.md")]

mod attachments;
mod attendances;
mod audit;
mod books;
mod changes;
mod conversations;
mod devices;
mod directory;
mod error;
mod events;
mod fold;
mod groups;
mod memberships;
pub mod memory;
mod messages;
mod metadata;
mod nodes;
mod pictures;
#[cfg(feature = "postgres")]
pub mod postgres;
mod presence;
mod reactions;
mod reads;
mod search;
mod sessions;
mod support;
mod tokens;
mod uploads;
mod users;
mod workspace;

use std::sync::Arc;

use async_trait::async_trait;

pub use attachments::{Attachment, Attachments, DeletedAttachment, Media, NewAttachment, Reach, WriteAttachments};
pub use attendances::Attendances;
pub use audit::{ActorKind, Audit, AuditEntry, AuditFilter, NewAuditEntry, WriteAudit};
pub use books::{Books, WriteBooks};
pub use changes::{Change, ChangePlace, Changes};
pub use conversations::{
    Advanced, Conversation, ConversationKind, Conversations, Document, InboxEntry, InboxFilter, NewConversation, Participant,
    ParticipantRole, Shelf, Standing, ThreadType, UnreadTotals, Window, WriteConversations,
};
pub use devices::{Connecting, Device, Devices, WriteDevices};
pub use directory::{Directory, WriteDirectory};
pub use error::{Error, Result};
pub use events::{DESK, Event, EventLog, Fact, LogMark, LogPage, LogState, Member, NOBODY, Position, Scope, Topic};
pub use fold::fold;
pub use groups::{Group, Groups, WriteGroups};
pub use messages::{
    Author, ClientKey, ContentHash, DeletedMessage, EXCERPT_BYTES, FILE_BYTES, KeyedMessage, Located, Message, MessageType,
    Messages, NewClientKey, NewMessage, PAGE_BYTES, Page, Seen, WriteMessages, fitting,
};
pub use metadata::Metadata;
pub use nodes::{Node, Nodes};
pub use pictures::{Picture, Pictures, WritePictures};
pub use presence::{Presence, Presences, SetStatus, Shortened, Sign};
pub use reactions::{ReactionCount, Reactions, WriteReactions};
pub use reads::{ReadRange, Reads, UnreadByOthers};
pub use search::{Search, SearchPoint, Walk, Walked};
pub use sessions::{NewSession, Session, SessionKey, SessionToken, SessionTouch, Sessions, WriteSessions};
pub use support::{BegunSupport, MessageSide, Support, SupportSession, SupportSide, SupportStatus, WriteSupport};
pub use tokens::{NewRefreshToken, RefreshToken, TokenKey, Tokens, WriteTokens};
pub use uploads::{Mention, NewUpload, Upload, UploadedFile, Uploads, WriteUploads};
pub use users::{NewPartner, NewUser, Partner, PasswordHash, Person, Role, User, UserChange, Users, WriteUsers};
pub use workspace::{ImportMarks, Workspace, Workspaces, WriteWorkspace};

/// UTC, kept to the microsecond, which is what PostgreSQL keeps.
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
    /// A user's `uid`. Drawn from the same sequence as [`PartnerId`].
    UserId
}
id! {
    /// A partner's id. Drawn from the same sequence as [`UserId`].
    PartnerId
}
id! {
    /// A conversation's integer id.
    ConversationId
}
id! {
    /// Grows, within a conversation, in the order in which messages become visible.
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

/// Kind of work that has store connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Storing messages.
    Sends,
    /// Log-ins, sessions and tokens.
    Sessions,
    /// Looking at the event log, and restarting it. Alone goes on while the server's timeline is not accepted.
    Log,
}

/// Whether a store takes writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writability {
    Writable,
    /// It has no room, or is one that only reads.
    Refused,
    /// It confirms no commits: they wait for a standby, and nothing new is begun meanwhile.
    Unconfirmed,
}

/// Everything that can be read, and the few single writes that need no transaction because losing one does no harm
/// (what was touched last). Each method is one consistent read.
#[async_trait]
pub trait Storage:
    Users
    + Books
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
    + Attendances
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
    /// Opens a transaction. At most one is open per task, and nothing but storage is awaited while it is.
    async fn begin(&self) -> Result<Box<dyn Tx>>;

    /// Whether the store takes writes, as far as that is known without one. Fails if it cannot be reached now. Costs one
    /// round trip.
    async fn writability(&self) -> Result<Writability>;

    /// What time it is by the clock that everybody has in common who uses the store; `here`, the caller's, if it has none.
    async fn now(&self, here: Timestamp) -> Result<Timestamp>;

    /// Whether anybody is in the store yet; the demo data goes only into an empty one.
    async fn is_empty(&self) -> Result<bool>;

    /// Whether the store was started with the demo data at some time.
    async fn is_demo(&self) -> Result<bool>;

    /// The same store by connections that are kept for this: others, however many they are, do not keep it waiting.
    fn lane(&self, lane: Lane) -> Arc<dyn Storage>;

    /// Accepts a timeline of the database server. From the first call on, whatever would use another one waits, except in
    /// [`Lane::Log`]: a server that has lost events takes no new ones before the log was restarted.
    fn accept_timeline(&self, timeline: Option<i64>);

    /// Lets go of connections, within a few seconds. Calls after it fail with [`Error::Unavailable`].
    async fn close(&self);
}

/// One transaction. Dropping it leaves no trace, and after a method has failed that is all there is to do with it.
///
/// Locks are taken in one order everywhere, so that transactions cannot deadlock: the workspace, users, refresh tokens,
/// conversations by rising id, then attachments by id, then participants by rising (conversation, partner), then messages by
/// id, then uploads by name, then the head of the log, which [`Tx::commit`] takes. Events follow their message: whoever has
/// the message alone rewrites them, and whatever forgets them waits for nobody.
#[async_trait]
pub trait Tx:
    WriteUsers
    + WriteBooks
    + WritePictures
    + WriteGroups
    + WriteSessions
    + WriteTokens
    + WriteConversations
    + WriteDirectory
    + WriteMessages
    + WriteReactions
    + WriteAttachments
    + WriteUploads
    + WriteSupport
    + WriteDevices
    + WriteAudit
    + WriteWorkspace
    + Send
{
    /// Queues a fact for the log; it gets its position when the transaction commits.
    fn record(&mut self, topic: Topic, fact: Fact, at: Timestamp);

    /// Marks the store as one that holds the demo data; says whether it was not one before. Waits for another transaction
    /// that is about it.
    async fn mark_demo(&mut self) -> Result<bool>;

    /// The store's secret of this name. If it has none yet, `fresh` becomes it, once and for all.
    async fn secret(&mut self, name: &str, fresh: &str) -> Result<String>;

    /// Moves the head of the log, and all sequences from which ids are drawn, up to `by` above their own highest and, for
    /// the head, above `known`. Gives the positions that no event will have, the first and the last of them, which a
    /// [`Fact::LogRestarted`] of the same transaction is to account for.
    async fn leave_gap(&mut self, known: Position, by: i64) -> Result<(Position, Position)>;

    /// Makes all writes and all recorded facts visible at once, durably, and gives the facts as events of the log,
    /// in order. Positions have no gaps but those that a [`Fact::LogRestarted`] accounts for: whoever has seen everything up
    /// to the one before the first of these events has missed nothing. After an error nothing was written; to say so, a store that goes away in the middle is waited
    /// for, however long that takes. The one exception is a store that is there and has not decided yet, because its
    /// commits wait for a standby: then the error is [`Error::Unavailable`], and the transaction may be committed later.
    async fn commit(self: Box<Self>) -> Result<Vec<Event>>;
}

/// Proof that this transaction holds the row's lock until it ends; only `lock_…` makes one.
#[derive(Debug)]
pub struct Locked<T>(T);

impl<T> std::ops::Deref for Locked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
