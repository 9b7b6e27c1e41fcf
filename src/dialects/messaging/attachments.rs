//! Attachments: upload, download by session or by access token, metadata, and deletion.

use poem::Body;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
};
use serde::Serialize;
use storage::{Attachment, AttachmentId, PartnerId};

use super::{
    MessagingReply, Tag,
    error::{HttpFailure, failure},
    upload::AttachmentUpload,
};
use crate::{
    chat::{Error, FileName, attachment_token},
    web::{
        AppContext,
        download::{DownloadMetadata, FileAudience, FileReply, RangeRequest},
        files,
        jsonrpc::{Call, NoJsonRpcParams},
        lenient::PathInt,
        odoo_time,
        session::{OptionalSession, Session},
    },
};

pub(super) struct AttachmentsApi(pub(super) AppContext);

#[OpenApi(prefix_path = "/api/messaging", tag = "Tag::Messaging")]
impl AttachmentsApi {
    /// Uploads a file
    ///
    /// The returned id can be sent with a message. The media type is detected from the content. Requests from pages of foreign
    /// origins and requests without a session are refused.
    #[oai(path = "/attachment/upload", method = "post", operation_id = "messaging_attachment_upload")]
    async fn upload(&self, upload: AttachmentUpload, session: Session) -> Result<UploadReply, HttpFailure> {
        if !upload.is_allowed_origin(&self.0) {
            return Err(HttpFailure::forbidden("This origin may not upload"));
        }
        let login = session.login_result()?;
        let form = upload.read(&self.0.chat, login).await?;
        let file = self.0.chat.store_attachment(login, form.file, FileName::of(&form.name)?, form.thread).await?;
        Ok(UploadReply::Stored(Json(UploadedAttachment::of(file, login.partner))))
    }

    /// Downloads a file
    ///
    /// Before it is sent, only the uploader may read it; then everybody who may read a message that holds it. An `access_token`
    /// is valid as long as the user that it was issued to may read the file.
    #[oai(
        path = "/attachment/:id",
        method = "get",
        operation_id = "messaging_attachment_download",
        request_header(name = "Range", ty = "Option<String>", description = "One part: `bytes=0-3`, `bytes=4-` or `bytes=-3`."),
        request_header(name = "If-Range", ty = "Option<String>"),
        request_header(name = "If-None-Match", ty = "Option<String>"),
        request_header(name = "If-Modified-Since", ty = "Option<String>")
    )]
    async fn download(
        &self,
        Path(id): Path<PathInt>,
        /// The token that the upload and every description of the file return.
        Query(access_token): Query<Option<String>>,
        wish: RangeRequest,
        session: OptionalSession,
    ) -> Result<FileReply, HttpFailure> {
        self.reply(AttachmentId(id.0), access_token, &wish, &session).await
    }

    /// Downloads a file by its complete address
    ///
    /// The address is the one in messages: with the `access_token`, and with the file's name at the end (shortened to its
    /// beginning and extension if it is long). The name is ignored.
    #[oai(
        path = "/attachment/:id/:access_token/:name",
        method = "get",
        operation_id = "messaging_attachment_download_named",
        request_header(name = "Range", ty = "Option<String>", description = "One part: `bytes=0-3`, `bytes=4-` or `bytes=-3`."),
        request_header(name = "If-Range", ty = "Option<String>"),
        request_header(name = "If-None-Match", ty = "Option<String>"),
        request_header(name = "If-Modified-Since", ty = "Option<String>")
    )]
    async fn download_named(
        &self,
        Path(id): Path<PathInt>,
        Path(access_token): Path<String>,
        #[oai(name = "name")] Path(_name): Path<String>,
        wish: RangeRequest,
        session: OptionalSession,
    ) -> Result<FileReply, HttpFailure> {
        self.reply(AttachmentId(id.0), Some(access_token), &wish, &session).await
    }

    /// Downloads a file by its complete address without the name
    #[oai(path = "/attachment/:id/:access_token", method = "get", hidden = true)]
    async fn download_nameless(
        &self,
        Path(id): Path<PathInt>,
        Path(access_token): Path<String>,
        wish: RangeRequest,
        session: OptionalSession,
    ) -> Result<FileReply, HttpFailure> {
        self.reply(AttachmentId(id.0), Some(access_token), &wish, &session).await
    }

    /// Describes a file
    ///
    /// Only for users who may read it.
    #[oai(path = "/attachment/info/:id", method = "post", operation_id = "messaging_attachment_info")]
    async fn info(&self, Path(id): Path<PathInt>, call: Call<NoJsonRpcParams>, session: Session) -> MessagingReply<FileInfo> {
        call.logged_in(session, |login, _| async move {
            let file = self.0.chat.attachment(Some(&login), AttachmentId(id.0), None).await.map_err(failure)?;
            Ok(FileInfo::of(file, login.partner, &self.0))
        })
        .await
    }

    /// Deletes a file
    ///
    /// Removes a file of the caller from every message that holds it.
    #[oai(path = "/attachment/delete/:id", method = "post", operation_id = "messaging_attachment_delete")]
    async fn delete(
        &self,
        Path(id): Path<PathInt>,
        call: Call<NoJsonRpcParams>,
        session: Session,
    ) -> MessagingReply<DeletedFile> {
        call.logged_in(session, |login, _| async move {
            self.0.chat.delete_attachment(&login, AttachmentId(id.0)).await.map_err(failure)?;
            Ok(DeletedFile { success: true, attachment_id: id.0 })
        })
        .await
    }
}

