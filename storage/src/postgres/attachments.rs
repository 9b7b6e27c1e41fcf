use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::{Postgres, PostgresTx, alone, get, limit};
use crate::{Attachment, AttachmentId, Attachments, NewAttachment, PartnerId, Result, Timestamp, WriteAttachments};

const ATTACHMENT: &str = "SELECT id, object, name, mimetype, size_bytes, access_token, owner_id, created_at
    FROM attachments WHERE id = $1";
const ATTACHMENT_REACHES: &str = "SELECT EXISTS (
        SELECT FROM message_attachments ma
        JOIN messages m ON m.id = ma.message_id
        JOIN participants p ON p.conversation_id = m.conversation_id AND p.partner_id = $2
        WHERE ma.attachment_id = $1
    )";
/// Who sends one has locked its row, so that it is passed over, or has marked it as sent, which is looked at once more when
/// the row is locked here.
const FORGET_UNSENT: &str = concat!(
    "DELETE FROM attachments WHERE id IN (
        SELECT a.id FROM attachments a WHERE NOT a.sent AND a.created_at < $1 AND ",
    alone!(3),
    " ORDER BY a.created_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING object"
);
const INSERT_ATTACHMENT: &str = "INSERT INTO attachments
        (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at)
    VALUES (nextval('attachments_id'), $1, $2, $3, $4, $5, $6, $7) RETURNING id";
/// The schema takes it out of its messages.
const DELETE_ATTACHMENT: &str = "DELETE FROM attachments WHERE id = $1
    RETURNING id, object, name, mimetype, size_bytes, access_token, owner_id, created_at";

pub(super) fn attachment(row: &PgRow) -> Result<Attachment> {
    Ok(Attachment {
        id: AttachmentId(get(row, "id")?),
        object: get(row, "object")?,
        name: get(row, "name")?,
        mimetype: get(row, "mimetype")?,
        size_bytes: get(row, "size_bytes")?,
        access_token: get(row, "access_token")?,
        owner: PartnerId(get(row, "owner_id")?),
        created_at: get(row, "created_at")?,
    })
}

#[async_trait]
impl Attachments for Postgres {
    async fn attachment(&self, id: AttachmentId) -> Result<Option<Attachment>> {
        self.row(sqlx::query(ATTACHMENT).bind(id.0)).await?.as_ref().map(attachment).transpose()
    }

    async fn attachment_reaches(&self, id: AttachmentId, partner: PartnerId) -> Result<bool> {
        Ok(get(&self.only_row(sqlx::query(ATTACHMENT_REACHES).bind(id.0).bind(partner.0)).await?, 0)?)
    }

    async fn forget_unsent(&self, before: Timestamp, most: usize) -> Result<Vec<String>> {
        let rows = self.rows(sqlx::query(FORGET_UNSENT).bind(before).bind(limit(most))).await?;
        Ok(rows.iter().map(|row| get(row, "object")).collect::<sqlx::Result<_>>()?)
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
            .bind(new.created_at);
        let id = AttachmentId(get(&self.only_row(insert).await?, "id")?);
        let NewAttachment { object, name, mimetype, size_bytes, access_token, owner, created_at } = new;
        Ok(Attachment { id, object, name, mimetype, size_bytes, access_token, owner, created_at })
    }

    async fn delete_attachment(&mut self, id: AttachmentId) -> Result<Option<Attachment>> {
        self.row(sqlx::query(DELETE_ATTACHMENT).bind(id.0)).await?.as_ref().map(attachment).transpose()
    }
}
