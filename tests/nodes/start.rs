//! Tests of the start with an unreachable bus, and with an invalid one.

use std::{path::Path, process::Stdio};

use tokio::process::{Child, Command};

use super::{PAIR, send};
use crate::support::{self, Backend, Bus, Node, Server, until};

pub(super) const CUT_OFF: &str = "the bus cannot be reached";
/// Token secret, so that the start has no other warning.
const SECRET: (&str, &str) = ("DRAGOMAN__TOKENS__SECRET", "long enough for a secret of tokens");

/// Wrong bus password: the node works alone, and reports it.
#[tokio::test]
async fn a_wrong_password_does_not_keep_a_node_from_working() {
    let bus = Bus::nats();
    let wrong = Bus::at(bus.address().replace("interpreter", "mistaken"));
    let mut server = Server::builder(Backend::postgres().await).node(&wrong).start().await;
    server.not_ready(CUT_OFF).await;
    until("that it says so", async || server.log().to_lowercase().contains("authorization").then_some(())).await;
    assert!(!server.log().contains("mistaken"), "a password is nothing for the log: {}", server.log());
    let admin = server.log_in(support::ADMIN).await;
    let id = send(&admin, "alone").await;
    let page = admin.messaging("messages", serde_json::json!({"thread_id": PAIR})).await;
    assert_eq!(page["messages"][0]["id"], id);
    server.stop().await;
}

/// Simultaneous first start on an empty store: one node loads the demo data.
#[tokio::test]
async fn nodes_may_begin_at_once() {
    for _ in 0..3 {
        let (backend, bus) = (Backend::postgres().await, Bus::postgres());
        let start = || Server::builder(backend.clone()).node(&bus).start();
        let (one, other, third) = tokio::join!(start(), start(), start());
        for mut node in [one, other, third] {
            node.log_in(support::JOHN).await;
            assert!(!node.log().contains("demo data not loaded"), "{}", node.log());
            node.stop().await;
        }
    }
}

/// NATS started after the nodes.
#[tokio::test]
async fn a_node_finds_a_bus_that_begins_later() {
    let directory = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bus = Bus::at(format!("nats://somebody:secret@{address}"));
    let mut server = Server::builder(Backend::postgres().await).node(&bus).start().await;
    server.not_ready(CUT_OFF).await;
    let _nats = nats(directory.path(), &format!("listen: \"{address}\"\nauthorization {{ user: somebody, password: secret }}"));
    server.ready().await;
    server.stop().await;
}

/// TLS with a private certificate authority.
#[tokio::test]
async fn nodes_hear_each_other_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=nats", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(directory.path())
        .output()
        .await
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let _nats = nats(
        directory.path(),
        &format!(
            "listen: \"127.0.0.1:-1\"\nauthorization {{ user: somebody, password: secret }}\n\
             tls {{ cert_file: \"{path}/certificate.pem\", key_file: \"{path}/key.pem\" }}"
        ),
    );
    let address = until("the port of NATS", async || port(directory.path())).await;
    let (backend, bus) = (Backend::postgres().await, Bus::at(format!("tls://somebody:secret@{address}")));
    let trusting = || {
        let server = Server::builder(backend.clone()).node(&bus);
        server.set("NATS__AUTHORITIES", format!("{path}/certificate.pem")).start()
    };
    let (mut here, mut there) = (trusting().await, trusting().await);
    let mut distrustful = Server::builder(backend.clone()).node(&bus).start().await;
    for node in [&here, &there] {
        node.ready().await;
    }
    distrustful.not_ready(CUT_OFF).await;
    let (john, admin) = (here.log_in(support::JOHN).await, there.log_in(support::ADMIN).await);
    until("a signal", async || {
        john.messaging("typing/start", serde_json::json!({"thread_id": PAIR})).await;
        let typing = admin.messaging(&format!("typing/status/{PAIR}"), serde_json::json!({})).await;
        typing["typing_users"].as_array().is_some_and(|typing| !typing.is_empty()).then_some(())
    })
    .await;
    for node in [&mut here, &mut there, &mut distrustful] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_bus_that_cannot_be_meant_stops_the_start_with_one_line() {
    let cases = [
        ("carrier-pigeon", "memory:", "bus must be local, postgres, nats://... or tls://..."),
        ("postgres", "memory:", "bus cannot be postgres while storage is not"),
        ("nats://somebody:secret@", "memory:", "bus: "),
        ("nats://:99999", "memory:", "bus: "),
    ];
    for (bus, storage, reason) in cases {
        let environment = [("DRAGOMAN__BUS", bus), ("DRAGOMAN__STORAGE", storage), SECRET];
        let output = support::run(&["serve", "--listen", "127.0.0.1:0"], &environment, "").await;
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{bus}: {errors}");
        assert!(errors.contains(reason), "{bus}: {errors}");
        assert!(!errors.contains("secret"), "{bus}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{bus}: {errors}");
    }
    let directory = tempfile::tempdir().unwrap();
    let nonsense = directory.path().join("credentials");
    std::fs::write(&nonsense, "a secret that is no credentials\n").unwrap();
    for (setting, file) in [("DRAGOMAN__NATS__CREDENTIALS", Path::new("/nowhere")), ("DRAGOMAN__NATS__CREDENTIALS", &nonsense)] {
        let bus = [("DRAGOMAN__STORAGE", "memory:"), ("DRAGOMAN__BUS", "nats://127.0.0.1:1")];
        let environment = [bus[0], bus[1], (setting, file.to_str().unwrap()), SECRET];
        let output = support::run(&["serve", "--listen", "127.0.0.1:0"], &environment, "").await;
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && errors.contains("bus: "), "{errors}");
        assert!(!errors.contains("a secret"), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
}

/// A NATS server of the test, which ends with it.
pub(super) fn nats(directory: &Path, settings: &str) -> Child {
    let file = directory.join("server.conf");
    std::fs::write(&file, format!("{settings}\nports_file_dir: \"{}\"\n", directory.display())).unwrap();
    let mut command = Command::new("nats-server");
    command.arg("--config").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("NATS is installed")
}

/// Returns the address of NATS once it listens.
pub(super) fn port(directory: &Path) -> Option<String> {
    let files = std::fs::read_dir(directory).ok()?;
    let ports = files.filter_map(Result::ok).find(|file| file.path().extension().is_some_and(|ending| ending == "ports"))?;
    let text = std::fs::read_to_string(ports.path()).ok()?;
    let at = text.find("127.0.0.1:")?;
    text[at..].split('"').next().map(str::to_owned)
}
