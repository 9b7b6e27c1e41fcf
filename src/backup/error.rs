//! Errors of backups.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::blobs::BlobError;

/// Reason for which a backup could not be made, or not be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists already: name a new file", .0.display())]
    Exists(PathBuf),
    #[error("{} is being written by another backup", .0.display())]
    Busy(PathBuf),
    #[error("files: {address} belongs to workspace {owner}, but the store is workspace {workspace}: set files to its own")]
    ForeignFiles { address: String, owner: Uuid, workspace: Uuid },
    #[error("{} is no backup, or it is damaged: {what}", file.display())]
    Damaged { file: PathBuf, what: String },
    #[error("the backup is of a newer version: {0}; restore it with that version of the program")]
    Newer(String),
    #[error("the backup is of a {backup} store, and the target is {target}: restore it into {backup}, then use `dragoman move`")]
    OtherKind { backup: String, target: &'static str },
    #[error("the restored rows are not those of the backup: {0}")]
    OtherRows(String),
    #[error("{}: {source}", file.display())]
    Io { file: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Storage(#[from] storage::Error),
    #[error("files: {0}")]
    Files(#[from] BlobError),
}

pub(super) type Result<T, E = BackupError> = std::result::Result<T, E>;

impl BackupError {
    pub(super) fn io(file: &Path, source: std::io::Error) -> Self {
        Self::Io { file: file.to_owned(), source }
    }

    pub(super) fn damaged(file: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), what: what.into() }
    }
}
