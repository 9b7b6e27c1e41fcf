//! Tests of SIGHUP: a closed terminal ends neither a server nor a command.

use std::process::Stdio;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use crate::support::{Backend, JOHN, Server, http, until};

fn start(arguments: &[&str], storage: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dragoman"));
    command.args(arguments).env("DRAGOMAN__STORAGE", storage).env("DRAGOMAN__POSTGRES__ACQUIRE_MILLISECONDS", "300");
    command.kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program can be started")
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).expect("it runs");
    kill(Pid::from_raw(pid), signal).expect("it is our child");
}

#[tokio::test]
async fn a_server_says_that_sighup_does_nothing() {
    let mut server = Server::demo(Backend::memory()).await;
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    for times in 1..=2 {
        kill(pid, Signal::SIGHUP).unwrap();
        until("the line", async || (server.log().matches("SIGHUP ignored").count() == times).then_some(())).await;
    }
    server.log_in(JOHN).await;
    server.stop().await;
}

/// SIGHUP while the server opens its store, on a database that accepts connections and does not answer.
#[tokio::test]
async fn sighup_before_the_listener_is_there_ends_nothing() {
    let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let storage = format!("postgres://x@{}/x", database.local_addr().unwrap());
    let mut server = start(&["serve", "--listen", "127.0.0.1:0"], &storage);
    let _asked = database.accept().await.unwrap();
    signal(&server, Signal::SIGHUP);
    let ended = server.wait().await.unwrap();
    assert_eq!(ended.code(), Some(1), "for want of the database: {ended}");
}

#[tokio::test]
async fn sighup_ends_no_command() {
    let backend = Backend::postgres().await;
    backend.administer(&["migrate"], "").await;
    let mut command = start(&["user", "add", "jane@example.com", "--name", "Jane"], backend.url());
    let mut stdin = command.stdin.take().unwrap();
    stdin.write_all(b"a pass").await.unwrap();
    // The handlers are installed before the command reads its password.
    let path = format!("/proc/{}/status", command.id().unwrap());
    until("the handler of SIGHUP", async || {
        let status = std::fs::read_to_string(&path).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim();
        (u64::from_str_radix(caught, 16).unwrap() & 1 == 1).then_some(())
    })
    .await;
    signal(&command, Signal::SIGHUP);
    stdin.write_all(b"word\n").await.unwrap();
    drop(stdin);
    assert!(command.wait_with_output().await.unwrap().status.success());
    assert!(backend.administer(&["user", "list"], "").await.contains("\tjane@example.com\t"));
}

/// Broken pipe: no process reads the log lines any more.
#[tokio::test]
async fn a_server_goes_on_when_its_terminal_is_gone() {
    let mut server = start(&["serve", "--demo", "--listen", "127.0.0.1:0"], "memory:");
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let first = lines.next_line().await.unwrap().unwrap();
    let (_, address) = first.rsplit_once("http://").unwrap();
    drop((lines, server.stderr.take()));
    // Each refusal writes a log line.
    for _ in 0..3 {
        let answer = http().get(format!("http://{address}/auth/token")).bearer_auth("x").send().await.expect("it is answered");
        assert_eq!(answer.status(), 401);
        signal(&server, Signal::SIGHUP);
    }
    let metrics = http().get(format!("http://{address}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\ndragoman_panics_total 0\n"), "{metrics}");
    signal(&server, Signal::SIGTERM);
    assert_eq!(server.wait().await.unwrap().code(), Some(0));
}
