//! Dumps of a store in memory: there are none, since it ends with its process.

use std::path::Path;

use async_trait::async_trait;

use crate::{Dump, Dumps, Error, Result, RowCounts, memory::Memory};

#[async_trait]
impl Dumps for Memory {
    async fn dump(&self, _file: &Path) -> Result<Box<dyn Dump>> {
        Err(Error::Internal("a store in memory has no dump".into()))
    }

    async fn row_counts(&self) -> Result<RowCounts> {
        let state = self.snapshot()?;
        let count = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX);
        let (conversations, messages) = state.conversations.counts();
        let users = count(state.users.all().count());
        Ok(RowCounts { users, conversations: count(conversations), messages: count(messages) })
    }
}
