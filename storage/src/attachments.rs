use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{AttachmentId, ConversationId, PartnerId, Result, Timestamp};

/// A file in the object store; here is all but its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: AttachmentId,
    /// The object's name in the object store: plain ASCII, unguessable, never the given file name.
    pub object: String,
    pub name: String,
    pub mimetype: String,
    pub size_bytes: i64,
    /// Whoever has it may read the bytes.
    pub access_token: String,
    pub owner: PartnerId,
    pub created_at: Timestamp,
    #[serde(flatten)]
    pub media: Media,
}

/// A file's content, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Media {
    /// In hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of pictures and films, in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<i32>,
    /// Of sounds and films.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_milliseconds: Option<i64>,
}

/// An attachment to be stored; its bytes are in the object store already.
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

/// A partner's right to an attachment, as far as messages give one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No message ever had it.
    Unsent,
    /// The partner may read a message that has it.
    Reader,
    /// The partner may not, but a support session has such a message: whoever answers support sessions may read it.
    Support,
    NoReader,
}

/// An attachment that was deleted, and the conversations whose messages had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedAttachment {
    pub attachment: Attachment,
    /// By rising id.
    pub conversations: Vec<ConversationId>,
}

#[async_trait]
pub trait Attachments {
    async fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>>;
    /// The right of the partner that comes from the messages with this attachment, of which those count that are in its
    /// conversations and not hidden from it; `None` if there is no such attachment.
    async fn attachment_reach(&self, id: AttachmentId, partner: PartnerId) -> Result<Option<Reach>>;
    /// Deletes at most `limit` attachments that were created before `before` and that no message ever had, and gives the
    /// names of their objects, whose bytes stay. One that is being sent at this moment is left alone. Does nothing while
    /// another process does the same.
    async fn forget_unsent(&self, before: Timestamp, limit: usize) -> Result<Vec<String>>;
    /// Those of these objects that an attachment or an upload names, in any order. An upload names its own name, too: so is
    /// called what was put without anybody telling the store.
    async fn objects_in_use(&self, objects: &[String]) -> Result<Vec<String>>;
}

#[async_trait]
pub trait WriteAttachments {
    async fn insert_attachment(&mut self, new: NewAttachment) -> Result<Attachment>;
    /// Takes the attachment out of all messages, here and in the log, and deletes it; `None` if there was none. Its bytes
    /// stay.
    async fn delete_attachment(&mut self, id: AttachmentId) -> Result<Option<DeletedAttachment>>;
}