impl AttachmentsApi {
    async fn reply(
        &self,
        id: AttachmentId,
        token: Option<String>,
        wish: &RangeRequest,
        session: &OptionalSession,
    ) -> Result<FileReply, HttpFailure> {
        let chat = &self.0.chat;
        let by_address = match token {
            Some(token) => match chat.attachment(None, id, Some(&token)).await {
                Err(Error::Forbidden) => None,
                found => Some(found?),
            },
            None => None,
        };
        let caller = session.0.valid_login().map(|login| &***login);
        let (file, audience) = match by_address {
            Some(file) => (file, FileAudience::SignedUrl),
            None => (chat.attachment(caller, id, None).await?, FileAudience::Reader),
        };
        let size_bytes = u64::try_from(file.size_bytes).unwrap_or(0);
        let described = DownloadMetadata::inline(&file.object, size_bytes, file.mimetype.clone(), audience)
            .as_attachment(Some(file.name.clone()))
            .modified_at(file.created_at);
        FileReply::read(described, wish, async |part| Ok(Body::from_bytes_stream(chat.attachment_bytes(&file, part).await?)))
            .await
    }
}

#[derive(ApiResponse)]
enum UploadReply {
    /// The file is stored.
    #[oai(status = 200, content_type = "application/json")]
    Stored(Json<UploadedAttachment>),
}

/// A file that was stored.
#[derive(Debug, Object)]
#[oai(rename = "MessagingUploaded")]
struct UploadedAttachment {
    success: bool,
    attachment_id: i64,
    name: String,
    mimetype: String,
    file_size: i64,
    /// Grants access to anybody who adds it to the address as `access_token`, as long as the caller may read the file.
    access_token: String,
}

impl UploadedAttachment {
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

/// Metadata of a file.
#[derive(Debug, Object, Serialize)]
#[oai(rename = "MessagingFileInfo")]
struct FileInfo {
    id: i64,
    name: String,
    mimetype: String,
    file_size: i64,
    /// Address of the file's bytes. Anybody with this address may download them, as long as the caller may read the file.
    url: String,
    /// Grants access to anybody who adds it to the address as `access_token`, as long as the caller may read the file.
    access_token: String,
    /// `YYYY-MM-DD HH:MM:SS`, UTC.
    create_date: String,
}

impl FileInfo {
    fn of(file: Attachment, reader: PartnerId, app: &AppContext) -> Self {
        Self {
            id: file.id.0,
            url: files::address(&file, reader, &app.base_url),
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
struct DeletedFile {
    success: bool,
    attachment_id: i64,
}
