//! Object store for the bytes of attachments: a local directory, memory, or a bucket (S3).

mod error;
mod listing;
mod marker;
mod transfer;

use std::{collections::HashSet, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt, stream::BoxStream};
use hyper::{
    Method,
    header::{CONTENT_TYPE, HeaderValue},
};
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{HttpError, HttpErrorKind},
    local::LocalFileSystem,
    memory::InMemory,
    path::Path,
    prefix::PrefixStore,
    signer::{SignedUrlOptions, Signer},
};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use uuid::Uuid;

pub use error::BlobError;
pub use listing::{Folders, InventoryChunk};
pub use marker::MARKER;
pub use transfer::{OpenObject, is_object_name};

use crate::{error::chain, lifecycle::Lifecycle, shares::Charge};
use error::Result;

/// Bytes of a file, streamed.
pub type FileBytes = BoxStream<'static, std::io::Result<Bytes>>;

/// Folder of the files that are uploaded through this server.
const FOLDER: &str = "attachments";

/// Part size of a multipart upload to a bucket; S3 takes no smaller part except the last.
pub const BUCKET_PART_BYTES: usize = 5 * 1024 * 1024;
/// Part size for any other store. Each upload holds at most this much memory, however slow the client.
const PART_BYTES: usize = 256 * 1024;
/// Bytes of a file for detecting its type.
const SNIFFED_BYTES: usize = 8 * 1024;
/// Bytes of a file for reading a picture's dimensions; cameras write preview and profile before them.
const PICTURE_HEAD_BYTES: usize = PART_BYTES;
/// Read time-out of a bucket: the longest silence. The whole request has no limit, since files are large and some readers slow.
const BUCKET_READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Deadline for retries of a request to a bucket.
const BUCKET_RETRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Error code of S3 for a missing bucket, as opposed to a missing object.
const NO_BUCKET: &str = "NoSuchBucket";
/// Maximum number of missing objects that are logged by name.
const MISSING_NAMED: usize = 1_000;

/// The object store. Clones are handles to the same one.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    kind: StoreKind,
    part_bytes: usize,
    lifecycle: Lifecycle,
    /// Missing objects that are logged already.
    missing: Arc<Mutex<HashSet<String>>>,
}

/// Kind of the object store.
#[derive(Clone)]
enum StoreKind {
    Memory,
    Directory(PathBuf),
    /// A bucket, which clients can reach directly through signed URLs.
    Bucket(Arc<dyn Signer>),
}

/// URLs of an object for direct access by clients.
pub struct SignedUrls {
    /// Signed URL for the upload: it expires, and fixes the content type.
    pub put: String,
    pub get: String,
}

/// Properties of a stored file.
pub struct StoredBlob {
    /// Name of the object: plain ASCII and unguessable.
    pub object: String,
    /// Type detected from the content, whatever the client declared.
    pub mimetype: &'static str,
    pub size_bytes: i64,
    /// Width and height in pixels of a picture whose header has them.
    pub dimensions: Option<(i32, i32)>,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
}

