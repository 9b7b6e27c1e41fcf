//! Tests of arbitrary input on every route (fuzzing): the server always answers, never with a failure of its own, and reveals
//! no internals.

mod given;
mod sockets;

use std::time::Duration;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::{
    on_every_backend,
    support::{ADMIN, Answer, Backend, Client, JOHN, RawConnection, Route, Server, token},
    with_every_backend,
};
use given::Given;

/// Default count of requests for each backend.
const CASES: u32 = 1_500;
/// Texts that reveal internals. No answer may hold one.
const INTERNALS: [&str; 8] =
    ["sqlx", "panicked", "src/", "PgDatabaseError", "poem", "Something went wrong on our side", "Traceback", "serde"];

fn cases() -> u32 {
    let cases = std::env::var("DRAGOMAN_TEST_BAD_INPUTS").ok();
    cases.map_or(CASES, |cases| cases.parse().expect("DRAGOMAN_TEST_BAD_INPUTS is a number"))
}

/// The fault of an answer, if there is one.
fn fault(answer: &Answer) -> Option<String> {
    if answer.status.is_server_error() {
        return Some(format!("it has status {}", answer.status));
    }
    if let Some(internal) = INTERNALS.iter().find(|internal| answer.body.contains(*internal)) {
        return Some(format!("it holds {internal:?}"));
    }
    let body: Option<Value> = serde_json::from_str(&answer.body).ok();
    let name = body.as_ref().and_then(|body| body["error"]["data"]["name"].as_str());
    let ours = ["builtins.Exception", "psycopg2.OperationalError"].map(Some).contains(&name);
    // A request for a database of another name gets that message.
    (ours && !answer.body.contains("does not exist")).then(|| format!("it is our failure: {name:?}"))
}

/// The client for a request: without a session if the request would end its own session, or wait as a poll.
fn caller<'a>(route: &Route, given: &Given, john: &'a Client, nobody: &'a Client) -> &'a Client {
    let ends_sessions = ["/web/session/destroy", "/web/session/logout", "/web/session/authenticate"].contains(&&*route.path);
    if ends_sessions || given.may_wait(route) { nobody } else { john }
}

async fn attempt(client: &Client, route: &Route, given: &Given, uuid: &str) -> Result<(), TestCaseError> {
    let method = Method::from_bytes(route.method.as_bytes()).expect("the document holds methods");
    let mut request = client.request(method, &route.path_with(given.in_path()));
    if let Some(kind) = given
        .content_type(["/api/messaging/attachment/upload", "/chat/attachment", "/chat/chat-attachment"].contains(&&*route.path))
    {
        request = request.header(CONTENT_TYPE, kind);
    }
    if route.path.starts_with("/chat/") {
        request = request.bearer_auth(token(4));
    }
    let response = request.body(given.body(route, uuid)).send().await;
    let response = response.map_err(|error| TestCaseError::fail(format!("{route}: no answer: {error:?}")))?;
    let (status, headers) = (response.status(), response.headers().clone());
    // A file may hold any bytes; every other answer is a text.
    let body = response.bytes().await.map_err(|error| TestCaseError::fail(format!("{route}: half an answer: {error:?}")))?;
    let answer = Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() };
    match fault(&answer) {
        None => Ok(()),
        Some(fault) => Err(TestCaseError::fail(format!("{route}: {fault}: {answer:?}"))),
    }
}

/// Deterministic runner: every run has the same cases, so that a failure repeats.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

async fn is_well(server: &Server, john: &Client) {
    assert_eq!(server.metric("dragoman_panics_total").await, 0.0, "nothing panicked: {}", server.log());
    let answer = john.call("/web/session/get_session_info", json!({})).await;
    assert_eq!(answer["result"]["uid"], 4, "the server still answers, and the session lives: {answer}");
}

async fn generous(backend: Backend) -> Server {
    Server::builder(backend)
        .with_tokens()
        .set("IM_CHAT__POLL_SECONDS", 1)
        .set("LIMITS__FAILED_LOGINS_PER_LOGIN", 1_000_000)
        .set("LIMITS__FAILED_LOGINS_PER_ADDRESS", 1_000_000)
        .set("LIMITS__BODY_BYTES", 32 * 1024 * 1024)
        .start()
        .await
}

