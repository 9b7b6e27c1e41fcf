//! A PostgreSQL cluster of a test's own, with standby, promotion, crash and restart.

use std::{os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;
use tokio::process::Command;

use super::{Backend, Proxy, run_to_its_end};

/// Script that starts and stops the services of all tests.
const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.ci/services");

/// A PostgreSQL cluster of one test. Dropping it stops it.
pub struct Cluster {
    directory: TempDir,
    url: String,
}

impl Cluster {
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        // Permissions for PostgreSQL, which may run as another user.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).expect("it is ours");
        run_to_its_end(Command::new(SERVICES).arg("start").arg(directory.path()).arg("postgres")).await;
        Self::in_directory(directory)
    }

    /// An asynchronous standby, which replicates through a proxy.
    pub async fn standby(primary: &Self, way: &Proxy) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).expect("it is ours");
        let mut standby = Command::new(SERVICES);
        standby.arg("standby").arg(directory.path()).arg(primary.directory.path()).arg(way.address().to_string());
        run_to_its_end(&mut standby).await;
        Self::in_directory(directory)
    }

    fn in_directory(directory: TempDir) -> Self {
        let environment = std::fs::read_to_string(directory.path().join("env")).expect("it says where it is");
        let (_, url) = environment.trim().split_once('=').expect("it exports an address");
        Self { url: url.to_owned(), directory }
    }

    /// Promotes a standby to primary.
    pub async fn promote(&self) {
        run_to_its_end(Command::new(SERVICES).arg("promote").arg(self.directory.path())).await;
    }

    /// Crashes the cluster, as a power failure does.
    pub async fn crash(&self) {
        run_to_its_end(Command::new(SERVICES).arg("crash").arg(self.directory.path())).await;
    }

    pub fn backend(&self) -> Backend {
        Backend::at(self.url.clone())
    }

    /// Restarts it as a standby without a primary.
    pub async fn become_standby(&self) {
        let signal = self.directory.path().join("postgres/data/standby.signal");
        std::fs::write(&signal, "").expect("its files are ours");
        std::fs::set_permissions(signal, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
        self.restart().await;
    }

    /// Crashes the cluster, and starts it again on the same port.
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
