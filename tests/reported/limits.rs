//! Tests of the counter of refusals: every limit counts what it refuses, and the guide names all of them.

use std::{collections::BTreeSet, fmt::Display};

use dragoman::metrics::LIMITS;
use futures_util::stream;
use reqwest::{
    Body, Method,
    header::CONTENT_TYPE,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use tokio::{net::TcpSocket, task::JoinSet};

use crate::support::{ADMIN, Answer, Backend, Client, JOHN, PASSWORD, RawConnection, Server, Socket, http, token, until};

const GUIDE: &str = include_str!("../../deploy/GUIDE.md");
const SETTINGS: &str = include_str!("../../deploy/SETTINGS.md");

const MIB: usize = 1024 * 1024;
const UID_OF_JOHN: i64 = 4;
/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;
/// Capacity of the queue for a turn at the store.
const QUEUE: usize = 128;
/// A value of each limit that is soon reached.
const VALUES: [(&str, usize); LIMITS.len()] = [
    ("address.requests_at_once", 1),
    // One party may have an eighth.
    ("answers_bytes", 80_000),
    ("bodies_bytes", 8 * MIB),
    ("body_bytes", MIB),
    ("body_seconds", 1),
    // One of them is reserved.
    ("connections", 20),
    ("connections_per_address", 1),
    ("failed_logins_per_address", 1),
    ("failed_logins_per_login", 1),
    ("message_bytes", 10),
    ("participants", 2),
    ("password_checks_waiting", 1),
    ("sockets.message_bytes", 1_000),
    ("sockets.per_user", 1),
    ("upload_bytes", 10),
    ("uploads.bytes", 10),
    ("user.conversations_per_second", 1),
    ("user.requests_at_once", 1),
    ("user.searches_per_second", 1),
    ("user.upload_bytes_per_day", 10),
    ("user.uploads_at_once", 1),
    ("user.writes_per_second", 1),
    ("waiting_polls_per_user", 1),
    ("write_seconds", 1),
];

/// Name of a limit's setting.
fn setting(limit: &str) -> String {
    let is_whole = limit.starts_with("sockets.") || limit.starts_with("uploads.");
    if is_whole { limit.to_owned() } else { format!("limits.{limit}") }
}

async fn start(backend: Backend, limit: &str, value: impl Display) -> Server {
    let server = Server::builder(backend).with_tokens().set("POSTGRES__STATEMENT_MILLISECONDS", 60_000);
    let server = server.set("LIMITS__USER__WRITES_BURST", 1).set("LIMITS__USER__CONVERSATIONS_BURST", 1);
    // The address from which the metrics are read has no connection limit.
    let server = server.set("PROXIES", "127.0.0.1");
    server.set(&setting(limit).replace('.', "__").to_uppercase(), value).start().await
}

async fn refused(server: &Server, limit: &str) -> f64 {
    server.metric(&format!("dragoman_refused_total{{limit=\"{limit}\"}}")).await
}

/// Waits until the limit has refused something.
async fn counted(server: &Server, limit: &str) {
    until(limit, async || (refused(server, limit).await >= 1.0).then_some(())).await;
}

async fn log_in(client: &Client, login: &str, password: &str) -> Answer {
    client.post("/auth/token", &json!({"login": login, "password": password})).await
}

async fn upload(client: &Client, part: (&'static str, Part)) -> Answer {
    let form = Form::new().part(part.0, part.1);
    Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await
}

fn file(bytes: usize) -> (&'static str, Part) {
    ("file", Part::bytes(vec![b'x'; bytes]).file_name("a.txt"))
}

#[tokio::test]
async fn every_refusal_is_counted_by_its_limit() {
    assert_eq!(VALUES.map(|(limit, _)| limit), LIMITS);
    for (limit, value) in VALUES {
        let needs_locks = limit.ends_with("requests_at_once") || limit == "password_checks_waiting";
        let backend = if needs_locks { Backend::postgres().await } else { Backend::memory() };
        let server = start(backend, limit, value).await;
        let metrics = server.get("/metrics").await.text().await.expect("the answer is whole");
        assert!(metrics.contains(&format!("dragoman_refused_total{{limit=\"{limit}\"}} 0\n")), "{limit}: {metrics}");
        match limit {
            "address.requests_at_once" | "user.requests_at_once" | "password_checks_waiting" => crowd(&server, limit).await,
            limit if limit.starts_with("connections") => connect(&server, limit).await,
            limit if limit.starts_with("sockets.") => open_sockets(&server, limit).await,
            limit if limit.starts_with("user.") || limit.starts_with("upload") => act(&server, limit).await,
            limit => send(&server, limit).await,
        }
        counted(&server, limit).await;
    }
}

/// Requests that wait for a locked table, until one is refused.
async fn crowd(server: &Server, limit: &str) {
    let john = server.log_in(JOHN).await;
    let credentials = json!({"login": ADMIN, "password": PASSWORD});
    let (client, path, body, table) = match limit {
        "user.requests_at_once" => (john, "/api/messaging/messages", json!({"params": {"thread_id": PAIR}}), "conversations"),
        _ => (server.client(), "/auth/token", credentials, "users"),
    };
    let requests = if limit == "password_checks_waiting" { 2 } else { QUEUE + 2 };
    let mut database = PgConnection::connect(server.backend().url()).await.expect("the database is up");
    let mut lock = database.begin().await.expect("the database is up");
    let statement = sqlx::AssertSqlSafe(format!("LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"));
    lock.execute(sqlx::raw_sql(statement)).await.expect("it can be locked");
    let mut asking = JoinSet::new();
    for _ in 0..requests {
        let (client, body) = (client.clone(), body.clone());
        asking.spawn(async move { client.post(path, &body).await });
    }
    let answer = asking.join_next().await.expect("there are many").expect("it ends");
    assert_eq!(answer.headers["retry-after"], "1", "{limit}: {answer:?}");
    counted(server, limit).await;
}

async fn connect(server: &Server, limit: &str) {
    const REFUSED: &str = "HTTP/1.1 503";
    let mut held = Vec::new();
    // Another address each time: one may have three quarters of the connections.
    for number in 1..=20 {
        let mut next = RawConnection::from([127, 0, 1, number], server).await;
        next.send("GET /web/health HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let answer = next.read_until("\r\n\r\n").await;
        if answer.starts_with(REFUSED) {
            return;
        }
        held.push(next);
        if limit == "connections_per_address" {
            let answer = RawConnection::from([127, 0, 1, number], server).await.read_until("\r\n\r\n").await;
            assert!(answer.starts_with(REFUSED), "{answer}");
            return;
        }
    }
    panic!("{} connections are served", held.len());
}

async fn open_sockets(server: &Server, limit: &str) {
    let url = server.socket_url(&format!("/conversations/{PAIR}/?token={}", token(UID_OF_JOHN)));
    let mut first = Socket::open(url.as_str()).await;
    first.heard_so_far().await;
    let code = if limit == "sockets.per_user" {
        Socket::open(url.as_str()).await.closed().await
    } else {
        first.say_text(&"x".repeat(1_001)).await;
        first.closed().await
    };
    assert_eq!(code, if limit == "sockets.per_user" { 4029 } else { 1009 });
}

/// Actions and files of a user.
async fn act(server: &Server, limit: &str) {
    let john = server.log_in(JOHN).await;
    let again_and_again = async |route: &str, params: Value| {
        until(limit, async || {
            john.messaging(route, params.clone()).await;
            (refused(server, limit).await >= 1.0).then_some(())
        })
        .await;
    };
    match limit {
        "user.writes_per_second" => again_and_again("typing/start", json!({"thread_id": PAIR})).await,
        "user.conversations_per_second" => again_and_again("thread/create", json!({"name": "x", "partner_ids": []})).await,
        "user.searches_per_second" => again_and_again("partners/search", json!({"query": "john"})).await,
        "user.upload_bytes_per_day" => assert_eq!(upload(&john, file(11)).await.status, 429),
        "user.uploads_at_once" => {
            let _unfinished = RawConnection::half_an_upload(server, &john, 1_000, "x").await;
            // Either of the two may come first.
            until("two uploads at once", async || {
                upload(&john, file(1)).await;
                (refused(server, limit).await >= 1.0).then_some(())
            })
            .await;
        }
        "upload_bytes" => assert_eq!(upload(&john, file(11)).await.status, 413),
        "uploads.bytes" => {
            let wish = json!({"filename": "a.txt", "mimeType": "text/plain", "type": "chat-images"});
            let wished = john.post("/file-new/get-upload-url", &wish).await.json();
            let address = wished["data"]["uploadUrlData"]["uploadURL"].as_str().unwrap_or_else(|| panic!("{wished}"));
            let pieces = || Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(vec![b'x'; 11])]));
            for body in [Body::from(vec![b'x'; 11]), pieces()] {
                assert_eq!(Answer::of(http().put(address).header(CONTENT_TYPE, "text/plain").body(body)).await.status, 413);
            }
            assert_eq!(refused(server, limit).await, 2.0, "announced or not");
        }
        _ => panic!("{limit} is not tried"),
    }
}

