//! The program under test as a child process, with its settings and its store.

use std::{
    fs::File,
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::Client;

/// Time limit of start and stop, far beyond the expected one; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Store of a server under test.
#[derive(Clone, Debug)]
pub struct Backend {
    storage: String,
    /// Directory of a database file.
    _directory: Option<Arc<TempDir>>,
}

impl Backend {
    pub fn memory() -> Self {
        Self::at("memory:".into())
    }

    /// A new database file in a directory of its own.
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let storage = format!("sqlite:{}", directory.path().join("dragoman.db").display());
        Self { storage, _directory: Some(Arc::new(directory)) }
    }

    /// A new database in the throwaway cluster, with all tables.
    pub async fn postgres() -> Self {
        Self::copy(&std::env::var("DRAGOMAN_TEST_TEMPLATE").expect("run the tests with .ci/test, which makes a template")).await
    }

    /// A new, empty database in the throwaway cluster.
    pub async fn empty_postgres() -> Self {
        Self::copy("template1").await
    }

    async fn copy(template: &str) -> Self {
        let cluster = std::env::var("DRAGOMAN_TEST_POSTGRES").expect("run the tests with .ci/test, which starts a PostgreSQL");
        // Unique name. Process ids repeat too soon where many processes use one cluster.
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&cluster).await.expect("the throwaway PostgreSQL is up");
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"));
        connection.execute(sqlx::raw_sql(create)).await.expect("a database can be created");
        let (server, _) = cluster.rsplit_once('/').expect("the address names a database");
        Self::at(format!("{server}/{name}"))
    }

    /// A new store of the same kind.
    pub async fn another(&self) -> Self {
        match self.kind() {
            "memory" => Self::memory(),
            "sqlite" => Self::sqlite(),
            _ => Self::postgres().await,
        }
    }

    /// True if stored data survives the server.
    pub fn is_durable(&self) -> bool {
        self.storage != "memory:"
    }

    /// True for a database that tests can use beside the server.
    pub fn is_postgres(&self) -> bool {
        self.kind() == "postgres"
    }

    /// Kind of store, as `/readyz` names it.
    pub fn kind(&self) -> &str {
        self.storage.split_once(':').map_or("sqlite", |(kind, _)| kind)
    }

    /// An existing database.
    pub fn at(url: String) -> Self {
        Self { storage: url, _directory: None }
    }

    /// Address of the database server.
    pub fn address(&self) -> SocketAddr {
        let (_, rest) = self.storage.split_once('@').expect("the address names a user");
        rest.split('/').next().and_then(|address| address.parse().ok()).expect("the address has a host and a port")
    }

    /// URL of the database, for access beside the server.
    pub fn url(&self) -> &str {
        &self.storage
    }
}

/// Settings of a server to start.
#[derive(Clone, Debug)]
pub struct ServerBuilder {
    backend: Backend,
    program: PathBuf,
    demo: bool,
    options: Vec<String>,
    settings: Vec<(String, String)>,
    /// Limit of the size of any file, in bytes.
    largest_file: Option<u64>,
    /// A directory to mount a separate file system on, and its size in bytes.
    disk: Option<(PathBuf, u64)>,
    /// Limit of open files, sockets included.
    most_files: Option<u64>,
}

impl ServerBuilder {
    pub fn new(backend: Backend) -> Self {
        let program = env!("CARGO_BIN_EXE_dragoman").into();
        Self {
            backend,
            program,
            demo: true,
            options: Vec::new(),
            settings: Vec::new(),
            largest_file: None,
            disk: None,
            most_files: None,
        }
    }

    /// Sets another program, such as an earlier release.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Adds a setting by its environment name without the prefix: `LIMITS__BODY_BYTES`.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((format!("DRAGOMAN__{key}"), value.to_string()));
        self
    }

    /// Adds an option of the command line.
    pub fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// Adds an environment variable.
    pub fn env(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// Leaves out the demo data.
    pub fn empty(mut self) -> Self {
        self.demo = false;
        self
    }

    /// Limits the size of any file: writes beyond it fail, as on a full disk.
    pub fn largest_file(mut self, bytes: u64) -> Self {
        self.largest_file = Some(bytes);
        self
    }

    /// Mounts a small disk on a directory. Needs [`Server::may_have_disks`].
    pub fn disk(mut self, at: &Path, bytes: u64) -> Self {
        self.disk = Some((at.to_owned(), bytes));
        self
    }

    /// Limits the number of open files, sockets included.
    pub fn most_files(mut self, files: u64) -> Self {
        self.most_files = Some(files);
        self
    }

    /// Environment of such a server, for one that does not start.
    pub fn environment(mut self) -> Vec<(String, String)> {
        self.settings.push(("DRAGOMAN__STORAGE".into(), self.backend.storage));
        self.settings
    }

    /// Rate limits and quotas by user, address and network, switched off: tests use a few accounts heavily. Tests of limits set
    /// them again. An earlier release has none.
    fn without_limits(&self) -> impl Iterator<Item = (String, &'static str)> {
        const LIMITS: [&str; 8] = [
            "USER__WRITES_PER_SECOND",
            "USER__CONVERSATIONS_PER_SECOND",
            "USER__SEARCHES_PER_SECOND",
            "USER__REQUESTS_AT_ONCE",
            "USER__SESSIONS",
            "USER__TOKEN_FAMILIES",
            "USER__DEVICES",
            "ADDRESS__REQUESTS_AT_ONCE",
        ];
        let is_own = self.program.as_os_str() == env!("CARGO_BIN_EXE_dragoman");
        let of_user = LIMITS.into_iter().map(|limit| (format!("DRAGOMAN__LIMITS__{limit}"), "0"));
        // Password checks: all tests log in from one network.
        let logins = ("DRAGOMAN__LIMITS__PASSWORD_CHECKS_WAITING".to_owned(), "100000");
        // Refused sockets: tests open many, all from one address.
        let refused = ("DRAGOMAN__SOCKETS__REFUSED_SECONDS".to_owned(), "0");
        of_user.chain([logins, refused]).filter(move |_| is_own)
    }

    fn command(&self) -> Command {
        let program = &self.program;
        let mut command = match &self.disk {
            None => Command::new("sh"),
            Some(_) => with_own_mounts(),
        };
        match (&self.disk, self.largest_file, self.most_files) {
            (None, None, None) => command = Command::new(program),
            (None, None, Some(files)) => {
                command = Command::new("prlimit");
                command.arg(format!("--nofile={files}")).arg(program);
            }
            (Some((at, bytes)), ..) => {
                let mount = format!("mount -t tmpfs -o size={bytes} tmpfs \"$0\" && exec \"$@\"");
                command.args(["-c", &mount]).arg(at).arg(program);
            }
            (None, Some(bytes), _) => {
                // Ignored signal: a write beyond the limit returns an error instead.
                command.args(["-c", "trap '' XFSZ; exec prlimit --fsize=\"$0\" \"$@\"", &bytes.to_string()]).arg(program);
            }
        }
        command
    }

    pub async fn start(self) -> Server {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mut server = Server { builder: self, directory, running: None };
        server.begin("127.0.0.1:0").await;
        server
    }
}

