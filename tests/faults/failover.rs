//! Tests of lost commits: an asynchronous standby takes over, or a backup is restored while nodes run. The remaining events are
//! delivered once and in order; ids and positions only grow.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    load::{Load, generous},
    support::{BOB, Backend, Bus, Cluster, Node, Proxy, Road, Server, Socket, token, until},
};

/// Default number of failovers.
const FAILOVERS: usize = 1;
/// Messages acknowledged between two steps.
const BETWEEN: usize = 60;
/// Messages of these that the standby lacks.
const LOST: usize = 20;
/// Bob's id.
const BOB_UID: i64 = 8;

/// Two nodes, with proxies to the database and to the clients.
struct Stage {
    nodes: [Server; 2],
    to_database: [Proxy; 2],
    to_nodes: [Proxy; 2],
}

impl Stage {
    async fn set(backend: &Backend, bus: &Bus) -> Self {
        let to_database = [Proxy::before(backend).await, Proxy::before(backend).await];
        let start = |proxy: &Proxy| generous(Server::builder(proxy.backend(backend)).node(bus)).start();
        let nodes = [start(&to_database[0]).await, start(&to_database[1]).await];
        for node in &nodes {
            node.ready().await;
        }
        let to_nodes = [Proxy::to(nodes[0].address()).await, Proxy::to(nodes[1].address()).await];
        Self { nodes, to_database, to_nodes }
    }

    /// Waits until both nodes serve the event log of that epoch.
    async fn serves(&self, epoch: i64) {
        for node in &self.nodes {
            until("the new epoch", async || {
                let health: serde_json::Value = node.get("/readyz").await.json().await.ok()?;
                (health["status"] == "pass" && health["epoch"] == epoch).then_some(())
            })
            .await;
        }
    }

    fn cut(&self, road: Road) {
        self.to_database.iter().for_each(|proxy| proxy.set(road));
    }

    /// Ends everything, and asserts that nothing is missing except the commits that the database has lost.
    async fn ends(&mut self, load: Load, restarted: usize) {
        let outcome = load.end_of_lossy().await;
        eprintln!("{}", outcome.summary());
        outcome.is_flawless();
        assert!(outcome.lost_by_database > 0, "something was lost");
        for node in &mut self.nodes {
            assert_eq!(restarts(node), restarted, "one line for each:\n{}", node.log());
            assert!(!node.log().contains("panicked"), "{}", node.log());
            node.stop().await;
        }
    }
}

/// Counts restarts of the event log in a node's log.
fn restarts(node: &Server) -> usize {
    node.log().lines().filter(|line| line.contains("ERROR") && line.contains("event log restarted")).count()
}

/// Waits until a deactivated user is out at every node; returns the time that this takes.
async fn deactivated_is_out(stage: &Stage) -> Duration {
    let [here, there] = &stage.nodes;
    let client = here.log_in(BOB).await;
    let room = Socket::open(there.socket_url(&format!("/ws/chat/room/?token={}", token(BOB_UID)))).await;
    here.backend().administer(&["user", "deactivate", BOB], "").await;
    let begun = Instant::now();
    assert_eq!(room.closed().await, 4003);
    until("the end of the session", async || {
        let answer = client.call("/api/messaging/threads", json!({})).await;
        answer["error"].is_object().then_some(())
    })
    .await;
    begun.elapsed()
}

