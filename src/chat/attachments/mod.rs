//! Attachments: upload, read access, signed tokens for their URLs, and deletion.
//! The object store holds the bytes, the database the rows. A row is committed after its bytes are stored, and deleted before
//! them.
//!
//! # Errors
//! All async methods: `Unavailable` if the store cannot be reached.
//!
//! # Cancel safety
//! A dropped read leaves nothing behind. A write dropped before its commit changes nothing; dropped during it, all or nothing.

pub(super) mod quota;
pub(super) mod sent_files;

use std::{
    borrow::Cow,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use futures_util::Stream;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use storage::{
    Attachment, AttachmentAccess, AttachmentId, ConversationId, Fact, Media, Message, NewAttachment, PartnerId, Role, Topic, Tx,
    UserId,
};

use super::{Chat, Error, NAME_CHARACTERS, ResourceKind, Result, check_storable, rates::Act, support, uploads};
use crate::{
    auth::Caller,
    blobs::{self, BlobError, FileBytes},
    characters::is_bidi_control,
    clock,
    shares::Charge,
};
use quota::FileLimit;

/// Hexadecimal digits of the signature in a token.
const SIGNATURE_DIGITS: usize = 64;

/// File name: the last part of a path, without control characters and bidirectional controls, of at most
/// [`NAME_CHARACTERS`] characters.
pub struct FileName(String);

impl FileName {
    pub fn of(given: &str) -> Result<Self> {
        check_storable("name", given)?;
        Ok(Self(safe_name(given)))
    }
}

/// A received file: its bytes are in the object store, and no row refers to them yet. Dropping it deletes the bytes, unless they
/// were committed.
pub struct ReceivedFile {
    stored: blobs::StoredBlob,
    blobs: blobs::Blobs,
    committed: AtomicBool,
}

impl ReceivedFile {
    pub(super) fn stored(&self) -> &blobs::StoredBlob {
        &self.stored
    }
}

impl Drop for ReceivedFile {
    fn drop(&mut self) {
        if !*self.committed.get_mut() {
            self.blobs.delete_later(std::mem::take(&mut self.stored.object));
        }
    }
}

/// Creates the signed token in the URL of an attachment for `reader`. It gives its bearer the access that the reader has at the
/// time of use.
pub fn attachment_token(file: &Attachment, reader: PartnerId) -> String {
    format!("{reader}-{}", hex::encode(mac(file, reader).finalize().into_bytes()))
}

/// The text of a message as shown to `reader`. Clients copy URLs with tokens into texts. Beside files, the tokens of other
/// readers are replaced by the reader's own, or removed if they belong to no file of the message.
pub fn text_for(message: &Message, reader: PartnerId) -> Cow<'_, str> {
    let (text, files) = (message.body.as_str(), message.attachments.as_slice());
    if files.is_empty() {
        return text.into();
    }
    let (mut own, mut copied) = (String::new(), 0);
    for (dash, _) in text.match_indices('-') {
        let end = dash + 1 + SIGNATURE_DIGITS;
        let start = text[..dash].trim_end_matches(|character: char| character.is_ascii_digit()).len();
        let is_signature = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let is_token = start < dash && start >= copied && text.get(dash + 1..end).is_some_and(is_signature);
        if !is_token || text[start..dash].parse::<i64>() == Ok(reader.0) {
            continue;
        }
        own.push_str(&text[copied..start]);
        let file = files.iter().find(|file| reader_of(&text[start..end], file).is_some());
        own.extend(file.map(|file| attachment_token(file, reader)));
        copied = end;
    }
    let mut text = if copied == 0 { Cow::from(text) } else { (own + &text[copied..]).into() };
    // The first release gave the secret itself to all readers.
    for file in files.iter().filter(|file| !file.access_token.is_empty() && file.owner != reader) {
        if text.contains(&file.access_token) {
            text = text.replace(&file.access_token, &attachment_token(file, reader)).into();
        }
    }
    text
}