/// A shell with a private mount namespace. Its mounts end with it, and with the program that it becomes, however that ends.
fn with_own_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh"]);
    command
}

/// The real program, started on a free port. Dropping it kills it.
pub struct Server {
    builder: ServerBuilder,
    directory: TempDir,
    running: Option<Running>,
}

struct Running {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts a server with the demo data.
    pub async fn demo(backend: Backend) -> Self {
        ServerBuilder::new(backend).start().await
    }

    pub fn builder(backend: Backend) -> ServerBuilder {
        ServerBuilder::new(backend)
    }

    async fn begin(&mut self, listen: &str) {
        let log =
            File::options().create(true).append(true).open(self.directory.path().join("log")).expect("the log can be written");
        let mut command = self.builder.command();
        command
            .args(["serve", "--listen", listen])
            .env("DRAGOMAN__STORAGE", &self.builder.backend.storage)
            .args(self.builder.demo.then_some("--demo"))
            .args(&self.builder.options)
            .env("DRAGOMAN__LOG__LEVEL", "info,dragoman=debug")
            .envs(self.builder.without_limits())
            .envs(self.builder.settings.iter().cloned())
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        let mut child = command.spawn().expect("the program can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let first =
            tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the server starts").expect("its output can be read");
        let Some(first) = first else { panic!("the server did not start: {}", self.log()) };
        let address = first.rsplit_once("http://").and_then(|(_, address)| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("it says where it listens, not {first}"));
        self.running = Some(Running { child, address });
    }

    pub fn address(&self) -> SocketAddr {
        self.running().address
    }

    /// The working directory of the program.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn backend(&self) -> &Backend {
        &self.builder.backend
    }

    /// Process id, for reading its resources.
    pub fn pid(&self) -> u32 {
        self.running().child.id().expect("it was not waited for")
    }

    /// True if this machine allows servers with private mounts.
    pub async fn may_have_disks() -> bool {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let mount = with_own_mounts().args(["-c", "mount -t tmpfs -o size=4096 tmpfs \"$0\""]).arg(directory.path()).output();
        mount.await.is_ok_and(|mounted| mounted.status.success())
    }

    /// Path of a directory in the server's mount namespace, which may have a disk there that no other process sees.
    pub fn sees(&self, directory: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid()));
        root.join(directory.strip_prefix("/").expect("it is named from the root on"))
    }

    /// The whole log so far.
    pub fn log(&self) -> String {
        let mut log = String::new();
        let path = self.directory.path().join("log");
        File::open(path).and_then(|mut file| file.read_to_string(&mut log)).expect("the log can be read");
        log
    }

    /// A client without a session.
    pub fn client(&self) -> Client {
        Client::new(format!("http://{}", self.address()))
    }

    /// A client with a session of a demo user.
    pub async fn log_in(&self, login: &str) -> Client {
        let mut client = self.client();
        client.log_in(login, super::PASSWORD).await;
        client
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        super::client::http().get(self.url(path)).send().await.expect("the server answers")
    }

    /// Sends the stop signal of a service manager, without waiting.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Stops the server, and waits for its end.
    pub async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        let status = self.ended().await;
        assert!(status.success(), "{status}: {}", self.log());
        status
    }

    /// Waits for the end of the server.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("it is running");
        tokio::time::timeout(PATIENCE, running.child.wait()).await.expect("the server ends").expect("it can be waited for")
    }

    /// Kills the server, as a power failure does; returns its address.
    pub async fn kill(&mut self) -> SocketAddr {
        let address = self.address();
        self.signal(Signal::SIGKILL);
        self.ended().await;
        address
    }

    /// Starts the server again, on the same port and the same store.
    pub async fn start_again(&mut self, address: SocketAddr) {
        self.begin(&address.to_string()).await;
    }

    /// The same with another program or other settings.
    pub async fn start_again_as(&mut self, builder: ServerBuilder, address: SocketAddr) {
        self.builder = builder;
        self.start_again(address).await;
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("process ids are small");
        kill(Pid::from_raw(pid), signal).expect("it is our child");
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it is running")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{log}");
        } else {
            // Secrets in the log of any test: every token begins with `eyJ`, and every cookie has this name.
            let leak = log.lines().find(|line| line.contains("eyJ") || line.contains("session_id="));
            assert_eq!(leak, None, "a token or a cookie is in the log");
        }
    }
}
