//! Tests with clients in their own languages, as far as the machine has them: plain Java, Node's `ws`, a browser. The tests
//! of the dialects have the Python clients.

use std::{path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use crate::support::{Backend, JOHN, PASSWORD, Server, run_to_its_end, token};

const PAGE: &str = include_str!("page.html");
/// Time-out of the browser, far beyond its usual duration.
const PATIENCE: Duration = Duration::from_secs(120);

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// True if the program is in `PATH`.
fn is_there(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

/// Java's HTTP client finds headers only in their usual case.
#[tokio::test]
async fn a_client_of_plain_java_keeps_its_cookie() {
    if !is_there("javac") {
        eprintln!("skipped: there is no JDK");
        return;
    }
    let mut server = Server::demo(Backend::memory()).await;
    let mut java = Command::new("java");
    let said = run_to_its_end(java.arg(script("Client.java")).arg(server.url("")).args([JOHN, PASSWORD])).await;
    assert!(said.contains("all well\n"), "{said}");
    server.stop().await;
}

/// Two revisions of the dialect `room` exchange messages.
#[tokio::test]
async fn clients_of_node_talk_in_a_room() {
    let modules = std::env::var("DRAGOMAN_TEST_NODE_PATH").expect("run the tests with .ci/test, which installs ws");
    let mut server = Server::with_tokens(Backend::memory()).await;
    let (john, admin) = ("302e305b-6e73-4f9c-bac7-551a92b106b0", "75140d72-8b20-4549-885c-20599badb486");
    let mut node = Command::new("node");
    node.arg(script("room.js")).arg(server.address().to_string()).args([token(4).as_str(), john, token(2).as_str(), admin]);
    let said = run_to_its_end(node.env("NODE_PATH", modules)).await;
    assert!(said.contains("all well\n"), "{said}");
    server.stop().await;
}

/// CORS with the session cookie, and a socket.
#[tokio::test]
async fn a_page_of_another_origin_chats() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    // Another port is another origin of the same site, so browsers send the cookie.
    let origin = format!("http://{}", listener.local_addr().expect("it listens"));
    let mut server = Server::builder(Backend::memory()).set("CORS__ORIGINS", &origin).start().await;
    let profile = tempfile::tempdir().expect("a directory can be made");
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display())).env("HOME", profile.path());
    chromium.arg(format!("{origin}/?server={}", server.url(""))).kill_on_drop(true);
    let mut running = chromium.spawn().expect("run the tests with .ci/test, which installs Chromium");
    let outcome = timeout(PATIENCE, outcome_of_page(&listener)).await.expect("the page tells what came of it");
    assert_eq!(outcome, "all well");
    running.kill().await.expect("it runs until then");
    server.stop().await;
}

/// Serves the page until it reports its outcome. A browser also opens connections that it does not use.
async fn outcome_of_page(listener: &TcpListener) -> String {
    let (tell, mut told) = mpsc::channel(1);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (connection, _) = accepted.expect("connections can be accepted");
                connections.spawn(give_page(connection, tell.clone()));
            }
            Some(outcome) = told.recv() => return outcome,
        }
    }
}

async fn give_page(mut connection: TcpStream, tell: mpsc::Sender<String>) {
    let Some((head, body)) = request(&mut connection).await else { return };
    if head.starts_with("POST /outcome ") {
        tell.send(body).await.expect("it is waited for");
        return;
    }
    let page = if head.starts_with("GET /?") { PAGE } else { "" };
    let length = page.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}");
    // The browser may have closed the connection.
    let _ = connection.write_all(answer.as_bytes()).await;
}

/// The head and the body of a request; `None` if the connection ends before.
async fn request(connection: &mut TcpStream) -> Option<(String, String)> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut headers = head.lines().filter_map(|line| line.split_once(": "));
            let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            if body.len() >= length.map_or(0, |(_, length)| length.parse().expect("it is a number")) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if connection.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}
