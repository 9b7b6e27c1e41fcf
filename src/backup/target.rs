//! File of a backup, which appears under its name once it is complete and on the disk.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::error::{BackupError, Result};

/// File that is being written, under a name of its own. Dropping it unfinished removes it.
pub(super) struct TargetFile {
    target: PathBuf,
    part: PathBuf,
    /// Locked, so that no other backup writes it.
    file: File,
}

/// Temporary file, which is removed at the end.
pub(super) struct TemporaryFile(PathBuf);

impl TargetFile {
    /// Begins a file; the remains of one that was cut off are overwritten. Only its owner reads it.
    pub(super) fn create(target: &Path) -> Result<Self> {
        let target = std::path::absolute(target).map_err(|error| BackupError::io(target, error))?;
        let part = target.with_added_extension("part");
        let made = || {
            if fs::exists(&target)? {
                return Ok(Err(BackupError::Exists(target.clone())));
            }
            let file = private().create(true).open(&part)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(Err(BackupError::Busy(target.clone()))),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // Another backup may have renamed it since it was opened.
            if fs::exists(&target)? {
                return Ok(Err(BackupError::Exists(target.clone())));
            }
            file.set_len(0)?;
            Ok(Ok(file))
        };
        let file = made().map_err(|error| BackupError::io(&part, error))??;
        Ok(Self { target, part, file })
    }

    pub(super) fn directory(&self) -> &Path {
        self.target.parent().unwrap_or(&self.target)
    }

    /// Makes an empty file for the rows, until they are in this one.
    pub(super) fn rows(&self) -> Result<TemporaryFile> {
        let path = self.target.with_added_extension("rows");
        // The remains of a backup that was cut off.
        drop(TemporaryFile(path.clone()));
        private().create_new(true).open(&path).map_err(|error| BackupError::io(&path, error))?;
        Ok(TemporaryFile(path))
    }

    pub(super) fn writer(&self) -> Result<BufWriter<File>> {
        self.file.try_clone().map(BufWriter::new).map_err(|error| self.failed(error))
    }

    pub(super) fn failed(&self, error: std::io::Error) -> BackupError {
        BackupError::io(&self.part, error)
    }

    /// Gives the file its name, once all of it is on the disk.
    pub(super) fn finish(self, mut writer: BufWriter<File>) -> Result<()> {
        let mut done = || {
            writer.flush()?;
            self.file.sync_all()?;
            if fs::exists(&self.target)? {
                return Ok(Err(BackupError::Exists(self.target.clone())));
            }
            fs::rename(&self.part, &self.target)?;
            File::open(self.directory())?.sync_all().map(Ok)
        };
        done().map_err(|error| self.failed(error))?
    }
}

/// Options of files that only their owner reads.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).truncate(false).mode(0o600);
    options
}

impl Drop for TargetFile {
    fn drop(&mut self) {
        // An error means that it is gone already.
        let _ = fs::remove_file(&self.part);
    }
}

impl TemporaryFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
