use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde::Serialize;
use storage::{Attachment, AttachmentId, PartnerId};

use super::{
    Reply, Tag,
    download::FileReply,
    error::{HttpFailure, failure},
    upload::Upload,
    wire::url_of,
};
use crate::{
    chat::{FileName, attachment_token},
    dialects::{
        House,
        jsonrpc::{Call, Nothing},
        loose::PathInt,
        odoo_time,
        session::{OptionalSession, Session},
    },
};

pub(super) struct Attachments(pub(super) House);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl Attachments {
    /// Uploads a file
    ///
    /// Its id can then be sent with a message. What the file is, its content says. A page of a foreign origin is refused,
    /// and so is a request without a session.
    #[oai(path = "/attachment/upload", method = "post", operation_id = "messaging_attachment_upload")]
    async fn upload(&self, upload: Upload, session: Session) -> Result<UploadReply, HttpFailure> {
        if !upload.is_ours(&self.0) {
            return Err(HttpFailure::forbidden("This origin may not upload"));
        }
        let login = session.outcome()?;
        let form = upload.read(&self.0.chat, login).await?;
        let file = self.0.chat.keep(login, form.file, FileName::of(&form.name)?, form.thread).await?;
        Ok(UploadReply::Stored(Json(Uploaded::of(file, login.partner))))
    }

    /// Downloads a file
    ///
    /// Until it is sent, for its uploader; then for those who may read a message that holds it. An `access_token` counts as
    /// long as that holds for whom it was given to.
    #[oai(path = "/attachment/:id", method = "get", operation_id = "messaging_attachment_download")]
    async fn download(
        &self,
        Path(id): Path<PathInt>,
        /// As the upload and every description of the file give it.
        Query(access_token): Query<Option<String>>,
        session: OptionalSession,
    ) -> Result<FileReply, HttpFailure> {
        let caller = session.0.known().map(|login| &***login);
        let download = self.0.chat.download(caller, AttachmentId(id.0), access_token.as_deref()).await?;
        Ok(FileReply(download))
    }

    /// Describes a file
    ///
    /// To those who may read it.
    #[oai(path = "/attachment/info/:id", method = "post", operation_id = "messaging_attachment_info")]
    async fn info(&self, Path(id): Path<PathInt>, call: Call<Nothing>, session: Session) -> Reply<Info> {
        call.logged_in(session, |login, _| async move {
            let file = self.0.chat.attachment(Some(&login), AttachmentId(id.0), None).await.map_err(failure)?;
            Ok(Info::of(file, login.partner, &self.0))
        })
        .await
    }

    /// Deletes a file
    ///
    /// Of the caller's, from every message that holds it.
    #[oai(path = "/attachment/delete/:id", method = "post", operation_id = "messaging_attachment_delete")]
    async fn delete(&self, Path(id): Path<PathInt>, call: Call<Nothing>, session: Session) -> Reply<Deleted> {
        call.logged_in(session, |login, _| async move {
            self.0.chat.delete_attachment(&login, AttachmentId(id.0)).await.map_err(failure)?;
            Ok(Deleted { success: true, attachment_id: id.0 })
        })
        .await
    }
}

#[derive(ApiResponse)]
enum UploadReply {
    /// The file is stored.
    #[oai(status = 200, content_type = "application/json")]
    Stored(Json<Uploaded>),
}

/// A file that was stored.
#[derive(Debug, Object)]
#[oai(rename = "MessagingUploaded")]
struct Uploaded {
    success: bool,
    attachment_id: i64,
    name: String,
    mimetype: String,
    file_size: i64,
    /// Added to the file's address as `access_token`, it lets in whoever has it, for as long as the caller may read the file.
    access_token: String,
}

impl Uploaded {
    fn of(file: Attachment, reader: PartnerId) -> Self {
        Self {
            success: true,
            attachment_id: file.id.0,
            access_token: attachment_token(&file, reader),
            name: file.name,
            mimetype: file.mimetype,
            file_size: file.size_bytes,
        }
    }
}

/// All about a file but its bytes.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingFileInfo")]
struct Info {
    id: i64,
    name: String,
    mimetype: String,
    file_size: i64,
    /// Where its bytes are, for those who may read them.
    url: String,
    /// Added to the address as `access_token`, it lets in whoever has it, for as long as the caller may read the file.
    access_token: String,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    create_date: String,
}

impl Info {
    fn of(file: Attachment, reader: PartnerId, house: &House) -> Self {
        Self {
            id: file.id.0,
            url: url_of(&file, house),
            access_token: attachment_token(&file, reader),
            name: file.name,
            mimetype: file.mimetype,
            file_size: file.size_bytes,
            create_date: odoo_time(file.created_at),
        }
    }
}

#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingFileDeleted")]
struct Deleted {
    success: bool,
    attachment_id: i64,
}
