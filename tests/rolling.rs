//! Rolling restarts: both nodes behind nginx restart one after the other under load in every dialect.

use crate::{
    deploy::nginx::Nginx,
    load::{Load, generous},
    support::{Backend, Bus, Node, Server, ServerBuilder, until},
};

/// Restarts of each node.
const ROUNDS: usize = 2;
/// Acknowledged messages between two restarts.
const BETWEEN: usize = 60;
/// Answered sends after which a node counts as back in use.
const AT_WORK: u64 = 5;

/// Checks that nothing is lost or duplicated, no send is refused, and no request fails, since nginx has another node for it.
/// Sockets are closed, as they must be, and clients reconnect. Both nodes begin as `first` and restart as each of `next`, with
/// these replacements in nginx's configuration.
async fn nobody_loses_anything(first: ServerBuilder, next: &[ServerBuilder], changes: &[(&str, &str)]) {
    let mut nodes = [first.clone().start().await, first.start().await];
    for node in &nodes {
        node.ready().await;
    }
    let nginx = Nginx::changed(nodes.each_ref().map(Server::address), changes).await;
    let load = Load::begin(&nodes[0], &[nginx.address()]).await;
    for next in next {
        for number in 0..nodes.len() {
            load.goes_on(BETWEEN).await;
            // nginx avoids a node that it could not reach until the node has answered again.
            for node in &nodes {
                until("work for both", async || (answered(node).await >= AT_WORK).then_some(())).await;
            }
            let node = &mut nodes[number];
            let address = node.address();
            node.stop().await;
            node.start_again_as(next.clone(), address).await;
            node.ready().await;
        }
    }
    load.goes_on(BETWEEN).await;
    let outcome = load.end().await;
    eprintln!("{} restarts: {}", next.len() * nodes.len(), outcome.summary());
    outcome.is_flawless();
    assert_eq!((outcome.refused, outcome.broken), (0, 0), "{}\n{}", outcome.summary(), nginx.logs());
    assert!(outcome.closed > 0, "sockets were closed, and opened again");
    for node in &mut nodes {
        node.stop().await;
    }
}

/// Sends that a node has answered since its start.
async fn answered(node: &Server) -> u64 {
    let metrics = node.get("/metrics").await.text().await.expect("the answer is whole");
    let sends =
        metrics.lines().filter(|line| line.starts_with("dragoman_request_seconds_count") && line.contains("message/send"));
    sends.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

fn node(backend: &Backend, bus: &Bus) -> ServerBuilder {
    generous(Server::builder(backend.clone()).node(bus)).set("PROXIES", "127.0.0.1")
}

async fn nobody_notices_restarts(bus: Bus) {
    let node = node(&Backend::postgres().await, &bus);
    nobody_loses_anything(node.clone(), &vec![node; ROUNDS], &[]).await;
}

/// Upgrade from the first release: this program migrates the store while the first release still runs on it.
async fn nobody_notices_an_upgrade(bus: Bus) {
    let Ok(program) = std::env::var("DRAGOMAN_TEST_FIRST_RELEASE") else {
        eprintln!("skipped: there is no program of the first release; it is built from the repository's history, see .ci/tools");
        return;
    };
    let backend = Backend::empty_postgres().await;
    // Settings of its own, since the first release may not know those of this program.
    let first = Server::builder(backend.clone()).program(program).node(&bus).set("PROXIES", "127.0.0.1");
    let first = first.set("LIMITS__WAITING_POLLS_PER_USER", 1_000).set("SOCKETS__PER_USER", 1_000);
    let first = first.set("SOCKETS__FRAMES_BURST", 10_000).set("SOCKETS__FRAMES_PER_SECOND", 10_000);
    // The users of the first release have no external ids, so their tokens keep naming uids.
    let next = node(&backend, &bus).set("TOKENS__USER_CLAIM_NAMES", "uid");
    // As it stops, the first release may close an idle connection on which a request has just arrived. nginx keeps none here.
    nobody_loses_anything(first, &[next], &[("keepalive 128;", "")]).await;
}

#[tokio::test]
async fn nobody_loses_anything_with_notifications_of_postgres() {
    nobody_notices_restarts(Bus::postgres()).await;
}

#[tokio::test]
async fn nobody_loses_anything_with_nats() {
    nobody_notices_restarts(Bus::nats()).await;
}

#[tokio::test]
async fn nobody_notices_an_upgrade_with_notifications_of_postgres() {
    nobody_notices_an_upgrade(Bus::postgres()).await;
}

#[tokio::test]
async fn nobody_notices_an_upgrade_with_nats() {
    nobody_notices_an_upgrade(Bus::nats()).await;
}
