//! Tests of `dragoman move`: stores of both kinds, moved to each kind, and what their clients kept.

mod dump;
mod interrupted;
mod refusals;

use std::{path::Path, process::Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ADMIN, Backend, Bucket, Client, JANE, JOHN, Server, Socket, files_below, run};
use crate::upgrade::fixture::Fixture;
use dump::{counts, dump};

/// Moves a store, with its files.
async fn move_store(from: (&Backend, &str), to: (&Backend, &str), environment: &[(&str, &str)]) -> Output {
    let ((from, from_files), (to, to_files)) = (from, to);
    let arguments = ["move", "--from", from.url(), "--to", to.url(), "--from-files", from_files, "--to-files", to_files];
    run(&arguments, environment, "").await
}

fn files_in(directory: &TempDir) -> String {
    format!("file:{}", directory.path().display())
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The one line of a move or a server that was refused.
#[track_caller]
fn refused(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.starts_with("dragoman: ") && said.lines().count() == 1, "{output:?}");
    said
}

/// Starts a server that ends at its start, with one line.
async fn refused_server(backend: &Backend) -> String {
    refused(&backend.run(&["serve", "--listen", "127.0.0.1:0"], "").await)
}

/// Names and bytes of all files.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let named = |path: &std::path::PathBuf| path.strip_prefix(directory).unwrap().to_string_lossy().into_owned();
    let mut files: Vec<_> = files_below(directory).iter().map(|path| (named(path), std::fs::read(path).unwrap())).collect();
    files.sort();
    files
}

/// Adds what the first release did not know: an edit, a reaction, a reply with a key, and entries of the audit trail.
async fn add_to(server: &Server, fixture: &Fixture) {
    let (admin, john) = (fixture.client(server, "admin"), fixture.client(server, "john"));
    let send = async |client: &Client, params: Value| client.messaging("message/send", params).await["message_id"].take();
    let first = send(&admin, json!({"thread_id": 1, "body": "edited later", "client_key": "first"})).await;
    send(&john, json!({"thread_id": 1, "body": "a reply", "reply_to": first})).await;
    let deleted = send(&john, json!({"thread_id": 1, "body": "a mistake"})).await;
    admin.messaging("message/edit", json!({"message_id": first, "body": "edited"})).await;
    john.messaging("message/reaction", json!({"message_id": first, "content": "👍", "action": "add"})).await;
    john.messaging("message/delete", json!({"message_id": deleted})).await;
    let params = json!({"db": "odoo2", "login": JANE, "password": "wrong"});
    assert!(server.client().call("/web/session/authenticate", params).await["error"].is_object());
}

/// A store of everything, moved from each kind to each kind: all rows are the same at both ends, whoever reads them, and so are
/// all files.
#[tokio::test]
async fn every_row_and_every_file_arrives() {
    let fixture = Fixture::of("0.1.0").await;
    let mut server = fixture.server().start().await;
    add_to(&server, &fixture).await;
    server.stop().await;
    let origin = dump(&fixture.backend).await;
    let empty: Vec<_> = origin.iter().filter(|(_, rows)| rows.is_empty()).map(|(table, _)| table.as_str()).collect();
    assert_eq!(empty, ["left_reads"], "there is something of nearly everything");
    let directory = tempfile::tempdir().unwrap();
    let original_files = files(Path::new(&fixture.files()[5..]));

    let stores = [Backend::sqlite(), Backend::sqlite(), Backend::empty_postgres().await, Backend::empty_postgres().await];
    let (mut from, mut from_files) = (&fixture.backend, fixture.files());
    for (number, to) in stores.iter().enumerate() {
        let to_files = format!("file:{}", directory.path().join(number.to_string()).display());
        let said = succeeded(&move_store((from, &from_files), (to, &to_files), &[]).await);
        let table = said.lines().find(|line| line.starts_with("messages ")).unwrap();
        assert_eq!(table.split_whitespace().nth(1), Some(origin["messages"].len().to_string().as_str()), "{said}");
        assert!(said.contains(&format!("{} copied", original_files.len())), "{said}");
        assert_eq!(files(Path::new(&to_files[5..])), original_files);
        (from, from_files) = (to, to_files);
    }
    let [file, same_file, database, same_database] =
        [dump(&stores[0]).await, dump(&stores[1]).await, dump(&stores[2]).await, dump(&stores[3]).await];
    assert_eq!(counts(&file), counts(&origin));
    assert!(file == same_file, "one file holds the same as another");
    assert!(database == origin && same_database == origin, "after all moves the database holds the same as at first");

    // The last one is served, and the others are not.
    let mut server = Server::builder(stores[3].clone()).empty().set("FILES", &from_files).start().await;
    let page = fixture.client(&server, "john").messaging("messages", json!({"thread_id": 1})).await;
    let replied = &page["messages"][1];
    assert_eq!((&replied["body"], &replied["reply_to"]), (&json!("a reply"), &page["messages"][2]["id"]), "{page}");
    server.stop().await;
    for moved in [&fixture.backend, &stores[0], &stores[1], &stores[2]] {
        let said = refused_server(moved).await;
        assert!(said.contains("was moved to") && !said.contains("@"), "no password: {said}");
    }
}

