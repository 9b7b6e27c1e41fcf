//! The marker: an object that names the workspace whose files a place holds. No other workspace keeps its files there, or its
//! sweep would delete these.

use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use uuid::Uuid;

use super::{Blobs, failed, is_unreachable};
use crate::chat::Result;

/// The marker's name. It lies beside the folders, where no file of anybody is called so.
pub const MARKER: &str = "dragoman-workspace";
/// A uuid with a line break is shorter.
const MARKER_BYTES: u64 = 64;

impl Blobs {
    /// The workspace that owns the place; `None` if the marker names none. A place without a marker becomes `workspace`'s, also
    /// one that holds files: releases before the marker left none, so they are this store's as far as anybody can tell. Of two
    /// who claim a place at once, both are told the same owner.
    pub async fn claim(&self, workspace: Uuid) -> Result<Option<Uuid>> {
        let text = match self.marker().await? {
            Some(text) if !text.is_empty() => text,
            found => {
                // A power cut can leave it empty.
                let mode = if found.is_none() { PutMode::Create } else { PutMode::Overwrite };
                self.mark(workspace, mode).await?;
                // Read back: another may have been first, or the store knows no conditions.
                self.marker().await?.unwrap_or_default()
            }
        };
        Ok(text.parse().ok())
    }

    /// The marker's text; of anything too long to be one, nothing that names a workspace.
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
            // Some buckets know no conditions, and some file systems no hard links.
            Err(_) => put(PutMode::Overwrite).await.map(drop).map_err(failed),
        }
    }
}
