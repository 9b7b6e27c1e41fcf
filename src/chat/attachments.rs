use bytes::Bytes;
use futures_util::{Stream, stream::BoxStream};
use storage::{Attachment, AttachmentId, ConversationId, Fact, Media, NewAttachment, Reach, Topic, Tx};

use super::{Chat, Error, Result, Thing, storable};
use crate::{auth::Caller, blobs, clock};

/// How long a name of a file may be.
const NAME_BYTES: usize = 255;

/// The bytes of a file in pieces, as they come.
pub type FileBytes = BoxStream<'static, std::io::Result<Bytes>>;

/// What a file is called: the last part of a path, without control characters, and not longer than file systems take.
pub struct FileName(String);

impl FileName {
    pub fn of(given: &str) -> Result<Self> {
        storable("name", given)?;
        Ok(Self(safe_name(given)))
    }
}

/// A file on its way to a reader.
pub struct Download {
    pub attachment: Attachment,
    pub bytes: FileBytes,
}

/// A file whose bytes are in the object store, and of which nobody knows yet. Unless it is kept, its bytes go away.
pub struct Received {
    stored: blobs::Stored,
    blobs: blobs::Blobs,
    kept: bool,
}

impl Received {
    pub(super) fn stored(&self) -> &blobs::Stored {
        &self.stored
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.kept {
            self.blobs.delete_later(std::mem::take(&mut self.stored.object));
        }
    }
}

impl Chat {
    /// Takes in the bytes of a file, piece by piece; fails as soon as they are too many.
    pub async fn receive(&self, bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin) -> Result<Received> {
        self.receive_within(bytes, self.0.rules.upload_bytes).await
    }

    pub(super) async fn receive_within(
        &self,
        bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
        limit_bytes: u64,
    ) -> Result<Received> {
        let stored = self.0.blobs.put(bytes, limit_bytes).await?;
        Ok(Received { stored, blobs: self.0.blobs.clone(), kept: false })
    }

    /// Commits what refers to a received file. Its bytes go away only if certainly nothing refers to them: a caller who
    /// is cancelled meanwhile, or does not learn the outcome, leaves them.
    pub(super) async fn commit_received(&self, tx: Box<dyn Tx>, received: &mut Received) -> Result<()> {
        received.kept = true;
        match tx.commit().await {
            Ok(events) => self.0.announce.committed(events).await,
            Err(error) => {
                received.kept = matches!(error, storage::Error::Unavailable(_));
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Makes a received file an attachment of the caller's. A conversation, if named, must be one of the caller's.
    pub async fn keep(
        &self,
        caller: &Caller,
        mut received: Received,
        name: FileName,
        conversation: Option<ConversationId>,
    ) -> Result<Attachment> {
        if let Some(conversation) = conversation {
            self.conversation(caller, conversation).await?;
        }
        let mut tx = self.0.storage.begin().await?;
        let attachment = tx
            .insert_attachment(NewAttachment {
                object: received.stored.object.clone(),
                name: name.0,
                mimetype: received.stored.mimetype.to_owned(),
                size_bytes: received.stored.size_bytes,
                access_token: crate::auth::secret(),
                owner: caller.partner,
                created_at: clock::now(),
                media: Media { sha256: Some(received.stored.sha256.clone()), ..Media::default() },
            })
            .await?;
        self.commit_received(tx, &mut received).await?;
        Ok(attachment)
    }

    /// An attachment that the caller may read: as its uploader, as a participant of a conversation that holds it, or,
    /// whoever calls, with its access token.
    pub async fn attachment(&self, caller: Option<&Caller>, id: AttachmentId, token: Option<&str>) -> Result<Attachment> {
        let attachment =
            self.visit("attachment", self.0.storage.attachment(id)).await?.ok_or(Error::NotFound(Thing::Attachment))?;
        if token.is_some_and(|token| crate::auth::same_secret(token, &attachment.access_token)) {
            return Ok(attachment);
        }
        let caller = caller.ok_or(Error::Forbidden)?;
        match self.visit("attachment_reach", self.0.storage.attachment_reach(id, caller.partner)).await? {
            None => Err(Error::NotFound(Thing::Attachment)),
            Some(Reach::Unsent) if attachment.owner == caller.partner => Ok(attachment),
            Some(Reach::Reader) => Ok(attachment),
            Some(Reach::Unsent | Reach::NoReader) => Err(Error::Forbidden),
        }
    }

    /// The bytes of an attachment; the same people may have them.
    pub async fn download(&self, caller: Option<&Caller>, id: AttachmentId, token: Option<&str>) -> Result<Download> {
        let attachment = self.attachment(caller, id, token).await?;
        let bytes = self.0.blobs.get(&attachment.object, None).await?;
        Ok(Download { attachment, bytes })
    }

    /// Deletes an attachment of the caller's from every message and from the object store.
    pub async fn delete_attachment(&self, caller: &Caller, id: AttachmentId) -> Result<()> {
        let attachment =
            self.visit("attachment", self.0.storage.attachment(id)).await?.ok_or(Error::NotFound(Thing::Attachment))?;
        if attachment.owner != caller.partner {
            return Err(Error::Forbidden);
        }
        let mut tx = self.0.storage.begin().await?;
        let deleted = tx.delete_attachment(id).await?.ok_or(Error::NotFound(Thing::Attachment))?;
        for conversation in deleted.conversations {
            tx.record(Topic::Conversation(conversation), Fact::AttachmentDeleted { attachment: id }, clock::now());
        }
        self.0.announce.committed(tx.commit().await?).await;
        self.0.blobs.delete_later(deleted.attachment.object);
        Ok(())
    }
}

fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut safe: String = last.chars().filter(|c| !c.is_control()).collect();
    while safe.len() > NAME_BYTES {
        safe.pop();
    }
    match safe.trim() {
        "" | "." | ".." => "file".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}