/// The partner that a token was issued to; `None` if the signature is invalid.
fn reader_of(token: &str, file: &Attachment) -> Option<PartnerId> {
    // Imported attachments may have an empty secret, which makes no token valid.
    if file.access_token.is_empty() {
        return None;
    }
    // The first release gave the secret itself to all readers.
    if crate::auth::same_secret(token, &file.access_token) {
        return Some(file.owner);
    }
    let (reader, signature) = token.split_once('-')?;
    let (reader, signature) = (PartnerId(reader.parse().ok()?), hex::decode(signature).ok()?);
    mac(file, reader).verify_slice(&signature).is_ok().then_some(reader)
}

fn mac(file: &Attachment, reader: PartnerId) -> Hmac<Sha256> {
    let keyed = Hmac::new_from_slice(file.access_token.as_bytes()).expect("HMAC takes keys of any length");
    keyed.chain_update(reader.to_string())
}

impl Chat {
    /// Receives an upload of the caller: stores its bytes piece by piece, and fails as soon as they exceed the size limit.
    /// `declared` is the media type that the sender states; it counts for office documents. `charge` accounts for the bytes in
    /// memory.
    ///
    /// # Errors
    /// `TooLarge` beyond the size limit; `TooFast` beyond the rate limit, the upload quota, or the share of memory for bodies;
    /// `Invalid` if the stream breaks off.
    ///
    /// # Cancel safety
    /// The bytes stored so far are deleted soon.
    pub async fn receive_file(
        &self,
        caller: &Caller,
        declared: Option<&str>,
        bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
        charge: Charge,
    ) -> Result<ReceivedFile> {
        self.charge(caller, Act::Write)?;
        let limit = FileLimit { bytes: self.0.rules.upload_bytes, setting: "upload_bytes" };
        self.receive_file_within(caller.user, declared, bytes, limit, charge).await
    }

    /// Receives an upload of a user with another size limit, as [`Chat::receive_file`], without the rate limit.
    pub(super) async fn receive_file_within(
        &self,
        user: UserId,
        declared: Option<&str>,
        bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
        limit: FileLimit,
        charge: Charge,
    ) -> Result<ReceivedFile> {
        let place = self.acquire_upload_permit(user)?;
        let stored = self.0.blobs.put(place.counted(bytes), limit.bytes, charge).await.map_err(|error| match error {
            BlobError::TooLarge { .. } => self.too_large(limit),
            other => other.into(),
        });
        let mut stored = self.within_quota(&place, stored)?;
        stored.mimetype = uploads::reconciled_media_type(stored.mimetype, declared);
        Ok(ReceivedFile { stored, blobs: self.0.blobs.clone(), committed: AtomicBool::new(false) })
    }

