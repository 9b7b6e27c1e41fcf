//! The bytes of attachments, in an object store: a local directory, memory, or a bucket.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt};
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload, aws::AmazonS3Builder, local::LocalFileSystem, memory::InMemory, path::Path,
};
use uuid::Uuid;

use crate::{
    chat::{Error, FileBytes, Result},
    lifecycle::Lifecycle,
    telemetry,
};

/// How much is handed to the object store at a time; S3 takes no smaller part but the last.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// How much of a file is looked at to tell its type.
const SNIFFED_BYTES: usize = 8 * 1024;

/// The object store. Clones are handles to the same one.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    lifecycle: Lifecycle,
}

/// What is known of bytes that were put.
pub struct Stored {
    /// The object's name: plain ASCII and unguessable.
    pub object: String,
    /// As the content says, whatever the sender called it.
    pub mimetype: &'static str,
    pub size_bytes: i64,
}

impl Blobs {
    /// Opens `memory:`, `file:<directory>` (made if it is missing) or `s3://<bucket>/<prefix>`, whose credentials,
    /// region and endpoint come from the environment as `AWS_...`.
    pub fn open(address: &str, lifecycle: &Lifecycle) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let store: Arc<dyn ObjectStore> = match address.split_once(':') {
            Some(("memory", "")) => Arc::new(InMemory::new()),
            Some(("file", directory)) => {
                std::fs::create_dir_all(directory)?;
                Arc::new(LocalFileSystem::new_with_prefix(directory)?.with_automatic_cleanup(true))
            }
            Some(("s3", rest)) => {
                // The provider is one for the whole process; that it is there already is fine.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let (bucket, prefix) = rest.trim_start_matches('/').split_once('/').unwrap_or((rest.trim_start_matches('/'), ""));
                let s3 = AmazonS3Builder::from_env().with_bucket_name(bucket).build()?;
                Arc::new(object_store::prefix::PrefixStore::new(s3, prefix))
            }
            _ => return Err("must be memory:, file:<directory> or s3://<bucket>".into()),
        };
        Ok(Self { store, lifecycle: lifecycle.clone() })
    }

    /// Stores bytes as they come, never more than a part of them in memory. Leaves nothing behind if it fails or is
    /// cancelled.
    pub async fn put(
        &self,
        mut bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
        limit_bytes: u64,
    ) -> Result<Stored> {
        let object = format!("attachments/{}", Uuid::new_v4().simple());
        let path = Path::from(object.as_str());
        let mut upload = None;
        let mut part = BytesMut::new();
        let mut mimetype = None;
        let mut size: u64 = 0;
        let broken = || Error::Invalid { field: "file", reason: "did not arrive whole".into() };
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|_| broken())?;
            size += piece.len() as u64;
            if size > limit_bytes {
                return Err(Error::TooLarge { limit_bytes });
            }
            part.extend_from_slice(&piece);
            if part.len() >= SNIFFED_BYTES {
                mimetype.get_or_insert_with(|| sniff(&part));
            }
            if part.len() >= PART_BYTES {
                let upload = match &mut upload {
                    Some(upload) => upload,
                    None => upload
                        .insert(Unfinished(Some(self.store.put_multipart(&path).await.map_err(failed)?), self.lifecycle.clone())),
                };
                upload.part(part.split().freeze()).await?;
            }
        }
        let mimetype = mimetype.unwrap_or_else(|| sniff(&part));
        match upload {
            // Small files, nearly all, need no parts.
            None => drop(self.store.put(&path, PutPayload::from(part.freeze())).await.map_err(failed)?),
            Some(mut upload) => {
                if !part.is_empty() {
                    upload.part(part.freeze()).await?;
                }
                upload.complete().await?;
            }
        }
        Ok(Stored { object, mimetype, size_bytes: i64::try_from(size).expect("limited above") })
    }

    /// The bytes of an object, as they are read.
    pub async fn get(&self, object: &str) -> Result<FileBytes> {
        match self.store.get(&Path::from(object)).await {
            Ok(found) => Ok(found.into_stream().map_err(std::io::Error::other).boxed()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Deletes an object soon; that it fails is logged, and costs only room.
    pub fn delete_later(&self, object: String) {
        let store = Arc::clone(&self.store);
        self.lifecycle.spawn(async move {
            if let Err(error) = store.delete(&Path::from(object.as_str())).await {
                tracing::warn!(object, error = %telemetry::chain(&error), "an object could not be deleted");
            }
        });
    }
}

/// An upload in parts that is aborted if it is not completed.
struct Unfinished(Option<Box<dyn object_store::MultipartUpload>>, Lifecycle);

impl Unfinished {
    async fn part(&mut self, bytes: Bytes) -> Result<()> {
        let upload = self.0.as_mut().expect("only completing takes it");
        upload.put_part(PutPayload::from(bytes)).await.map_err(failed)
    }

    async fn complete(mut self) -> Result<()> {
        let upload = self.0.as_mut().expect("only completing takes it");
        upload.complete().await.map_err(failed)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(mut upload) = self.0.take() {
            self.1.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(error = %telemetry::chain(&error), "an unfinished upload could not be aborted");
                }
            });
        }
    }
}

fn failed(error: object_store::Error) -> Error {
    Error::internal(error)
}

/// A file's type by its first bytes: a known format, else text, else unknown.
fn sniff(first: &[u8]) -> &'static str {
    if first.is_empty() {
        return "application/octet-stream";
    }
    if let Some(kind) = infer::get(first) {
        return kind.mime_type();
    }
    let head = &first[..first.len().min(SNIFFED_BYTES)];
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        // A character cut in two at the end is no reason to doubt.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    match text {
        Some(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => "text/plain",
        _ => "application/octet-stream",
    }
}
