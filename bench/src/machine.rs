//! Description of the machine for the report, without anything that identifies its owner.

use std::{fmt, fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::{Result, children};

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory_mib: u64,
    kernel: String,
    rustc: String,
    postgres: Option<String>,
}

impl Machine {
    /// Describes this machine, with a PostgreSQL of this version.
    pub(crate) fn this(postgres: Option<String>) -> Result<Self> {
        let memory = line("/proc/meminfo", "MemTotal")?.trim_end_matches(" kB").parse::<u64>()?;
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let rustc = children::output_of(Command::new(rustc).arg("--version"))?;
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            // Not every architecture has this line.
            processor: line("/proc/cpuinfo", "model name").unwrap_or_else(|_| std::env::consts::ARCH.into()),
            memory_mib: memory / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            rustc: rustc.split_whitespace().nth(1).unwrap_or("unknown").to_owned(),
            postgres,
        })
    }
}

/// The value of a name in a file of the kernel.
fn line(file: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let found = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
    Ok(found.ok_or_else(|| format!("no {name} in {file}"))?.1.trim().to_owned())
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, processor, memory_mib, kernel, rustc, postgres } = self;
        let gib = *memory_mib as f64 / 1024.0;
        write!(f, "{cores} cores of {processor}, {gib:.0} GiB, Linux {kernel}, rustc {rustc}")?;
        match postgres {
            Some(version) => write!(f, ", PostgreSQL {version}"),
            None => write!(f, ", without PostgreSQL"),
        }
    }
}
