//! Resources of processes: memory in use and the limit of open files.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Server;

impl Server {
    /// Resident memory of the server.
    pub fn memory_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// Largest resident memory that the server has had.
    pub fn peak_memory_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("it has a line for that");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("it is a number") * 1024
    }
}

/// Raises the limit of open files, for this process and its children, to the maximum; panics if that is too low for so many
/// connections.
pub fn raise_the_limit_of_files(connections: usize) {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits can be asked for");
    assert!(most > connections as u64 + 500, "{most} file descriptors are too few for {connections} connections");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it may be raised that far");
}
