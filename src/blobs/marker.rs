//! Owner marker: an object that names the workspace whose files the store holds. No other workspace may keep files there, or its
//! orphan sweep would delete these.

use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use uuid::Uuid;

use super::error::Result;
use super::{Blobs, failed, is_unreachable};

/// Name of the marker, which lies beside the folders.
pub const MARKER: &str = "dragoman-workspace";
/// Upper limit of its size: a uuid with a line break is shorter.
const MARKER_BYTES: u64 = 64;

impl Blobs {
    /// Claims the store for `workspace`, and returns its owner; `None` if the marker names no workspace. A store without a marker
    /// becomes `workspace`'s, even one with files: earlier releases wrote no marker. Of two concurrent claims, both get the same
    /// owner.
    pub async fn claim(&self, workspace: Uuid) -> Result<Option<Uuid>> {
        let text = match self.marker().await? {
            Some(text) if !text.is_empty() => text,
            found => {
                // A power failure can leave it empty.
                let mode = if found.is_none() { PutMode::Create } else { PutMode::Overwrite };
                self.mark(workspace, mode).await?;
                // Read back: another claim may have been first, or the store lacks conditional writes.
                self.marker().await?.unwrap_or_default()
            }
        };
        Ok(text.parse().ok())
    }

    /// The workspace that owns the store; `None` if it has no marker, or one that names no workspace.
    pub async fn owner(&self) -> Result<Option<Uuid>> {
        Ok(self.marker().await?.and_then(|text| text.parse().ok()))
    }

    /// Gives the store to `workspace`, whosever it was.
    pub async fn hand_over(&self, workspace: Uuid) -> Result<()> {
        self.mark(workspace, PutMode::Overwrite).await
    }

    /// Text of the marker; a text that names no workspace if the object is too long.
    async fn marker(&self) -> Result<Option<String>> {
        let found = match self.store.get(&Path::from(MARKER)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(failed)?,
        };
        if found.meta.size > MARKER_BYTES {
            return Ok(Some("something else".into()));
        }
        let bytes = found.bytes().await.map_err(failed)?;
        Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()))
    }

    async fn mark(&self, workspace: Uuid, mode: PutMode) -> Result<()> {
        let put = async |mode: PutMode| {
            let options = PutOptions { mode, ..PutOptions::default() };
            self.store.put_opts(&Path::from(MARKER), PutPayload::from(format!("{workspace}\n")), options).await
        };
        match put(mode).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) if is_unreachable(&error) => Err(failed(error)),
            // Some buckets lack conditional writes, and some file systems lack hard links.
            Err(_) => put(PutMode::Overwrite).await.map(drop).map_err(failed),
        }
    }
}
