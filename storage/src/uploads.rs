use async_trait::async_trait;

use crate::{MessageId, PartnerId, Result, Timestamp};

/// Leave to put one file, once, until a certain time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// What the file is asked for by: plain ASCII, unguessable, never the given file name.
    pub name: String,
    /// Must have an account.
    pub owner: PartnerId,
    /// As announced by whoever is going to put it.
    pub mimetype: String,
    pub limit_bytes: i64,
    pub expires_at: Timestamp,
}

/// Leave that was given, and what has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub name: String,
    pub owner: PartnerId,
    pub mimetype: String,
    pub limit_bytes: i64,
    pub expires_at: Timestamp,
    /// `None` before a file was put, and where the object store takes files without telling.
    pub file: Option<UploadedFile>,
}

/// A file that was put; its bytes are in the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UploadedFile {
    /// The object's name in the object store.
    pub object: String,
    /// As the content says, whatever was announced.
    pub mimetype: String,
    pub size_bytes: i64,
    /// Of a picture, in pixels; `None` for what is none, and where nobody looked.
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub put_at: Timestamp,
}

/// That a message names an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    pub message: MessageId,
    /// The message's.
    pub author: PartnerId,
    /// The upload's.
    pub name: String,
}

#[async_trait]
pub trait Uploads {
    async fn upload(&self, name: &str) -> Result<Option<Upload>>;
    /// Those of these uploads that are there, in no particular order.
    async fn uploads(&self, names: &[String]) -> Result<Vec<Upload>>;
    /// Deletes at most `limit` uploads that expired before `before` and that no message names, file or no file, and gives
    /// them. Their bytes stay.
    async fn expire_uploads(&self, before: Timestamp, limit: usize) -> Result<Vec<Upload>>;
}

#[async_trait]
pub trait WriteUploads {
    async fn insert_upload(&mut self, new: NewUpload) -> Result<()>;
    /// Notes what was put. Says no, and notes nothing, if something was put before or there is no such upload; of two who
    /// put at the same time one is told no.
    async fn put_upload(&mut self, name: &str, file: UploadedFile) -> Result<bool>;
    /// Notes what new messages of these authors name, and so keeps it from expiring; uploads that are not there, or not the
    /// author's, are passed over.
    async fn keep_uploads(&mut self, named: &[Mention]) -> Result<()>;
    /// Notes that a message of this author names these now, and nothing else any more. Gives the uploads that no message
    /// names any longer: they are gone, but for their bytes. Those without a file, for which one may still come, expire
    /// again.
    async fn change_uploads(&mut self, of: MessageId, author: PartnerId, names: &[String]) -> Result<Vec<Upload>>;
}