/// A long poll's cursor, a bus id, a cookie, a token and an open conversation, before and after a move.
async fn goes_on(from: Backend, to: Backend) {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [from_files, to_files] = directories.each_ref().map(files_in);
    let mut server = Server::builder(from.clone()).with_tokens().set("FILES", &from_files).start().await;
    let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
    let [access, refresh] = server.tokens(JANE).await;
    let say = async |client: &Client, body: &str| {
        client.messaging("message/send", json!({"thread_id": 1, "body": body})).await["message_id"].as_i64().unwrap()
    };
    let first = say(&admin, "before").await;
    let poll = json!({"channels": [], "last": 0});
    let told = john.result("/longpolling/poll", poll).await;
    let last = told.as_array().unwrap().last().map_or(0, |told| told["id"].as_i64().unwrap());
    let cursor = say(&admin, "while nobody listened").await;
    server.stop().await;
    succeeded(&move_store((&from, &from_files), (&to, &to_files), &[]).await);

    let mut server = Server::builder(to).empty().with_tokens().set("FILES", &to_files).start().await;
    let at = |client: &Client| server.client().with_session(client.session());
    let (admin, john) = (at(&admin), at(&john));
    let polled = john.messaging("poll/messages", json!({"thread_id": 1, "last_message_id": first, "timeout": 1})).await;
    assert_eq!((&polled["count"], &polled["messages"][0]["id"]), (&json!(1), &json!(cursor)), "{polled}");
    let told = john.result("/longpolling/poll", json!({"channels": [], "last": last})).await;
    let ids: Vec<_> = told.as_array().unwrap().iter().map(|told| told["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted() && ids.iter().all(|id| *id > last), "{told}");
    let bodies: Vec<_> = told.as_array().unwrap().iter().filter_map(|told| told["message"]["message"].as_str()).collect();
    assert!(bodies.contains(&"while nobody listened") && !bodies.contains(&"before"), "{told}");
    let mut socket = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={access}"))).await;
    socket.heard_so_far().await;
    socket.close().await;
    let renewed = server.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let mut conversation =
        Socket::open(server.socket_url(&format!("/conversations/1/?token={}", server.tokens(JOHN).await[0]))).await;
    assert!(say(&admin, "after").await > cursor, "ids go on");
    let heard = conversation.hear_until(|told| told["type"] == "chat_message").await;
    assert_eq!(heard["message"]["content"], "after", "{heard}");
    conversation.close().await;
    server.stop().await;
}

#[tokio::test]
async fn clients_go_on_in_a_database() {
    goes_on(Backend::sqlite(), Backend::empty_postgres().await).await;
}

#[tokio::test]
async fn clients_go_on_in_a_file() {
    goes_on(Backend::postgres().await, Backend::sqlite()).await;
}

async fn attach(client: &Client, name: &str, bytes: Vec<u8>) -> Value {
    let part = reqwest::multipart::Part::bytes(bytes).file_name(name.to_owned());
    let form = reqwest::multipart::Form::new().part("file", part);
    let uploaded =
        client.request(reqwest::Method::POST, "/api/messaging/attachment/upload").multipart(form).send().await.unwrap();
    let mut uploaded: Value = uploaded.json().await.unwrap();
    let id = uploaded["attachment_id"].take();
    client.messaging("message/send", json!({"thread_id": 1, "body": name, "attachment_ids": [id]})).await;
    id
}

async fn download(client: &Client, id: &Value) -> Vec<u8> {
    let answer = client.request(reqwest::Method::GET, &format!("/api/messaging/attachment/{id}")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap().into()
}

/// Files go to a bucket and back, a large one in parts.
#[tokio::test]
async fn files_go_to_a_bucket_and_back() {
    let bucket = Bucket::start().await;
    let stores = [Backend::sqlite(), Backend::sqlite(), Backend::sqlite()];
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut server = Server::builder(stores[0].clone()).set("FILES", files_in(&directories[0])).start().await;
    let john = server.log_in(JOHN).await;
    let large: Vec<u8> = (0..12_000_000_u32).map(|number| (number % 251) as u8).collect();
    let sent = [attach(&john, "small.txt", b"small".into()).await, attach(&john, "large.bin", large.clone()).await];
    server.stop().await;

    let settings = bucket.holds_the_files_of(Server::builder(stores[1].clone())).environment();
    let environment: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let in_bucket = environment.iter().find(|(key, _)| *key == "DRAGOMAN__FILES").unwrap().1;
    let (there, back) = (files_in(&directories[0]), files_in(&directories[1]));
    succeeded(&move_store((&stores[0], &there), (&stores[1], in_bucket), &environment).await);
    let mut server = bucket.holds_the_files_of(Server::builder(stores[1].clone()).empty()).start().await;
    let john_there = server.client().with_session(john.session());
    assert_eq!(download(&john_there, &sent[0]).await, b"small");
    assert!(download(&john_there, &sent[1]).await == large, "the large file is the same");
    server.stop().await;

    succeeded(&move_store((&stores[1], in_bucket), (&stores[2], &back), &environment).await);
    assert_eq!(files(directories[1].path()), files(directories[0].path()));
}

/// A file that is not there is named, and the move says so in the end. None at all: the place is wrong.
#[tokio::test]
async fn a_missing_file_is_named() {
    let stores = [Backend::sqlite(), Backend::sqlite()];
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [there, elsewhere, target] = directories.each_ref().map(files_in);
    let mut server = Server::builder(stores[0].clone()).set("FILES", &there).start().await;
    let john = server.log_in(JOHN).await;
    let sent = [attach(&john, "one.txt", b"one".into()).await, attach(&john, "two.txt", b"two".into()).await];
    server.stop().await;
    let objects = files(directories[0].path());
    let (gone, _) = objects.iter().find(|(_, bytes)| bytes == b"two").unwrap();
    std::fs::remove_file(directories[0].path().join(gone)).unwrap();

    let output = move_store((&stores[0], &elsewhere), (&stores[1], &target), &[]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.lines().last().unwrap().contains("none of 2 files is in"), "{output:?}");
    let mut server = Server::builder(stores[0].clone()).empty().set("FILES", &there).start().await;
    server.stop().await;

    let output = move_store((&stores[0], &there), (&stores[1], &target), &[]).await;
    let said: Vec<_> = std::str::from_utf8(&output.stderr).unwrap().lines().collect();
    assert_eq!(said[0], format!("dragoman: missing: {gone}"), "{output:?}");
    assert!(!output.status.success() && said[1].contains("all is moved but 1 files") && said.len() == 2, "{output:?}");
    let mut server = Server::builder(stores[1].clone()).empty().set("FILES", &target).start().await;
    assert_eq!(download(&server.client().with_session(john.session()), &sent[0]).await, b"one");
    server.stop().await;
}