/// Requests of all other kinds.
async fn send(server: &Server, limit: &str) {
    let stranger = server.client();
    let post = async |path: &str, body: Body| {
        Answer::of(stranger.request(Method::POST, path).header(CONTENT_TYPE, "application/json").body(body)).await.status
    };
    match limit {
        // The answer repeats the id.
        "answers_bytes" => {
            let call = json!({"jsonrpc": "2.0", "method": "call", "params": {}, "id": "x".repeat(20_000)});
            assert_eq!(post("/jsonrpc", call.to_string().into()).await, 503);
        }
        // The text and the tree that is made of it.
        "bodies_bytes" => assert_eq!(post("/auth/token", json!(["x".repeat(600_000)]).to_string().into()).await, 503),
        "body_bytes" => {
            let pieces = [(); 2].map(|()| Ok::<_, std::io::Error>(vec![b' '; MIB]));
            assert_eq!(post("/auth/token", "x".repeat(2 * MIB).into()).await, 413);
            assert_eq!(post("/jsonrpc", Body::wrap_stream(stream::iter(pieces))).await, 413);
            let many = format!("[{}]", vec!["1"; 500_000].join(","));
            assert_eq!(post("/auth/token", many.into()).await, 400);
            let name = ("name", Part::text("x".repeat(2 * MIB)));
            assert_eq!(upload(&server.log_in(JOHN).await, name).await.status, 400);
            assert_eq!(refused(server, limit).await, 4.0, "announced or not, with too many values, or beside a file");
        }
        "body_seconds" => {
            let mut connection = RawConnection::to(server).await;
            connection
                .send("POST /jsonrpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
                .await;
            let answer = connection.read_until("\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
            let john = server.log_in(JOHN).await;
            let _unfinished = RawConnection::half_an_upload(server, &john, 1_000, "x").await;
            until("a late file", async || (refused(server, limit).await == 2.0).then_some(())).await;
        }
        "failed_logins_per_address" | "failed_logins_per_login" => {
            let others = if limit == "failed_logins_per_login" { JOHN } else { "nobody@example.com" };
            for (login, status) in [(JOHN, 401), (others, 429)] {
                assert_eq!(log_in(&stranger, login, "wrong").await.status, status, "{login}");
            }
        }
        "message_bytes" => {
            let message = json!({"thread_id": PAIR, "body": "x".repeat(11)});
            server.log_in(JOHN).await.messaging("message/send", message).await;
        }
        "participants" => {
            let thread = json!({"name": "x", "partner_ids": [2, 6]});
            server.log_in(JOHN).await.messaging("thread/create", thread).await;
        }
        "waiting_polls_per_user" => {
            let john = server.log_in(JOHN).await;
            let poll = json!({"thread_id": PAIR, "timeout": 60});
            let mut waiting = JoinSet::new();
            let (client, params) = (john.clone(), poll.clone());
            waiting.spawn(async move { client.messaging("poll/messages", params).await });
            server.polls_waiting(1).await;
            john.messaging("poll/messages", poll).await;
            counted(server, limit).await;
        }
        "write_seconds" => {
            let slow = TcpSocket::new_v4().expect("there is room for a socket");
            slow.set_recv_buffer_size(4_096).expect("it can be small");
            let slow = slow.connect(server.address()).await.expect("the server listens");
            slow.writable().await.expect("the server reads");
            let requests = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20);
            assert_eq!(slow.try_write(requests.as_bytes()).expect("the server reads"), requests.len());
            counted(server, limit).await;
            drop(slow);
        }
        _ => panic!("{limit} is not tried"),
    }
}

/// Words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The guide has a line for each label, and says of every other limit how it shows.
#[test]
fn the_guide_names_every_limit() {
    let (_, section) = GUIDE.split_once("### Refusals\n").expect("it has that section");
    let section = section.split("\n#").next().expect("there is a first part");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let counted: BTreeSet<_> = rows.flat_map(|row| quoted(row.split(" | ").next().unwrap_or_default())).collect();
    assert_eq!(counted, BTreeSet::from(LIMITS));
    let named: BTreeSet<_> = quoted(section).map(setting).chain(quoted(section).map(str::to_owned)).collect();
    let settings = SETTINGS.lines().filter(|line| line.starts_with("| `limits.") || line.starts_with("| `sockets."));
    let unnamed: Vec<_> = settings.filter_map(|line| quoted(line).next()).filter(|name| !named.contains(*name)).collect();
    assert_eq!(unnamed, [""; 0]);
}
