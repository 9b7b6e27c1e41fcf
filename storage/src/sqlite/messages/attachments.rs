//! SQLite statements of attachments.

use std::collections::BTreeSet;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use crate::{
    Attachment, AttachmentAccess, AttachmentId, Attachments, DeletedAttachment, Media, NamedObject, NewAttachment, PartnerId,
    Result, Timestamp, WriteAttachments,
    sqlite::{Sqlite, SqliteTx, get, limit, list, micros, time, word},
};

/// Columns that [`attachment`] reads, of `attachments AS f`.
macro_rules! attachment_columns {
    () => {
        "f.id, f.object, f.name, f.mimetype, f.size_bytes, f.access_token, f.owner_id, f.created_at, \
         nullif(lower(hex(f.sha256)), '') AS sha256, f.width, f.height, f.duration_milliseconds"
    };
}

pub(crate) use attachment_columns;

const ATTACHMENT: &str = concat!("SELECT ", attachment_columns!(), " FROM attachments f WHERE f.id = $1");
/// Evaluates the cases in order: support sessions are read only if no conversation of the partner gives access.
const ATTACHMENT_REACH: &str = "SELECT CASE
        WHEN NOT a.sent THEN 'unsent'
        WHEN EXISTS (
            SELECT 1 FROM message_attachments ma
            CROSS JOIN messages m ON m.id = ma.message_id
            CROSS JOIN participants p ON p.conversation_id = m.conversation_id AND p.partner_id = $2
            WHERE ma.attachment_id = $1 AND m.deleted_at IS NULL AND m.seq > p.visible_from_seq
        ) THEN 'reader'
        WHEN EXISTS (
            SELECT 1 FROM message_attachments ma
            CROSS JOIN messages m ON m.id = ma.message_id
            CROSS JOIN support_sessions s ON s.conversation_id = m.conversation_id
            WHERE ma.attachment_id = $1 AND m.deleted_at IS NULL
        ) THEN 'support'
        ELSE 'none'
    END AS reach
    FROM attachments a WHERE a.id = $1";
const FORGET_UNSENT: &str = "DELETE FROM attachments WHERE id IN (
        SELECT a.id FROM attachments a WHERE NOT a.sent AND a.created_at < $1 ORDER BY a.created_at LIMIT +$2
    ) RETURNING object";
const OBJECTS_IN_USE: &str = "SELECT object FROM attachments WHERE object IN (SELECT value FROM json_each($1))
    UNION SELECT name FROM uploads WHERE name IN (SELECT value FROM json_each($1))
    UNION SELECT object FROM uploads WHERE object IN (SELECT value FROM json_each($1))";
pub(crate) const OBJECTS: &str = "SELECT object, size_bytes FROM (
        SELECT object, size_bytes FROM attachments WHERE object > $1 ORDER BY object LIMIT +$2
    ) UNION ALL SELECT object, size_bytes FROM (
        SELECT object, size_bytes FROM uploads WHERE object > $1 ORDER BY object LIMIT +$2
    ) UNION ALL SELECT name, NULL FROM (
        SELECT name FROM uploads WHERE object IS NULL AND name > $1 ORDER BY name LIMIT +$2
    ) ORDER BY 1 LIMIT +$2";
const NEWEST_OBJECTS: &str = "SELECT object, size_bytes FROM (
        SELECT object, size_bytes FROM attachments ORDER BY id DESC LIMIT +$1
    ) UNION ALL SELECT object, size_bytes FROM (
        SELECT object, size_bytes FROM uploads WHERE object IS NOT NULL ORDER BY put_at DESC LIMIT +$1
    )";
const INSERT_ATTACHMENT: &str = "INSERT INTO attachments
        (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, sha256, width, height,
        duration_milliseconds)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, unhex($9), $10, $11, $12)";
const MESSAGES_OF: &str = "SELECT DISTINCT message_id FROM message_attachments WHERE attachment_id = $1 ORDER BY message_id";
/// Deletes the attachment; a foreign key of the schema removes it from its messages.
const DELETE_ATTACHMENT: &str = "DELETE FROM attachments WHERE id = $1";

