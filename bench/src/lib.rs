//! What of the benchmark is of use to others than its own rows: the crowd, which is a load generator.

pub mod crowd;

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How many files this process may have open.
pub fn open_files_allowed() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or("no limit of open files")?;
    Ok(line.split_whitespace().next().and_then(|files| files.parse().ok()).unwrap_or(usize::MAX))
}
