//! Tests of node leases in the store.

use sqlx::{Connection, PgConnection, Row};
use storage::postgres::{Options, Postgres};

use super::send;
use crate::support::{self, Backend, Bus, Server, two_nodes, until};

/// Valid leases: ids, versions, kinds of bus, positions.
async fn leases(database: &mut PgConnection) -> Vec<(String, String, String, i64)> {
    let rows = sqlx::query("SELECT id::text, version, bus, position FROM nodes WHERE until >= now() ORDER BY started_at");
    let rows = rows.fetch_all(database).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// Lists other nodes, as a newer version does before an exclusive migration.
async fn other_nodes(backend: &Backend, version: &str) -> Vec<String> {
    let url = backend.url().to_owned();
    let timeout = std::time::Duration::from_secs(10);
    let options = Options { url, max_connections: 1, acquire_timeout: timeout, statement_timeout: timeout };
    let storage = Postgres::open(&options).await.unwrap();
    assert_eq!(storage.blocking_nodes(version).await.unwrap(), [], "no migration needs that");
    storage.other_nodes(version).await.unwrap().into_iter().map(|node| node.version.unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_node_has_a_lease_from_its_start_to_its_stop() {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    let backend = Backend::postgres().await;
    let [mut here, mut there] = two_nodes(&backend, &Bus::postgres()).await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let begun = leases(&mut database).await;
    assert_eq!(begun.len(), 2, "{begun:?}");
    assert_ne!(begun[0].0, begun[1].0);
    for (_, version, bus, _) in &begun {
        assert_eq!((version.as_str(), bus.as_str()), (VERSION, "postgres"));
    }
    assert_eq!(other_nodes(&backend, VERSION).await, [""; 0]);
    assert_eq!(other_nodes(&backend, "99.0.0").await, [VERSION; 2]);
    here.stop().await;
    let left = leases(&mut database).await;
    assert_eq!(left.iter().map(|lease| &lease.0).collect::<Vec<_>>(), [&begun[1].0], "that of the node which runs");
    // Dead node: its lease expires.
    there.kill().await;
    assert_eq!(leases(&mut database).await.len(), 1);
    assert_eq!(other_nodes(&backend, "99.0.0").await, [VERSION]);
    sqlx::query("UPDATE nodes SET until = now() - interval '1 second'").execute(&mut database).await.unwrap();
    assert_eq!(other_nodes(&backend, "99.0.0").await, [""; 0]);
}

/// Lease renewal: updates the node's position.
#[tokio::test]
async fn a_lease_is_renewed() {
    let backend = Backend::postgres().await;
    let server = Server::builder(backend.clone()).set("PRESENCE__POLL_SECONDS", 3).set("IM_CHAT__POLL_SECONDS", 1);
    let mut server = server.start().await;
    let john = server.log_in(support::JOHN).await;
    for body in ["one", "two", "three"] {
        send(&john, body).await;
    }
    let position = server.metric("dragoman_log_position").await as i64;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let first: (chrono::DateTime<chrono::Utc>,) =
        sqlx::query_as("SELECT until FROM nodes").fetch_one(&mut database).await.unwrap();
    until("the next renewal", async || {
        let renewed = sqlx::query("SELECT FROM nodes WHERE until > $1 AND position >= $2 AND bus = 'local'");
        renewed.bind(first.0).bind(position).fetch_optional(&mut database).await.unwrap()
    })
    .await;
    server.stop().await;
}

/// Retention of expired leases: a day.
#[tokio::test]
async fn nodes_that_died_are_forgotten() {
    let backend = Backend::postgres().await;
    let mut server = Server::builder(backend.clone()).set("RETENTION__EVERY_SECONDS", 1).start().await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let dead = "INSERT INTO nodes (id, until) VALUES
        ('00000000-0000-0000-0000-000000000001', now() - interval '25 hours'),
        ('00000000-0000-0000-0000-000000000002', now() - interval '23 hours')";
    sqlx::query(dead).execute(&mut database).await.unwrap();
    until("the end of the older one", async || {
        let left: Vec<String> =
            sqlx::query_scalar("SELECT id::text FROM nodes WHERE version IS NULL").fetch_all(&mut database).await.unwrap();
        assert!(left.contains(&"00000000-0000-0000-0000-000000000002".to_owned()), "{left:?}");
        (left.len() == 1).then_some(())
    })
    .await;
    server.stop().await;
}

/// Nodes on one store without a common bus: both warn, once. A node restarted after a crash does not take its own lease for
/// another node's.
#[tokio::test]
async fn nodes_without_a_bus_on_one_store_are_warned_of() {
    const WARNING: &str = "without a shared bus";
    let backend = Backend::postgres().await;
    let start = || Server::builder(backend.clone()).set("PRESENCE__POLL_SECONDS", 2).set("IM_CHAT__POLL_SECONDS", 1).start();
    let mut first = start().await;
    first.ready().await;
    let address = first.kill().await;
    first.start_again(address).await;
    first.ready().await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let mut renewed = async || {
        let before: (chrono::DateTime<chrono::Utc>,) =
            sqlx::query_as("SELECT max(until) FROM nodes").fetch_one(&mut database).await.unwrap();
        until("two renewals", async || {
            let renewed = sqlx::query("SELECT FROM nodes WHERE until > $1 + interval '1 second'").bind(before.0);
            renewed.fetch_optional(&mut database).await.unwrap()
        })
        .await;
    };
    renewed().await;
    assert!(!first.log().contains(WARNING), "it was alone: {}", first.log());
    let mut second = start().await;
    for node in [&first, &second] {
        until(WARNING, async || node.log().contains(WARNING).then_some(())).await;
    }
    renewed().await;
    for node in [&first, &second] {
        assert_eq!(node.log().matches(WARNING).count(), 1, "{}", node.log());
    }
    second.stop().await;
    first.stop().await;
}
