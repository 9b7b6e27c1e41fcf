//! Both nodes behind nginx are restarted, one after the other, while people work in every dialect.

use crate::{
    deploy::nginx::Nginx,
    load::{Load, generous},
    support::{Backend, Bus, Node, Server, until},
};

/// How often each node is restarted.
const ROUNDS: usize = 2;
/// How many messages are acknowledged between two restarts.
const BETWEEN: usize = 60;
/// A node that has answered so many sends is trusted.
const AT_WORK: u64 = 5;

/// Nothing is lost, nothing comes twice, no send is refused, and no request fails: nginx has another node for it. Sockets
/// are closed, as they must be, and clients come back.
async fn nobody_loses_anything(bus: Bus) {
    let backend = Backend::postgres().await;
    let start = || generous(Server::builder(backend.clone()).node(&bus)).set("PROXIES", "127.0.0.1").start();
    let mut nodes = [start().await, start().await];
    for node in &nodes {
        node.ready().await;
    }
    let nginx = Nginx::before(nodes.each_ref().map(Server::address)).await;
    let load = Load::begin(&nodes[0], &[nginx.address()]).await;
    for _ in 0..ROUNDS {
        for number in 0..nodes.len() {
            load.goes_on(BETWEEN).await;
            // nginx leaves a node that it could not reach alone until that has answered again.
            for node in &nodes {
                until("work for both", async || (answered(node).await >= AT_WORK).then_some(())).await;
            }
            let node = &mut nodes[number];
            let address = node.address();
            node.stop().await;
            node.start_again(address).await;
            node.ready().await;
        }
    }
    load.goes_on(BETWEEN).await;
    let outcome = load.end().await;
    eprintln!("{} restarts: {}", ROUNDS * nodes.len(), outcome.summary());
    outcome.is_flawless();
    assert_eq!((outcome.refused, outcome.broken), (0, 0), "{}\n{}", outcome.summary(), nginx.logs());
    assert!(outcome.closed > 0, "sockets were closed, and opened again");
    for node in &mut nodes {
        node.stop().await;
    }
}

/// How many sends a node has answered since it was started.
async fn answered(node: &Server) -> u64 {
    let metrics = node.get("/metrics").await.text().await.expect("the answer is whole");
    let sends =
        metrics.lines().filter(|line| line.starts_with("dragoman_request_seconds_count") && line.contains("message/send"));
    sends.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn nobody_loses_anything_with_notifications_of_postgres() {
    nobody_loses_anything(Bus::postgres()).await;
}

#[tokio::test]
async fn nobody_loses_anything_with_nats() {
    nobody_loses_anything(Bus::nats()).await;
}
