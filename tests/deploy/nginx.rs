//! The real nginx with the shipped configuration, as a fixture in front of two nodes.

use std::{fs, net::SocketAddr, path::Path, process::Stdio};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};
use uuid::Uuid;

use crate::support::{Client, run_to_its_end, until};

/// The shipped configuration.
pub const SHIPPED: &str = include_str!("../../deploy/nginx.conf");

/// A running nginx before two nodes. Stops on drop.
pub struct Nginx {
    child: Child,
    directory: TempDir,
    ports: Ports,
}

#[derive(Clone, Copy)]
struct Ports {
    /// Port without TLS, for most tests.
    plain: u16,
    tls: u16,
    /// Port of the redirect to TLS.
    redirect: u16,
}

impl Ports {
    /// Random ports below the range of ephemeral ports, most probably free.
    fn drawn() -> Self {
        let first = 20_000 + u16::try_from(Uuid::new_v4().as_u128() % 12_000).expect("it is small");
        Self { plain: first, tls: first + 1, redirect: first + 2 }
    }
}

fn program() -> String {
    std::env::var("DRAGOMAN_TEST_NGINX").expect("run the tests with .ci/test, which installs nginx")
}

impl Nginx {
    pub async fn before(nodes: [SocketAddr; 2]) -> Self {
        Self::changed(nodes, &[]).await
    }

    /// Starts nginx with replacements in its configuration.
    pub async fn changed(nodes: [SocketAddr; 2], changes: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let certificate = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=chat.example.com"];
        let key = directory.path().join("privkey.pem");
        let chain = directory.path().join("fullchain.pem");
        let mut openssl = Command::new("openssl");
        // Clients that verify the certificate need a server certificate for this address.
        openssl.args(certificate).args(["-extensions", "usr_cert", "-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.arg("-keyout").arg(key).arg("-out").arg(chain);
        run_to_its_end(&mut openssl).await;
        for _ in 0..5 {
            let ports = Ports::drawn();
            let configuration = changes.iter().fold(adapted(directory.path(), nodes, ports), |text, (from, to)| {
                assert!(text.contains(from), "the configuration says {from}");
                text.replace(from, to)
            });
            fs::write(directory.path().join("nginx.conf"), configuration).expect("the directory is ours");
            let mut child = start(directory.path());
            let listens = until("nginx", async || {
                let ended = child.try_wait().expect("it is our child").is_some();
                let listens = TcpStream::connect(("127.0.0.1", ports.redirect)).await.is_ok();
                (ended || listens).then_some(!ended)
            });
            if listens.await {
                return Self { child, directory, ports };
            }
        }
        panic!("nginx does not start: {}", read(directory.path(), "start.log"));
    }

    /// Checks with `nginx -t` that nginx accepts the shipped configuration.
    pub async fn check() {
        let nodes = [SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2))];
        let nginx = Self::before(nodes).await;
        run_to_its_end(command(nginx.directory.path()).arg("-t")).await;
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports.plain))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    pub fn url_over_tls(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.ports.tls)
    }

    /// Path of the self-signed certificate.
    pub fn certificate(&self) -> std::path::PathBuf {
        self.directory.path().join("fullchain.pem")
    }

    pub fn url_of_the_redirect(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.redirect)
    }

    /// A client without a session.
    pub fn client(&self) -> Client {
        Client::new(self.url(""))
    }

    pub async fn log_in(&self, login: &str) -> Client {
        let mut client = self.client();
        client.log_in(login, crate::support::PASSWORD).await;
        client
    }

    pub fn access_log(&self) -> String {
        read(self.directory.path(), "access.log")
    }

    /// Contents of all its log files.
    pub fn logs(&self) -> String {
        ["access.log", "error.log", "start.log"].map(|name| read(self.directory.path(), name)).concat()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("nginx's logs:\n{}", self.logs());
        }
        // SIGTERM, since a killed nginx leaves its workers behind.
        if let Some(id) = self.child.id() {
            let _ = kill(Pid::from_raw(i32::try_from(id).expect("process ids are small")), Signal::SIGTERM);
        }
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(program());
    command.arg("-e").arg(directory.join("start.log")).arg("-c").arg(directory.join("nginx.conf"));
    // The workers' user must be able to enter the directory when root starts nginx.
    command.args(["-g", "daemon off; user root root;"]);
    command
}

fn start(directory: &Path) -> Child {
    command(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx can be started")
}

fn read(directory: &Path, name: &str) -> String {
    fs::read_to_string(directory.join(name)).unwrap_or_default()
}

/// The shipped configuration with other addresses, ports and directories.
fn adapted(directory: &Path, [first, second]: [SocketAddr; 2], ports: Ports) -> String {
    let Ports { plain, tls, redirect } = ports;
    let own = directory.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {own}/{kind};\n"));
    let changes = [
        ("pid /run/nginx.pid;", format!("pid {own}/pid;")),
        ("/var/log/nginx", own.to_string()),
        ("/etc/nginx/tls", own.to_string()),
        ("http {\n", format!("http {{\n{}", temporary.concat())),
        ("listen [::]:80;\n", String::new()),
        ("listen [::]:443 ssl http2;\n", String::new()),
        ("listen 80;\n", format!("listen 127.0.0.1:{redirect};\n")),
        ("listen 443 ssl http2;\n", format!("listen 127.0.0.1:{tls} ssl http2;\nlisten 127.0.0.1:{plain};\n")),
        ("node1:8069", first.to_string()),
        ("node2:8069", second.to_string()),
    ];
    changes.into_iter().fold(SHIPPED.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "the configuration says {from}");
        text.replace(from, &to)
    })
}
