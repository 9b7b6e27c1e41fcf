//! Move of a store with all its files to another store, of the same kind or of another: `dragoman move`.
//!
//! The source does not change until everything is copied and compared. Then it is marked as moved, so that no server opens it by
//! mistake. The target has a mark until it is complete, so that no server opens a part of a store.

mod files;
mod progress;

use std::sync::Arc;

use storage::{
    Workspace,
    tables::{self, Comparison, Copyable, TABLES, Tables},
};
use uuid::Uuid;

use files::FileCopy;
pub use files::FileCounts;
use progress::Progress;

use crate::{chat, events, lifecycle::Lifecycle};

/// Error of a move, which then has changed nothing in the source.
pub type MoveError = Box<dyn std::error::Error + Send + Sync>;

/// Store at one end of a move.
pub struct MoveEnd {
    pub store: Arc<dyn Copyable>,
    /// Address of the store, without user and password.
    pub address: String,
    /// Address of the object store.
    pub files: String,
}

/// Result of a move.
pub struct Moved {
    pub tables: Vec<Comparison>,
    /// `None` if both ends have the same object store.
    pub files: Option<FileCounts>,
}

/// Moves everything, then marks the source as moved. A move that was interrupted begins anew.
///
/// # Cancel safety
/// A dropped call leaves the source as it was, or marked as moved, and the target marked as incomplete. A repeat completes it.
pub async fn run(from: &MoveEnd, to: &MoveEnd, services: &Lifecycle) -> Result<Moved, MoveError> {
    let (files, workspace) = prepare(from, to, services).await?;
    let (mut source, mut target) = (from.store.open_source().await?, to.store.open_target().await?);
    let found = source.workspace().await?;
    let mark = Workspace { unfinished_copy_of: Some(workspace), ..Workspace::default() };
    target.set_workspace(&mark).await?;
    target.clear(&TABLES.iter().collect::<Vec<_>>()).await?;
    let tables = copy_tables(source.as_mut(), target.as_mut()).await?;
    let files = match files {
        Some(files) => Some(files.run(from.store.as_ref()).await?),
        None => None,
    };
    source.set_workspace(&Workspace { moved_to: Some(to.address.clone()), ..found.clone() }).await?;
    source.close().await?;
    // The rest belongs to the server of the source, or to what uses it.
    let complete = Workspace { timeline: None, moved_to: None, unfinished_copy_of: None, backups: Default::default(), ..found };
    let completed = async {
        target.set_workspace(&complete).await?;
        target.close().await
    };
    completed.await.map_err(|error| {
        let error: MoveError = error.into();
        format!(
            "{} is marked as moved, and {} as incomplete: run the same move again: {}",
            from.address,
            to.address,
            text(&error)
        )
    })?;
    Ok(Moved { tables, files })
}

/// Checks both ends, brings the schema of the target up to date, and claims its object store. Returns the copy of the files, unless
/// both ends have the same, and the workspace.
async fn prepare(from: &MoveEnd, to: &MoveEnd, services: &Lifecycle) -> Result<(Option<FileCopy>, Uuid), MoveError> {
    if from.address == to.address {
        return Err(format!("move: {} is both --from and --to", from.address).into());
    }
    from.store.require_no_server().await?;
    if !from.store.has_current_schema().await? {
        return Err(format!(
            "move: {} has the schema of another version: run `dragoman migrate --storage ...` on it first",
            from.address
        )
        .into());
    }
    let found = from.store.workspace().await?;
    if found.unfinished_copy_of.is_some() {
        return Err(format!("move: {} is incomplete: the move that fills it was interrupted", from.address).into());
    }
    to.store.require_no_server().await?;
    to.store.require_owner().await?;
    let Workspace { uuid: former, unfinished_copy_of: unfinished, .. } = match to.store.has_current_schema().await? {
        true => to.store.workspace().await?,
        false => Workspace::default(),
    };
    let is_repeat = unfinished.is_some() && unfinished == found.uuid;
    if let Some(moved_to) = found.moved_to.filter(|_| !is_repeat) {
        return Err(format!(
            "move: {} was moved to {moved_to}: move that one, or start a server on this one with `dragoman serve --after-all` first",
            from.address
        )
        .into());
    }
    match (unfinished, to.store.occupied_table().await?) {
        (None, None) => {}
        (Some(_), _) if is_repeat => {}
        (None, Some(table)) => {
            return Err(format!("move: {} is not empty: there are rows in {table}: name a new store", to.address).into());
        }
        (Some(other), _) => {
            let address = &to.address;
            return Err(format!("move: {address} has a part of workspace {other}: repeat that move, or name a new store").into());
        }
    }
    // Clients of a store that has lost events must not find others at the same positions.
    events::restart_log_if_lost(from.store.as_ref()).await?;
    let workspace = chat::workspace_uuid(from.store.as_ref()).await?;
    // Before the files are claimed: a user without the right to make tables claims nothing.
    if !to.store.has_current_schema().await? {
        to.store.make_schema_current().await?;
    }
    let files = FileCopy::between(&from.files, &to.files, workspace, former, services).await?;
    Ok((files, workspace))
}

async fn copy_tables(source: &mut dyn Tables, target: &mut dyn Tables) -> Result<Vec<Comparison>, MoveError> {
    let mut rows = 0;
    for table in TABLES {
        rows += source.count(table).await?;
    }
    // Each row is copied, and then compared.
    let mut progress = Progress::new("rows", 2 * rows);
    let compared = tables::copy(source, target, &mut |rows| progress.add(rows)).await?;
    progress.finish();
    let different: Vec<_> = compared.iter().filter(|table| !table.is_equal()).map(|table| table.table).collect();
    match different.as_slice() {
        [] => Ok(compared),
        different => Err(format!("move: not equal after the copy: {}; the source is as it was", different.join(", ")).into()),
    }
}

/// Text of an error with its causes.
fn text(error: &MoveError) -> String {
    crate::error::chain(error.as_ref()).to_string()
}
