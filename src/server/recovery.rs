//! Object store of commands, and the check before the start that a store has its files.

use storage::{NamedObject, Storage};

use super::{FileStore, MARKER_LIMIT, StartError};
use crate::{blobs::Blobs, config::Config, error::chain, lifecycle::Lifecycle};

/// Objects of which one must be there for the start.
const SAMPLE: usize = 20;
/// Page size for finding them, and the number of pages: some uploads have no file.
const PAGE: usize = 100;
const PAGES: usize = 10;

/// Opens the object store of the settings. Returns its address, too.
pub fn open_files(config: &Config) -> Result<(Blobs, String), StartError> {
    if config.files == "memory:" {
        return Err("files: memory: ends with the server; name a directory or a bucket".into());
    }
    let address = FileStore::of(config).address.clone();
    let blobs = Blobs::open(&address, &Lifecycle::default()).map_err(|error| format!("files: {}", chain(error.as_ref())))?;
    Ok((blobs, address))
}

/// Refuses the start with rows that name files, of which none is there: a wrong setting, or rows that were restored without files.
/// Looks at some of them only. An object store that does not answer does not prevent the start.
pub async fn require_files(config: &Config, storage: &dyn Storage) -> Result<(), StartError> {
    if !config.is_persistent() {
        return Ok(());
    }
    let some = sample(storage).await?;
    if some.is_empty() {
        return Ok(());
    }
    let (files, address) = open_files(config)?;
    // Files that were sent after the others were lost are enough.
    let newest = async || storage.newest_objects(SAMPLE).await.map(with_bytes);
    if !are_missing(&files, &some).await || !are_missing(&files, &newest().await?).await {
        return Ok(());
    }
    let store = config.store().public_address();
    Err(format!(
        "files: {address} has none of the files that {store} names: set files to their place, restore them, or start with \
         --files-are-gone"
    )
    .into())
}

/// Some objects that should be there. Their names are random, so the first ones are any.
async fn sample(storage: &dyn Storage) -> storage::Result<Vec<String>> {
    let (mut sample, mut after) = (Vec::new(), String::new());
    for _ in 0..PAGES {
        let page = storage.objects(&after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.object);
        sample.extend(with_bytes(page));
        if sample.len() >= SAMPLE {
            break;
        }
    }
    sample.truncate(SAMPLE);
    Ok(sample)
}

/// Names of the objects that were put through a server.
fn with_bytes(objects: Vec<NamedObject>) -> Vec<String> {
    objects.into_iter().filter(|object| object.size_bytes.is_some()).map(|object| object.object).collect()
}

async fn are_missing(files: &Blobs, objects: &[String]) -> bool {
    files.are_missing(objects, MARKER_LIMIT).await.unwrap_or_else(|error| {
        tracing::warn!(error = %chain(&error), "files not looked for before the start");
        false
    })
}
