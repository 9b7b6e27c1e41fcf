//! Backups: the rows of a store and the files that they name, in one tar archive; and their way back into an empty store.
//!
//! The rows come first, as they are at one moment. While a backup runs, its lease in the store keeps the bytes of files that are
//! deleted meanwhile.
//!
//! | member of the archive | is |
//! | --- | --- |
//! | `backup.json` | a description of the backup, with the digest of the rows |
//! | `dragoman.db`, or `dragoman.dump` for `pg_restore` | the rows |
//! | `files/...` | the files, each under the name of its object |
//! | `complete.json` | the digest of the files. An archive without it was cut off |

mod archive;
mod error;
mod lease;
mod restoration;
mod target;

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    sync::Arc,
};

use storage::{Dump, Storage};
use tokio::{runtime::Handle, task::spawn_blocking};
use tokio_util::io::{StreamReader, SyncIoBridge};

pub use error::BackupError;
pub use restoration::{EmptyStore, restore};

use crate::{blobs::Blobs, chat, clock};
use archive::{ArchiveWriter, Description, FORMAT, MemberDigest, SavedFiles};
use error::Result;
use lease::BackupLease;
use target::TargetFile;

/// Page size for reading the names of all objects.
const PAGE: usize = 1_000;
/// Maximum number of missing files that are reported by name.
const MISSING_NAMED: usize = 10;

/// A store with its files, to be saved.
#[derive(Clone)]
pub struct BackupSource {
    pub storage: Arc<dyn Storage>,
    /// `sqlite` or `postgres`.
    pub kind: &'static str,
    pub files: Blobs,
    /// Address of the files.
    pub address: String,
}

/// Contents of a backup.
pub struct Saved {
    pub rows: storage::RowCounts,
    /// Number of files, and their size.
    pub files: u64,
    pub bytes: u64,
    pub missing: MissingFiles,
}

/// Files that rows name and the object store lacks.
#[derive(Default)]
pub struct MissingFiles {
    pub count: u64,
    /// The first of them.
    pub names: Vec<String>,
}

/// Saves a store and its files in a new archive, while servers run.
///
/// # Errors
/// `Exists` if there is such a file already, `ForeignFiles` if the files belong to another store. An error leaves no archive
/// behind.
///
/// # Cancel safety
/// A dropped call leaves nothing behind but its lease, which ends by itself.
pub async fn save(store: &BackupSource, file: &Path) -> Result<Saved> {
    let target = TargetFile::create(file)?;
    let workspace = chat::workspace_uuid(store.storage.as_ref()).await?;
    match store.files.owner().await? {
        Some(owner) if owner != workspace => {
            return Err(BackupError::ForeignFiles { address: store.address.clone(), owner, workspace });
        }
        _ => {}
    }
    let lease = BackupLease::acquire(store.storage.as_ref()).await?;
    let saved = lease.keep_during(write(store, workspace, target)).await;
    // It ends by itself soon.
    let _ = lease.end().await;
    saved
}

async fn write(store: &BackupSource, workspace: uuid::Uuid, target: TargetFile) -> Result<Saved> {
    let taken_at = clock::now();
    let rows = target.rows()?;
    let mut dump = store.storage.dump(rows.path()).await?;
    let counts = dump.row_counts().await?;
    let schema = dump.schema().await?;
    let names = list_objects(dump.as_mut(), target.directory()).await?;
    // Ends the transaction that the database held for it.
    drop(dump);
    let (files, kind, runtime) = (store.files.clone(), store.kind, Handle::current());
    let written = spawn_blocking(move || -> Result<Saved> {
        let digest = MemberDigest::of_file(rows.path()).map_err(|error| target.failed(error))?;
        let description = Description {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            taken_at,
            workspace,
            storage: kind.to_owned(),
            schema,
            counts,
            rows: digest,
        };
        let mut archive = ArchiveWriter::begin(target.writer()?, &description).map_err(|error| target.failed(error))?;
        archive.add_rows(&description, rows.path()).map_err(|error| target.failed(error))?;
        // Its room is needed again.
        drop(rows);
        let mut missing = MissingFiles::default();
        for line in BufReader::new(names).lines() {
            let line = line.map_err(|error| target.failed(error))?;
            let (name, may_be_missing): (String, bool) = serde_json::from_str(&line).expect("the line was written above");
            match runtime.block_on(files.open_object(&name))? {
                Some(object) => {
                    let reader = SyncIoBridge::new_with_handle(StreamReader::new(object.bytes), runtime.clone());
                    let added = archive.add_file(&name, object.content_type.as_deref(), object.size_bytes, reader);
                    // One of both failed: the object, or the archive.
                    added.map_err(|error| target.failed(io::Error::new(error.kind(), format!("{name}: {error}"))))?;
                }
                None if may_be_missing => {}
                None => missing.add(name),
            }
        }
        let (SavedFiles { count, bytes, .. }, writer) = archive.finish().map_err(|error| target.failed(error))?;
        target.finish(writer)?;
        Ok(Saved { rows: counts, files: count, bytes, missing })
    });
    written.await.expect("it is not cancelled, and a panic ends the program")
}

/// Writes the names of all objects to a temporary file, a line each: they may be too many for the memory, and a database should
/// not have to keep a snapshot while files are copied.
async fn list_objects(dump: &mut dyn Dump, directory: &Path) -> Result<File> {
    let failed = |error| BackupError::io(directory, error);
    let file = tempfile::tempfile_in(directory).map_err(failed)?;
    let mut writer = std::io::BufWriter::new(file);
    let mut after = String::new();
    loop {
        let page = dump.objects(&after, PAGE).await?;
        for object in &page {
            serde_json::to_writer(&mut writer, &(&object.object, object.size_bytes.is_none()))
                .map_err(|error| failed(error.into()))?;
            writer.write_all(b"\n").map_err(failed)?;
        }
        match page.into_iter().next_back() {
            Some(last) => after = last.object,
            None => break,
        }
    }
    let mut file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    std::io::Seek::rewind(&mut file).map_err(failed)?;
    Ok(file)
}

impl MissingFiles {
    fn add(&mut self, name: String) {
        self.count += 1;
        if self.names.len() < MISSING_NAMED {
            self.names.push(name);
        }
    }
}