with_every_backend! {
    /// Arbitrary bytes, arbitrary JSON, and calls with arbitrary parameters, with any content type, on every route.
    async fn every_input_is_answered(backend) {
        let mut server = generous(backend).await;
        let routes: Vec<_> = server.routes().await.into_iter().filter(|route| route.path != "/metrics").collect();
        let (john, nobody) = (server.log_in(JOHN).await, server.client());
        let session = john.result("/im_chat/api/get_or_create_session", json!({"user_to": 2})).await;
        let uuid = session["uuid"].as_str().expect("a session has a uuid").to_owned();
        let (trying, handle) = (john.clone(), Handle::current());
        let outcome = tokio::task::spawn_blocking(move || {
            let strategy = (proptest::sample::select(routes), given::any());
            let outcome = runner(cases()).run(&strategy, |(route, given)| {
                handle.block_on(attempt(caller(&route, &given, &trying, &nobody), &route, &given, &uuid))
            });
            outcome.map_err(|error| error.to_string())
        });
        assert_eq!(outcome.await.expect("it ends"), Ok(()));
        is_well(&server, &john).await;
        server.stop().await;
    }
}

/// Ten megabytes in place of a short text: the server refuses or accepts them, and answers the next request. The store is in
/// memory.
#[tokio::test]
async fn huge_texts_are_answered() {
    let mut server = generous(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    let huge = "x".repeat(10 * 1024 * 1024);
    let message = john.messaging("message/send", json!({"thread_id": 1, "body": "small"})).await["message_id"].clone();
    for (route, name) in [
        ("message/send", "body"),
        ("message/send", "client_key"),
        ("message/edit", "body"),
        ("message/reaction", "content"),
        ("message/reaction", "action"),
        ("messages/search", "query"),
        ("thread/create", "name"),
        ("partners/search", "query"),
        ("presence/update", "status"),
        ("poll/updates", "last_check"),
        ("messages", "thread_id"),
    ] {
        let mut params = json!({"thread_id": 1, "message_id": message, "body": "x", "content": "x", "timeout": 0});
        params[name] = huge.as_str().into();
        let answer = john.post(&format!("/api/messaging/{route}"), &json!({"id": 1, "params": params})).await;
        assert_eq!(fault(&answer), None, "{route} with a huge {name}");
    }
    let session = john.result("/im_chat/api/get_or_create_session", json!({"user_to": 2})).await;
    for (route, kind, name) in [
        ("post", "message", "message_content"),
        ("post", "typing", "message_content"),
        ("post", "message", "message_type"),
        ("post", "message", "uuid"),
        ("history", "message", "last_id"),
        ("api/init", "message", "name"),
        ("api/get_or_create_session", "message", "doc_model"),
        ("api/change_session_status", "message", "new_status"),
        ("api/user_chat_ab/add_users", "message", "user_ids"),
    ] {
        let mut params = json!({"uuid": session["uuid"], "message_type": kind, "user_to": 2, "doc_id": 1});
        params[name] = huge.as_str().into();
        let answer = john.post(&format!("/im_chat/{route}"), &json!({"id": 1, "params": params})).await;
        assert_eq!(fault(&answer), None, "{route} with a huge {name} of a {kind}");
    }
    for name in ["db", "login", "password"] {
        let mut params = json!({"db": "odoo2", "login": "nobody", "password": "none"});
        params[name] = huge.as_str().into();
        let answer = server.client().post("/web/session/authenticate", &json!({"params": params})).await;
        assert_eq!(answer.status, 200, "a huge {name}");
        assert!(answer.session().is_none(), "a huge {name} opens nothing");
    }
    let answer = server.client().post("/api/messaging/threads", &json!({"id": huge})).await;
    assert_eq!(answer.json()["error"]["code"], 100, "an id of any size comes back");
    is_well(&server, &john).await;
    server.stop().await;
}

on_every_backend! {
    /// A poll with the largest possible id as its position still receives the next event.
    async fn a_poll_beyond_all_ids_is_answered(server) {
        let (john, admin) = (server.log_in(JOHN).await, server.log_in(ADMIN).await);
        let session = john.result("/im_chat/api/get_or_create_session", json!({"user_to": 2})).await;
        let typing = json!({"uuid": session["uuid"], "message_type": "typing", "message_content": "..."});
        let poll = john.result("/longpolling/poll", json!({"channels": [], "last": i64::MAX}));
        let type_on = async {
            loop {
                assert!(admin.result("/im_chat/post", typing.clone()).await.is_i64());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let told = tokio::select! { told = poll => told, () = type_on => unreachable!("it goes on") };
        assert_eq!(told[0]["message"]["type"], "typing", "{told}");
        let heard = told[0]["id"].as_i64().expect("ids are numbers");
        assert!(heard < i64::MAX, "a client can go on from there");
        is_well(server, &john).await;
    }

    /// Truncated forms, cut off within the file, within a name or before the first part: by the request's end, or by a broken
    /// connection.
    async fn half_a_form_is_answered(server) {
        let john = server.log_in(JOHN).await;
        let session = john.session().expect("it is logged in");
        let whole = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n\
                     bytes\r\n--x\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nb.txt\r\n--x--\r\n";
        for end in 0..whole.len() - 4 {
            let head = format!(
                "POST /api/messaging/attachment/upload HTTP/1.1\r\nHost: dragoman\r\nCookie: session_id={session}\r\n\
                 Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {end}\r\nConnection: close\r\n\r\n"
            );
            let mut connection = RawConnection::to(server).await;
            connection.send(&format!("{head}{}", &whole[..end])).await;
            let answer = connection.read_until("never").await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{end} bytes of a form: {answer}");
            assert!(!INTERNALS.iter().any(|internal| answer.contains(internal)), "{end} bytes of a form: {answer}");
        }
        // An aborted request gets no answer and leaves nothing behind.
        for end in [0, 60, 110, 120] {
            let head = format!(
                "POST /api/messaging/attachment/upload HTTP/1.1\r\nHost: dragoman\r\nCookie: session_id={session}\r\n\
                 Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {}\r\n\r\n",
                whole.len()
            );
            let mut connection = RawConnection::to(server).await;
            connection.send(&format!("{head}{}", &whole[..end])).await;
        }
        is_well(server, &john).await;
    }

    /// Early refusal: a client that is still sending its body receives the whole answer and can reuse the connection.
    async fn a_refusal_reaches_who_still_sends(server) {
        let john = server.log_in(JOHN).await;
        let huge = vec![b'x'; 4 * 1024 * 1024];
        for _ in 0..50 {
            for (path, status) in [("/api/messaging/threads", 400), ("/web/session/check", 400), ("/nowhere", 404)] {
                let request = john.request(Method::POST, path).header(CONTENT_TYPE, "text/plain").body(huge.clone());
                assert_eq!(Answer::of(request).await.status, status, "{path}");
            }
            let request = john.request(Method::POST, "/jsonrpc").header(CONTENT_TYPE, "application/json").body(huge.clone());
            assert_eq!(Answer::of(request).await.status, 413);
        }
        is_well(server, &john).await;
    }

    /// Input that is not HTTP is refused, or its connection closed.
    async fn what_is_no_http_is_survived(server) {
        let john = server.log_in(JOHN).await;
        for text in [
            "\r\n\r\n\r\n\r\n",
            "\0\u{1}\u{2}\r\n\r\n",
            "GET\r\n\r\n",
            "GET / HTTP/9.9\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /jsonrpc HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
            "POST /jsonrpc HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "POST /jsonrpc HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
            "POST /jsonrpc HTTP/1.1\r\nHost: a\r\nContent-Type: \u{1}\r\nContent-Length: 0\r\n\r\n",
            "GET /web/session/check HTTP/1.1\r\nHost: a\r\nCookie: session_id=\u{ff}; session_id\r\nConnection: close\r\n\r\n",
            "GET /%zz/%00/%ff?%zz=%00&access_token=%ff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET /api/messaging/attachment/1?access_token=%00%ff&access_token=2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        ] {
            let mut connection = RawConnection::to(server).await;
            connection.send(text).await;
            // Ends the request, for the texts that leave it unfinished.
            connection.send("\r\n\r\n\u{1}\r\n\r\n").await;
            let answer = connection.read_until("never").await;
            assert!(!answer.contains("HTTP/1.1 5"), "{text:?}: {answer}");
            assert!(!INTERNALS.iter().any(|internal| answer.contains(internal)), "{text:?}: {answer}");
        }
        is_well(server, &john).await;
    }
}

/// Test of [`fault`] itself.
#[test]
fn our_own_failures_are_told_apart_from_refusals() {
    let answer = |status: u16, body: &str| Answer {
        status: reqwest::StatusCode::from_u16(status).expect("it is one"),
        headers: reqwest::header::HeaderMap::new(),
        body: body.into(),
    };
    assert_eq!(fault(&answer(200, r#"{"result":{"error":"Access denied"}}"#)), None);
    assert_eq!(fault(&answer(400, "Invalid JSON data")), None);
    assert!(fault(&answer(500, "")).is_some());
    assert!(fault(&answer(200, "parse error in src/main.rs")).is_some());
    assert!(fault(&answer(200, r#"{"error":{"data":{"name":"builtins.Exception","message":"x"}}}"#)).is_some());
    assert!(fault(&answer(200, r#"{"error":{"data":{"name":"psycopg2.OperationalError","message":"x"}}}"#)).is_some());
}
