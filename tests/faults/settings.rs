//! Tests of server, database and role settings that change while a server runs.

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::{ADMIN, BOB, Backend, Bus, Client, JANE, JOHN, Node, PASSWORD, Proxy, Server, until};

/// Hostile settings.
const HOSTILE: [&str; 14] = [
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "search_path = elsewhere",
    "TimeZone = 'Asia/Kolkata'",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'iso_8601'",
    "bytea_output = 'escape'",
    "standard_conforming_strings = off",
    "transform_null_equals = on",
    "gin_fuzzy_search_limit = 1",
    "statement_timeout = '20ms'",
    "lock_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "idle_session_timeout = '100ms'",
];

async fn send(client: &Client, thread: i64, body: &str) -> serde_json::Value {
    client.messaging("message/send", json!({"thread_id": thread, "body": body})).await
}

/// Load generator: concurrent sends and read marks in the same conversations, which serializable transactions would refuse.
async fn crowd(server: &Server) {
    let mut at_work = Vec::new();
    for (number, login) in [ADMIN, JOHN, JANE, BOB].into_iter().cycle().take(8).enumerate() {
        let client = server.log_in(login).await;
        at_work.push(tokio::spawn(async move {
            for round in 0..10 {
                send(&client, 2, &format!("{number}-{round}")).await;
                client.messaging("notifications/mark_all_read", json!({"thread_id": 2})).await;
            }
        }));
    }
    for working in at_work {
        working.await.expect("nothing is refused");
    }
}

/// New connections under hostile settings, of the pool and of the bus: same behaviour.
#[tokio::test]
async fn settings_that_change_underneath_change_nothing() {
    let backend = Backend::postgres().await;
    let proxy = Proxy::before(&backend).await;
    let mut server = Server::builder(proxy.backend(&backend)).node(&Bus::postgres()).start().await;
    server.ready().await;
    let (database, name) = backend.url().rsplit_once('/').unwrap();
    let mut admin = PgConnection::connect(&format!("{database}/postgres")).await.unwrap();
    for setting in HOSTILE {
        admin.execute(AssertSqlSafe(format!("ALTER DATABASE {name} SET {setting}"))).await.unwrap();
    }
    proxy.reset();
    // A request notices the broken connections; `/readyz` may answer with what it saw before.
    let login = json!({"params": {"db": "odoo2", "login": ADMIN, "password": PASSWORD}});
    let log_in = async || server.client().post("/web/session/authenticate", &login).await.session();
    until("new connections", log_in).await;
    crowd(&server).await;
    let john = server.log_in(JOHN).await;
    let said = send(&john, 1, "é😀").await;
    let page = john.messaging("messages", json!({"thread_id": 1})).await;
    assert_eq!((&page["messages"][0]["id"], &page["messages"][0]["body"]), (&said["message_id"], &json!("é😀")));
    // Pause longer than the life of an idle connection.
    let [sent, lost] = ["sent", "lost"].map(|what| format!("dragoman_bus_letters_total{{what=\"{what}\"}}"));
    let (sent_before, lost_before) = (server.metric(&sent).await, server.metric(&lost).await);
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    send(&john, 1, "rings").await;
    until("the bell", async || (server.metric(&sent).await > sent_before).then_some(())).await;
    assert_eq!(server.metric(&lost).await, lost_before, "{}", server.log());
    server.stop().await;
}

/// Search path of the role: the tables stay where it has put them; those of another schema do not replace them.
#[tokio::test]
async fn tables_are_where_the_role_has_put_them() {
    let backend = Backend::empty_postgres().await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let name = backend.url().rsplit_once('/').unwrap().1.to_owned();
    let path = |schemas: &str| AssertSqlSafe(format!("ALTER DATABASE {name} SET search_path = {schemas}"));
    database.execute("CREATE SCHEMA \"the \"\"chat\"\"\"").await.unwrap();
    database.execute("CREATE EXTENSION pg_trgm SCHEMA public").await.unwrap();
    database.execute(path("\"the \"\"chat\"\"\", public")).await.unwrap();
    let mut server = Server::demo(backend.clone()).await;
    send(&server.log_in(JOHN).await, 1, "there").await;
    server.stop().await;
    // Empty schema first in the path, such as one of the user's name.
    database.execute("CREATE SCHEMA another").await.unwrap();
    database.execute(path("another, \"the \"\"chat\"\"\", public")).await.unwrap();
    let mut server = Server::demo(backend.clone()).await;
    let page = server.log_in(JOHN).await.messaging("messages", json!({"thread_id": 1})).await;
    assert_eq!(page["messages"][0]["body"], "there", "{page}");
    let found = server.log_in(JOHN).await.messaging("partners/search", json!({"query": "jane"})).await;
    assert_eq!(found["partners"].as_array().map(Vec::len), Some(1), "{found}");
    server.stop().await;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'another')")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(tables, 0);
}
