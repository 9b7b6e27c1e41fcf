//! Tests of a server whose store is a file: what it keeps without any setting, who else may use the file, and what it says.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};
use tokio::{process::Command, task::JoinSet};

use crate::support::{ADMIN, Backend, Client, JANE, JOHN, Server, run, run_to_its_end, until};

/// Runs a server that ends at its start; returns its output.
async fn refused(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let Output { status, stderr, stdout } =
        run(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat(), environment, "").await;
    assert!(!status.success() && stdout.is_empty(), "{status}: {}", String::from_utf8_lossy(&stdout));
    String::from_utf8(stderr).expect("it is text")
}

async fn say(client: &Client, body: &str) {
    let answer = client.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
    assert_eq!(answer["success"], true, "{answer}");
}

async fn bodies(client: &Client) -> Vec<Value> {
    let page = client.messaging("messages", json!({"thread_id": 1})).await;
    page["messages"].as_array().expect("it is a page").iter().map(|message| message["body"].clone()).collect()
}

/// Path of a server's database file, with a suffix.
fn file(server: &Server, suffix: &str) -> PathBuf {
    let file = server.backend().url().strip_prefix("sqlite:").expect("it is a file");
    format!("{file}{suffix}").into()
}

/// Size of a server's write-ahead log.
fn log_bytes(server: &Server) -> u64 {
    fs::metadata(file(server, "-wal")).expect("it is there").len()
}

/// A server without settings of its store: everything is in `dragoman-data`, and the client goes on after a restart.
#[tokio::test]
async fn without_any_setting_everything_is_kept() {
    let mut server = Server::demo(Backend::at(String::new())).await;
    let john = server.log_in(JOHN).await;
    say(&john, "before").await;
    let data = server.directory().join("dragoman-data");
    assert!(data.join("dragoman.db").is_file(), "{}", data.display());
    assert!(server.log().contains("storage=\"sqlite:dragoman-data/dragoman.db\""), "{}", server.log());
    let health: Value = server.get("/readyz").await.json().await.expect("it is JSON");
    assert_eq!((&health["status"], &health["storage"]), (&json!("pass"), &json!("sqlite")));
    let address = server.address();
    server.stop().await;
    server.start_again(address).await;
    say(&john, "after").await;
    assert_eq!(bodies(&john).await, ["after", "before"]);
    let address = server.kill().await;
    server.start_again(address).await;
    assert_eq!(bodies(&john).await, ["after", "before"]);
    server.stop().await;
}

#[tokio::test]
async fn memory_is_something_one_asks_for() {
    let mut server = Server::demo(Backend::memory()).await;
    let health: Value = server.get("/readyz").await.json().await.expect("it is JSON");
    assert_eq!(health["storage"], "memory");
    assert!(server.log().contains("storage=\"memory\""), "{}", server.log());
    let metrics = server.get("/metrics").await.text().await.expect("it is text");
    assert!(metrics.contains("dragoman_store_info{storage=\"memory\"} 1"), "{metrics}");
    server.stop().await;
}

/// A second server on the file ends with one line, and the first goes on. Commands work beside it.
#[tokio::test]
async fn a_file_has_one_server_and_commands_beside_it() {
    let mut server = Server::demo(Backend::sqlite()).await;
    let said = refused(&[], &[("DRAGOMAN__STORAGE", server.backend().url())]).await;
    assert!(said.starts_with("dragoman: ") && said.lines().count() == 1 && said.contains("another process serves it"), "{said}");
    let (admin, jane) = (server.log_in(ADMIN).await, server.log_in(JANE).await);
    say(&admin, "still here").await;
    let listed = server.backend().administer(&["user", "list"], "").await;
    assert!(listed.contains(JOHN), "{listed}");
    server.backend().administer(&["user", "deactivate", JANE], "").await;
    until("the end of a session", async || {
        let answer = jane.call("/api/messaging/threads", json!({})).await;
        answer["error"].is_object().then_some(())
    })
    .await;
    let added = ["user", "add", "new@example.com", "--name", "New", "--role", "admin"];
    server.backend().administer(&added, "a long password\n").await;
    let mut new = server.client();
    new.log_in("new@example.com", "a long password").await;
    server.stop().await;
}

/// A command makes the file, and a server on a store without users says how to add one.
#[tokio::test]
async fn the_first_user_is_added_by_a_command() {
    let backend = Backend::sqlite();
    let mut server = Server::builder(backend.clone()).empty().start().await;
    let hint = format!("dragoman user add LOGIN --name NAME --role admin --storage {}", backend.url());
    assert!(server.log().contains(&hint), "{}", server.log());
    server.stop().await;
    let backend = Backend::sqlite();
    let added = ["user", "add", "new@example.com", "--name", "New", "--role", "admin"];
    backend.administer(&added, "a long password\n").await;
    let mut server = Server::builder(backend).empty().start().await;
    let mut new = server.client();
    new.log_in("new@example.com", "a long password").await;
    assert!(!server.log().contains("no users"), "{}", server.log());
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_store_of_ours_is_refused_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let file = |name: &str| format!("sqlite:{}", directory.path().join(name).display());
    std::fs::write(directory.path().join("text.db"), "This is no database. ".repeat(1_000)).expect("it can be written");
    let line = async |storage: &str, bus: &str, expected: &str| {
        let said = refused(&[], &[("DRAGOMAN__STORAGE", storage), ("DRAGOMAN__BUS", bus)]).await;
        assert!(said.starts_with("dragoman: ") && said.lines().count() == 1 && said.contains(expected), "{storage}: {said}");
    };
    line(&file("text.db"), "local", "text.db").await;
    line(&file("new.db"), "nats://127.0.0.1:1", "bus must be local").await;
    line(&file("new.db"), "postgres", "bus cannot be postgres").await;
    line("sqlite:", "local", "storage must name a file").await;
    line("mysql://localhost", "local", "storage must be sqlite:<file>, postgres://... or memory:").await;
    assert!(!Path::new(&file("new.db")[7..]).exists(), "settings are checked first");
}

