//! Pictures of a session's users (`/im_chat/image`).

use bytes::Bytes;
use poem::Body;
use poem_openapi::{ApiResponse, OpenApi, param::Path};
use storage::{Picture, Timestamp, UserId};

use super::{Tag, params};
use crate::{
    auth,
    web::{
        AppContext,
        download::{DownloadMetadata, FileAudience, FileReply, RangeNotSatisfiable, RangeRequest},
        lenient::PathInt,
        session::Session,
    },
};

/// PNG of one transparent pixel, for users without a picture and for pictures that the caller may not see.
const PIXEL: &[u8] = include_bytes!("pixel.png");

pub(super) struct PicturesApi(pub(super) AppContext);

/// Failure of a download of a picture.
#[derive(ApiResponse)]
enum PictureFailure {
    /// The picture does not have the requested range; `Content-Range` gives its size.
    #[oai(status = 416)]
    Beyond(#[oai(header = "Content-Range")] String),
}

impl From<RangeNotSatisfiable> for PictureFailure {
    fn from(beyond: RangeNotSatisfiable) -> Self {
        Self::Beyond(beyond.content_range())
    }
}

#[OpenApi(prefix_path = "/im_chat", tag = "Tag::ImChat")]
impl PicturesApi {
    /// Returns the picture of a user in a session
    ///
    /// As PNG: a transparent pixel if the user has no picture, or if the user or the caller is not in the session.
    #[oai(
        path = "/image/:uuid/:uid",
        method = "get",
        operation_id = "im_chat_image",
        request_header(name = "If-None-Match", ty = "Option<String>")
    )]
    async fn image(
        &self,
        uuid: Path<String>,
        uid: Path<PathInt>,
        wish: RangeRequest,
        session: Session,
    ) -> Result<FileReply, PictureFailure> {
        let picture = match session.login_result() {
            Ok(login) => self.find(login, &uuid.0, UserId(uid.0.0)).await,
            Err(_) => None,
        };
        // The pixel never changes.
        let (picture, since) = match picture {
            Some(Picture { png, set_at }) => (Bytes::from(png), set_at),
            None => (Bytes::from_static(PIXEL), Timestamp::UNIX_EPOCH),
        };
        let described =
            DownloadMetadata::inline(&picture, picture.len() as u64, "image/png", FileAudience::Reader).modified_at(since);
        FileReply::read(described, &wish, async |part| {
            let whole = 0..picture.len() as u64;
            let part = part.unwrap_or(whole);
            // The range lies within the picture, whose length is a `usize`.
            Ok(Body::from_bytes(picture.slice(part.start as usize..part.end as usize)))
        })
        .await
    }
}

impl PicturesApi {
    async fn find(&self, caller: &auth::Caller, uuid: &str, user: UserId) -> Option<Picture> {
        let (session, _) = self.0.chat.conversation_by_uuid(caller, params::uuid(uuid)?).await.ok()?;
        self.0.chat.picture(&session, user).await.ok()?
    }
}
