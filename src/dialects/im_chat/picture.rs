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

/// A PNG of one transparent pixel, for whoever has no picture or shows it to others only.
const PIXEL: &[u8] = include_bytes!("pixel.png");

pub(super) struct Pictures(pub(super) House);

/// Why there is no picture.
#[derive(ApiResponse)]
enum Refused {
    /// The picture has no such part; `Content-Range` says how large it is.
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
    /// What a user in a session looks like
    ///
    /// As a PNG: a transparent pixel if the user has no picture, or is nobody whom the caller meets in this session.
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
        // A pixel has been the same for ever.
        let (picture, since) = match picture {
            Some(Picture { png, set_at }) => (Bytes::from(png), set_at),
            None => (Bytes::from_static(PIXEL), Timestamp::UNIX_EPOCH),
        };
        let described = Described::shown(&picture, picture.len() as u64, "image/png", Audience::Reader).since(since);
        FileReply::read(described, &wish, async |part| {
            let whole = 0..picture.len() as u64;
            let part = part.unwrap_or(whole);
            // A part lies within what there is, whose length is a `usize`.
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
