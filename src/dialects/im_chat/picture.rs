use poem_openapi::{ApiResponse, OpenApi, param::Path, payload::Binary};
use storage::UserId;

use super::{Tag, params};
use crate::{
    auth,
    dialects::{House, loose::PathInt, session::Session},
};

/// A PNG of one transparent pixel, for whoever has no picture or shows it to others only.
const PIXEL: &[u8] = include_bytes!("pixel.png");

pub(super) struct Pictures(pub(super) House);

/// A picture, whatever was asked for.
#[derive(ApiResponse)]
enum Picture {
    /// The user's picture; a transparent pixel if it has none, or is nobody whom the caller meets in this session.
    #[oai(status = 200, content_type = "image/png")]
    Png(Binary<Vec<u8>>),
}

#[OpenApi(prefix_path = "/im_chat", tag = "Tag::ImChat")]
impl Pictures {
    /// What a user in a session looks like
    #[oai(path = "/image/:uuid/:uid", method = "get", operation_id = "im_chat_image")]
    async fn image(&self, uuid: Path<String>, uid: Path<PathInt>, session: Session) -> Picture {
        let picture = match session.outcome() {
            Ok(login) => self.find(login, &uuid.0, UserId(uid.0.0)).await,
            Err(_) => None,
        };
        Picture::Png(Binary(picture.unwrap_or_else(|| PIXEL.to_vec())))
    }
}

impl Pictures {
    async fn find(&self, caller: &auth::Caller, uuid: &str, user: UserId) -> Option<Vec<u8>> {
        let (session, _) = self.0.chat.conversation_by_uuid(caller, params::uuid(uuid)?).await.ok()?;
        self.0.chat.picture(&session, user).await.ok()?
    }
}
