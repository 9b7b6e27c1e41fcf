//! The measured programs, each in a process of its own that is killed on drop.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::Result;

/// A running server, listening at `address`.
pub(crate) struct Server {
    child: Child,
    /// Standard output, open for those who write more than one line to it.
    _output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts Dragoman on this store, without the limits of one user.
    pub(crate) fn dragoman(program: &Path, storage: &str) -> Result<Self> {
        Self::start(&mut unlimited_command(program, storage))
    }

    /// The same with additional settings, as environment variables.
    pub(crate) fn with_settings(program: &Path, storage: &str, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start(unlimited_command(program, storage).envs(settings.iter().copied()))
    }

    /// Starts Dragoman with the limits that it ships with.
    pub(crate) fn with_default_limits(program: &Path, storage: &str) -> Result<Self> {
        Self::start(&mut default_command(program, storage))
    }

    /// The same with a new place for files. Those that the store names already are elsewhere.
    pub(crate) fn with_files_in(program: &Path, storage: &str, directory: &Path) -> Result<Self> {
        let files = format!("file:{}", directory.display());
        Self::start(default_command(program, storage).arg("--files-are-gone").env("DRAGOMAN__FILES", files))
    }

    /// Starts one of several nodes on this database and this bus.
    pub(crate) fn node(program: &Path, database: &str, bus: &str) -> Result<Self> {
        Self::start(unlimited_command(program, database).env("DRAGOMAN__BUS", bus))
    }

    /// Starts the room on Django Channels, run by a Python that has it.
    pub(crate) fn channels(python: &Path, database: &str) -> Result<Self> {
        let room = concat!(env!("CARGO_MANIFEST_DIR"), "/channels/room.py");
        // The options are for sqlx; Python's driver does not know them.
        let (database, _) = database.split_once('?').unwrap_or((database, ""));
        Self::start(Command::new(python).args([room, database]))
    }

    /// Starts the bare handlers.
    pub(crate) fn limits(database: Option<&str>) -> Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).arg("limits").args(database))
    }

    /// Starts PocketBase on this directory, with its usual settings.
    pub(crate) fn pocketbase(program: &Path, data: &Path) -> Result<Self> {
        // It does not tell which port the kernel has chosen.
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Self::start(Command::new(program).args(["serve", "--http", &free.to_string(), "--dir"]).arg(data))
    }

    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut line = String::new();
        let said = output.read_line(&mut line);
        match (said, line.trim().rsplit_once("http://").map(|(_, address)| address.parse())) {
            (Ok(_), Some(Ok(address))) => Ok(Self { child, _output: output, address }),
            _ => {
                end(&mut child);
                Err(format!("{command:?} did not start").into())
            }
        }
    }

    /// Resident memory of the process, in KiB.
    pub(crate) fn resident(&self) -> Result<f64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).ok_or("no Rss in smaps_rollup")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Processor time of the process in seconds, to the hundredth.
    pub(crate) fn processor_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Behind the name, which may hold anything, `utime` and `stime` are the 12th and 13th; Linux says 100 ticks a
        // second.
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }
}

/// Limits of one user that are switched off: a few accounts stand for very many.
const UNLIMITED: [&str; 9] = [
    "WRITES_PER_SECOND",
    "CONVERSATIONS_PER_SECOND",
    "SEARCHES_PER_SECOND",
    "REQUESTS_AT_ONCE",
    "UPLOADS_AT_ONCE",
    "UPLOAD_BYTES_PER_DAY",
    "SESSIONS",
    "TOKEN_FAMILIES",
    "DEVICES",
];

/// The program with the limits that it ships with.
fn default_command(program: &Path, storage: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--storage", storage]);
    if storage == "memory:" {
        command.arg("--demo");
    }
    command.env("DRAGOMAN__FILES", "memory:").env("DRAGOMAN__LOG__LEVEL", "error");
    command
}

/// The program without the limits of one user, since few accounts make all the load.
fn unlimited_command(program: &Path, storage: &str) -> Command {
    let mut command = default_command(program, storage);
    command.env("DRAGOMAN__LIMITS__WAITING_POLLS_PER_USER", "20000").env("DRAGOMAN__SOCKETS__PER_USER", "20000");
    // Limits by user and by address are off: the few accounts would reach them.
    command.env("DRAGOMAN__LIMITS__USER__REQUESTS_AT_ONCE", "0").env("DRAGOMAN__LIMITS__ADDRESS__REQUESTS_AT_ONCE", "0");
    command.env("DRAGOMAN__LIMITS__CONNECTIONS_PER_ADDRESS", "0");
    command.env("DRAGOMAN__CONCIERGE__OPEN_SESSIONS_PER_TENANT", "0");
    command.env("DRAGOMAN__SOCKETS__FRAMES_BURST", "1000000").env("DRAGOMAN__SOCKETS__FRAMES_PER_SECOND", "1000000");
    command.env("DRAGOMAN__LIMITS__PASSWORD_CHECKS_WAITING", "100000");
    for limit in UNLIMITED {
        command.env(format!("DRAGOMAN__LIMITS__USER__{limit}"), "0");
    }
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // An error means that the process has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Runs a command to its end, and returns its output.
pub(crate) fn output_of(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Builds the server, and returns its path.
pub(crate) fn build_server() -> Result<PathBuf> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--release", "--locked", "--quiet", "--bin", "dragoman", "--manifest-path", manifest];
    output_of(Command::new(cargo).args(build))?;
    Ok(std::env::current_exe()?.with_file_name("dragoman"))
}

/// Path of PostgreSQL's pgbench: the newest of Debian's packages, or else the one in PATH.
pub(crate) fn pgbench() -> PathBuf {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = debian.map(|entry| entry.path().join("bin/pgbench")).filter(|path| path.exists()).max();
    newest.unwrap_or_else(|| "pgbench".into())
}
