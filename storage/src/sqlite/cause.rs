//! Causes of failures for operators: the file, the error and a remedy, in one line.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::result_code::{code, result_code};
use crate::Error;

/// Name of a store for log lines: the path of its file.
#[derive(Clone, Debug)]
pub(super) struct StoreName(Arc<str>);

impl StoreName {
    pub(super) fn of(file: &Path) -> Self {
        Self(file.display().to_string().into())
    }

    /// Builds a cause that is no error of a statement.
    pub(super) fn cause(&self, what: impl Into<String>, remedy: &'static str) -> Cause {
        Cause { store: self.clone(), what: what.into(), remedy }
    }

    /// Error `Unavailable` with this store's name.
    pub(super) fn unavailable(&self, what: impl Into<String>, remedy: &'static str) -> Error {
        Error::Unavailable(self.cause(what, remedy).into())
    }

    /// Error `Internal` with this store's name, for a failure that no retry mends.
    pub(super) fn unusable(&self, what: impl Into<String>, remedy: &'static str) -> Error {
        Error::Internal(self.cause(what, remedy).into())
    }

    /// Cause of an error with a known remedy.
    pub(super) fn describe(&self, error: &sqlx::Error) -> Option<Cause> {
        let code = result_code(error)?;
        let text = error.as_database_error()?.message();
        let full_code = error.as_database_error()?.code()?;
        remedy(code, text).map(|remedy| self.cause(format!("{text} (SQLite error {full_code})"), remedy))
    }
}

/// Cause of a failure: file, description and remedy.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    store: StoreName,
    what: String,
    remedy: &'static str,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLite at {}: {}; {}", self.store.0, self.what, self.remedy)
    }
}

impl std::error::Error for Cause {}

/// Remedy of an error, by its primary result code.
fn remedy(code: i32, text: &str) -> Option<&'static str> {
    Some(match code {
        code::FULL => "free space on its disk",
        code::READONLY | code::PERM => "check the owner and the mode of the file, and that its disk is not mounted read-only",
        code::CANTOPEN => "check that its directory exists, and the owner and the mode of file and directory",
        code::IOERR => "check the disk, its space and the kernel's log",
        code::CORRUPT => "the file is damaged: stop the server, and restore a backup, or try the command .recover of sqlite3",
        code::NOTADB => "name a file of this program, or restore a backup",
        code::BUSY | code::LOCKED => "another program holds its lock: wait for it, or end it",
        code::PROTOCOL => "its locks do not work: keep it on a disk of this machine",
        code::INTERRUPT => "it took too long: check the load of the machine and its disk",
        code::NOMEM => "the machine is out of memory",
        code::ERROR if text.starts_with("no such table") || text.starts_with("no such column") => {
            "its schema is of another version: run `dragoman migrate`"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_names_the_file() {
        let cause = StoreName::of(Path::new("/var/lib/dragoman.db")).cause("database is full", "free space");
        assert_eq!(cause.to_string(), "SQLite at /var/lib/dragoman.db: database is full; free space");
    }
}
