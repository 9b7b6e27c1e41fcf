//! The files of a store: the database, its write-ahead log, and the lock file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use parking_lot::Mutex;

use super::cause::StoreName;
use crate::Result;

/// Types of file systems that other machines share. The locks of SQLite do not work there.
const NETWORK_FILE_SYSTEMS: &[&str] =
    &["9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gfs2", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"];
/// Mounts of this process, on Linux.
const MOUNTS: &str = "/proc/self/mountinfo";

/// Identity of an open file: another file in its place has another one.
type Identity = (u64, u64);

/// Files of a store. The database is never opened here while SQLite uses it: closing it would release SQLite's locks.
pub(super) struct Files {
    database: PathBuf,
    log: PathBuf,
    store: StoreName,
    /// Database and write-ahead log as this process has opened them.
    opened: OnceLock<[Identity; 2]>,
    lock: Mutex<Option<File>>,
}

impl Files {
    /// Finds the file, and makes an empty one if there is none. Only its owner reads it.
    pub(super) fn find_or_make(path: &Path, store: StoreName) -> Result<Self> {
        refuse_network(path, &store)?;
        let made = match make(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        Self::resolve(made.and_then(|()| path.canonicalize()), store)
    }

    /// Finds the file, or the place of one that is not there yet.
    pub(super) fn find(path: &Path, store: StoreName) -> Result<Self> {
        refuse_network(path, &store)?;
        let place = || {
            let directory = path.parent().unwrap_or(path).canonicalize()?;
            Ok(directory.join(path.file_name().ok_or(io::ErrorKind::InvalidFilename)?))
        };
        let found = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => place(),
            found => found,
        };
        Self::resolve(found, store)
    }

    /// Takes the path as SQLite does: the other files lie beside the file, not beside a link to it.
    fn resolve(database: io::Result<PathBuf>, store: StoreName) -> Result<Self> {
        let database = database.map_err(|error| {
            store.unavailable(
                format!("it cannot be made: {error}"),
                "check that its directory exists, and the owner and the mode of the directory",
            )
        })?;
        let log = beside(&database, "-wal");
        Ok(Self { database, log, store, opened: OnceLock::new(), lock: Mutex::new(None) })
    }

    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    /// Path of the copy that is made before a migration.
    pub(super) fn copy_before(&self, version: i64) -> PathBuf {
        beside(&self.database, &format!(".before-{version}"))
    }

    /// Remembers the files as they are. SQLite must have opened them, and keep them open.
    pub(super) fn remember(&self) -> Result<()> {
        let _ = self.opened.set(self.identities()?);
        Ok(())
    }

    /// Fails if a file was removed or replaced beneath this process: what is written then reaches no file that has a name.
    pub(super) fn check(&self) -> Result<()> {
        let found = self.identities()?;
        if self.opened.get().is_none_or(|opened| *opened == found) { Ok(()) } else { Err(self.gone("was replaced")) }
    }

    /// Size of the write-ahead log.
    pub(super) fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |found| found.len())
    }

    /// Takes the lock file for this process alone, until [`Files::unlock`].
    pub(super) fn lock(&self) -> Result<()> {
        self.lock_with(File::try_lock)
    }

    /// Takes the lock file together with others that share it.
    pub(super) fn lock_shared(&self) -> Result<()> {
        self.lock_with(File::try_lock_shared)
    }

    fn lock_with(&self, lock: impl FnOnce(&File) -> Result<(), TryLockError>) -> Result<()> {
        let path = beside(&self.database, ".lock");
        let refused = |error: io::Error| {
            self.store
                .unavailable(format!("no lock on {}: {error}", path.display()), "check the owner and the mode of the directory")
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(refused)?;
        match lock(&file) {
            Ok(()) => {
                *self.lock.lock() = Some(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => {
                Err(self.store.unavailable("another process serves it", "stop that process: a file has one server at a time"))
            }
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }

    pub(super) fn unlock(&self) {
        *self.lock.lock() = None;
    }

    fn identities(&self) -> Result<[Identity; 2]> {
        let identity = |path: &Path| identity(path).map_err(|error| self.gone(&error.to_string()));
        Ok([identity(&self.database)?, identity(&self.log)?])
    }

    fn gone(&self, what: &str) -> crate::Error {
        self.store.unavailable(
            format!("the file, or its write-ahead log (-wal), is gone: {what}"),
            "stop the server, put back both files, or a backup, and start it again",
        )
    }
}

fn refuse_network(path: &Path, store: &StoreName) -> Result<()> {
    match network_file_system(path.parent().unwrap_or(path)) {
        Some(kind) => Err(store.unusable(
            format!("it is on a network file system ({kind})"),
            "keep it on a disk of this machine, or use PostgreSQL",
        )),
        None => Ok(()),
    }
}

/// Makes an empty file. Only its owner reads it.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Path of a file beside another, with a suffix to its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Elsewhere an open file cannot be removed or replaced.
#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    fs::metadata(path).map(|_| (0, 0))
}

/// Type of the network file system that a directory is on; `None` also if it cannot be told.
fn network_file_system(directory: &Path) -> Option<&'static str> {
    let mounts = fs::read_to_string(MOUNTS).ok()?;
    network_mount(&mounts, &directory.canonicalize().ok()?)
}

/// The lines are those of proc(5): the fifth word is the mount point, and the type comes after a dash.
fn network_mount(mounts: &str, directory: &Path) -> Option<&'static str> {
    let mount = |line: &'_ str| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = PathBuf::from(mount.split(' ').nth(4)?.replace("\\040", " "));
        directory.starts_with(&point).then(|| (point, kind.split(' ').next().unwrap_or_default().to_owned()))
    };
    // The last of several mounts on the same point is on top.
    let (_, kind) = mounts.lines().filter_map(mount).max_by_key(|(point, _)| point.components().count())?;
    NETWORK_FILE_SYSTEMS.iter().find(|network| **network == kind).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_tells_the_file_system() {
        let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
                      40 22 0:35 / /srv/my\\040share rw master:1 - nfs4 server:/share rw\n\
                      41 40 8:2 / /srv/my\\040share/local rw - xfs /dev/sdb rw\n";
        assert_eq!(network_mount(mounts, Path::new("/var/lib")), None);
        assert_eq!(network_mount(mounts, Path::new("/srv/my share/chat")), Some("nfs4"));
        assert_eq!(network_mount(mounts, Path::new("/srv/my share/local")), None);
        assert_eq!(network_mount("nonsense", Path::new("/")), None);
    }
}
