//! Objects under names that are given: read for a backup, and written from one.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt};
use object_store::{Attribute, Attributes, GetOptions, ObjectStoreExt, buffered::BufWriter, path::Path};
use tokio::io::{AsyncRead, AsyncWriteExt};

use super::{BlobError, Blobs, FileBytes, MARKER, StoreKind, error::Result, failed, is_missing};

/// An object to be read.
pub struct OpenObject {
    pub size_bytes: u64,
    /// Content type, in a bucket into which clients put files themselves.
    pub content_type: Option<String>,
    pub bytes: FileBytes,
}

/// True for a name under which an object may be written: it leads to no other place, and not to the marker.
pub fn is_object_name(name: &str) -> bool {
    name != MARKER && !name.is_empty() && Path::parse(name).is_ok_and(|path| path.as_ref() == name)
}

impl Blobs {
    /// Opens an object; `None` if there is none of that name.
    pub async fn open_object(&self, object: &str) -> Result<Option<OpenObject>> {
        let found = match self.store.get_opts(&Path::from(object), GetOptions::default()).await {
            Err(error) if is_missing(&error) => return Ok(None),
            found => found.map_err(failed)?,
        };
        let content_type = found.attributes.get(&Attribute::ContentType).map(|value| value.as_ref().to_owned());
        let size_bytes = found.meta.size;
        Ok(Some(OpenObject { size_bytes, content_type, bytes: found.into_stream().map_err(std::io::Error::other).boxed() }))
    }

    /// Writes an object of that name, with at most two parts in memory. An object that is there already is replaced.
    ///
    /// # Errors
    /// [`BlobError::Incomplete`] for a name that no object may have.
    ///
    /// # Cancel safety
    /// An error leaves nothing behind. A dropped call may leave a part, which the orphan sweep deletes.
    pub async fn put_object(
        &self,
        object: &str,
        content_type: Option<String>,
        bytes: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<()> {
        let path = Path::parse(object).map_err(|_| BlobError::Incomplete)?;
        let mut writer = BufWriter::with_capacity(Arc::clone(&self.store), path, self.part_bytes).with_max_concurrency(1);
        // A directory keeps none.
        if let (StoreKind::Bucket(_), Some(content_type)) = (&self.kind, content_type) {
            let mut attributes = Attributes::new();
            attributes.insert(Attribute::ContentType, content_type.into());
            writer = writer.with_attributes(attributes);
        }
        if let Err(error) = tokio::io::copy(bytes, &mut writer).await {
            writer.abort().await.map_err(failed)?;
            return Err(BlobError::internal(error));
        }
        writer.shutdown().await.map_err(BlobError::internal)
    }

    /// Size of an object in bytes; `None` if there is none of that name.
    pub async fn object_size(&self, object: &str) -> Result<Option<u64>> {
        match self.store.head(&Path::from(object)).await {
            Err(error) if is_missing(&error) => Ok(None),
            found => Ok(Some(found.map_err(failed)?.size)),
        }
    }

    /// True if there is none of these objects. Asks for one after another, until there is one.
    ///
    /// # Errors
    /// [`BlobError::Unavailable`] if the store does not answer within `limit`.
    pub async fn are_missing(&self, objects: &[String], limit: Duration) -> Result<bool> {
        let looked = async {
            for object in objects {
                if self.object_size(object).await?.is_some() {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let late = |_| Err(BlobError::late());
        tokio::time::timeout(limit, looked).await.unwrap_or_else(late)
    }
}
