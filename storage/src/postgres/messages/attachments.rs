//! PostgreSQL statements of attachments.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use crate::{
    Attachment, AttachmentAccess, AttachmentId, Attachments, DeletedAttachment, Media, NamedObject, NewAttachment, PartnerId,
    Result, Timestamp, WriteAttachments,
    postgres::{Postgres, PostgresTx, alone, get, limit, word},
};

/// Columns that [`attachment`] reads, of `attachments AS f`.
macro_rules! attachment_columns {
    () => {
        "f.id, f.object, f.name, f.mimetype, f.size_bytes, f.access_token, f.owner_id, f.created_at, \
         encode(f.sha256, 'hex') AS sha256, f.width, f.height, f.duration_milliseconds"
    };
}

pub(crate) use attachment_columns;

const ATTACHMENT: &str = concat!("SELECT ", attachment_columns!(), " FROM attachments f WHERE f.id = $1");
/// Evaluates the cases in order: support sessions are read only if no conversation of the partner gives access.
const ATTACHMENT_REACH: &str = "SELECT CASE
        WHEN NOT a.sent THEN 'unsent'
        WHEN EXISTS (
            SELECT FROM message_attachments ma
            JOIN messages m ON m.id = ma.message_id
            JOIN participants p ON p.conversation_id = m.conversation_id AND p.partner_id = $2
            WHERE ma.attachment_id = $1 AND m.deleted_at IS NULL AND m.seq > p.visible_from_seq
        ) THEN 'reader'
        WHEN EXISTS (
            SELECT FROM message_attachments ma
            JOIN messages m ON m.id = ma.message_id
            JOIN support_sessions s ON s.conversation_id = m.conversation_id
            WHERE ma.attachment_id = $1 AND m.deleted_at IS NULL
        ) THEN 'support'
        ELSE 'none'
    END AS reach
    FROM attachments a WHERE a.id = $1";
/// Skips attachments in a concurrent send: it has locked the row, or has marked it as sent, which is checked again under this
/// statement's lock.
const FORGET_UNSENT: &str = concat!(
    "DELETE FROM attachments WHERE id IN (
        SELECT a.id FROM attachments a WHERE NOT a.sent AND a.created_at < $1 AND ",
    alone!("attachments"),
    " ORDER BY a.created_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING object"
);
const OBJECTS_IN_USE: &str = "SELECT object FROM attachments WHERE object = ANY ($1)
    UNION SELECT name FROM uploads WHERE name = ANY ($1)
    UNION SELECT object FROM uploads WHERE object = ANY ($1)";
pub(crate) const OBJECTS: &str = "
    (SELECT object, size_bytes FROM attachments WHERE object > $1 ORDER BY object LIMIT $2)
    UNION ALL (SELECT object, size_bytes FROM uploads WHERE object > $1 ORDER BY object LIMIT $2)
    UNION ALL (SELECT name, NULL FROM uploads WHERE object IS NULL AND name > $1 ORDER BY name LIMIT $2)
    ORDER BY 1 LIMIT $2";
const NEWEST_OBJECTS: &str = "
    (SELECT object, size_bytes FROM attachments ORDER BY id DESC LIMIT $1)
    UNION ALL (SELECT object, size_bytes FROM uploads WHERE object IS NOT NULL ORDER BY put_at DESC LIMIT $1)";
const INSERT_ATTACHMENT: &str = "INSERT INTO attachments
        (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, sha256, width, height,
        duration_milliseconds)
    VALUES (nextval('attachments_id'), $1, $2, $3, $4, $5, $6, $7, decode($8, 'hex'), $9, $10, $11) RETURNING id";
/// Locks the attachment: a concurrent send of it comes entirely before or after.
const LOCK_ATTACHMENT: &str = "SELECT id FROM attachments WHERE id = $1 FOR UPDATE";
/// Separate from the lock on the attachment, since a statement would not see messages committed during its wait. The locks also
/// order concurrent edits before or after.
const LOCK_MESSAGES_OF: &str = "SELECT m.id FROM messages m
    WHERE m.id IN (SELECT message_id FROM message_attachments WHERE attachment_id = $1) ORDER BY m.id FOR NO KEY UPDATE";
/// Deletes the attachment; a foreign key of the schema removes it from its messages.
const DELETE_ATTACHMENT: &str = concat!("DELETE FROM attachments f WHERE f.id = $1 RETURNING ", attachment_columns!());

