//! Restoration of a backup into an empty store, and its files.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use storage::{Restoration, Storage, Timestamp};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, duplex},
    runtime::Handle,
    task::spawn_blocking,
};
use uuid::Uuid;

use super::{
    MissingFiles, Saved,
    archive::{self, Description, Member},
    error::{BackupError, Result},
    lease,
};
use crate::{blobs::Blobs, chat, events};

/// First bytes of a database file.
const DATABASE: &[u8] = b"SQLite format 3\0";
/// Kind of a store in one.
const DATABASE_KIND: &str = "sqlite";
/// Piece in which members are read.
const PIECE: usize = 64 * 1024;

/// An empty store into which a backup is restored, and the place of its files.
pub struct EmptyStore {
    pub restoration: Box<dyn Restoration>,
    /// `sqlite` or `postgres`.
    pub kind: &'static str,
    pub files: Blobs,
    /// Address of the files.
    pub address: String,
}

/// Restores a backup. The whole archive is checked before anything is written. Clients that have received more than the backup
/// knows go on, after a restart of the event log. A copy of a database file is a backup, too, whose files are in their place.
///
/// # Errors
/// `Damaged`, `Newer` or `OtherKind` for an archive that cannot be restored here, `ForeignFiles` if the place of the files is another
/// store's. After an error no server starts on rows that are not complete; a repeat replaces them.
///
/// # Cancel safety
/// As after an error.
pub async fn restore(mut store: EmptyStore, file: &Path) -> Result<Saved> {
    let path = file.to_owned();
    let description = match blocking(move || archive::read(&path, |_, _| Ok(()))).await {
        Ok((description, _)) => description,
        Err(BackupError::Damaged { .. }) if is_database(file)? => return restore_rows(store, file).await,
        Err(error) => return Err(error),
    };
    require_compatible(&description, store.restoration.as_ref(), store.kind)?;
    // From now on no server of another store starts on these files: not even one that makes its store anew.
    store.claim_files(description.workspace).await?;
    let (restoration, storage, saved) = extract(file.to_owned(), store.restoration, store.files.clone()).await?;
    store.restoration = restoration;
    let counts = storage.row_counts().await?;
    if counts != description.counts {
        return Err(BackupError::OtherRows(format!("{counts:?} instead of {:?}", description.counts)));
    }
    store.finish(storage, description.taken_at).await?;
    Ok(Saved { rows: counts, files: saved.count, bytes: saved.bytes, missing: MissingFiles::default() })
}

/// Restores a copy of a database file.
async fn restore_rows(mut store: EmptyStore, file: &Path) -> Result<Saved> {
    if store.kind != DATABASE_KIND {
        return Err(BackupError::OtherKind { backup: DATABASE_KIND.to_owned(), target: store.kind });
    }
    let failed = |error| BackupError::io(file, error);
    let mut rows = tokio::fs::File::open(file).await.map_err(failed)?;
    let copied_at = rows.metadata().await.and_then(|found| found.modified()).map_err(failed)?;
    let storage = store.restoration.load(&mut rows).await?;
    store.claim_files(chat::workspace_uuid(storage.as_ref()).await?).await?;
    let rows = storage.row_counts().await?;
    store.finish(storage, copied_at.into()).await?;
    Ok(Saved { rows, files: 0, bytes: 0, missing: MissingFiles::default() })
}

fn is_database(file: &Path) -> Result<bool> {
    let mut head = Vec::new();
    let read = File::open(file).and_then(|file| file.take(DATABASE.len() as u64).read_to_end(&mut head));
    read.map_err(|error| BackupError::io(file, error))?;
    Ok(head == DATABASE)
}

impl EmptyStore {
    /// Makes `workspace` the owner of the files, unless they belong to a third store.
    async fn claim_files(&self, workspace: Uuid) -> Result<()> {
        match self.files.owner().await? {
            Some(owner) if owner != workspace && Some(owner) != self.restoration.replaced() => {
                Err(BackupError::ForeignFiles { address: self.address.clone(), owner, workspace })
            }
            _ => Ok(self.files.hand_over(workspace).await?),
        }
    }

    /// Ends the restoration of a store of that time.
    async fn finish(self, storage: Arc<dyn Storage>, taken_at: Timestamp) -> Result<()> {
        lease::end_all(storage.as_ref()).await?;
        events::restart_restored_log(storage.as_ref(), taken_at).await?;
        drop(storage);
        Ok(self.restoration.finish().await?)
    }
}

fn require_compatible(description: &Description, restoration: &dyn Restoration, kind: &'static str) -> Result<()> {
    if description.storage != kind {
        return Err(BackupError::OtherKind { backup: description.storage.clone(), target: kind });
    }
    if description.schema > restoration.schema() {
        return Err(BackupError::Newer(description.version.clone()));
    }
    Ok(())
}

type Extracted = (Box<dyn Restoration>, Arc<dyn Storage>, archive::SavedFiles);

/// Reads rows and files into their places.
async fn extract(file: PathBuf, mut restoration: Box<dyn Restoration>, files: Blobs) -> Result<Extracted> {
    let runtime = Handle::current();
    blocking(move || {
        let mut storage = None;
        let (_, saved) = archive::read(&file, |member, bytes| match member {
            Member::Rows => {
                storage = Some(feed(&runtime, bytes, async |rows| Ok(restoration.load(rows).await?))?);
                Ok(())
            }
            Member::File { name, content_type } => {
                feed(&runtime, bytes, async |bytes| Ok(files.put_object(&name, content_type, bytes).await?))
            }
        })?;
        Ok((restoration, storage.expect("every archive has rows"), saved))
    })
    .await
}

/// Gives what a blocking reader has to asynchronous work. Not within the runtime's own threads.
fn feed<T>(
    runtime: &Handle,
    source: &mut dyn Read,
    work: impl AsyncFnOnce(&mut (dyn AsyncRead + Send + Unpin)) -> Result<T>,
) -> Result<T> {
    let (mut sender, mut receiver) = duplex(PIECE);
    let feeding = async move {
        let mut piece = vec![0; PIECE];
        loop {
            let length = source.read(&mut piece)?;
            // The reader that stops early returns the error.
            if length == 0 || sender.write_all(&piece[..length]).await.is_err() {
                return Ok(());
            }
        }
    };
    let working = async move { work(&mut receiver).await };
    let (fed, done): (std::io::Result<()>, _) = runtime.block_on(async { tokio::join!(feeding, working) });
    let done = done?;
    fed.map_err(|error| BackupError::io(Path::new("archive"), error))?;
    Ok(done)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.expect("it is not cancelled, and a panic ends the program")
}
