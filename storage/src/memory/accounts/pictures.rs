//! In-memory profile pictures.

use std::sync::Arc;

use async_trait::async_trait;
use imbl::OrdMap;

use crate::{
    Picture, Pictures, Result, Timestamp, UserId, WritePictures,
    memory::{Memory, MemoryTx},
};

pub(crate) type Table = OrdMap<UserId, Arc<Picture>>;

#[async_trait]
impl Pictures for Memory {
    async fn picture(&self, user: UserId) -> Result<Option<Picture>> {
        Ok(self.snapshot()?.pictures.get(&user).map(|picture| Picture::clone(picture)))
    }
}

#[async_trait]
impl WritePictures for MemoryTx {
    async fn set_picture(&mut self, user: UserId, png: &[u8], at: Timestamp) -> Result<()> {
        self.draft.users.expect_user(user)?;
        self.draft.pictures.insert(user, Arc::new(Picture { png: png.into(), set_at: at }));
        Ok(())
    }
}