/// A file that is removed beneath the server: not ready, writes refused, and nothing is acknowledged that has no file.
#[tokio::test]
async fn a_file_that_is_gone_is_missed() {
    let mut server = Server::demo(Backend::sqlite()).await;
    let admin = server.log_in(ADMIN).await;
    say(&admin, "kept").await;
    let (file, aside) = (file(&server, ""), file(&server, ".aside"));
    std::fs::rename(&file, &aside).expect("it is ours");
    server.not_ready("the store cannot be reached").await;
    let refused = admin.post("/api/messaging/message/send", &json!({"params": {"thread_id": 1, "body": "lost"}})).await.json();
    assert_eq!(refused["error"]["data"]["name"], "psycopg2.OperationalError", "{refused}");
    std::fs::rename(&aside, &file).expect("it is ours");
    server.ready().await;
    say(&admin, "again").await;
    assert_eq!(bodies(&admin).await, ["again", "kept"]);
    server.stop().await;
}

/// An idle server looks several times a second whether anybody has committed, and reads the event log only then.
#[tokio::test]
async fn an_idle_server_reads_nothing() {
    const LOOKS: f64 = 20.0;
    let mut server = Server::demo(Backend::sqlite()).await;
    let count =
        async |operation: &str| server.metric(&format!("dragoman_store_seconds_count{{operation=\"{operation}\"}}")).await;
    let (looks, reads) = (count("data_version").await, count("select log_head").await);
    until("looks", async || (count("data_version").await >= looks + LOOKS).then_some(())).await;
    let read = count("select log_head").await - reads;
    assert!(read < LOOKS / 2.0, "{read} reads for {LOOKS} looks: the node's own lease and its like");
    server.stop().await;
}

/// Retention rounds empty the write-ahead log while clients send and poll, though there is nothing to delete.
#[tokio::test]
async fn every_retention_round_empties_the_write_ahead_log() {
    const BOUND: u64 = 24 * 1024 * 1024;
    const SENDERS: usize = 4;
    let mut server = Server::builder(Backend::sqlite()).set("RETENTION__EVERY_SECONDS", 1).start().await;
    let rounds = "dragoman_store_seconds_count{operation=\"checkpoint\"}";
    let admin = server.log_in(ADMIN).await;
    let mut clients = JoinSet::new();
    for number in 0..SENDERS {
        let client = server.log_in(if number % 2 == 0 { ADMIN } else { JOHN }).await;
        clients.spawn(async move {
            for step in 0.. {
                say(&client, &format!("{number} {step} {}", "x".repeat(20_000))).await;
                let polled = json!({"thread_id": 1, "last_message_id": 0, "timeout": 0});
                assert_eq!(client.messaging("poll/messages", polled).await["has_new"], true);
            }
        });
    }
    let before = server.metric(rounds).await;
    until("three rounds", async || {
        assert!(log_bytes(&server) < BOUND, "{}", log_bytes(&server));
        (server.metric(rounds).await >= before + 3.0).then_some(())
    })
    .await;
    clients.shutdown().await;
    say(&admin, "the last").await;
    until("an empty write-ahead log", async || (log_bytes(&server) == 0).then_some(())).await;
    assert_eq!(bodies(&admin).await[0], "the last");
    server.stop().await;
}

/// A write that fails in the middle, as on a broken disk: it is refused, its connection is given up, and the next one goes on.
#[tokio::test]
async fn a_writer_that_breaks_is_replaced() {
    // Soft limit of any file's size, which the test moves. The write-ahead log reaches it before a checkpoint empties it.
    const BROKEN: u64 = 1 << 20;
    const WHOLE: u64 = 1 << 40;
    let mut server = Server::builder(Backend::sqlite()).largest_file(WHOLE).start().await;
    let admin = server.log_in(ADMIN).await;
    let limit = async |bytes: u64| {
        let pid = server.pid().to_string();
        run_to_its_end(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")])).await;
    };
    let connections = || {
        let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
        let names = threads.map(|thread| fs::read_to_string(thread.expect("it is listed").path().join("comm")));
        names.flatten().filter(|name| name.starts_with("sqlite-")).collect::<BTreeSet<_>>()
    };
    say(&admin, "the first").await;
    let open = connections();
    limit(BROKEN).await;
    let (mut kept, text) = (vec!["the first".to_owned()], "x".repeat(60_000));
    loop {
        let body = format!("{} {text}", kept.len());
        let answer = admin.post("/api/messaging/message/send", &json!({"params": {"thread_id": 1, "body": body}})).await.json();
        if answer["result"]["success"] != true {
            assert_eq!(answer["error"]["data"]["name"], "psycopg2.OperationalError", "{answer}");
            break;
        }
        kept.push(body);
    }
    assert!(server.log().contains("disk I/O error"), "{}", server.log());
    server.not_ready("the store takes no writes").await;
    limit(WHOLE).await;
    say(&admin, "the last").await;
    kept.push("the last".to_owned());
    kept.reverse();
    server.ready().await;
    assert_eq!(bodies(&admin).await, kept);
    until("the end of the broken connection", async || (!open.is_subset(&connections())).then_some(())).await;
    let address = server.kill().await;
    server.start_again(address).await;
    assert_eq!(bodies(&admin).await, kept, "nothing is lost");
    server.stop().await;
}