/// Power failure of the primary, and promotion of its asynchronous standby, which lacks the latest commits.
#[tokio::test]
async fn what_an_asynchronous_standby_has_is_told_once_and_in_order() {
    let failovers = std::env::var("DRAGOMAN_TEST_FAILOVERS").ok();
    let failovers = failovers.map_or(FAILOVERS, |number| number.parse().expect("DRAGOMAN_TEST_FAILOVERS is a number"));
    let mut primary = Cluster::start().await;
    let mut stage = Stage::set(&primary.backend(), &Bus::nats()).await;
    let load = Load::begin(&stage.nodes[0], &stage.to_nodes.each_ref().map(Proxy::address)).await;
    let begun = Instant::now();
    for failover in 1..=failovers {
        let replication = Proxy::before(&primary.backend()).await;
        let standby = Cluster::standby(&primary, &replication).await;
        load.goes_on(BETWEEN).await;
        replication.set(Road::Cut);
        load.goes_on(LOST).await;
        primary.crash().await;
        // Standby before the promotion: nodes connect to it while it is read-only.
        for proxy in &stage.to_database {
            proxy.lead_to(standby.backend().address());
        }
        standby.promote().await;
        stage.serves(failover as i64).await;
        primary = standby;
        load.goes_on(BETWEEN).await;
    }
    let out = deactivated_is_out(&stage).await;
    eprintln!("{failovers} failovers in {:?}, deactivated out after {out:?}", begun.elapsed());
    stage.ends(load, failovers).await;
}

/// Address of a lagging standby for a while, then of the primary again: nothing is lost, and no connection to the standby is
/// used any more.
#[tokio::test]
async fn a_standby_met_for_a_while_is_left_again() {
    let primary = Cluster::start().await;
    let mut stage = Stage::set(&primary.backend(), &Bus::nats()).await;
    let load = Load::begin(&stage.nodes[0], &stage.to_nodes.each_ref().map(Proxy::address)).await;
    let replication = Proxy::before(&primary.backend()).await;
    let standby = Cluster::standby(&primary, &replication).await;
    replication.set(Road::Cut);
    load.goes_on(BETWEEN).await;
    for met in [&standby, &primary, &standby, &primary] {
        stage.to_database.iter().for_each(|proxy| proxy.lead_to(met.backend().address()));
        for node in &stage.nodes {
            if std::ptr::eq(met, &standby) {
                until("a node that is not ready", async || node.readiness().await.err()).await;
            } else {
                node.ready().await;
            }
        }
    }
    load.goes_on(BETWEEN).await;
    stage.serves(0).await;
    let outcome = load.end().await;
    outcome.is_flawless();
    for node in &mut stage.nodes {
        assert_eq!(restarts(node), 0, "{}", node.log());
        node.stop().await;
    }
}

/// Backup restored while two nodes run, which the guide forbids.
#[tokio::test]
async fn a_backup_restored_beneath_running_nodes_is_told_on_from() {
    let backend = Backend::postgres().await;
    let mut stage = Stage::set(&backend, &Bus::nats()).await;
    let load = Load::begin(&stage.nodes[0], &stage.to_nodes.each_ref().map(Proxy::address)).await;
    load.goes_on(BETWEEN).await;
    let database = Database::of(&backend);
    stage.cut(Road::Cut);
    database.alone(&["CREATE DATABASE {copy} TEMPLATE {original}"]).await;
    stage.cut(Road::Open);
    load.goes_on(LOST).await;
    stage.cut(Road::Cut);
    database.alone(&["DROP DATABASE {original} WITH (FORCE)", "ALTER DATABASE {copy} RENAME TO {original}"]).await;
    stage.cut(Road::Open);
    stage.serves(1).await;
    load.goes_on(BETWEEN).await;
    stage.ends(load, 1).await;
}

/// A database of the throwaway cluster, and its copy.
struct Database {
    cluster: String,
    name: String,
}

impl Database {
    fn of(backend: &Backend) -> Self {
        let (server, name) = backend.url().rsplit_once('/').expect("the address names a database");
        Self { cluster: format!("{server}/postgres"), name: name.to_owned() }
    }

    /// Executes statements on the cluster after it has ended all connections to the database.
    async fn alone(&self, statements: &[&str]) {
        let mut connection = PgConnection::connect(&self.cluster).await.expect("the throwaway PostgreSQL is up");
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{original}'";
        for statement in [&[end], statements].concat() {
            let statement = statement.replace("{original}", &self.name).replace("{copy}", &format!("{}_copy", self.name));
            connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement))).await.expect("it can be done");
        }
    }
}
