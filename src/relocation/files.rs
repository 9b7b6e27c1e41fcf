//! Copy of the files of a store from one object store to another.

use std::path::Path;

use futures_util::{StreamExt, stream};
use storage::{NamedObject, tables::Copyable};
use tokio_util::io::StreamReader;
use uuid::Uuid;

use super::{MoveError, progress::Progress};
use crate::{
    blobs::{BlobError, Blobs, MARKER},
    error::chain,
    lifecycle::Lifecycle,
};

/// Page size of the names.
const PAGE: usize = 1_000;
/// Concurrent copies. Each holds one part of its file in memory.
const AT_ONCE: usize = 8;

/// Numbers of files.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileCounts {
    pub copied: u64,
    pub copied_bytes: u64,
    /// Files that the target had already.
    pub present: u64,
    /// Files that rows name, and that the source lacks.
    pub missing: u64,
}

/// Outcome of the copy of a file.
#[derive(Clone, Copy)]
enum CopyOutcome {
    /// Copied, with its size in bytes.
    Copied(u64),
    /// A file of the same name and size was there.
    Present,
    Missing,
}

/// Copy between two object stores that differ.
pub(super) struct FileCopy {
    from: Blobs,
    to: Blobs,
    /// Address of the source.
    address: String,
}

impl FileCopy {
    /// Opens both object stores, and claims the target for the workspace. It may belong to `former`, the empty workspace that the
    /// target of the move was. `None` if they are the same one.
    pub(super) async fn between(
        from: &str,
        to: &str,
        workspace: Uuid,
        former: Option<Uuid>,
        services: &Lifecycle,
    ) -> Result<Option<Self>, MoveError> {
        if place(from) == place(to) {
            return Ok(None);
        }
        let open = |address: &str| {
            Blobs::open(address, services).map_err(|error| format!("files: {address}: {}", chain(error.as_ref())))
        };
        let copy = Self { from: open(from)?, to: open(to)?, address: from.to_owned() };
        let explain = |error: BlobError| format!("files: {to}: {}", chain(&error));
        match copy.to.claim(workspace).await.map_err(explain)? {
            Some(owner) if owner == workspace => Ok(Some(copy)),
            owner if owner.is_some() && owner == former => {
                copy.to.hand_over(workspace).await.map_err(explain)?;
                Ok(Some(copy))
            }
            owner => {
                let owner = owner.map_or_else(|| "no workspace".to_owned(), |owner| format!("workspace {owner}"));
                Err(format!(
                    "files: {to} belongs to {owner} by its {MARKER}: name another place with --to-files, or remove the {MARKER} \
                     there if nothing needs it"
                )
                .into())
            }
        }
    }

    /// Copies all files that rows of the store name. Says which are missing.
    ///
    /// # Cancel safety
    /// A dropped call leaves a part of the files in the target. A repeat copies the others.
    pub(super) async fn run(&self, store: &dyn Copyable) -> Result<FileCounts, MoveError> {
        let mut counts = FileCounts::default();
        let mut progress = Progress::new("files", 0);
        let mut after = String::new();
        loop {
            let page = store.objects(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.object);
            progress.expect(page.len() as u64);
            let mut copies = stream::iter(page).map(|named| self.copy(named)).buffer_unordered(AT_ONCE);
            while let Some(copied) = copies.next().await {
                let (named, outcome) = copied?;
                counts.add(&named, outcome, &progress);
                progress.add(1);
            }
        }
        progress.finish();
        if counts.missing > 0 && counts.copied + counts.present == 0 {
            return Err(format!(
                "move: none of {} files is in {}: name the right place with --from-files, or the same place with --from-files and \
                 --to-files to move the rows alone; the source is as it was",
                counts.missing, self.address
            )
            .into());
        }
        Ok(counts)
    }

    async fn copy(&self, named: NamedObject) -> Result<(NamedObject, CopyOutcome), MoveError> {
        let copied = self.copy_object(&named.object).await;
        let outcome = copied.map_err(|error| format!("files: {}: {}", named.object, chain(&error)))?;
        Ok((named, outcome))
    }

    async fn copy_object(&self, object: &str) -> Result<CopyOutcome, BlobError> {
        let Some(found) = self.from.open_object(object).await? else { return Ok(CopyOutcome::Missing) };
        if self.to.object_size(object).await? == Some(found.size_bytes) {
            return Ok(CopyOutcome::Present);
        }
        self.to.put_object(object, found.content_type, &mut StreamReader::new(found.bytes)).await?;
        Ok(CopyOutcome::Copied(found.size_bytes))
    }
}

impl FileCounts {
    fn add(&mut self, named: &NamedObject, outcome: CopyOutcome, progress: &Progress) {
        match outcome {
            CopyOutcome::Copied(bytes) => {
                self.copied += 1;
                self.copied_bytes += bytes;
            }
            CopyOutcome::Present => self.present += 1,
            // Nobody has put a file there yet.
            CopyOutcome::Missing if named.size_bytes.is_none() => {}
            CopyOutcome::Missing => {
                self.missing += 1;
                progress.say(&format!("missing: {}", named.object));
            }
        }
    }
}

/// Address of an object store in the form that two names of one place share.
fn place(address: &str) -> String {
    match address.strip_prefix("file:") {
        Some(directory) => {
            let directory = Path::new(directory);
            let absolute = directory.canonicalize().or_else(|_| std::path::absolute(directory));
            format!("file:{}", absolute.unwrap_or_else(|_| directory.to_owned()).display())
        }
        None => address.trim_end_matches('/').to_owned(),
    }
}
