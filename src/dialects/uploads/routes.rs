//! Routes of the upload dialect: signed URLs, upload and download.

use poem::Body;
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Path, Query},
    payload::Json,
};

use super::{
    Tag,
    error::UploadFailure,
    file::UploadBody,
    wire::{Answer, UploadRequest},
};
use crate::{
    auth::Caller,
    characters::is_bidi_control,
    chat::{self, SignedUpload},
    web::{
        AppContext,
        bearer::BearerOrSession,
        download::{DownloadMetadata, FileAudience, FileReply, RangeRequest},
    },
};

pub(super) struct UploadsApi(pub(super) AppContext);

/// Credentials of this dialect: a bearer token or a session cookie.
type UploadCredentials = BearerOrSession;

fn caller(credentials: &UploadCredentials) -> Result<&Caller, UploadFailure> {
    Ok(credentials.0.as_ref()?)
}

#[derive(ApiResponse)]
enum SignedUrlResponse {
    /// The addresses for upload and download.
    #[oai(status = 200, content_type = "application/json")]
    Urls(Json<Answer>),
}

#[derive(ApiResponse)]
enum UploadResponse {
    /// The file is stored.
    #[oai(status = 200)]
    Stored,
}

#[OpenApi(tag = "Tag::Uploads")]
impl UploadsApi {
    /// Creates a signed URL for an upload
    ///
    /// The answer also has the file's later address, which can be sent in a message. A file that no message names within a day
    /// (by default) is deleted.
    #[oai(path = "/file-new/get-upload-url", method = "post", operation_id = "uploads_get_upload_url")]
    async fn get_upload_url(
        &self,
        wish: UploadRequest,
        credentials: UploadCredentials,
    ) -> Result<SignedUrlResponse, UploadFailure> {
        let caller = caller(&credentials)?;
        let announced = wish.0?;
        let filename = announced.filename.chars().filter(|c| !is_bidi_control(*c)).collect();
        let leave = self.0.chat.begin_upload(caller, announced).await?;
        Ok(SignedUrlResponse::Urls(Json(Answer::new(filename, leave, &self.0))))
    }

    /// Uploads a file to a signed URL
    ///
    /// The complete URL, query included, is required, and the announced `Content-Type`. A URL can be used once, until it expires.
    #[oai(path = "/files/:kind/:name", method = "put", operation_id = "uploads_put")]
    async fn put(
        &self,
        kind: Path<String>,
        name: Path<String>,
        #[oai(name = "Content-Type")] mimetype: Query<Option<String>>,
        #[oai(name = "Expires")] expires: Query<Option<String>>,
        #[oai(name = "Signature")] signature: Query<Option<String>>,
        file: UploadBody,
    ) -> Result<UploadResponse, UploadFailure> {
        let permit = || {
            let (name, expires) = (format!("{}/{}", kind.0, name.0), expires.0?.parse().ok()?);
            Some(SignedUpload { name, mimetype: mimetype.0?, expires, signature: signature.0? })
        };
        let permit = permit().ok_or(chat::Error::Forbidden)?;
        let (mimetype, size_bytes) = (file.mimetype.clone(), file.size_bytes);
        self.0.chat.receive_upload(&permit, &mimetype, size_bytes, file.pieces()).await?;
        Ok(UploadResponse::Stored)
    }

    /// Downloads an uploaded file
    ///
    /// Public: anybody with the address may read it. Addresses cannot be guessed.
    #[oai(
        path = "/files/:kind/:name",
        method = "get",
        operation_id = "uploads_get",
        request_header(name = "Range", ty = "Option<String>", description = "One part: `bytes=0-3`, `bytes=4-` or `bytes=-3`."),
        request_header(name = "If-Range", ty = "Option<String>"),
        request_header(name = "If-None-Match", ty = "Option<String>"),
        request_header(name = "If-Modified-Since", ty = "Option<String>")
    )]
    async fn get(&self, kind: Path<String>, name: Path<String>, wish: RangeRequest) -> Result<FileReply, UploadFailure> {
        let chat = &self.0.chat;
        let shown = chat.uploaded(&format!("{}/{}", kind.0, name.0)).await?;
        let described =
            DownloadMetadata::inline(&shown.object, shown.size_bytes, shown.mimetype.clone(), FileAudience::Everybody);
        let described = if shown.inline { described } else { described.as_attachment(None) };
        FileReply::read(described.modified_at(shown.put_at), &wish, async |part| {
            Ok(Body::from_bytes_stream(chat.uploaded_bytes(&shown, part).await?))
        })
        .await
    }
}
