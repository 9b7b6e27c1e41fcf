//! Tests of an unavailable database: the server refuses requests quickly and clearly meanwhile, keeps polls and sessions, and
//! recovers by itself.

mod crowd;
mod losses;
mod outcome;
mod silence;

use reqwest::{Method, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{ADMIN, Answer, Backend, Client, JOHN, Loss, PASSWORD, Proxy, Road, Server, ServerBuilder, until};

/// Texts that reveal internals. No answer may hold one.
const INTERNALS: [&str; 7] = ["sqlx", "src/", "PgDatabaseError", "panicked", "Connection refused", "os error", "PoolTimedOut"];

/// A server behind a proxy that can cut its database connections, with clients of John and the admin.
struct Stage {
    proxy: Proxy,
    server: Server,
    admin: Client,
    john: Client,
}

impl Stage {
    async fn set() -> Self {
        Self::with(|server| server).await
    }

    /// A stage with short database time-outs.
    async fn with(settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        Self::before(&Backend::postgres().await, |server| {
            settings(server.set("POSTGRES__ACQUIRE_MILLISECONDS", 500).set("POSTGRES__STATEMENT_MILLISECONDS", 500))
        })
        .await
    }

    /// A stage with this database and settings.
    async fn before(database: &Backend, settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Self {
        let proxy = Proxy::before(database).await;
        let server = settings(Server::builder(proxy.backend(database))).start().await;
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        Self { proxy, server, admin, john }
    }

    fn poll(&self) -> JoinHandle<Value> {
        let request = self.john.request(Method::POST, "/api/messaging/poll/messages").header(CONTENT_TYPE, "application/json");
        let request = request.body(json!({"id": 1, "params": {"thread_id": 1, "timeout": 60}}).to_string());
        tokio::spawn(async move { Answer::of(request).await.json() })
    }

    /// Sends a message. Returns its id, or the error answer.
    async fn send(&self, body: &str) -> Result<i64, Value> {
        self.sending(body).await.expect("it ends")
    }

    /// Sends a message in a task of its own.
    fn sending(&self, body: &str) -> JoinHandle<Result<i64, Value>> {
        let (admin, body) = (self.admin.clone(), body.to_owned());
        tokio::spawn(async move { send(&admin, &body).await })
    }

    fn create(&self) -> JoinHandle<Value> {
        let admin = self.admin.clone();
        tokio::spawn(async move { admin.call("/api/messaging/thread/create", json!({"name": "one more"})).await })
    }

    /// Checks that every request which needs the database is refused in its dialect's notation.
    async fn everybody_is_told_so(&self) {
        let mut asking = Vec::new();
        for _ in 0..40 {
            for (route, params) in [
                ("/api/messaging/threads", json!({})),
                ("/api/messaging/notifications/count", json!({})),
                ("/api/messaging/message/read", json!({"message_id": 1})),
                ("/api/messaging/thread/create", json!({"name": "one more"})),
                ("/web/session/authenticate", json!({"db": "odoo2", "login": JOHN, "password": "123456"})),
            ] {
                let client = self.admin.clone();
                asking.push(tokio::spawn(async move { client.post(route, &json!({"id": "mine", "params": params})).await }));
            }
        }
        for answer in asking {
            let answer = answer.await.expect("it ends");
            assert!(!INTERNALS.iter().any(|internal| answer.body.contains(internal)), "{answer:?}");
            let body = answer.json();
            assert_eq!(body["id"], "mine", "{body}");
            assert_eq!(body["error"]["data"]["name"], "psycopg2.OperationalError", "{body}");
        }
        let reason = until("a server that is not ready", async || self.server.readiness().await.err()).await;
        assert!(reason.contains("store"), "{reason}");
        assert_eq!(self.server.get("/healthz").await.status(), StatusCode::OK);
    }

    async fn comes_back(&self) {
        self.server.ready().await;
    }
}

async fn send(client: &Client, body: &str) -> Result<i64, Value> {
    let params = json!({"thread_id": 1, "body": body});
    let answer = client.post("/api/messaging/message/send", &json!({"id": "mine", "params": params})).await;
    assert!(!INTERNALS.iter().any(|internal| answer.body.contains(internal)), "{answer:?}");
    let answer = answer.json();
    answer["result"]["message_id"].as_i64().ok_or(answer)
}

/// Fails the connections to the database in this way, and then restores them.
async fn fail_and_recover(road: Road) {
    let mut stage = Stage::set().await;
    let before = stage.send("before").await.expect("it is stored");
    let waiting = stage.poll();
    stage.server.polls_waiting(1).await;

    stage.proxy.set(road);
    let refused = stage.send("meanwhile").await.expect_err("it cannot be stored");
    assert_eq!(refused["error"]["data"]["name"], "psycopg2.OperationalError", "{refused}");
    assert_eq!(refused["id"], "mine", "{refused}");
    let (_, id) = refused["error"]["data"]["debug"].as_str().and_then(|text| text.rsplit_once(' ')).expect("it has an id");
    let log = stage.server.log();
    assert!(log.lines().any(|line| line.contains(id) && line.contains("error=")), "the cause is in the log under {id}: {log}");
    stage.everybody_is_told_so().await;
    assert!(!waiting.is_finished(), "who waits goes on waiting");
    stage.server.polls_waiting(1).await;

    stage.proxy.set(Road::Open);
    stage.comes_back().await;
    let after = stage.send("after").await.expect("it is stored");
    assert!(after > before);
    let heard = waiting.await.expect("it ends");
    assert_eq!(heard["result"]["messages"][0]["body"], "after", "{heard}");
    let page = stage.john.messaging("messages", json!({"thread_id": 1})).await;
    let bodies: Vec<_> = page["messages"].as_array().expect("a list").iter().map(|message| &message["body"]).collect();
    assert_eq!(bodies, ["after", "before"], "what was refused is not stored");
    stage.server.stop().await;
}

#[tokio::test]
async fn a_database_that_is_gone_is_missed_and_found_again() {
    fail_and_recover(Road::Cut).await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_missed_and_found_again() {
    fail_and_recover(Road::Silent).await;
}

/// Log lines of an outage: its beginning, cause and end, and the count of refused requests, but no line for each request.
async fn costs_a_handful_of_lines(road: Road) {
    const ROUNDS: usize = 3;
    const ASKING: u64 = 200;
    let mut stage = Stage::with(|server| server.set("LOG__LEVEL", "info")).await;
    let before = stage.server.log().lines().count();
    stage.proxy.set(road);
    for _ in 0..ROUNDS {
        stage.everybody_is_told_so().await;
    }
    stage.proxy.set(Road::Open);
    stage.comes_back().await;
    let over = "required service reachable again";
    until(over, async || stage.server.log().contains(over).then_some(())).await;
    let log = stage.server.log();
    let lines: Vec<_> = log.lines().skip(before).collect();
    assert!(lines.len() <= 8, "{lines:#?}");
    assert_eq!(log.matches("required service unreachable").count(), 1, "{lines:#?}");
    let refused = log.split_once("refused=").and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<u64>().ok());
    assert!(refused.is_some_and(|refused| refused >= ASKING * ROUNDS as u64), "{refused:?}: {lines:#?}");
    stage.server.stop().await;
}

#[tokio::test]
async fn a_database_that_is_gone_costs_a_handful_of_lines() {
    costs_a_handful_of_lines(Road::Cut).await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_costs_a_handful_of_lines() {
    costs_a_handful_of_lines(Road::Silent).await;
}

/// Repeated outages, with a poll each time: no resource leaks.
#[tokio::test]
async fn it_may_happen_often() {
    let mut stage = Stage::set().await;
    for round in 0..4 {
        stage.proxy.set(Road::Cut);
        stage.send("lost").await.expect_err("it cannot be stored");
        stage.proxy.set(Road::Open);
        stage.comes_back().await;
        let waiting = stage.poll();
        stage.server.polls_waiting(1).await;
        stage.send(&format!("round {round}")).await.expect("it is stored");
        let heard = waiting.await.expect("it ends");
        assert_eq!(heard["result"]["messages"][0]["body"], format!("round {round}"), "{heard}");
        stage.server.polls_waiting(0).await;
    }
    stage.server.stop().await;
}

/// Lost connection at the commit of a send: the answer states the transaction's true outcome.
#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_answered_as_it_was() {
    let mut stage = Stage::set().await;
    let mut expected = Vec::new();
    for round in 0..3 {
        let waiting = stage.poll();
        stage.server.polls_waiting(1).await;

        stage.proxy.lose(Loss::Commit);
        stage.send(&format!("never stored {round}")).await.expect_err("the database has not heard of it");
        assert!(stage.proxy.has_lost());

        stage.proxy.lose(Loss::Answer);
        let body = format!("stored {round}");
        let id = stage.send(&body).await.expect("the database has done it");
        assert!(stage.proxy.has_lost());
        let heard = waiting.await.expect("it ends");
        assert_eq!((&heard["result"]["messages"][0]["id"], &heard["result"]["messages"][0]["body"]), (&json!(id), &json!(body)));
        expected.insert(0, body);
    }
    let page = stage.john.messaging("messages", json!({"thread_id": 1})).await;
    let bodies: Vec<_> = page["messages"].as_array().expect("a list").iter().map(|message| &message["body"]).collect();
    assert_eq!(bodies, expected.iter().collect::<Vec<_>>());
    stage.server.stop().await;
}

/// Lost connection at a commit without events, such as a login's.
#[tokio::test]
async fn a_commit_without_events_is_answered_as_it_was() {
    let mut stage = Stage::set().await;
    let params = json!({"db": "odoo2", "login": JOHN, "password": PASSWORD});
    for _ in 0..3 {
        stage.proxy.lose(Loss::Commit);
        let refused = stage.server.client().call("/web/session/authenticate", params.clone()).await;
        assert_eq!(refused["error"]["data"]["name"], "psycopg2.OperationalError", "{refused}");
        assert!(stage.proxy.has_lost());

        stage.proxy.lose(Loss::Answer);
        let john = stage.server.log_in(JOHN).await;
        assert!(stage.proxy.has_lost());
        assert!(john.messaging("threads", json!({})).await.get("error").is_none(), "the session is there");
    }
    stage.server.stop().await;
}
