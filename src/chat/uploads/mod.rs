//! Uploads: a client puts a file at a signed URL, and any client that knows its name may read it. The grant names the target:
//! this server, or the bucket directly.
//!
//! # Errors
//! All async methods: `Unavailable` if the store or the bucket cannot be reached.
//!
//! # Cancel safety
//! Methods that read leave nothing behind when dropped; the others differ.

mod media_types;
mod mentions;
mod signed_url;

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use chrono::DateTime;
use futures_util::Stream;
use storage::{NewUpload, Timestamp, Upload, UploadedFile};
use uuid::Uuid;

pub use signed_url::SignedUpload;

pub(super) use media_types::reconciled_media_type;
pub(super) use mentions::{is_generated_name, mentioned_uploads, mimetype_by_name};
pub(super) use signed_url::UploadSigningKey;

use super::{Chat, Error, ResourceKind, Result, attachments::quota::FileLimit, rates::Act, texts};
use crate::{
    auth::Caller,
    blobs::{FileBytes, SignedUrls},
    clock,
    shares::Account,
};
use mentions::{essence, extension, is_harmless, is_mimetype, is_safe, normalised_media_type};

/// Limits of uploads.
#[derive(Clone, Debug)]
pub struct UploadRules {
    /// Kinds of uploads; each has a folder of its own.
    pub kinds: Vec<String>,
    /// Maximum size of a file.
    pub bytes: u64,
    /// Lifetime of a signed URL.
    pub lifetime: Duration,
}

/// The client's announcement of an upload.
#[derive(Debug)]
pub struct UploadAnnouncement {
    pub kind: String,
    pub filename: String,
    pub mimetype: String,
}

/// An upload grant. It is a bearer credential, so it has no `Debug`.
pub struct UploadGrant {
    /// Folder and new file name, with the extension of the announced type; the client's file name is not part of it.
    pub name: String,
    pub target: UploadTarget,
}

/// The target of an upload.
pub enum UploadTarget {
    /// This server, with a signed URL.
    Server(SignedUpload),
    /// The bucket, with signed URLs; the bytes bypass this server.
    Bucket(SignedUrls),
}

/// An uploaded file, without its bytes.
pub struct StoredUpload {
    pub mimetype: String,
    pub size_bytes: u64,
    /// True if a browser may display the file. Any other must be downloaded: it could be a page that runs with the origin of
    /// this server.
    pub inline: bool,
    pub put_at: Timestamp,
    /// The immutable object's name in the object store. Not for clients.
    pub object: String,
}

impl Chat {
    /// Grants the caller the upload of one file of the announced type, within the limits of size and time.
    ///
    /// # Errors
    /// `Invalid` for an unknown kind, a bad file name, or a media type that is malformed or, for a bucket, could run in a
    /// browser; `TooFast` beyond the rate limit.
    ///
    /// # Cancel safety
    /// A dropped future may leave an unused grant, which expires.
    pub async fn begin_upload(&self, caller: &Caller, announced: UploadAnnouncement) -> Result<UploadGrant> {
        let rules = &self.0.rules.uploads;
        let UploadAnnouncement { kind, filename, mimetype } = announced;
        let mimetype = normalised_media_type(mimetype);
        if !rules.kinds.contains(&kind) {
            return Err(Error::Invalid { field: "type", reason: format!("must be one of: {}", rules.kinds.join(", ")).into() });
        }
        texts::check_name_length("filename", &filename)?;
        if filename.trim().is_empty() {
            return Err(Error::Invalid { field: "filename", reason: "must not be empty".into() });
        }
        if !is_mimetype(&mimetype) {
            return Err(Error::Invalid { field: "mimeType", reason: "must be a type such as image/png".into() });
        }
        // This server derives the media type from the file itself; a bucket trusts the client.
        if self.0.blobs.has_direct_access() && !is_safe(&mimetype) {
            let reason = "must be one of which no browser makes a page or a program, such as application/octet-stream".into();
            return Err(Error::Invalid { field: "mimeType", reason });
        }
        self.charge(caller, Act::Write)?;
        let name = match extension(&mimetype) {
            Some(extension) => format!("{kind}/{}.{extension}", Uuid::new_v4()),
            None => format!("{kind}/{}", Uuid::new_v4()),
        };
        // URLs have whole seconds: round up.
        let expires = (clock::now() + rules.lifetime).timestamp() + 1;
        let upload = NewUpload {
            name: name.clone(),
            owner: caller.partner,
            mimetype: mimetype.clone(),
            limit_bytes: i64::try_from(rules.bytes).unwrap_or(i64::MAX),
            expires_at: DateTime::from_timestamp(expires, 0).unwrap_or(DateTime::<chrono::Utc>::MAX_UTC),
        };
        self.transaction(|mut tx| async {
            tx.insert_upload(upload.clone()).await?;
            self.0.publisher.commit(tx).await?;
            Ok(())
        })
        .await?;
        let door = match self.0.blobs.signed_urls(&name, &mimetype, rules.lifetime).await? {
            Some(addresses) => UploadTarget::Bucket(addresses),
            None => UploadTarget::Server(self.0.upload_key.sign(name.clone(), mimetype, expires)),
        };
        Ok(UploadGrant { name, target: door })
    }

