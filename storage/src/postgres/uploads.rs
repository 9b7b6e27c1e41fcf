use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::{Postgres, PostgresTx, get, limit};
use crate::{MessageId, NewUpload, Result, Timestamp, Upload, UploadedFile, Uploads, UserId, WriteUploads};

const UPLOAD: &str = "SELECT name, owner_id, mimetype, limit_bytes, expires_at, object, content_type, size_bytes, put_at
    FROM uploads WHERE name = $1";
const EXPIRE_UPLOADS: &str = "DELETE FROM uploads WHERE name IN (
        SELECT u.name FROM uploads u WHERE NOT u.kept AND u.expires_at < $1
        ORDER BY u.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING name, owner_id, mimetype, limit_bytes, expires_at, object, content_type, size_bytes, put_at";
const INSERT_UPLOAD: &str = "INSERT INTO uploads (name, owner_id, mimetype, limit_bytes, expires_at)
    VALUES ($1, $2, $3, $4, $5)";
const PUT_UPLOAD: &str = "UPDATE uploads SET object = $2, content_type = $3, size_bytes = $4, put_at = $5
    WHERE name = $1 AND put_at IS NULL RETURNING name";
/// Locks in one order, since two messages may name the same files.
const KEEP_UPLOADS: &str = "WITH named AS (
        SELECT DISTINCT message_id, name FROM unnest($1::bigint[], $2::text[]) AS named(message_id, name)
    ), locked AS MATERIALIZED (
        SELECT u.name, u.kept FROM uploads u WHERE u.name = ANY ($2) ORDER BY u.name FOR NO KEY UPDATE
    ), kept AS (
        UPDATE uploads u SET kept = true FROM locked WHERE u.name = locked.name AND NOT locked.kept
    )
    INSERT INTO upload_mentions (name, message_id)
    SELECT named.name, named.message_id FROM named JOIN locked ON locked.name = named.name ON CONFLICT DO NOTHING";
/// What a message names, and what it is going to name.
const LOCK_NAMED: &str = "SELECT u.name FROM uploads u
    WHERE u.name IN (SELECT unnest($2::text[]) UNION SELECT m.name FROM upload_mentions m WHERE m.message_id = $1)
    ORDER BY u.name FOR NO KEY UPDATE OF u";
/// Not in the statement that locks: it would see who else named them before it had to wait.
const LET_GO: &str = "WITH gone AS (
        DELETE FROM upload_mentions WHERE message_id = $1 AND name <> ALL ($2) RETURNING name
    ), unnamed AS MATERIALIZED (
        SELECT gone.name FROM gone
        WHERE NOT EXISTS (SELECT FROM upload_mentions m WHERE m.name = gone.name AND m.message_id <> $1)
    ), deleted AS (
        DELETE FROM uploads u USING unnamed WHERE u.name = unnamed.name AND u.object IS NOT NULL
        RETURNING u.name, owner_id, mimetype, limit_bytes, expires_at, object, content_type, size_bytes, put_at
    ), expiring AS (
        UPDATE uploads u SET kept = false FROM unnamed WHERE u.name = unnamed.name AND u.object IS NULL
        RETURNING u.name, owner_id, mimetype, limit_bytes, expires_at, object, content_type, size_bytes, put_at
    )
    SELECT * FROM deleted UNION ALL SELECT * FROM expiring";

fn upload(row: &PgRow) -> Result<Upload> {
    let file = match get::<Option<String>, _>(row, "object")? {
        Some(object) => Some(UploadedFile {
            object,
            mimetype: get(row, "content_type")?,
            size_bytes: get(row, "size_bytes")?,
            put_at: get(row, "put_at")?,
        }),
        None => None,
    };
    Ok(Upload {
        name: get(row, "name")?,
        owner: UserId(get(row, "owner_id")?),
        mimetype: get(row, "mimetype")?,
        limit_bytes: get(row, "limit_bytes")?,
        expires_at: get(row, "expires_at")?,
        file,
    })
}

#[async_trait]
impl Uploads for Postgres {
    async fn upload(&self, name: &str) -> Result<Option<Upload>> {
        self.row(sqlx::query(UPLOAD).bind(name)).await?.as_ref().map(upload).transpose()
    }

    async fn expire_uploads(&self, before: Timestamp, most: usize) -> Result<Vec<Upload>> {
        self.rows(sqlx::query(EXPIRE_UPLOADS).bind(before).bind(limit(most))).await?.iter().map(upload).collect()
    }
}

#[async_trait]
impl WriteUploads for PostgresTx {
    async fn insert_upload(&mut self, new: NewUpload) -> Result<()> {
        let insert = sqlx::query(INSERT_UPLOAD)
            .bind(new.name)
            .bind(new.owner.0)
            .bind(new.mimetype)
            .bind(new.limit_bytes)
            .bind(new.expires_at);
        self.rows(insert).await.map(drop)
    }

    async fn put_upload(&mut self, name: &str, file: UploadedFile) -> Result<bool> {
        let put =
            sqlx::query(PUT_UPLOAD).bind(name).bind(file.object).bind(file.mimetype).bind(file.size_bytes).bind(file.put_at);
        Ok(self.row(put).await?.is_some())
    }

    async fn keep_uploads(&mut self, named: &[(MessageId, String)]) -> Result<()> {
        if named.is_empty() {
            return Ok(());
        }
        let (messages, names): (Vec<i64>, Vec<&str>) = named.iter().map(|(message, name)| (message.0, name.as_str())).unzip();
        self.rows(sqlx::query(KEEP_UPLOADS).bind(messages).bind(names)).await.map(drop)
    }

    async fn change_uploads(&mut self, of: MessageId, names: &[String]) -> Result<Vec<Upload>> {
        if self.rows(sqlx::query(LOCK_NAMED).bind(of.0).bind(names)).await?.is_empty() {
            return Ok(Vec::new());
        }
        let named: Vec<_> = names.iter().map(|name| (of, name.clone())).collect();
        self.keep_uploads(&named).await?;
        self.rows(sqlx::query(LET_GO).bind(of.0).bind(names)).await?.iter().map(upload).collect()
    }
}
