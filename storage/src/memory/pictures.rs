use std::sync::Arc;

use async_trait::async_trait;
use imbl::OrdMap;

use super::{Memory, MemoryTx};
use crate::{Pictures, Result, UserId, WritePictures};

pub(super) type Table = OrdMap<UserId, Arc<[u8]>>;

#[async_trait]
impl Pictures for Memory {
    async fn picture(&self, user: UserId) -> Result<Option<Vec<u8>>> {
        Ok(self.snapshot()?.pictures.get(&user).map(|png| png.to_vec()))
    }
}

#[async_trait]
impl WritePictures for MemoryTx {
    async fn set_picture(&mut self, user: UserId, png: &[u8]) -> Result<()> {
        self.draft.users.expect_user(user)?;
        self.draft.pictures.insert(user, png.into());
        Ok(())
    }
}