    /// Receives the file of a signed URL. `mimetype` and `size_bytes`: the headers of the request, whose account becomes the
    /// owner's. The first complete upload wins; after an incomplete one the client may retry.
    ///
    /// # Errors
    /// `Forbidden` for a wrong signature or an inactive owner, `TooLate` after expiry, `WrongType` for another media type than
    /// announced, `Conflict` for a second upload, `TooLarge` beyond the size limit, `TooFast` beyond the owner's quota,
    /// `TooMany` beyond the owner's requests at once, `NotFound` if the grant is gone, `Invalid` for an incomplete body.
    ///
    /// # Cancel safety
    /// A dropped future stores the file or not. The orphan sweep deletes what it may leave in the object store.
    pub async fn receive_upload(
        &self,
        permit: &SignedUpload,
        mimetype: &str,
        size_bytes: Option<u64>,
        (bytes, account): (impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin, Account),
    ) -> Result<()> {
        if !self.0.upload_key.verify(permit) {
            return Err(Error::Forbidden);
        }
        if clock::now().timestamp() >= permit.expires {
            return Err(Error::TooLate("the time to upload this file"));
        }
        if !essence(&normalised_media_type(mimetype.to_owned())).eq_ignore_ascii_case(essence(&permit.mimetype)) {
            return Err(Error::WrongType { expected: permit.mimetype.clone() });
        }
        let upload = self.upload(&permit.name).await?.ok_or(Error::NotFound(ResourceKind::Attachment))?;
        if upload.file.is_some() {
            return Err(ALREADY_PUT);
        }
        let owner = self.0.storage.people(&[upload.owner]).await?.pop().and_then(|person| person.user);
        let owner = match owner {
            Some(owner) => self.0.storage.user(owner).await?,
            None => None,
        };
        let owner = owner.filter(|owner| owner.active).ok_or(Error::Forbidden)?;
        account.transfer_to(owner.id).await?;
        let limit = FileLimit { bytes: u64::try_from(upload.limit_bytes).unwrap_or(0), setting: "uploads.bytes" };
        if size_bytes.is_some_and(|size| size > limit.bytes) {
            return Err(self.too_large(limit));
        }
        let received = self.receive_file_within(owner.id, Some(mimetype), bytes, limit, account.body()).await?;
        let stored = received.stored();
        let file = UploadedFile {
            object: stored.object.clone(),
            mimetype: stored.mimetype.to_owned(),
            size_bytes: stored.size_bytes,
            width: stored.dimensions.map(|(width, _)| width),
            height: stored.dimensions.map(|(_, height)| height),
            put_at: clock::now(),
        };
        self.transaction(|mut tx| async {
            if !tx.put_upload(&upload.name, file.clone()).await? {
                return Err(ALREADY_PUT);
            }
            self.commit_received(tx, &received).await
        })
        .await
    }

    /// Finds an uploaded file by name. Access is not checked.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    pub async fn uploaded(&self, name: &str) -> Result<StoredUpload> {
        let upload = self.upload(name).await?;
        let file = upload.and_then(|upload| upload.file).ok_or(Error::NotFound(ResourceKind::Attachment))?;
        let (inline, size_bytes) = (is_harmless(&file.mimetype), u64::try_from(file.size_bytes).unwrap_or(0));
        Ok(StoredUpload { mimetype: file.mimetype, size_bytes, inline, put_at: file.put_at, object: file.object })
    }

    /// Reads the bytes of a file: all, or a range that is within it and not empty.
    ///
    /// # Errors
    /// `NotFound` if the object is missing.
    pub async fn uploaded_bytes(&self, shown: &StoredUpload, part: Option<Range<u64>>) -> Result<FileBytes> {
        Ok(self.0.blobs.get(&shown.object, part).await?)
    }

    async fn upload(&self, name: &str) -> Result<Option<Upload>> {
        if name.contains('\0') {
            return Ok(None);
        }
        Ok(self.0.storage.upload(name).await?)
    }

    /// Schedules the deletion of the objects of removed uploads.
    pub(super) fn discard(&self, uploads: Vec<Upload>) {
        uploads.into_iter().for_each(|upload| self.0.removal.remove(object_of(upload)));
    }
}

/// The object name of an upload. A file that a client put into the bucket has the name of the upload.
pub(super) fn object_of(upload: Upload) -> String {
    upload.file.map_or(upload.name, |file| file.object)
}

const ALREADY_PUT: Error = Error::Conflict("this file was uploaded already");
