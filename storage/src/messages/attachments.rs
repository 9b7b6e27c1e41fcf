//! Attachments: metadata of files in the object store, and the access to them that messages give.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{AttachmentId, ConversationId, PartnerId, Result, Timestamp};

/// Metadata of a file in the object store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: AttachmentId,
    /// Name of the object in the object store: plain ASCII, unguessable, never the given file name.
    pub object: String,
    pub name: String,
    pub mimetype: String,
    pub size_bytes: i64,
    /// Bearer secret: any client that presents it may read the bytes.
    pub access_token: String,
    pub owner: PartnerId,
    pub created_at: Timestamp,
    #[serde(flatten)]
    pub media: Media,
}

/// Properties of a file's content, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Media {
    /// SHA-256 in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Width of a picture or film, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<i32>,
    /// Duration of a sound or film.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_milliseconds: Option<i64>,
}

/// Attachment to be stored; its bytes are in the object store already.
#[derive(Clone, Debug)]
pub struct NewAttachment {
    pub object: String,
    pub name: String,
    pub mimetype: String,
    pub size_bytes: i64,
    pub access_token: String,
    pub owner: PartnerId,
    pub created_at: Timestamp,
    pub media: Media,
}

/// Access of a partner to an attachment through messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentAccess {
    /// No message ever had it.
    Unsent,
    /// The partner may read a message with it.
    Reader,
    /// The partner may not, but a support session has such a message: support agents may read it.
    Support,
    NoAccess,
}

impl AttachmentAccess {
    /// Parses the word of a statement.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "unsent" => Some(Self::Unsent),
            "reader" => Some(Self::Reader),
            "support" => Some(Self::Support),
            "none" => Some(Self::NoAccess),
            _ => None,
        }
    }
}

/// Deleted attachment, and the conversations whose messages had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedAttachment {
    pub attachment: Attachment,
    /// Sorted by rising id.
    pub conversations: Vec<ConversationId>,
}

/// Name of an object in the object store, as rows have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedObject {
    pub object: String,
    /// `None` for an upload without a file: a client may have put one into the object store directly, without notice.
    pub size_bytes: Option<i64>,
}

/// Queries and expiry of attachments. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Attachments {
    async fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>>;
    /// Access of the partner to an attachment, from the messages with it in the partner's conversations that are not hidden from
    /// it; `None` if there is no such attachment.
    async fn attachment_access(&self, id: AttachmentId, partner: PartnerId) -> Result<Option<AttachmentAccess>>;
    /// Deletes at most `limit` attachments created before `before` that no message ever had. Returns the names of their objects,
    /// whose bytes stay. Skips attachments in a concurrent send. Does nothing while another process does the same.
    async fn forget_unsent(&self, before: Timestamp, limit: usize) -> Result<Vec<String>>;
    /// Finds those of these objects that an attachment or an upload references, in any order. The name of an upload counts too:
    /// direct uploads to the object store are stored under it without notice.
    async fn objects_in_use(&self, objects: &[String]) -> Result<Vec<String>>;
    /// Page of the objects of attachments and uploads: at most `limit` names greater than `after`, in the store's own order of
    /// texts. The empty text comes before all names.
    async fn objects(&self, after: &str, limit: usize) -> Result<Vec<NamedObject>>;
    /// The newest objects that have a size: at most `limit` of attachments, and as many of uploads. Reads all uploads.
    async fn newest_objects(&self, limit: usize) -> Result<Vec<NamedObject>>;
}

/// Writes of attachments. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteAttachments {
    /// # Errors
    /// `Conflict("attachments_object")` if another attachment has the object.
    async fn insert_attachment(&mut self, new: NewAttachment) -> Result<Attachment>;
    /// Removes the attachment from all messages, in the rows and in the event log, and deletes it; `None` if there was none. Its
    /// bytes stay.
    async fn delete_attachment(&mut self, id: AttachmentId) -> Result<Option<DeletedAttachment>>;
}
