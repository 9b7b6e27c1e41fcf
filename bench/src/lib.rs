//! The reusable part of the benchmark: the load generator.

pub mod crowd;

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Limit of open files of this process.
pub fn open_files_limit() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).ok_or("no limit of open files")?;
    Ok(line.split_whitespace().next().and_then(|files| files.parse().ok()).unwrap_or(usize::MAX))
}