pub(crate) fn attachment(row: &SqliteRow) -> Result<Attachment> {
    Ok(Attachment {
        id: AttachmentId(get(row, "id")?),
        object: get(row, "object")?,
        name: get(row, "name")?,
        mimetype: get(row, "mimetype")?,
        size_bytes: get(row, "size_bytes")?,
        access_token: get(row, "access_token")?,
        owner: PartnerId(get(row, "owner_id")?),
        created_at: time(row, "created_at")?,
        media: Media {
            sha256: get(row, "sha256")?,
            width: get(row, "width")?,
            height: get(row, "height")?,
            duration_milliseconds: get(row, "duration_milliseconds")?,
        },
    })
}

pub(crate) fn named_object(row: &SqliteRow) -> Result<NamedObject> {
    Ok(NamedObject { object: get(row, 0)?, size_bytes: get(row, 1)? })
}

#[async_trait]
impl Attachments for Sqlite {
    async fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>> {
        self.row(sqlx::query(ATTACHMENT).bind(id.0)).await?.as_ref().map(attachment).transpose()
    }

    async fn attachment_access(&self, id: AttachmentId, partner: PartnerId) -> Result<Option<AttachmentAccess>> {
        let row = self.row(sqlx::query(ATTACHMENT_REACH).bind(id.0).bind(partner.0)).await?;
        let Some(row) = row else { return Ok(None) };
        word(&row, "reach", AttachmentAccess::parse).map(Some)
    }

    async fn forget_unsent(&self, before: Timestamp, most: usize) -> Result<Vec<String>> {
        let rows = self.write_in_steps(most, |step| sqlx::query(FORGET_UNSENT).bind(micros(before)).bind(step)).await?;
        rows.iter().map(|row| get(row, "object")).collect()
    }

    async fn objects_in_use(&self, objects: &[String]) -> Result<Vec<String>> {
        self.rows(sqlx::query(OBJECTS_IN_USE).bind(list(objects))).await?.iter().map(|row| get(row, 0)).collect()
    }

    async fn objects(&self, after: &str, most: usize) -> Result<Vec<NamedObject>> {
        self.rows(sqlx::query(OBJECTS).bind(after).bind(limit(most))).await?.iter().map(named_object).collect()
    }

    async fn newest_objects(&self, most: usize) -> Result<Vec<NamedObject>> {
        self.rows(sqlx::query(NEWEST_OBJECTS).bind(limit(most))).await?.iter().map(named_object).collect()
    }
}

#[async_trait]
impl WriteAttachments for SqliteTx {
    async fn insert_attachment(&mut self, new: NewAttachment) -> Result<Attachment> {
        let id = self.draw("attachments_id", 1).await?;
        let insert = sqlx::query(INSERT_ATTACHMENT)
            .bind(id)
            .bind(&new.object)
            .bind(&new.name)
            .bind(&new.mimetype)
            .bind(new.size_bytes)
            .bind(&new.access_token)
            .bind(new.owner.0)
            .bind(micros(new.created_at))
            .bind(&new.media.sha256)
            .bind(new.media.width)
            .bind(new.media.height)
            .bind(new.media.duration_milliseconds);
        self.rows(insert).await?;
        let id = AttachmentId(id);
        let NewAttachment { object, name, mimetype, size_bytes, access_token, owner, created_at, media } = new;
        Ok(Attachment { id, object, name, mimetype, size_bytes, access_token, owner, created_at, media })
    }

    async fn delete_attachment(&mut self, id: AttachmentId) -> Result<Option<DeletedAttachment>> {
        let Some(row) = self.row(sqlx::query(ATTACHMENT).bind(id.0)).await? else { return Ok(None) };
        let held_by = self.rows(sqlx::query(MESSAGES_OF).bind(id.0)).await?;
        self.rows(sqlx::query(DELETE_ATTACHMENT).bind(id.0)).await?;
        let messages = held_by.iter().map(|row| get(row, "message_id")).collect::<Result<_>>()?;
        let messages = self.messages_as_they_are(messages).await?;
        self.rewrite_copies(&messages).await?;
        let conversations: BTreeSet<_> = messages.iter().map(|message| message.conversation).collect();
        Ok(Some(DeletedAttachment { attachment: attachment(&row)?, conversations: conversations.into_iter().collect() }))
    }
}
