use async_trait::async_trait;

use crate::{Result, Timestamp, UserId};

/// What a user looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The bytes of a PNG.
    pub png: Vec<u8>,
    pub set_at: Timestamp,
}

#[async_trait]
pub trait Pictures {
    async fn picture(&self, user: UserId) -> Result<Option<Picture>>;
}

#[async_trait]
pub trait WritePictures {
    /// Gives a user, who must exist, a picture in place of the one it had.
    async fn set_picture(&mut self, user: UserId, png: &[u8], at: Timestamp) -> Result<()>;
}