    /// Commits a transaction that refers to a received file.
    ///
    /// # Cancel safety
    /// The bytes are deleted only if the transaction is certainly undone. Cancellation during the commit, or an unknown outcome,
    /// leaves them.
    pub(super) async fn commit_received(&self, tx: Box<dyn Tx>, received: &ReceivedFile) -> Result<()> {
        received.committed.store(true, Ordering::Relaxed);
        match tx.commit().await {
            Ok(events) => self.0.publisher.publish(events).await,
            Err(error) => {
                received.committed.store(matches!(error, storage::Error::Unavailable(_)), Ordering::Relaxed);
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Stores a received file as an attachment of the caller. A given conversation must be one of the caller's.
    ///
    /// # Errors
    /// `NotFound` or `Forbidden` for the conversation.
    ///
    /// # Cancel safety
    /// Before the commit, the bytes are deleted. During it, they stay; the orphan sweep deletes them if nothing refers to them.
    pub async fn store_attachment(
        &self,
        caller: &Caller,
        received: ReceivedFile,
        name: FileName,
        conversation: Option<ConversationId>,
    ) -> Result<Attachment> {
        if let Some(conversation) = conversation {
            self.conversation(caller, conversation).await?;
        }
        self.transaction(|mut tx| async {
            let attachment = tx
                .insert_attachment(NewAttachment {
                    object: received.stored.object.clone(),
                    name: name.0.clone(),
                    mimetype: received.stored.mimetype.to_owned(),
                    size_bytes: received.stored.size_bytes,
                    access_token: crate::auth::secret(),
                    owner: caller.partner,
                    created_at: clock::now(),
                    media: Media {
                        sha256: Some(received.stored.sha256.clone()),
                        width: received.stored.dimensions.map(|(width, _)| width),
                        height: received.stored.dimensions.map(|(_, height)| height),
                        ..Media::default()
                    },
                })
                .await?;
            self.commit_received(tx, &received).await?;
            Ok(attachment)
        })
        .await
    }

    /// Finds an attachment that the caller may read, or the reader of the token (see [`attachment_token`]). Until it is sent,
    /// only its owner may read it, afterwards the readers of any message that holds it.
    ///
    /// # Errors
    /// `NotFound` if there is no such attachment, `Forbidden` if neither of the two may read it now.
    pub async fn attachment(&self, caller: Option<&Caller>, id: AttachmentId, token: Option<&str>) -> Result<Attachment> {
        let attachment = self.0.storage.attachment(id).await?.ok_or(Error::NotFound(ResourceKind::Attachment))?;
        let is_other = |holder: &PartnerId| caller.is_none_or(|caller| caller.partner != *holder);
        let holder = token.and_then(|token| reader_of(token, &attachment)).filter(is_other);
        if let Some(holder) = holder
            && let Some(contact) = self.contact(holder).await?.filter(|contact| contact.is_active())
            && self.may_read(&attachment, holder, contact.user.as_ref().map(|user| user.role)).await?
        {
            return Ok(attachment);
        }
        match caller {
            Some(caller) if self.may_read(&attachment, caller.partner, Some(caller.role)).await? => Ok(attachment),
            Some(_) | None => Err(Error::Forbidden),
        }
    }

    async fn may_read(&self, attachment: &Attachment, reader: PartnerId, role: Option<Role>) -> Result<bool> {
        match self.0.storage.attachment_access(attachment.id, reader).await? {
            None => Err(Error::NotFound(ResourceKind::Attachment)),
            Some(AttachmentAccess::Unsent) => Ok(attachment.owner == reader),
            Some(AttachmentAccess::Reader) => Ok(true),
            Some(AttachmentAccess::Support) => Ok(role.is_some_and(support::is_agent_role)),
            Some(AttachmentAccess::NoAccess) => Ok(false),
        }
    }

    /// The caller's own attachments among these.
    pub async fn own_attachments(&self, caller: &Caller, ids: &[AttachmentId]) -> Result<Vec<AttachmentId>> {
        let mut own = Vec::new();
        for id in ids {
            let attachment = self.0.storage.attachment(*id).await?;
            own.extend(attachment.filter(|attachment| attachment.owner == caller.partner).map(|attachment| attachment.id));
        }
        Ok(own)
    }

    /// Opens the bytes of an attachment that the caller may read: all, or a range that lies within it and is not empty.
    ///
    /// # Errors
    /// `NotFound` if the object store does not have them.
    pub async fn attachment_bytes(&self, attachment: &Attachment, part: Option<Range<u64>>) -> Result<FileBytes> {
        Ok(self.0.blobs.get(&attachment.object, part).await?)
    }

    /// Deletes an attachment of the caller from every message, and its bytes from the object store.
    ///
    /// # Errors
    /// `NotFound` if there is no such attachment, `Forbidden` for anyone but its owner, `TooFast` beyond the rate limit.
    ///
    /// # Cancel safety
    /// After the commit, the bytes may stay until the orphan sweep.
    pub async fn delete_attachment(&self, caller: &Caller, id: AttachmentId) -> Result<()> {
        self.charge(caller, Act::Write)?;
        let attachment = self.0.storage.attachment(id).await?.ok_or(Error::NotFound(ResourceKind::Attachment))?;
        if attachment.owner != caller.partner {
            return Err(Error::Forbidden);
        }
        self.transaction(|mut tx| async {
            let deleted = tx.delete_attachment(id).await?.ok_or(Error::NotFound(ResourceKind::Attachment))?;
            for conversation in deleted.conversations {
                tx.record(Topic::Conversation(conversation), Fact::AttachmentDeleted { attachment: id }, clock::now());
            }
            self.0.publisher.commit(tx).await?;
            self.0.removal.remove(deleted.attachment.object);
            Ok(())
        })
        .await
    }
}

pub(super) fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe: String = last.chars().filter(|c| !c.is_control() && !is_bidi_control(*c)).take(NAME_CHARACTERS).collect();
    match safe.trim() {
        "" | "." | ".." => "file".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use storage::{Attachment, PartnerId};

    use super::{attachment_token, reader_of, safe_name, text_for};
    use crate::events::fixtures;

    const OWNER: PartnerId = fixtures::ANN.1;
    const READER: PartnerId = fixtures::BEN.1;

    fn file(secret: &str) -> Attachment {
        Attachment { access_token: secret.into(), ..fixtures::file(1) }
    }

    #[test]
    fn a_token_names_its_reader() {
        let file = file("secret");
        let token = attachment_token(&file, READER);
        assert!(!token.contains("secret"));
        assert_eq!(reader_of(&token, &file), Some(READER));
        assert_eq!(reader_of("secret", &file), Some(OWNER), "as the first release gave it");
    }

    #[test]
    fn a_text_holds_tokens_of_its_reader_alone() {
        let (held, other) = (file("secret"), Attachment { access_token: "another secret".into(), ..fixtures::file(2) });
        let [own, given, foreign] =
            [(&held, READER), (&held, OWNER), (&other, OWNER)].map(|(file, to)| attachment_token(file, to));
        let mut message = fixtures::message(1, "", &[]);
        message.attachments = vec![held];
        for (text, shown) in [
            (
                format!(r#"[{{"url": "/a/1/{given}/x.pdf", "access_token": "{given}"}}]"#),
                format!(r#"[{{"url": "/a/1/{own}/x.pdf", "access_token": "{own}"}}]"#),
            ),
            (format!("/a/2/{foreign}/x.pdf?{own}"), format!("/a/2//x.pdf?{own}")),
            ("/a/1?access_token=secret".into(), format!("/a/1?access_token={own}")),
            ("2020-01-02, -, 7-".into(), "2020-01-02, -, 7-".into()),
        ] {
            message.body = text;
            assert_eq!(text_for(&message, READER), shown);
        }
        message.attachments.clear();
        message.body = given.clone();
        assert_eq!(text_for(&message, READER), given, "it has no files");
    }

    #[test]
    fn a_token_counts_only_as_it_was_made() {
        let (one, other) = (file("secret"), file("another"));
        let token = attachment_token(&one, READER);
        let (_, signature) = token.split_once('-').expect("it names its reader");
        let forged = [
            String::new(),
            "-".into(),
            format!("{OWNER}-{signature}"),
            format!("{READER}-"),
            format!("{READER}-{}", &signature[2..]),
            format!("{READER}-{signature}00"),
            format!("{READER}-not hexadecimal"),
            format!("99999999999999999999-{signature}"),
            signature.into(),
            "secre".into(),
        ];
        for forged in &forged {
            assert_eq!(reader_of(forged, &one), None, "{forged}");
        }
        assert_eq!(reader_of(&token, &other), None);
    }

    #[test]
    fn a_name_reads_in_one_direction() {
        for control in ('\u{200e}'..='\u{200f}').chain('\u{2028}'..='\u{202e}').chain('\u{2066}'..='\u{2069}').chain(['\u{61c}'])
        {
            assert_eq!(safe_name(&format!("photo_{control}gpj.exe")), "photo_gpj.exe", "{control:?}");
            assert_eq!(safe_name(&control.to_string()), "file", "{control:?}");
        }
        // Joiners stay: they belong to words.
        assert_eq!(safe_name("\u{1f468}\u{200d}\u{1f469} نمونه.txt"), "\u{1f468}\u{200d}\u{1f469} نمونه.txt");
    }

    #[test]
    fn an_empty_secret_makes_no_token_count() {
        let file = file("");
        assert_eq!(reader_of("", &file), None);
        assert_eq!(reader_of(&attachment_token(&file, READER), &file), None);
    }
}
