//! PostgreSQL statements of uploads, and of the messages that reference them.

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use crate::{
    MessageId, NewUpload, PartnerId, Result, Timestamp, Upload, UploadReference, UploadedFile, Uploads, WriteUploads,
    postgres::{Postgres, PostgresTx, get, limit},
};

/// Owner of `uploads AS u`. Rows of the first release hold the account alone.
macro_rules! owner {
    () => {
        "coalesce(u.partner_id, (SELECT account.partner_id FROM users account WHERE account.id = u.owner_id))"
    };
}
/// Columns that [`upload`] reads, of `uploads AS u`.
macro_rules! upload_columns {
    () => {
        concat!(
            "u.name, ",
            owner!(),
            " AS owner_partner_id, u.mimetype, u.limit_bytes, u.expires_at, u.object, u.content_type, u.size_bytes, \
             u.width, u.height, u.put_at"
        )
    };
}

const UPLOADS: &str = concat!("SELECT ", upload_columns!(), " FROM uploads u WHERE u.name = ANY ($1)");
const UPLOAD: &str = concat!("SELECT ", upload_columns!(), " FROM uploads u WHERE u.name = $1");
const EXPIRE_UPLOADS: &str = concat!(
    "DELETE FROM uploads u WHERE u.name IN (
        SELECT u.name FROM uploads u WHERE NOT u.kept AND u.expires_at < $1
        ORDER BY u.expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) RETURNING ",
    upload_columns!()
);
const INSERT_UPLOAD: &str = "INSERT INTO uploads (name, partner_id, owner_id, mimetype, limit_bytes, expires_at)
    VALUES ($1, $2, (SELECT id FROM users WHERE partner_id = $2), $3, $4, $5)";
const PUT_UPLOAD: &str =
    "UPDATE uploads SET object = $2, content_type = $3, size_bytes = $4, put_at = $5, width = $6, height = $7
    WHERE name = $1 AND put_at IS NULL RETURNING name";
/// Locks in the common lock order (by name), since two messages may reference the same uploads.
const KEEP_UPLOADS: &str = concat!(
    "WITH named AS (
        SELECT DISTINCT message_id, author_id, name
        FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS named(message_id, author_id, name)
    ), locked AS MATERIALIZED (
        SELECT u.name, u.kept, ",
    owner!(),
    " AS owner_id FROM uploads u WHERE u.name = ANY ($3) ORDER BY u.name FOR NO KEY UPDATE OF u
    ), own AS MATERIALIZED (
        SELECT named.name, named.message_id, locked.kept
        FROM named JOIN locked ON locked.name = named.name AND locked.owner_id = named.author_id
    ), kept AS (
        UPDATE uploads u SET kept = true FROM own WHERE u.name = own.name AND NOT own.kept
    )
    INSERT INTO upload_mentions (name, message_id) SELECT name, message_id FROM own ON CONFLICT DO NOTHING"
);
/// Locks the uploads that a message references before or after the change.
const LOCK_NAMED: &str = "SELECT u.name FROM uploads u
    WHERE u.name IN (SELECT unnest($2::text[]) UNION SELECT m.name FROM upload_mentions m WHERE m.message_id = $1)
    ORDER BY u.name FOR NO KEY UPDATE OF u";
/// Separate from the lock, since a statement would not see references committed during its wait.
const REMOVE_REFERENCES: &str = concat!(
    "WITH gone AS (
        DELETE FROM upload_mentions WHERE message_id = $1 AND name <> ALL ($2) RETURNING name
    ), unnamed AS MATERIALIZED (
        SELECT gone.name FROM gone
        WHERE NOT EXISTS (SELECT FROM upload_mentions m WHERE m.name = gone.name AND m.message_id <> $1)
    ), deleted AS (
        DELETE FROM uploads u USING unnamed WHERE u.name = unnamed.name AND u.object IS NOT NULL
        RETURNING ",
    upload_columns!(),
    "), expiring AS (
        UPDATE uploads u SET kept = false FROM unnamed WHERE u.name = unnamed.name AND u.object IS NULL
        RETURNING ",
    upload_columns!(),
    ")
    SELECT * FROM deleted UNION ALL SELECT * FROM expiring"
);

fn upload(row: &PgRow) -> Result<Upload> {
    let file = match get::<Option<String>, _>(row, "object")? {
        Some(object) => Some(UploadedFile {
            object,
            mimetype: get(row, "content_type")?,
            size_bytes: get(row, "size_bytes")?,
            width: get(row, "width")?,
            height: get(row, "height")?,
            put_at: get(row, "put_at")?,
        }),
        None => None,
    };
    Ok(Upload {
        name: get(row, "name")?,
        owner: PartnerId(get(row, "owner_partner_id")?),
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

    async fn uploads(&self, names: &[String]) -> Result<Vec<Upload>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(UPLOADS).bind(names)).await?.iter().map(upload).collect()
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
        let put = sqlx::query(PUT_UPLOAD)
            .bind(name)
            .bind(file.object)
            .bind(file.mimetype)
            .bind(file.size_bytes)
            .bind(file.put_at)
            .bind(file.width)
            .bind(file.height);
        Ok(self.row(put).await?.is_some())
    }

    async fn reference_uploads(&mut self, named: &[UploadReference]) -> Result<()> {
        if named.is_empty() {
            return Ok(());
        }
        let keep = sqlx::query(KEEP_UPLOADS)
            .bind(named.iter().map(|mention| mention.message.0).collect::<Vec<_>>())
            .bind(named.iter().map(|mention| mention.author.0).collect::<Vec<_>>())
            .bind(named.iter().map(|mention| mention.name.as_str()).collect::<Vec<_>>());
        self.rows(keep).await.map(drop)
    }

    async fn replace_upload_references(&mut self, of: MessageId, author: PartnerId, names: &[String]) -> Result<Vec<Upload>> {
        if self.rows(sqlx::query(LOCK_NAMED).bind(of.0).bind(names)).await?.is_empty() {
            return Ok(Vec::new());
        }
        let named: Vec<_> = names.iter().map(|name| UploadReference { message: of, author, name: name.clone() }).collect();
        self.reference_uploads(&named).await?;
        self.rows(sqlx::query(REMOVE_REFERENCES).bind(of.0).bind(names)).await?.iter().map(upload).collect()
    }
}
