//! Tests of PgBouncer: session mode works like a direct connection; in transaction mode the start is refused.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Stdio,
};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::support::{ADMIN, Backend, Bus, JOHN, Node, Server, until};

struct PgBouncer {
    port: u16,
    _child: Child,
    _directory: TempDir,
}

impl PgBouncer {
    async fn before(backend: &Backend, mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let installed = std::env::var("DRAGOMAN_TEST_PGBOUNCER").expect("run the tests with .ci/test, which installs PgBouncer");
        // Copy of the program: it refuses to run as root, and the installed one may not be readable for other users.
        let program = directory.path().join("pgbouncer");
        fs::copy(installed, &program).unwrap();
        for _ in 0..5 {
            let port = 20_000 + u16::try_from(uuid::Uuid::new_v4().as_u128() % 12_000).unwrap();
            // Configuration of GUIDE.md, except for the users.
            let configuration = format!(
                "[databases]\n* = host=127.0.0.1 port={} user=postgres\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
                 pool_mode = {mode}\nserver_reset_query = DISCARD ALL\ndefault_pool_size = 40\n",
                backend.address().port()
            );
            let file = directory.path().join("pgbouncer.ini");
            fs::write(&file, configuration).unwrap();
            let is_root = directory.path().metadata().unwrap().uid() == 0;
            let mut command = Command::new(if is_root { Path::new("setpriv") } else { &program });
            if is_root {
                command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(&program);
            }
            let log = fs::File::create(directory.path().join("log")).unwrap();
            let mut child =
                command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn().unwrap();
            let listens = until("PgBouncer", async || {
                let ended = child.try_wait().unwrap().is_some();
                let listens = TcpStream::connect(("127.0.0.1", port)).await.is_ok();
                (ended || listens).then_some(!ended)
            });
            if listens.await {
                return Self { port, _child: child, _directory: directory };
            }
        }
        panic!("PgBouncer does not start: {}", fs::read_to_string(directory.path().join("log")).unwrap());
    }

    fn backend(&self, behind: &Backend) -> Backend {
        Backend::at(behind.url().replace(&behind.address().to_string(), &format!("127.0.0.1:{}", self.port)))
    }
}

#[tokio::test]
async fn all_is_well_behind_a_pooler_in_session_mode() {
    let backend = Backend::postgres().await;
    let (database, name) = backend.url().rsplit_once('/').unwrap();
    let mut admin = PgConnection::connect(&format!("{database}/postgres")).await.unwrap();
    // Hostile setting of the database: the server's own session settings take precedence through the pooler as well.
    let set = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'");
    admin.execute(AssertSqlSafe(set)).await.unwrap();
    let pooler = PgBouncer::before(&backend, "session").await;
    let pooled = pooler.backend(&backend);
    let start = || Server::builder(pooled.clone()).node(&Bus::postgres()).start();
    let (mut here, mut there) = (start().await, start().await);
    here.ready().await;
    there.ready().await;
    let (john, admin) = (here.log_in(JOHN).await, there.log_in(ADMIN).await);
    let poll = tokio::spawn({
        let admin = admin.clone();
        async move { admin.messaging("poll/messages", json!({"thread_id": 1, "timeout": 60})).await }
    });
    there.polls_waiting(1).await;
    john.messaging("message/send", json!({"thread_id": 1, "body": "through the pool"})).await;
    assert_eq!(poll.await.unwrap()["messages"][0]["body"], "through the pool");
    let mut sending = Vec::new();
    for number in 0..40 {
        let (john, admin) = (john.clone(), admin.clone());
        sending.push(tokio::spawn(async move {
            let client = if number % 2 == 0 { john } else { admin };
            client.messaging("message/send", json!({"thread_id": 2, "body": number.to_string()})).await;
            client.messaging("notifications/mark_all_read", json!({"thread_id": 2})).await;
        }));
    }
    for sent in sending {
        sent.await.expect("nothing is refused");
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_refused() {
    let backend = Backend::postgres().await;
    for mode in ["transaction", "statement"] {
        let pooler = PgBouncer::before(&backend, mode).await;
        let refused = pooler.backend(&backend).run(&["serve", "--listen", "127.0.0.1:0"], "").await;
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(!refused.status.success() && told.contains("pool_mode = session"), "{told}");
    }
}
