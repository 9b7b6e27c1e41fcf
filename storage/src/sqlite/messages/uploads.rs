//! SQLite statements of uploads, and of the messages that reference them.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use crate::{
    MessageId, NewUpload, PartnerId, Result, Timestamp, Upload, UploadReference, UploadedFile, Uploads, WriteUploads,
    sqlite::{Sqlite, SqliteTx, get, list, micros, time},
};

/// Columns that [`upload`] reads, of `uploads`.
macro_rules! upload_columns {
    () => {
        "name, partner_id, mimetype, limit_bytes, expires_at, object, content_type, size_bytes, width, height, put_at"
    };
}

const UPLOADS: &str = concat!("SELECT ", upload_columns!(), " FROM uploads WHERE name IN (SELECT value FROM json_each($1))");
const UPLOAD: &str = concat!("SELECT ", upload_columns!(), " FROM uploads WHERE name = $1");
const EXPIRE_UPLOADS: &str = concat!(
    "DELETE FROM uploads WHERE name IN (
        SELECT u.name FROM uploads u WHERE NOT u.kept AND u.expires_at < $1 ORDER BY u.expires_at LIMIT +$2
    ) RETURNING ",
    upload_columns!()
);
const INSERT_UPLOAD: &str = "INSERT INTO uploads (name, partner_id, owner_id, mimetype, limit_bytes, expires_at)
    VALUES ($1, $2, (SELECT id FROM users WHERE partner_id = $2), $3, $4, $5)";
const PUT_UPLOAD: &str =
    "UPDATE uploads SET object = $2, content_type = $3, size_bytes = $4, put_at = $5, width = $6, height = $7
    WHERE name = $1 AND put_at IS NULL RETURNING name";
/// References of messages to uploads of the same author.
macro_rules! own_references {
    () => {
        "FROM json_each($1) named CROSS JOIN uploads u ON u.name = named.value ->> 2 AND u.partner_id = named.value ->> 1"
    };
}
const KEEP_UPLOADS: &str = concat!(
    "UPDATE uploads SET kept = true WHERE NOT kept AND name IN (SELECT u.name ",
    own_references!(),
    ");
    INSERT INTO upload_mentions (name, message_id) SELECT u.name, named.value ->> 0 ",
    own_references!(),
    " WHERE true ON CONFLICT DO NOTHING"
);
/// Removes the references of a message to all other uploads.
const REMOVE_REFERENCES: &str = "DELETE FROM upload_mentions
    WHERE message_id = $1 AND name NOT IN (SELECT value FROM json_each($2)) RETURNING name";
/// Those of these uploads that no message references, each with its file or without one.
const UNNAMED: &str = concat!(
    "SELECT ",
    upload_columns!(),
    " FROM uploads WHERE name IN (SELECT value FROM json_each($1))
        AND NOT EXISTS (SELECT 1 FROM upload_mentions m WHERE m.name = uploads.name)"
);
/// Deletes uploads with a file, and lets those without one expire.
const LET_GO: &str = "DELETE FROM uploads WHERE object IS NOT NULL AND name IN (SELECT value FROM json_each($1));
    UPDATE uploads SET kept = false WHERE object IS NULL AND name IN (SELECT value FROM json_each($1))";

fn upload(row: &SqliteRow) -> Result<Upload> {
    let file = match get::<Option<String>, _>(row, "object")? {
        Some(object) => Some(UploadedFile {
            object,
            mimetype: get(row, "content_type")?,
            size_bytes: get(row, "size_bytes")?,
            width: get(row, "width")?,
            height: get(row, "height")?,
            put_at: time(row, "put_at")?,
        }),
        None => None,
    };
    Ok(Upload {
        name: get(row, "name")?,
        owner: PartnerId(get(row, "partner_id")?),
        mimetype: get(row, "mimetype")?,
        limit_bytes: get(row, "limit_bytes")?,
        expires_at: time(row, "expires_at")?,
        file,
    })
}

#[async_trait]
impl Uploads for Sqlite {
    async fn upload(&self, name: &str) -> Result<Option<Upload>> {
        self.row(sqlx::query(UPLOAD).bind(name)).await?.as_ref().map(upload).transpose()
    }

    async fn uploads(&self, names: &[String]) -> Result<Vec<Upload>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        self.rows(sqlx::query(UPLOADS).bind(list(names))).await?.iter().map(upload).collect()
    }

    async fn expire_uploads(&self, before: Timestamp, most: usize) -> Result<Vec<Upload>> {
        let rows = self.write_in_steps(most, |step| sqlx::query(EXPIRE_UPLOADS).bind(micros(before)).bind(step)).await?;
        rows.iter().map(upload).collect()
    }
}

#[async_trait]
impl WriteUploads for SqliteTx {
    async fn insert_upload(&mut self, new: NewUpload) -> Result<()> {
        let insert = sqlx::query(INSERT_UPLOAD)
            .bind(new.name)
            .bind(new.owner.0)
            .bind(new.mimetype)
            .bind(new.limit_bytes)
            .bind(micros(new.expires_at));
        self.rows(insert).await.map(drop)
    }

    async fn put_upload(&mut self, name: &str, file: UploadedFile) -> Result<bool> {
        let put = sqlx::query(PUT_UPLOAD)
            .bind(name)
            .bind(file.object)
            .bind(file.mimetype)
            .bind(file.size_bytes)
            .bind(micros(file.put_at))
            .bind(file.width)
            .bind(file.height);
        Ok(self.row(put).await?.is_some())
    }

    async fn reference_uploads(&mut self, named: &[UploadReference]) -> Result<()> {
        if named.is_empty() {
            return Ok(());
        }
        let named = list(named.iter().map(|mention| (mention.message, mention.author, &mention.name)));
        self.rows(sqlx::query(KEEP_UPLOADS).bind(named)).await.map(drop)
    }

    async fn replace_upload_references(&mut self, of: MessageId, author: PartnerId, names: &[String]) -> Result<Vec<Upload>> {
        let named: Vec<_> = names.iter().map(|name| UploadReference { message: of, author, name: name.clone() }).collect();
        self.reference_uploads(&named).await?;
        let gone = self.rows(sqlx::query(REMOVE_REFERENCES).bind(of.0).bind(list(names))).await?;
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let gone = list(gone.iter().map(|row| get(row, "name")).collect::<Result<Vec<String>>>()?);
        let unnamed = self.rows(sqlx::query(UNNAMED).bind(gone)).await?;
        let unnamed = unnamed.iter().map(upload).collect::<Result<Vec<_>>>()?;
        let names = list(unnamed.iter().map(|upload| &upload.name));
        self.rows(sqlx::query(LET_GO).bind(names)).await?;
        Ok(unnamed)
    }
}
