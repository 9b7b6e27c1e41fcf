use async_trait::async_trait;

use crate::{Result, UserId};

#[async_trait]
pub trait Pictures {
    /// What a user looks like, as the bytes of a PNG.
    async fn picture(&self, user: UserId) -> Result<Option<Vec<u8>>>;
}

#[async_trait]
pub trait WritePictures {
    /// Gives a user, who must exist, a picture in place of the one it had.
    async fn set_picture(&mut self, user: UserId, png: &[u8]) -> Result<()>;
}
