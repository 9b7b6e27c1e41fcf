//! Dumps: the committed rows of a store at one moment, in a file; and their way back into an empty store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use uuid::Uuid;

use crate::{NamedObject, Result, Storage};

/// Time limit of a statement of a restored store, until it is finished: some read all rows.
pub(crate) const RESTORED_STATEMENT_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Number of rows of a store, of the kinds that an operator knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    pub users: i64,
    pub conversations: i64,
    pub messages: i64,
}

/// Dumps of a store. [`Storage`] states errors and cancel safety.
#[async_trait]
pub trait Dumps {
    /// Writes all committed rows to a file, while others read and write. An empty file of that name is written or replaced. Fails
    /// with `Internal` for a store in memory.
    async fn dump(&self, file: &Path) -> Result<Box<dyn Dump>>;
    /// Counts rows; reads all of them.
    async fn row_counts(&self) -> Result<RowCounts>;
}

/// Rows of a dump, which no later write changes.
///
/// # Errors
/// Those of [`Storage`].
///
/// # Cancel safety
/// A dropped call leaves nothing behind.
#[async_trait]
pub trait Dump: Send {
    /// Version of the schema.
    async fn schema(&mut self) -> Result<i64>;
    async fn row_counts(&mut self) -> Result<RowCounts>;
    /// Page of the objects, as [`Attachments::objects`](crate::Attachments::objects).
    async fn objects(&mut self, after: &str, limit: usize) -> Result<Vec<NamedObject>>;
}

/// Restoration of a dump into an empty store, which no other process may use meanwhile. No server starts on a store whose
/// restoration was begun and not finished, but another restoration may replace its rows.
///
/// # Errors
/// Those of [`Storage`]; `Internal` if the dump cannot be restored.
///
/// # Cancel safety
/// A dropped call leaves the restoration unfinished.
#[async_trait]
pub trait Restoration: Send {
    /// Version of the schema that this program makes: a dump of a newer one cannot be restored.
    fn schema(&self) -> i64;
    /// Workspace of the empty store that is replaced, if it has one.
    fn replaced(&self) -> Option<Uuid>;
    /// Reads the rows of a dump, and migrates them. Returns the store for further changes.
    async fn load(&mut self, dump: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Arc<dyn Storage>>;
    /// Puts the rows in the place of the store, durably.
    async fn finish(self: Box<Self>) -> Result<()>;
}