impl Blobs {
    /// Opens `memory:`, `file:<directory>` (created if missing) or `s3://<bucket>/<prefix>`, whose credentials, region and
    /// endpoint come from the environment as `AWS_...`.
    pub fn open(address: &str, lifecycle: &Lifecycle) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let (store, kind): (Arc<dyn ObjectStore>, _) = match address.split_once(':') {
            Some(("memory", "")) => (Arc::new(InMemory::new()), StoreKind::Memory),
            Some(("file", directory)) => {
                std::fs::create_dir_all(directory)?;
                let store = LocalFileSystem::new_with_prefix(directory)?.with_automatic_cleanup(true);
                (Arc::new(store), StoreKind::Directory(directory.into()))
            }
            Some(("s3", rest)) => {
                let rest = rest.trim_start_matches('/');
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let bucket = Arc::new(PrefixStore::new(open_bucket(bucket)?, prefix));
                (Arc::clone(&bucket) as _, StoreKind::Bucket(bucket))
            }
            _ => return Err("must be memory:, file:<directory> or s3://<bucket>".into()),
        };
        let part_bytes = if matches!(kind, StoreKind::Bucket(_)) { BUCKET_PART_BYTES } else { PART_BYTES };
        Ok(Self { store, kind, part_bytes, lifecycle: lifecycle.clone(), missing: Arc::default() })
    }

    /// Stores a stream with at most one part in memory, which `charge` accounts for.
    ///
    /// # Errors
    /// [`BlobError::NoMemory`] if the memory share for bodies is used up, [`BlobError::TooLarge`] above `limit_bytes`, [`BlobError::Incomplete`]
    /// if the stream fails.
    ///
    /// # Cancel safety
    /// An error leaves nothing behind. A cancelled upload is aborted in the background.
    pub async fn put(
        &self,
        bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
        limit_bytes: u64,
        charge: Charge,
    ) -> Result<StoredBlob> {
        let mut upload = None;
        let stored = self.put_as_it_comes(bytes, limit_bytes, charge, &mut upload).await;
        if let Some(unfinished) = upload {
            unfinished.abort().await;
        }
        stored
    }

    /// Sets `upload` while a multipart upload is unfinished.
    async fn put_as_it_comes(
        &self,
        mut bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin,
        limit_bytes: u64,
        mut charge: Charge,
        upload: &mut Option<UnfinishedUpload>,
    ) -> Result<StoredBlob> {
        let object = format!("{FOLDER}/{}", Uuid::new_v4().simple());
        let path = Path::from(object.as_str());
        let mut part = BytesMut::new();
        let (mut mimetype, mut measured) = (None, None);
        let mut size: u64 = 0;
        let mut sha256 = Sha256::new();
        let broken = || BlobError::Incomplete;
        while let Some(piece) = bytes.next().await {
            let piece = piece.map_err(|_| broken())?;
            size += piece.len() as u64;
            if size > limit_bytes {
                return Err(BlobError::TooLarge { limit_bytes });
            }
            sha256.update(&piece);
            charge.set(part.len() + piece.len()).map_err(|_| BlobError::NoMemory)?;
            part.extend_from_slice(&piece);
            if part.len() >= SNIFFED_BYTES {
                mimetype.get_or_insert_with(|| sniff(&part));
            }
            if part.len() >= PICTURE_HEAD_BYTES {
                measured.get_or_insert_with(|| dimensions(&part));
            }
            if part.len() >= self.part_bytes {
                let begun = match upload {
                    Some(begun) => begun,
                    None => {
                        let begun = self.store.put_multipart(&path).await.map_err(failed)?;
                        upload.insert(UnfinishedUpload(Some(begun), self.lifecycle.clone()))
                    }
                };
                begun.part(part.split().freeze()).await?;
                charge = charge.another();
            }
        }
        let mimetype = mimetype.unwrap_or_else(|| sniff(&part));
        let dimensions = measured.unwrap_or_else(|| dimensions(&part)).filter(|_| mimetype.starts_with("image/"));
        match upload {
            // Small files, which are nearly all, need no multipart upload.
            None => drop(self.store.put(&path, PutPayload::from(part.freeze())).await.map_err(failed)?),
            Some(begun) => {
                if !part.is_empty() {
                    begun.part(part.freeze()).await?;
                }
                begun.complete().await?;
                *upload = None;
            }
        }
        let size_bytes = i64::try_from(size).expect("limited above");
        Ok(StoredBlob { object, mimetype, size_bytes, dimensions, sha256: hex::encode(sha256.finalize()) })
    }

    /// Reads an object as a stream: all of it, or a non-empty range within it.
    pub async fn get(&self, object: &str, part: Option<Range<u64>>) -> Result<FileBytes> {
        let options = GetOptions { range: part.map(GetRange::Bounded), ..GetOptions::default() };
        match self.store.get_opts(&Path::from(object), options).await {
            Ok(found) => Ok(found.into_stream().map_err(std::io::Error::other).boxed()),
            Err(error) if is_missing(&error) => {
                self.warn_of_missing(object);
                Err(BlobError::NotFound)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Warns once of each object that a row names and the store lacks; of many, as after a restore without the files, only of the
    /// first.
    fn warn_of_missing(&self, object: &str) {
        let mut missing = self.missing.lock();
        if missing.len() < MISSING_NAMED && missing.insert(object.to_owned()) {
            tracing::warn!(object, "object missing: its row is in the store; check the setting `files`");
        }
    }

    /// True if clients can upload and download objects directly.
    pub fn has_direct_access(&self) -> bool {
        matches!(self.kind, StoreKind::Bucket(_))
    }

    /// URLs for direct upload and download of an object with this content type; `None` if clients cannot reach the store.
    pub async fn signed_urls(&self, object: &str, mimetype: &str, lifetime: Duration) -> Result<Option<SignedUrls>> {
        let StoreKind::Bucket(signer) = &self.kind else { return Ok(None) };
        let mimetype = HeaderValue::from_str(mimetype).map_err(BlobError::internal)?;
        let options = SignedUrlOptions::new().with_signed_header(CONTENT_TYPE, mimetype);
        let put = signer.signed_url_opts(Method::PUT, &Path::from(object), lifetime, &options).await.map_err(failed)?;
        let mut get = put.clone();
        get.set_query(None);
        Ok(Some(SignedUrls { put: put.into(), get: get.into() }))
    }

    /// Deletes an object, if it exists. A failure is logged; it costs only disk space.
    pub async fn delete(&self, object: &str) {
        match self.store.delete(&Path::from(object)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => tracing::warn!(object, error = %chain(&error), "object not deleted"),
        }
    }

    /// Deletes an object in the background.
    pub fn delete_later(&self, object: String) {
        let blobs = self.clone();
        self.lifecycle.spawn(async move { blobs.delete(&object).await });
    }
}

/// Opens a bucket with credentials, region and endpoint from the environment (`AWS_...`).
fn open_bucket(name: &str) -> object_store::Result<AmazonS3> {
    // The provider is process-wide; an error means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = ClientOptions::new()
        // An endpoint without TLS is the operator's choice.
        .with_allow_http(true)
        .with_timeout_disabled()
        .with_read_timeout(BUCKET_READ_TIMEOUT);
    let retry = RetryConfig { max_retries: 3, retry_timeout: BUCKET_RETRY_TIMEOUT, ..RetryConfig::default() };
    let settings = std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let builder = settings
        .filter(|(key, _)| key.starts_with("AWS_"))
        .filter_map(|(key, value)| Some((key.to_ascii_lowercase().parse().ok()?, value)))
        .fold(AmazonS3Builder::new().with_client_options(client), |builder, (key, value)| builder.with_config(key, value));
    builder.with_retry(retry).with_bucket_name(name).build()
}

/// A multipart upload that is aborted unless it is completed.
struct UnfinishedUpload(Option<Box<dyn object_store::MultipartUpload>>, Lifecycle);

impl UnfinishedUpload {
    async fn part(&mut self, bytes: Bytes) -> Result<()> {
        let upload = self.0.as_mut().expect("taken only on completion");
        upload.put_part(PutPayload::from(bytes)).await.map_err(failed)
    }

    async fn complete(&mut self) -> Result<()> {
        let upload = self.0.as_mut().expect("taken only on completion");
        upload.complete().await.map_err(failed)?;
        self.0 = None;
        Ok(())
    }

    async fn abort(mut self) {
        if let Some(upload) = self.0.take() {
            abort(upload).await;
        }
    }
}

impl Drop for UnfinishedUpload {
    fn drop(&mut self) {
        let Self(upload, services) = self;
        if let Some(upload) = upload.take() {
            services.spawn(abort(upload));
        }
    }
}

async fn abort(mut upload: Box<dyn object_store::MultipartUpload>) {
    if let Err(error) = upload.abort().await {
        tracing::warn!(error = %chain(&error), "unfinished multipart upload not aborted");
    }
}

fn failed(error: object_store::Error) -> BlobError {
    if is_unreachable(&error) { BlobError::Unavailable(Arc::new(error)) } else { BlobError::internal(error) }
}

/// True if there is no such object. A missing bucket is an error of the installation, and says nothing about its objects.
fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && !chain(error).to_string().contains(NO_BUCKET)
}

/// True if the bucket did not answer at all.
fn is_unreachable(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return matches!(error.kind(), HttpErrorKind::Connect | HttpErrorKind::Timeout | HttpErrorKind::Interrupted);
        }
        cause = error.source();
    }
    false
}

/// Width and height from a picture's header.
fn dimensions(first: &[u8]) -> Option<(i32, i32)> {
    let size = imagesize::blob_size(&first[..first.len().min(PICTURE_HEAD_BYTES)]).ok()?;
    let pixels = |length: usize| i32::try_from(length).ok().filter(|length| *length > 0);
    Some((pixels(size.width)?, pixels(size.height)?))
}

/// Detects a file's type from its first bytes: a known format, else text, else unknown.
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
        // A character that the excerpt cuts in two is no reason against text.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    match text {
        Some(text) if !text.contains(|c: char| c.is_control() && !c.is_whitespace()) => "text/plain",
        _ => "application/octet-stream",
    }
}
