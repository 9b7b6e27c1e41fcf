use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::{Postgres, PostgresTx, get, limit};
use crate::{NewUpload, Result, Timestamp, Upload, UploadedFile, Uploads, UserId, WriteUploads};

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
const KEEP_UPLOADS: &str = "WITH locked AS MATERIALIZED (
        SELECT u.name FROM uploads u WHERE u.name = ANY ($1) AND NOT u.kept ORDER BY u.name FOR NO KEY UPDATE
    )
    UPDATE uploads u SET kept = true FROM locked WHERE u.name = locked.name";

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

    async fn keep_uploads(&mut self, names: &[String]) -> Result<()> {
        self.rows(sqlx::query(KEEP_UPLOADS).bind(names)).await.map(drop)
    }
}
