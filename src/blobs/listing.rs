//! Inventory of the object store for the orphan sweep: lists the names of objects and of parts of unfinished uploads, and deletes
//! them.

use std::{
    io::ErrorKind,
    path::{Path as Directory, PathBuf},
};

use futures_util::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{ObjectMeta, path::Path};
use storage::Timestamp;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{BlobError, Blobs, FOLDER, StoreKind, error::Result, failed};
use crate::error::chain;

/// Chunk size: the most names in a chunk.
const CHUNK: usize = 1_000;

/// A chunk of the inventory, without names that this server does not make.
#[derive(Default)]
pub struct InventoryChunk {
    /// Number of objects and parts, young and old.
    pub all: usize,
    /// Names of those last written before the given time.
    pub old: Vec<String>,
}

/// Folders besides that of attachments, and the form of the names in them.
#[derive(Clone)]
pub struct Folders {
    pub names: Vec<String>,
    pub is_file: fn(&str) -> bool,
}

impl Blobs {
    /// Lists `folders` and the folder of attachments, chunk by chunk. Parts in a bucket are not listed: they are no objects, and
    /// only the bucket's own lifecycle rule can delete them.
    pub fn list(&self, folders: Folders, before: Timestamp) -> BoxStream<'_, Result<InventoryChunk>> {
        match &self.kind {
            StoreKind::Memory => stream::empty().boxed(),
            // Clients cannot upload to a directory directly, so the other folders are empty.
            StoreKind::Directory(root) => list_directory(root.join(FOLDER), before).boxed(),
            StoreKind::Bucket(_) => self.list_bucket(folders, before).boxed(),
        }
    }

    fn list_bucket(&self, folders: Folders, before: Timestamp) -> impl Stream<Item = Result<InventoryChunk>> {
        let Folders { names, is_file } = folders;
        let ours = move |location: &str, folder: &str| {
            let file = location.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
            file.is_some_and(if folder == FOLDER { is_object } else { is_file })
        };
        stream::iter(std::iter::once(FOLDER.to_owned()).chain(names)).flat_map(move |folder| {
            self.store.list(Some(&Path::from(folder.as_str()))).map_err(failed).chunks(CHUNK).map(move |found| {
                let found: Vec<ObjectMeta> = found.into_iter().collect::<Result<_>>()?;
                let mut listed = InventoryChunk::default();
                for object in found.into_iter().filter(|object| ours(object.location.as_ref(), &folder)) {
                    listed.add(object.location.into(), object.last_modified < before);
                }
                Ok(listed)
            })
        })
    }

    /// Deletes objects and parts, and returns the number deleted. A failure is logged; it costs only disk space.
    pub async fn delete_listed(&self, names: Vec<String>) -> usize {
        let outcomes = match &self.kind {
            // Not through the object store, which refuses names of parts.
            StoreKind::Directory(root) => stream::iter(names).then(|name| remove(root.join(name))).boxed(),
            StoreKind::Memory | StoreKind::Bucket(_) => {
                let paths = stream::iter(names.into_iter().map(|name| Ok(Path::from(name)))).boxed();
                self.store.delete_stream(paths).map(|outcome| outcome.map(|_| true).or_else(or_absent)).boxed()
            }
        };
        let outcomes: Vec<Result<bool>> = outcomes.collect().await;
        let failures = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        if let Some(error) = failures.clone().next() {
            let stay = failures.count();
            tracing::warn!(stay, error = %chain(error), "orphans not deleted");
        }
        outcomes.iter().filter(|outcome| matches!(outcome, Ok(true))).count()
    }
}

/// Removes a file; `false` if there was none.
async fn remove(file: PathBuf) -> Result<bool> {
    match tokio::fs::remove_file(file).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        outcome => outcome.map(|()| true).map_err(BlobError::internal),
    }
}

fn or_absent(error: object_store::Error) -> Result<bool> {
    if matches!(error, object_store::Error::NotFound { .. }) { Ok(false) } else { Err(failed(error)) }
}

impl InventoryChunk {
    fn add(&mut self, name: String, is_old: bool) {
        self.all += 1;
        if is_old {
            self.old.push(name);
        }
    }
}

/// Lists a directory without the object store, which omits parts and fails at a name that is not UTF-8.
fn list_directory(directory: PathBuf, before: Timestamp) -> impl Stream<Item = Result<InventoryChunk>> {
    stream::try_unfold(None, move |entries| {
        let directory = directory.clone();
        async move {
            let look = move || next_chunk(&directory, entries, before);
            match spawn_blocking(look).await {
                Ok(looked) => looked.map_err(BlobError::internal),
                Err(error) => Err(BlobError::internal(error)),
            }
        }
    })
}

/// Reads the next chunk of a directory; the first one if `entries` is `None`.
fn next_chunk(
    directory: &Directory,
    entries: Option<std::fs::ReadDir>,
    before: Timestamp,
) -> std::io::Result<Option<(InventoryChunk, Option<std::fs::ReadDir>)>> {
    let mut entries = match entries {
        Some(entries) => entries,
        None => match std::fs::read_dir(directory) {
            // Without an upload, there is no directory yet.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            entries => entries?,
        },
    };
    let mut listed = InventoryChunk::default();
    let mut looked = 0;
    for entry in entries.by_ref().take(CHUNK) {
        let entry = entry?;
        looked += 1;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_object(name) || is_part(name)) else { continue };
        let metadata = match entry.metadata() {
            // Deleted meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_file() {
            listed.add(format!("{FOLDER}/{name}"), Timestamp::from(metadata.modified()?) < before);
        }
    }
    Ok((looked > 0).then_some((listed, Some(entries))))
}

/// True if a file in the folder of attachments has the name of an object.
fn is_object(file: &str) -> bool {
    Uuid::try_parse(file).is_ok_and(|uuid| uuid.simple().to_string() == file)
}

/// True if it has the name of a staging file: the object store writes to it until all bytes are there, and a killed process
/// leaves it behind.
fn is_part(file: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    file.split_once('#').is_some_and(|(object, number)| is_object(object) && is_number(number))
}
