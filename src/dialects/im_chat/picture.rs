//! Pictures of a session's users (`/im_chat/image`).

use bytes::Bytes;
use poem::Body;
use poem_openapi::{ApiResponse, OpenApi, param::Path};
use storage::{Picture, Timestamp, UserId};

use super::{Tag, params};
use crate::{
    auth,
    dialects::{
        House,
        download::{Audience, Beyond, Described, FileReply, Wish},
        loose::PathInt,
        session::Session,
    },
};

/// PNG of one transparent pixel, for users without a picture and for pictures that the caller may not see.
const PIXEL: &[u8] = include_bytes!("pixel.png");

pub(super) struct Pictures(pub(super) House);

/// Failure of a download of a picture.
#[derive(ApiResponse)]
enum Refused {
    /// The picture does not have the requested range; `Content-Range` gives its size.
    #[oai(status = 416)]
    Beyond(#[oai(header = "Content-Range")] String),
}

impl From<Beyond> for Refused {
    fn from(beyond: Beyond) -> Self {
        Self::Beyond(beyond.content_range())
    }
}

#[OpenApi(prefix_path = "/im_chat", tag = "Tag::ImChat")]
impl Pictures {
    /// Returns the picture of a user in a session
    ///
    /// As PNG: a transparent pixel if the user has no picture, or if the user or the caller is not in the session.
    #[oai(
        path = "/image/:uuid/:uid",
        method = "get",
        operation_id = "im_chat_image",
        request_header(name = "If-None-Match", ty = "Option<String>")
    )]
    async fn image(&self, uuid: Path<String>, uid: Path<PathInt>, wish: Wish, session: Session) -> Result<FileReply, Refused> {
        let picture = match session.outcome() {
            Ok(login) => self.find(login, &uuid.0, UserId(uid.0.0)).await,
            Err(_) => None,
        };
        // The pixel never changes.
        let (picture, since) = match picture {
            Some(Picture { png, set_at }) => (Bytes::from(png), set_at),
            None => (Bytes::from_static(PIXEL), Timestamp::UNIX_EPOCH),
        };
        let described = Described::shown(&picture, picture.len() as u64, "image/png", Audience::Reader).since(since);
        FileReply::read(described, &wish, async |part| {
            let whole = 0..picture.len() as u64;
            let part = part.unwrap_or(whole);
            // The range lies within the picture, whose length is a `usize`.
            Ok(Body::from_bytes(picture.slice(part.start as usize..part.end as usize)))
        })
        .await
    }
}

impl Pictures {
    async fn find(&self, caller: &auth::Caller, uuid: &str, user: UserId) -> Option<Picture> {
        let (session, _) = self.0.chat.conversation_by_uuid(caller, params::uuid(uuid)?).await.ok()?;
        self.0.chat.picture(&session, user).await.ok()?
    }
}
