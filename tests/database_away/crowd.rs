//! Tests of contention at a healthy database: locks, waiting writers, and few connections.

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use super::{Stage, silence::waiting};
use crate::support::{Backend, Server, until};

/// Locked head of the event log: writers wait or are refused, and readers do not notice.
#[tokio::test]
async fn who_reads_is_not_kept_by_those_who_wait_to_write() {
    let backend = Backend::postgres().await;
    let mut stage = Stage::before(&backend, |server| {
        server.set("POSTGRES__MAX_CONNECTIONS", 4).set("POSTGRES__STATEMENT_MILLISECONDS", 60_000)
    })
    .await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let mut holder = database.begin().await.unwrap();
    holder.execute("SELECT FROM log_head FOR UPDATE").await.unwrap();
    let creates: Vec<_> = (0..12).map(|_| stage.create()).collect();
    let mut watcher = PgConnection::connect(backend.url()).await.unwrap();
    waiting(&mut watcher, 3).await;
    // The others get no connection in time.
    until("all others", async || (creates.iter().filter(|create| create.is_finished()).count() == 9).then_some(())).await;
    for _ in 0..20 {
        stage.john.messaging("threads", json!({})).await;
        assert_eq!(stage.server.readiness().await, Ok(()));
    }
    holder.rollback().await.unwrap();
    let mut created = 0;
    for create in creates {
        let answer = create.await.expect("it ends");
        if answer["error"].is_null() {
            created += 1;
        } else {
            assert_eq!(answer["error"]["data"]["name"], "psycopg2.OperationalError", "{answer}");
        }
    }
    assert_eq!(created, 3);
    stage.server.stop().await;
}

/// Group commit: read marks that wait for the locked head of the event log share a few commits, and each gets its own answer.
#[tokio::test]
async fn marks_that_wait_share_a_commit() {
    const MARKS: usize = 24;
    let backend = Backend::postgres().await;
    let mut stage = Stage::before(&backend, |server| server.set("POSTGRES__STATEMENT_MILLISECONDS", 60_000)).await;
    let mut messages = Vec::new();
    for _ in 0..MARKS {
        let params = json!({"name": "one more", "partner_ids": [5], "type": "group"});
        let thread = stage.admin.messaging("thread/create", params).await["thread_id"].clone();
        let said = stage.admin.messaging("message/send", json!({"thread_id": thread, "body": "hello"})).await;
        messages.push(said["message_id"].clone());
    }
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let position = async |database: &mut PgConnection| {
        sqlx::query_as::<_, (i64, i64)>("SELECT position, (SELECT count(mark) FROM events) FROM log_head")
            .fetch_one(database)
            .await
            .unwrap()
    };
    let (events, commits) = position(&mut database).await;
    let mut holder = database.begin().await.unwrap();
    holder.execute("SELECT FROM log_head FOR UPDATE").await.unwrap();
    let marks: Vec<_> = messages
        .into_iter()
        .map(|id| {
            let john = stage.john.clone();
            tokio::spawn(async move { john.messaging("message/read", json!({"message_id": id})).await })
        })
        .collect();
    // The first marks wait in a transaction, and after a while the next ones do. Later marks queue behind them.
    let mut watcher = PgConnection::connect(backend.url()).await.unwrap();
    waiting(&mut watcher, 2).await;
    holder.rollback().await.unwrap();
    for mark in marks {
        assert_eq!(mark.await.expect("it ends"), json!({"success": true, "marked_count": 1}));
    }
    let (events_after, commits_after) = position(&mut database).await;
    assert_eq!(events_after - events, MARKS as i64, "each is told by itself");
    let shared = commits_after - commits;
    assert!(shared < MARKS as i64 / 2, "{MARKS} marks took {shared} commits");
    stage.server.stop().await;
}

/// Connection limit of the database below the size of the server's pool.
#[tokio::test]
async fn few_connections_are_shared() {
    let backend = Backend::empty_postgres().await;
    let mut admin = PgConnection::connect(backend.url()).await.unwrap();
    let name = backend.url().rsplit_once('/').unwrap().1.to_owned();
    let role = format!("few_{name}");
    for statement in [
        format!("CREATE ROLE {role} LOGIN CONNECTION LIMIT 3"),
        format!("ALTER DATABASE {name} OWNER TO {role}"),
        format!("GRANT CREATE ON SCHEMA public TO {role}"),
    ] {
        admin.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
    let few = Backend::at(backend.url().replace("//postgres@", &format!("//{role}@")));
    // A time-out for slow machines.
    let mut server = Server::builder(few).set("POSTGRES__ACQUIRE_MILLISECONDS", 20_000).start().await;
    let john = server.log_in(crate::support::JOHN).await;
    let mut asking = Vec::new();
    for _ in 0..40 {
        for (route, params) in [("thread/create", json!({"name": "one more"})), ("threads", json!({}))] {
            let john = john.clone();
            asking.push(tokio::spawn(async move { john.messaging(route, params).await }));
        }
    }
    for answer in asking {
        answer.await.expect("it is not refused");
    }
    assert_eq!(server.readiness().await, Ok(()));
    server.stop().await;
}
