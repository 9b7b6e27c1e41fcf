//! Temporary directories.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Result;

/// Directory that is removed on drop.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn create(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("dragoman-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // An error leaves a temporary directory behind, which harms no measurement.
        let _ = fs::remove_dir_all(&self.0);
    }
}
