//! Tests of the store's connection pools: hanging or flooding requests delay neither sends nor log-ins.

use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use crate::support::{ADMIN, BOB, Backend, Client, JANE, JOHN, PASSWORD, Server, until};

/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;
/// The demo data's conversation of the admin, John, Jane and Bob.
const TEAM: i64 = 2;

async fn send(client: &Client, thread: i64, body: &str) -> Value {
    client.messaging("message/send", json!({"thread_id": thread, "body": body})).await
}

async fn start(backend: Backend) -> Server {
    // Statement time-out beyond the test's duration, and no rate limits.
    let server = Server::builder(backend).set("POSTGRES__STATEMENT_MILLISECONDS", 120_000);
    server.set("LIMITS__USER__WRITES_PER_SECOND", 0).set("LIMITS__USER__REQUESTS_AT_ONCE", 0).start().await
}

#[tokio::test]
async fn a_conversation_that_somebody_has_locked_delays_no_other() {
    let backend = Backend::postgres().await;
    let mut server = start(backend.clone()).await;
    let (admin, jane) = (server.log_in(ADMIN).await, server.log_in(JANE).await);
    let mut somebody = PgConnection::connect(backend.url()).await.unwrap();
    somebody.execute("BEGIN; SELECT FROM conversations WHERE id = 1 FOR UPDATE").await.unwrap();
    let texts: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    let (waited, ()) = tokio::join!(join_all(texts.iter().map(|text| send(&admin, PAIR, text))), async {
        until("that they wait", async || (server.metric("dragoman_sends_waiting").await == 10.0).then_some(())).await;
        for _ in 0..20 {
            assert_eq!(send(&jane, TEAM, "beside them").await["success"], true);
            assert_eq!(server.metric("dragoman_sends_waiting").await, 10.0, "they still wait");
        }
        somebody.execute("COMMIT").await.unwrap();
    });
    let mut stored: Vec<_> = waited.iter().map(|sent| sent["message_id"].as_i64().unwrap_or_else(|| panic!("{sent}"))).collect();
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), 10);
    let history = admin.messaging("messages", json!({"thread_id": PAIR, "limit": 10})).await;
    let mut bodies: Vec<_> = history["messages"].as_array().unwrap().iter().map(|message| &message["body"]).collect();
    bodies.sort_by_key(|body| body.to_string());
    assert_eq!(bodies, texts.iter().map(|text| json!(text)).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert_eq!(send(&admin, PAIR, "and on").await["success"], true);
    server.stop().await;
}

/// Ordering: sends to one conversation keep their order, whether they wait or not.
#[tokio::test]
async fn what_waits_for_a_conversation_keeps_its_order() {
    let backend = Backend::postgres().await;
    let mut server = start(backend.clone()).await;
    let admin = server.log_in(ADMIN).await;
    let mut somebody = PgConnection::connect(backend.url()).await.unwrap();
    somebody.execute("BEGIN; SELECT FROM conversations WHERE id = 1 FOR UPDATE").await.unwrap();
    let waits = async |sends: f64| {
        until("that it waits", async || (server.metric("dragoman_sends_waiting").await == sends).then_some(())).await;
    };
    let (first, second, third, ()) = tokio::join!(
        send(&admin, PAIR, "first"),
        async {
            waits(1.0).await;
            send(&admin, PAIR, "second").await
        },
        async {
            waits(2.0).await;
            send(&admin, PAIR, "third").await
        },
        async {
            waits(3.0).await;
            somebody.execute("COMMIT").await.unwrap();
        },
    );
    let ids = [first, second, third].map(|sent| sent["message_id"].as_i64().unwrap_or_else(|| panic!("{sent}")));
    assert!(ids.is_sorted(), "{ids:?}");
    server.stop().await;
}

/// Hanging reads that take all connections of their pool.
#[tokio::test]
async fn reads_that_hang_keep_neither_sends_nor_log_ins_waiting() {
    let backend = Backend::postgres().await;
    let mut server = start(backend.clone()).await;
    let john = server.log_in(JOHN).await;
    let mut readers = Vec::new();
    for login in [ADMIN, JANE, BOB] {
        readers.push(server.log_in(login).await);
    }
    let mut somebody = PgConnection::connect(backend.url()).await.unwrap();
    somebody.execute("BEGIN; LOCK TABLE book_entries IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let book = |reader: &Client| {
        let reader = reader.clone();
        async move { reader.call("/im_chat/api/user_chat_ab/get_users_from_book", json!({})).await }
    };
    let reads = readers.iter().cycle().take(60).map(book);
    let hang = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let (_, ()) = tokio::join!(join_all(reads), async {
        let mut observer = PgConnection::connect(backend.url()).await.unwrap();
        let mut hanging = 0;
        while hanging < 12 {
            hanging = sqlx::query_scalar::<_, i64>(hang).fetch_one(&mut observer).await.unwrap();
        }
        for _ in 0..5 {
            assert_eq!(send(&john, TEAM, "beside them").await["success"], true);
            let mut another = server.client();
            another.log_in(JOHN, PASSWORD).await;
        }
        somebody.execute("COMMIT").await.unwrap();
    });
    server.stop().await;
}
