//! Upload grants: permission to upload one file once, before a deadline; and the uploads that messages reference.

use async_trait::async_trait;

use crate::{MessageId, PartnerId, Result, Timestamp};

/// Upload grant to be stored: permission to upload one file, once, until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// Name under which clients request the file: plain ASCII, unguessable, never the given file name.
    pub name: String,
    /// Owner; must have an account.
    pub owner: PartnerId,
    /// MIME type declared by the client before the upload.
    pub mimetype: String,
    pub limit_bytes: i64,
    pub expires_at: Timestamp,
}

/// Upload grant, with the uploaded file if there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub name: String,
    pub owner: PartnerId,
    pub mimetype: String,
    pub limit_bytes: i64,
    pub expires_at: Timestamp,
    /// `None` before the upload, and with an object store that takes files directly from clients.
    pub file: Option<UploadedFile>,
}

/// Uploaded file; its bytes are in the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedFile {
    /// Name of the object in the object store.
    pub object: String,
    /// MIME type detected from the content, whatever the client declared.
    pub mimetype: String,
    pub size_bytes: i64,
    /// Width of a picture in pixels; `None` if the file is no picture, or was not inspected.
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub put_at: Timestamp,
}

/// Reference of a message to an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadReference {
    pub message: MessageId,
    /// Author of the message.
    pub author: PartnerId,
    /// Name of the upload.
    pub name: String,
}

/// Queries and expiry of uploads. [`Storage`](crate::Storage) states errors and cancel safety.
#[async_trait]
pub trait Uploads {
    async fn upload(&self, name: &str) -> Result<Option<Upload>>;
    /// Uploads with these names, in no particular order; unknown ones are absent.
    async fn uploads(&self, names: &[String]) -> Result<Vec<Upload>>;
    /// Deletes and returns at most `limit` uploads that expired before `before` and that no message references, with or without a
    /// file. Their bytes stay.
    async fn expire_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<Upload>>;
}

/// Writes of uploads. [`Tx`](crate::Tx) states errors and cancel safety.
#[async_trait]
pub trait WriteUploads {
    async fn insert_upload(&mut self, new: NewUpload) -> Result<()>;
    /// Records the uploaded file. Returns false, and records nothing, if there is no such upload or it has a file already. Of two
    /// concurrent calls, one returns false.
    async fn put_upload(&mut self, name: &str, file: UploadedFile) -> Result<bool>;
    /// Records references of new messages to uploads, which keep these from expiring. Skips uploads that do not exist or belong
    /// to another author.
    async fn reference_uploads(&mut self, named: &[UploadReference]) -> Result<()>;
    /// Replaces the references of a message by this author. Returns the uploads that no message references any longer. Those with
    /// a file are deleted, but for their bytes; those without one expire again, since a file may still come.
    async fn replace_upload_references(&mut self, of: MessageId, author: PartnerId, names: &[String]) -> Result<Vec<Upload>>;
}
