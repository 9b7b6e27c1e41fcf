//! Tests of fair shares: quotas of memory for unfinished bodies and unread answers, and of turns at the store, so that no
//! user or address starves the others.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::{net::TcpSocket, task::JoinSet};

use crate::{
    support::{ADMIN, Answer, Backend, Client, JANE, JOHN, PASSWORD, RawConnection, Server, Socket, token, until},
    with_every_backend,
};

const MIB: usize = 1024 * 1024;
const UID_OF_JOHN: i64 = 4;
const UID_OF_JANE: i64 = 6;
/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;
/// Capacity of a user's queue for a turn at the store.
const QUEUE: usize = 128;

async fn refused(server: &Server, limit: &str) -> f64 {
    server.metric(&format!("dragoman_refused_total{{limit=\"{limit}\"}}")).await
}

/// Sends this many bytes of a call that declares a MiB.
async fn begin_a_call(server: &Server, bytes: usize) -> RawConnection {
    let mut connection = RawConnection::to(server).await;
    let head =
        "POST /api/messaging/threads HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1048576\r\n\r\n";
    connection.send(head).await;
    connection.send(&format!("{{\"id\":7,\"a\":\"{}", "x".repeat(bytes))).await;
    connection
}

with_every_backend! {
    /// Quota of unfinished bodies: those of requests without a session count towards their address, and leave the users'
    /// quotas alone.
    async fn unfinished_bodies_are_bounded_for_an_address(backend) {
        let server = Server::builder(backend).set("LIMITS__BODIES_BYTES", 8 * MIB).start().await;
        let john = server.log_in(JOHN).await;
        let mut first = begin_a_call(&server, 600_000).await;
        until("it has arrived", async || (server.metric("dragoman_bodies_bytes").await >= 600_000.0).then_some(())).await;
        let answer = begin_a_call(&server, 600_000).await.read_until("}}").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.to_lowercase().contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("\"name\":\"werkzeug.exceptions.ServiceUnavailable\""), "{answer}");
        assert!(refused(&server, "bodies_bytes").await >= 1.0);
        let sent = john.messaging("message/send", json!({"thread_id": PAIR, "body": "x".repeat(60_000)})).await;
        assert_eq!(sent["success"], true, "a user has a share of its own: {sent}");
        first.send(&format!("{}\"}}", "x".repeat(MIB - 600_000 - r#"{"id":7,"a":""}"#.len()))).await;
        let answer = first.read_until("}}").await;
        assert!(answer.contains("Session expired") && answer.contains("\"id\":7"), "{answer}");
    }

    /// JSON expansion: a text of one MiB can become a tree of a hundred. Without a session none is built, and with one it is
    /// refused.
    async fn a_tree_of_json_is_bounded(backend) {
        let server = Server::demo(backend).await;
        let many = vec![r#"{"":0}"#; 149_000].join(",");
        let body = format!("{{\"params\":{{\"a\":[{many}]}},\"id\":[7]}}");
        let post = async |client: &Client, path: &str| {
            let request = client.request(Method::POST, path).header("Content-Type", "application/json");
            Answer::of(request.body(body.clone())).await
        };
        let stranger = post(&server.client(), "/api/messaging/threads").await.json();
        assert_eq!((&stranger["error"]["data"]["message"], &stranger["id"]), (&json!("Session expired"), &json!([7])));
        let john = server.log_in(JOHN).await;
        for (client, path) in [(&john, "/api/messaging/threads"), (&server.client(), "/jsonrpc")] {
            let answer = post(client, path).await.json();
            assert_eq!(answer["error"]["data"]["message"], "params hold too many values", "{path}");
        }
        let answer = post(&server.client(), "/auth/token").await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(server.memory_bytes() < 250 * MIB as u64, "{}", server.memory_bytes());
        // A long text is a single value.
        let sent = john.call("/api/messaging/messages", json!({"thread_id": PAIR, "filling": "[{,".repeat(300_000)})).await;
        assert_eq!(sent.get("error"), None, "{sent}");
    }

    /// Quota of unread answers for each user: a page waits for its turn, other answers are refused.
    async fn answers_that_nobody_reads_are_bounded_for_a_user(backend) {
        // Enough for a page of 30 messages, whatever their texts, beside an unread one of 30 times 60,000 bytes. An eighth of it is
        // less than that page and another MiB.
        const ANSWERS_BYTES: usize = 21 * MIB;
        let server = Server::builder(backend)
            .set("LIMITS__ANSWERS_BYTES", ANSWERS_BYTES)
            .set("LIMITS__USER__WRITES_PER_SECOND", 0)
            .start()
            .await;
        let (john, admin) = (server.log_in(JOHN).await, server.log_in(ADMIN).await);
        for _ in 0..30 {
            let sent = john.messaging("message/send", json!({"thread_id": PAIR, "body": "x".repeat(60_000)})).await;
            assert_eq!(sent["success"], true, "{sent}");
        }
        let unread = ask_and_read_nothing(&server, &john).await;
        let poll = json!({"thread_id": PAIR, "last_message_id": 0, "timeout": 0});
        let answer = until("the share is used", async || {
            let answer = john.post("/api/messaging/poll/messages", &json!({"id": 7, "params": poll})).await;
            (answer.status == 503).then_some(answer)
        })
        .await;
        assert_eq!(answer.headers["retry-after"], "1", "{answer:?}");
        let fault = answer.json();
        assert_eq!((&fault["error"]["data"]["name"], &fault["id"]), (&json!("werkzeug.exceptions.ServiceUnavailable"), &json!(7)));
        assert!(refused(&server, "answers_bytes").await >= 1.0);
        let page = json!({"thread_id": PAIR, "limit": 30});
        assert_eq!(admin.messaging("messages", page.clone()).await["messages"].as_array().map(Vec::len), Some(30));
        // The page waits for the unread answers.
        let waiting = tokio::spawn(async move { john.messaging("messages", page).await["messages"].as_array().map(Vec::len) });
        drop(unread);
        assert_eq!(waiting.await.expect("it ends"), Some(30));
    }

    /// A page may exceed a user's share, and is charged in full until it is read.
    async fn a_page_of_control_characters_is_charged_in_full(backend) {
        const ANSWERS_BYTES: usize = 32 * MIB;
        let server = Server::builder(backend).set("LIMITS__ANSWERS_BYTES", ANSWERS_BYTES).start().await;
        let john = server.log_in(JOHN).await;
        for _ in 0..30 {
            let sent = john.messaging("message/send", json!({"thread_id": PAIR, "body": "\u{1}".repeat(60_000)})).await;
            assert_eq!(sent["success"], true, "{sent}");
        }
        let unread = ask_and_read_nothing(&server, &john).await;
        // JSON escapes a control character as six bytes.
        let page = (30 * 6 * 60_000) as f64;
        assert!(page > (ANSWERS_BYTES / 8) as f64);
        until("the charge", async || (server.metric("dragoman_answers_bytes").await >= page).then_some(())).await;
        drop(unread);
        until("its end", async || (server.metric("dragoman_answers_bytes").await == 0.0).then_some(())).await;
    }

    /// A waiting poll holds no turn at the store.
    async fn who_waits_has_no_turn(backend) {
        let server = Server::builder(backend).set("LIMITS__USER__REQUESTS_AT_ONCE", 1).start().await;
        let john = server.log_in(JOHN).await;
        let mut waiting = JoinSet::new();
        for (path, params) in [
            ("/api/messaging/poll/messages", json!({"thread_id": PAIR, "timeout": 60})),
            ("/api/messaging/poll/updates", json!({"timeout": 60})),
            ("/longpolling/poll", json!({"channels": [], "last": 0})),
        ] {
            let client = john.clone();
            waiting.spawn(async move { client.call(path, params).await });
            server.polls_waiting(waiting.len()).await;
        }
        let counts = john.messaging("notifications/count", json!({})).await;
        assert!(counts["counts"].is_object() || counts.get("error").is_none(), "{counts}");
        assert_eq!(refused(&server, "user.requests_at_once").await, 0.0);
    }
}

/// A connection with a request for a large page that the client does not read. Returns once the answer has begun.
async fn ask_and_read_nothing(server: &Server, client: &Client) -> std::net::TcpStream {
    let slow = TcpSocket::new_v4().expect("there is room for a socket");
    slow.set_recv_buffer_size(4_096).expect("it can be small");
    let slow = slow.connect(server.address()).await.expect("the server listens");
    let session = client.session().expect("it is logged in");
    let body = json!({"params": {"thread_id": PAIR, "limit": 30}}).to_string();
    let request = format!(
        "POST /api/messaging/messages HTTP/1.1\r\nHost: x\r\nCookie: session_id={session}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    slow.writable().await.expect("the server reads");
    assert_eq!(slow.try_write(request.as_bytes()).expect("the server reads"), request.len());
    slow.readable().await.expect("the server answers");
    slow.into_std().expect("it is a socket")
}

/// Turns of one user's hanging requests do not block other users. Beyond the queue's capacity the server refuses requests, in
/// each dialect's notation.
#[tokio::test]
async fn requests_of_one_user_queue_and_then_are_refused() {
    let server = Server::builder(Backend::postgres().await).with_tokens().set("LIMITS__USER__REQUESTS_AT_ONCE", 1);
    let server = server.set("POSTGRES__STATEMENT_MILLISECONDS", 60_000).start().await;
    let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
    let mut database = PgConnection::connect(server.backend().url()).await.expect("the database is up");
    let mut lock = database.begin().await.expect("the database is up");
    sqlx::query("LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("it can be locked");
    let mut asking = JoinSet::new();
    let ask = |asking: &mut JoinSet<Answer>| {
        let john = john.clone();
        let body = json!({"params": {"thread_id": PAIR}});
        asking.spawn(async move { john.post("/api/messaging/messages", &body).await });
    };
    // One request exceeds the capacity and is answered. The others hang.
    for _ in 0..QUEUE + 2 {
        ask(&mut asking);
    }
    let answer = asking.join_next().await.expect("there are many").expect("it ends");
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (200, &"1".parse().expect("it is a value")));
    let error = answer.json()["result"]["error"].take();
    assert!(error.as_str().is_some_and(|error| error.starts_with("Too many requests")), "{error}");
    let answer = john.post("/im_chat/init", &json!({"id": 7, "params": {}})).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (200, &"1".parse().expect("it is a value")));
    let fault = answer.json();
    assert_eq!((&fault["error"]["data"]["name"], &fault["id"]), (&json!("odoo.exceptions.UserError"), &json!(7)));
    let request = server.client().request(Method::GET, "/chat/user/threads").bearer_auth(token(UID_OF_JOHN));
    let answer = Answer::of(request).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (429, &"1".parse().expect("it is a value")));
    assert_eq!(answer.json()["success"], false, "{answer:?}");
    assert_eq!(refused(&server, "user.requests_at_once").await, 3.0);
    let body: Value = json!({"params": {"db": "odoo2", "login": JANE, "password": "123456"}});
    assert_eq!(jane.post("/web/session/get_session_info", &body).await.json()["result"]["username"], JANE);
    lock.rollback().await.expect("the database is up");
    for answer in asking.join_all().await {
        assert!(answer.json()["result"]["messages"].is_array(), "{answer:?}");
    }
}

/// A request that authenticates its caller by itself takes a turn of the user from then on, not of its address.
#[tokio::test]
async fn whoever_logs_in_by_a_call_takes_turns_of_its_user() {
    let server = Server::builder(Backend::postgres().await).with_tokens().set("LIMITS__USER__REQUESTS_AT_ONCE", 1);
    let server = server.set("POSTGRES__STATEMENT_MILLISECONDS", 60_000).start().await;
    let john = server.log_in(JOHN).await;
    let ([_, first], [_, second], [_, third]) = (server.tokens(JOHN).await, server.tokens(JOHN).await, server.tokens(JOHN).await);
    let service = |service: &str, method: &str, args: Value| {
        ("/jsonrpc", json!({"params": {"service": service, "method": method, "args": args}}), 200)
    };
    let object = |uid: i64| service("object", "execute_kw", json!(["odoo2", uid, PASSWORD, "res.users", "context_get", []]));
    let credentials = json!({"db": "odoo2", "login": JOHN, "password": PASSWORD});
    let requests = [
        object(UID_OF_JOHN),
        service("common", "login", json!(["odoo2", JOHN, PASSWORD])),
        ("/web/session/authenticate", json!({"params": credentials}), 200),
        ("/auth/token", json!({"login": JOHN, "password": PASSWORD}), 429),
        ("/api/token", json!({"username": JOHN, "password": PASSWORD}), 429),
        ("/auth/token/refresh", json!({"refresh": first}), 429),
        ("/api/token/refresh", json!({"refresh": second}), 429),
        ("/auth/token/revoke", json!({"token": third}), 503),
    ];
    let mut database = PgConnection::connect(server.backend().url()).await.expect("the database is up");
    let mut lock = database.begin().await.expect("the database is up");
    sqlx::query("LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("it can be locked");
    let mut asking = JoinSet::new();
    for _ in 0..QUEUE + 2 {
        let john = john.clone();
        let body = json!({"params": {"thread_id": PAIR}});
        asking.spawn(async move { john.post("/api/messaging/messages", &body).await });
    }
    asking.join_next().await.expect("there are many").expect("it is refused, and the others wait");
    for (path, body, status) in &requests {
        let before = refused(&server, "user.requests_at_once").await;
        let answer = server.client().post(path, body).await;
        assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (*status, &"1".parse().expect("it is a value")));
        assert!(refused(&server, "user.requests_at_once").await > before, "{path}");
    }
    let (path, body, _) = object(UID_OF_JANE);
    assert!(server.client().post(path, &body).await.json()["result"].is_object(), "another user has turns of its own");
    lock.rollback().await.expect("the database is up");
    asking.join_all().await;
    for (path, body, _) in &requests {
        let answer = server.client().post(path, body).await;
        assert!(answer.status == 200 && !answer.headers.contains_key("retry-after"), "{path}: {answer:?}");
    }
}

/// Frames take turns of their user, so that sockets take no more of the store than requests.
#[tokio::test]
async fn frames_on_sockets_take_turns() {
    let server = Server::builder(Backend::postgres().await).with_tokens().set("LIMITS__USER__REQUESTS_AT_ONCE", 1);
    let server = server.set("POSTGRES__STATEMENT_MILLISECONDS", 60_000).start().await;
    let john = server.log_in(JOHN).await;
    let mut socket = Socket::open(server.socket_url(&format!("/conversations/{PAIR}/?token={}", token(UID_OF_JOHN)))).await;
    socket.say(json!({"action": "fetch_messages"})).await;
    socket.hear_until(|frame| frame["type"] == "messages_fetched").await;
    let mut database = PgConnection::connect(server.backend().url()).await.expect("the database is up");
    let mut watcher = PgConnection::connect(server.backend().url()).await.expect("the database is up");
    let mut lock = database.begin().await.expect("the database is up");
    sqlx::query("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("it can be locked");
    socket.say(json!({"action": "fetch_messages"})).await;
    until("the frame's statement waits", async || {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'messages'::regclass)";
        sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut watcher).await.expect("the database is up").then_some(())
    })
    .await;
    let mut asking = JoinSet::new();
    for _ in 0..=QUEUE {
        let john = john.clone();
        let body = json!({"params": {"thread_id": PAIR}});
        asking.spawn(async move { john.post("/api/messaging/messages", &body).await });
    }
    let answer = asking.join_next().await.expect("there are many").expect("it ends").json();
    let error = answer["result"]["error"].as_str();
    assert!(error.is_some_and(|error| error.starts_with("Too many requests")), "the frame has the turn: {answer}");
    lock.rollback().await.expect("the database is up");
    socket.hear_until(|frame| frame["type"] == "messages_fetched").await;
    for answer in asking.join_all().await {
        assert!(answer.json()["result"]["messages"].is_array(), "{answer:?}");
    }
}
