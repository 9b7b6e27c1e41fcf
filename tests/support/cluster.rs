use std::{os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;
use tokio::process::Command;

use super::{Backend, run_to_its_end};

/// What starts and stops the services of all tests.
const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/services");

/// A PostgreSQL of a test's own, which it may treat as it likes. Dropping it ends it.
pub struct Cluster {
    directory: TempDir,
    url: String,
}

impl Cluster {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        // PostgreSQL may run as a user of its own.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).expect("it is ours");
        run_to_its_end(Command::new(SERVICES).arg("start").arg(directory.path()).arg("postgres")).await;
        let environment = std::fs::read_to_string(directory.path().join("env")).expect("it says where it is");
        let (_, url) = environment.trim().split_once('=').expect("it exports an address");
        Self { url: url.to_owned(), directory }
    }

    pub fn backend(&self) -> Backend {
        Backend::at(self.url.clone())
    }

    /// Ends it as a power cut would, and starts it again on the same port.
    pub async fn restart(&self) {
        run_to_its_end(Command::new(SERVICES).arg("restart").arg(self.directory.path())).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        stop(self.directory.path());
    }
}

fn stop(directory: &Path) {
    if let Err(error) = std::process::Command::new(SERVICES).arg("stop").arg(directory).status() {
        eprintln!("the database of a test could not be stopped: {error}");
    }
}