pub(crate) fn attachment(row: &PgRow) -> Result<Attachment> {
    Ok(Attachment {
        id: AttachmentId(get(row, "id")?),
        object: get(row, "object")?,
        name: get(row, "name")?,
        mimetype: get(row, "mimetype")?,
        size_bytes: get(row, "size_bytes")?,
        access_token: get(row, "access_token")?,
        owner: PartnerId(get(row, "owner_id")?),
        created_at: get(row, "created_at")?,
        media: Media {
            sha256: get(row, "sha256")?,
            width: get(row, "width")?,
            height: get(row, "height")?,
            duration_milliseconds: get(row, "duration_milliseconds")?,
        },
    })
}

pub(crate) fn named_object(row: &PgRow) -> Result<NamedObject> {
    Ok(NamedObject { object: get(row, 0)?, size_bytes: get(row, 1)? })
}

#[async_trait]
impl Attachments for Postgres {
    async fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>> {
        self.row(sqlx::query(ATTACHMENT).bind(id.0)).await?.as_ref().map(attachment).transpose()
    }

    async fn attachment_access(&self, id: AttachmentId, partner: PartnerId) -> Result<Option<AttachmentAccess>> {
        let row = self.row(sqlx::query(ATTACHMENT_REACH).bind(id.0).bind(partner.0)).await?;
        let Some(row) = row else { return Ok(None) };
        word(&row, "reach", AttachmentAccess::parse).map(Some)
    }

    async fn forget_unsent(&self, before: Timestamp, most: usize) -> Result<Vec<String>> {
        let rows = self.rows(sqlx::query(FORGET_UNSENT).bind(before).bind(limit(most))).await?;
        Ok(rows.iter().map(|row| get(row, "object")).collect::<sqlx::Result<_>>()?)
    }

    async fn objects_in_use(&self, objects: &[String]) -> Result<Vec<String>> {
        let rows = self.rows(sqlx::query(OBJECTS_IN_USE).bind(objects)).await?;
        Ok(rows.iter().map(|row| get(row, 0)).collect::<sqlx::Result<_>>()?)
    }

    async fn objects(&self, after: &str, most: usize) -> Result<Vec<NamedObject>> {
        self.rows(sqlx::query(OBJECTS).bind(after).bind(limit(most))).await?.iter().map(named_object).collect()
    }

    async fn newest_objects(&self, most: usize) -> Result<Vec<NamedObject>> {
        self.rows(sqlx::query(NEWEST_OBJECTS).bind(limit(most))).await?.iter().map(named_object).collect()
    }
}

#[async_trait]
impl WriteAttachments for PostgresTx {
    async fn insert_attachment(&mut self, new: NewAttachment) -> Result<Attachment> {
        let insert = sqlx::query(INSERT_ATTACHMENT)
            .bind(&new.object)
            .bind(&new.name)
            .bind(&new.mimetype)
            .bind(new.size_bytes)
            .bind(&new.access_token)
            .bind(new.owner.0)
            .bind(new.created_at)
            .bind(&new.media.sha256)
            .bind(new.media.width)
            .bind(new.media.height)
            .bind(new.media.duration_milliseconds);
        let id = AttachmentId(get(&self.only_row(insert).await?, "id")?);
        let NewAttachment { object, name, mimetype, size_bytes, access_token, owner, created_at, media } = new;
        Ok(Attachment { id, object, name, mimetype, size_bytes, access_token, owner, created_at, media })
    }

    async fn delete_attachment(&mut self, id: AttachmentId) -> Result<Option<DeletedAttachment>> {
        self.rows(sqlx::query(LOCK_ATTACHMENT).bind(id.0)).await?;
        let held_by = self.rows(sqlx::query(LOCK_MESSAGES_OF).bind(id.0)).await?;
        let Some(row) = self.row(sqlx::query(DELETE_ATTACHMENT).bind(id.0)).await? else { return Ok(None) };
        let messages = held_by.iter().map(|row| get(row, "id")).collect::<sqlx::Result<_>>()?;
        let messages = self.messages_as_they_are(messages).await?;
        self.rewrite_copies(&messages).await?;
        let conversations: BTreeSet<_> = messages.iter().map(|message| message.conversation).collect();
        Ok(Some(DeletedAttachment { attachment: attachment(&row)?, conversations: conversations.into_iter().collect() }))
    }
}
