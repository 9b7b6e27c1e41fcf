use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{AttachmentId, PartnerId, Result, Timestamp};

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
}

#[async_trait]
pub trait Attachments {
    async fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>>;
    /// Whether the partner is a participant of a conversation that holds a message with this attachment.
    async fn attachment_reaches(&self, id: AttachmentId, partner: PartnerId) -> Result<bool>;
    /// Deletes at most `limit` attachments that were created before `before` and that no message ever had, and gives the
    /// names of their objects, whose bytes stay. One that is being sent at this moment is left alone. Does nothing while
    /// another process does the same.
    async fn forget_unsent(&self, before: Timestamp, limit: usize) -> Result<Vec<String>>;
}

#[async_trait]
pub trait WriteAttachments {
    async fn insert_attachment(&mut self, new: NewAttachment) -> Result<Attachment>;
    /// Takes the attachment out of all messages and deletes it; `None` if there was none. Its bytes stay.
    async fn delete_attachment(&mut self, id: AttachmentId) -> Result<Option<Attachment>>;
}
