//! Tests of a lost synchronous standby: unconfirmed commits are neither lost nor duplicated after its return.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::{ADMIN, BOB, Client, Cluster, JANE, JOHN, PASSWORD, Server, run, until};

const UNCONFIRMED: &str = "commits are not confirmed";
/// Time limit of any answer, far beyond the expected one.
const LIMIT: Duration = Duration::from_secs(10);

struct Stage {
    cluster: Cluster,
    database: PgConnection,
    server: Server,
}

impl Stage {
    async fn set() -> Self {
        let cluster = Cluster::start().await;
        let database = PgConnection::connect(cluster.backend().url()).await.unwrap();
        let server = Server::builder(cluster.backend()).set("POSTGRES__STATEMENT_MILLISECONDS", 1_000).with_tokens();
        Self { cluster, database, server: server.start().await }
    }

    async fn standby(&mut self, is_there: bool) {
        let set = if is_there {
            "ALTER SYSTEM RESET synchronous_standby_names"
        } else {
            "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"
        };
        self.database.execute(set).await.unwrap();
        self.database.execute("SELECT pg_reload_conf()").await.unwrap();
        until("the setting", async || {
            let names: String = sqlx::query_scalar("SHOW synchronous_standby_names").fetch_one(&mut self.database).await.unwrap();
            (names.is_empty() == is_there).then_some(())
        })
        .await;
    }

    /// Returns the number of commits that wait for the standby.
    async fn waiting(&mut self) -> i64 {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        sqlx::query_scalar(waiting).fetch_one(&mut self.database).await.unwrap()
    }
}

async fn send(client: &Client, key: &str, body: &str) -> Value {
    client.call("/api/messaging/message/send", json!({"thread_id": 2, "body": body, "client_key": key})).await
}

fn is_refused(answer: &Value) {
    assert_eq!(answer["error"]["data"]["name"], "psycopg2.OperationalError", "{answer}");
}

async fn bodies(client: &Client) -> Vec<String> {
    let page = client.messaging("messages", json!({"thread_id": 2})).await;
    page["messages"].as_array().unwrap().iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn commits_that_nobody_confirms_are_neither_lost_nor_doubled() {
    let mut stage = Stage::set().await;
    let (john, jane) = (stage.server.log_in(JOHN).await, stage.server.log_in(JANE).await);
    let [_, refresh] = stage.server.tokens(JOHN).await;
    assert!(send(&john, "1", "before").await["result"]["message_id"].is_number());
    stage.standby(false).await;

    let begun = Instant::now();
    let params = json!({"db": "odoo2", "login": BOB, "password": PASSWORD});
    let (sent, bob) = (send(&john, "2", "meanwhile"), stage.server.client());
    let (sent, logged_in) = tokio::join!(sent, bob.call("/web/session/authenticate", params.clone()));
    is_refused(&sent);
    is_refused(&logged_in);
    stage.server.not_ready(UNCONFIRMED).await;
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());

    // Circuit breaker open: no new writes; everything else goes on.
    let abandoned = stage.waiting().await;
    assert!(abandoned > 0);
    for round in 0..20 {
        is_refused(&send(&jane, &format!("lost {round}"), "lost").await);
        is_refused(&bob.call("/web/session/authenticate", params.clone()).await);
        is_refused(&jane.call("/api/messaging/thread/create", json!({"name": "lost"})).await);
    }
    let refused = bob.post("/auth/token/refresh", &json!({"refresh": refresh})).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    assert_eq!(bodies(&jane).await, ["before"]);
    assert_eq!(stage.waiting().await, abandoned, "no connection more is stuck");
    assert_eq!(stage.server.get("/healthz").await.status(), StatusCode::OK);
    let log = stage.server.log();
    assert_eq!(log.lines().filter(|line| line.contains("WARN") && line.contains("SyncRep")).count(), 1, "{log}");

    // Abandoned writes: committed after all. The history has them, they are delivered, and a retry finds them.
    let poll = {
        let jane = jane.clone();
        tokio::spawn(async move { jane.messaging("poll/messages", json!({"thread_id": 2, "timeout": 60})).await })
    };
    stage.server.polls_waiting(1).await;
    stage.standby(true).await;
    stage.server.ready().await;
    let heard = poll.await.unwrap();
    assert_eq!(heard["messages"][0]["body"], "meanwhile", "{heard}");
    let again = send(&john, "2", "meanwhile").await;
    assert_eq!(again["result"]["message_id"], heard["messages"][0]["id"], "{again}");
    stage.server.log_in(BOB).await;
    assert!(send(&john, "3", "after").await["result"]["message_id"].is_number());
    assert_eq!(bodies(&jane).await, ["after", "meanwhile", "before"]);
    stage.server.stop().await;
    drop(stage.cluster);
}

/// Start without the standby: refused, without a hang and without a leaked connection.
#[tokio::test]
async fn a_server_does_not_start_into_it() {
    let mut stage = Stage::set().await;
    let admin = stage.server.log_in(ADMIN).await;
    stage.standby(false).await;
    is_refused(&send(&admin, "1", "waits").await);
    stage.server.not_ready(UNCONFIRMED).await;
    let waiting = stage.waiting().await;
    let backend = stage.cluster.backend();
    for arguments in [&["user", "deactivate", BOB][..], &["migrate"], &["serve", "--listen", "127.0.0.1:0"]] {
        let environment = [("DRAGOMAN__STORAGE", backend.url()), ("DRAGOMAN__POSTGRES__STATEMENT_MILLISECONDS", "1000")];
        let refused = run(arguments, &environment, "").await;
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && told.contains(UNCONFIRMED), "{arguments:?}: {told}");
    }
    assert_eq!(stage.waiting().await, waiting);
    let listed = backend.administer(&["user", "list"], "").await;
    assert!(listed.contains(BOB), "what only reads goes on: {listed}");
    stage.standby(true).await;
    stage.server.ready().await;
    stage.server.stop().await;
}
