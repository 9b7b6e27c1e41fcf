//! Fault injection: two nodes on one database under load in every dialect, with one fault after another. Acknowledged
//! messages are stored once, and every reader receives all of them once and in order.

mod contention;
mod counted;
mod disk;
mod failover;
mod files;
mod locked;
mod pooler;
mod settings;
mod standby;
mod start;

use std::time::{Duration, Instant};

use crate::{
    load::{Load, generous},
    support::{Bus, Cluster, Node, Proxy, Road, Server, until},
};

/// Default duration in seconds.
const SECONDS: u64 = 30;
/// Acknowledged messages between two faults.
const BETWEEN: usize = 60;
/// Duration of a cut connection.
const CUT: Duration = Duration::from_millis(1_500);

/// A fault. They follow each other in a cycle.
#[derive(Clone, Copy, Debug)]
enum Misfortune {
    /// A node crashes and restarts.
    Kill(usize),
    /// Reset of all client connections of a node.
    ResetClients(usize),
    /// Reset of all database connections of a node, whatever is under way.
    ResetDatabase(usize),
    /// Bus partition: a node cannot reach the bus for a while. With PostgreSQL as the bus it cannot reach the database
    /// either.
    CutBus(usize),
    /// The database crashes and restarts.
    RestartDatabase,
}

const MISFORTUNES: [Misfortune; 9] = [
    Misfortune::ResetDatabase(0),
    Misfortune::Kill(1),
    Misfortune::ResetClients(0),
    Misfortune::CutBus(1),
    Misfortune::RestartDatabase,
    Misfortune::ResetDatabase(1),
    Misfortune::Kill(0),
    Misfortune::ResetClients(1),
    Misfortune::CutBus(0),
];

/// Two nodes with proxies before them, before their database and before their bus.
struct Stage {
    cluster: Cluster,
    nodes: [Server; 2],
    to_database: [Proxy; 2],
    to_bus: [Proxy; 2],
    to_nodes: [Proxy; 2],
}

impl Stage {
    async fn set(bus: &Bus) -> Self {
        let cluster = Cluster::start().await;
        let backend = cluster.backend();
        let nats = Bus::nats().server();
        let to_database = [Proxy::before(&backend).await, Proxy::before(&backend).await];
        let to_bus = [Proxy::to(nats).await, Proxy::to(nats).await];
        let start = |number: usize| {
            let bus = if bus.is_postgres() { bus.clone() } else { bus.by_way_of(to_bus[number].address()) };
            generous(Server::builder(to_database[number].backend(&backend)).node(&bus)).start()
        };
        let nodes = [start(0).await, start(1).await];
        for node in &nodes {
            node.ready().await;
        }
        let to_nodes = [Proxy::to(nodes[0].address()).await, Proxy::to(nodes[1].address()).await];
        let to_bus = if bus.is_postgres() { [Proxy::before(&backend).await, Proxy::before(&backend).await] } else { to_bus };
        Self { cluster, nodes, to_database, to_bus, to_nodes }
    }

    async fn suffer(&mut self, misfortune: Misfortune, bus: &Bus) {
        match misfortune {
            Misfortune::Kill(node) => {
                let address = self.nodes[node].kill().await;
                self.nodes[node].start_again(address).await;
            }
            Misfortune::ResetClients(node) => self.to_nodes[node].reset(),
            Misfortune::ResetDatabase(node) => {
                // Each reset interrupts other statements.
                for _ in 0..5 {
                    self.to_database[node].reset();
                    tokio::time::sleep(Duration::from_millis(70)).await;
                }
            }
            Misfortune::CutBus(node) => {
                let way = if bus.is_postgres() { &self.to_database[node] } else { &self.to_bus[node] };
                way.set(Road::Cut);
                tokio::time::sleep(CUT).await;
                way.set(Road::Open);
            }
            Misfortune::RestartDatabase => self.cluster.restart().await,
        }
        for node in &self.nodes {
            node.ready().await;
        }
    }
}

async fn nothing_is_lost(bus: Bus) {
    let seconds = std::env::var("DRAGOMAN_TEST_FAULT_SECONDS").ok();
    let seconds = seconds.map_or(SECONDS, |seconds| seconds.parse().expect("DRAGOMAN_TEST_FAULT_SECONDS is a number"));
    let mut stage = Stage::set(&bus).await;
    let doors = stage.to_nodes.each_ref().map(Proxy::address);
    let load = Load::begin(&stage.nodes[0], &doors).await;
    let begun = Instant::now();
    let mut suffered = 0;
    for misfortune in MISFORTUNES.into_iter().cycle() {
        if begun.elapsed() >= Duration::from_secs(seconds) && suffered >= MISFORTUNES.len() {
            break;
        }
        load.goes_on(BETWEEN).await;
        stage.suffer(misfortune, &bus).await;
        suffered += 1;
    }
    load.goes_on(BETWEEN).await;
    let outcome = load.end().await;
    eprintln!("{suffered} faults in {:?}: {}", begun.elapsed(), outcome.summary());
    outcome.is_flawless();
    for node in &mut stage.nodes {
        until("the end of all work", async || (node.metric("dragoman_sends_waiting").await == 0.0).then_some(())).await;
        node.stop().await;
    }
}

#[tokio::test]
async fn nothing_is_lost_with_notifications_of_postgres() {
    nothing_is_lost(Bus::postgres()).await;
}

#[tokio::test]
async fn nothing_is_lost_with_nats() {
    nothing_is_lost(Bus::nats()).await;
}
