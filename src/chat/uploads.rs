//! Files that are put at an address signed for them, and that anybody may read who knows where.

mod media_types;
mod names;
mod permit;

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use chrono::DateTime;
use futures_util::Stream;
use storage::{NewUpload, Timestamp, Upload, UploadedFile};
use uuid::Uuid;

pub use permit::Permit;

pub(super) use media_types::settled;
pub(super) use names::{is_file, mimetype_by_name, named_in};
pub(super) use permit::Key;

use super::{Chat, Error, FileBytes, Result, Thing, rates::Act, texts};
use crate::{auth::Caller, blobs::Addresses, clock, shares::Charge};
use names::{essence, extension, is_harmless, is_mimetype, is_safe, known};

/// What the service may be told to do differently.
#[derive(Clone, Debug)]
pub struct UploadRules {
    /// What uploads are for; the files of each have a folder of their own.
    pub kinds: Vec<String>,
    /// The largest file.
    pub bytes: u64,
    /// For how long a file may be put.
    pub lifetime: Duration,
}

/// What somebody wants to upload, as announced.
#[derive(Debug)]
pub struct Announced {
    pub kind: String,
    pub filename: String,
    pub mimetype: String,
}

/// Leave to put one file. Whoever has it may use it, so nothing prints it.
pub struct Leave {
    /// A folder and a new name in it, with the extension of the announced type and nothing of the given file name.
    pub name: String,
    pub door: Door,
}

/// Where the file is put.
pub enum Door {
    /// Here, with this permit.
    Ours(Permit),
    /// In the object store, which takes it without us.
    Theirs(Addresses),
}

/// A file that was put, without its bytes.
pub struct Shown {
    pub mimetype: String,
    pub size_bytes: u64,
    /// Whether a browser may show it. Anything else it is to save: it could be a page that acts as one of ours.
    pub inline: bool,
    pub put_at: Timestamp,
    /// The object's name in the object store, at which there is never anything else. It is nobody's to know.
    pub object: String,
}

impl Chat {
    /// Lets the caller put one file of this type, not larger than the rules allow, within their time.
    pub async fn begin_upload(&self, caller: &Caller, announced: Announced) -> Result<Leave> {
        let rules = &self.0.rules.uploads;
        let Announced { kind, filename, mimetype } = announced;
        let mimetype = known(mimetype);
        if !rules.kinds.contains(&kind) {
            return Err(Error::Invalid { field: "type", reason: format!("must be one of: {}", rules.kinds.join(", ")).into() });
        }
        texts::name("filename", &filename)?;
        if filename.trim().is_empty() {
            return Err(Error::Invalid { field: "filename", reason: "must not be empty".into() });
        }
        if !is_mimetype(&mimetype) {
            return Err(Error::Invalid { field: "mimeType", reason: "must be a type such as image/png".into() });
        }
        // Here what a file holds decides how it is given away; a bucket believes what it is told.
        if self.0.blobs.is_open() && !is_safe(&mimetype) {
            let reason = "must be one of which no browser makes a page or a program, such as application/octet-stream".into();
            return Err(Error::Invalid { field: "mimeType", reason });
        }
        self.charge(caller, Act::Write)?;
        let name = match extension(&mimetype) {
            Some(extension) => format!("{kind}/{}.{extension}", Uuid::new_v4()),
            None => format!("{kind}/{}", Uuid::new_v4()),
        };
        // In whole seconds, as addresses have it, and rather later than earlier.
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
            self.0.announce.committed(tx.commit().await?).await;
            Ok(())
        })
        .await?;
        let door = match self.0.blobs.addresses(&name, &mimetype, rules.lifetime).await? {
            Some(addresses) => Door::Theirs(addresses),
            None => Door::Ours(self.0.upload_key.permit(name.clone(), mimetype, expires)),
        };
        Ok(Leave { name, door })
    }

    /// Takes the one file that a permit is for. `mimetype` and `size_bytes` are what the sender says of it, as far as it
    /// says anything. Of two who put at the same time one comes too late; a file that does not arrive whole can be put
    /// again.
    pub async fn take_upload(
        &self,
        permit: &Permit,
        mimetype: &str,
        size_bytes: Option<u64>,
        (bytes, charge): (impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin, Charge),
    ) -> Result<()> {
        if !self.0.upload_key.fits(permit) {
            return Err(Error::Forbidden);
        }
        if clock::now().timestamp() >= permit.expires {
            return Err(Error::TooLate("the time to upload this file"));
        }
        if !essence(&known(mimetype.to_owned())).eq_ignore_ascii_case(essence(&permit.mimetype)) {
            return Err(Error::WrongType { expected: permit.mimetype.clone() });
        }
        let upload = self.upload(&permit.name).await?.ok_or(Error::NotFound(Thing::Attachment))?;
        if upload.file.is_some() {
            return Err(ALREADY_PUT);
        }
        let owner = self.0.storage.people(&[upload.owner]).await?.pop().and_then(|person| person.user);
        let owner = match owner {
            Some(owner) => self.0.storage.user(owner).await?,
            None => None,
        };
        let owner = owner.filter(|owner| owner.active).ok_or(Error::Forbidden)?;
        let limit_bytes = u64::try_from(upload.limit_bytes).unwrap_or(0);
        if size_bytes.is_some_and(|size| size > limit_bytes) {
            return Err(Error::TooLarge { limit_bytes });
        }
        let received = self.receive_within(owner.id, Some(mimetype), bytes, (limit_bytes, charge)).await?;
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

    /// A file that was put, for anybody.
    pub async fn uploaded(&self, name: &str) -> Result<Shown> {
        let upload = self.upload(name).await?;
        let file = upload.and_then(|upload| upload.file).ok_or(Error::NotFound(Thing::Attachment))?;
        let (inline, size_bytes) = (is_harmless(&file.mimetype), u64::try_from(file.size_bytes).unwrap_or(0));
        Ok(Shown { mimetype: file.mimetype, size_bytes, inline, put_at: file.put_at, object: file.object })
    }

    /// Its bytes: all, or a part that is in it and not empty.
    pub async fn uploaded_bytes(&self, shown: &Shown, part: Option<Range<u64>>) -> Result<FileBytes> {
        self.0.blobs.get(&shown.object, part).await
    }

    async fn upload(&self, name: &str) -> Result<Option<Upload>> {
        if name.contains('\0') {
            return Ok(None);
        }
        Ok(self.0.storage.upload(name).await?)
    }

    /// Deletes the bytes of uploads that are gone, soon.
    pub(super) fn discard(&self, uploads: Vec<Upload>) {
        uploads.into_iter().for_each(|upload| self.0.blobs.delete_later(object_of(upload)));
    }
}

/// What an upload's bytes are called in the object store. What was put without us, if anything was, is called as the
/// upload is.
pub(super) fn object_of(upload: Upload) -> String {
    upload.file.map_or(upload.name, |file| file.object)
}

const ALREADY_PUT: Error = Error::Conflict("this file was uploaded already");
