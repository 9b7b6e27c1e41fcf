//! Tests of a bus outage: notifications only speed up the event log, so everything still arrives, a little later.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{JOHN, PAIR, enter, enter_room, hear, poll, send};
use crate::support::{self, Backend, Bus, Client, Node, Proxy, Road, Server, two_nodes, until};

const CUT_OFF: &str = "the bus cannot be reached";

/// Asserts that a message sent at one node reaches all subscribers at the other.
async fn is_heard(from: &Client, there: &Server, body: &str) {
    let john = there.log_in(support::JOHN).await;
    let (mut conversation, mut room) = (enter(there, JOHN, PAIR).await, enter_room(there, JOHN).await);
    let polls = [
        poll(&john, "/api/messaging/poll/messages", json!({"thread_id": PAIR, "timeout": 60})),
        poll(&john, "/longpolling/poll", json!({"channels": [], "last": i64::MAX})),
    ];
    there.polls_waiting(polls.len()).await;
    let id = send(from, body).await;
    let [messages, bus] = polls;
    assert_eq!(messages.await.unwrap()["messages"][0]["id"], id);
    assert_eq!(bus.await.unwrap()[0]["message"]["id"], id);
    assert_eq!(hear(&mut conversation, "chat_message").await["message"]["id"], id.to_string());
    room.hear_until(|told| told["created_msg_id"] == id).await;
    conversation.close().await;
    room.close().await;
}

/// Asserts that a signal, which only the bus carries, reaches the other node.
async fn rings(here: &Server, there: &Server) {
    let (john, admin) = (here.log_in(support::JOHN).await, there.log_in(support::ADMIN).await);
    until("a signal", async || {
        john.messaging("typing/stop", json!({"thread_id": PAIR})).await;
        john.messaging("typing/start", json!({"thread_id": PAIR})).await;
        let typing = admin.messaging(&format!("typing/status/{PAIR}"), json!({})).await;
        (typing["typing_users"][0]["user_id"] == JOHN).then_some(())
    })
    .await;
    john.messaging("typing/stop", json!({"thread_id": PAIR})).await;
}

/// Two nodes, the second of which reaches NATS through a proxy.
async fn with_a_road_to_nats() -> (Server, Server, Proxy) {
    let (backend, bus) = (Backend::postgres().await, Bus::nats());
    let proxy = Proxy::to(bus.server()).await;
    let here = Server::builder(backend.clone()).node(&bus).start().await;
    let there = Server::builder(backend).node(&bus.by_way_of(proxy.address())).start().await;
    here.ready().await;
    there.ready().await;
    (here, there, proxy)
}

#[tokio::test]
async fn everything_arrives_while_nats_is_away_and_it_heals_by_itself() {
    let (mut here, mut there, proxy) = with_a_road_to_nats().await;
    let admin = here.log_in(support::ADMIN).await;
    rings(&here, &there).await;
    assert_eq!(there.metric("dragoman_bus_connected").await, 1.0);
    for round in 0..2 {
        proxy.set(Road::Cut);
        there.not_ready(CUT_OFF).await;
        assert_eq!(there.metric("dragoman_bus_connected").await, 0.0);
        assert_eq!(here.readiness().await, Ok(()), "the other one has nothing to complain of");
        is_heard(&admin, &there, &format!("without a bell {round}")).await;
        // Other direction.
        is_heard(&there.log_in(support::ADMIN).await, &here, &format!("back {round}")).await;
        proxy.set(Road::Open);
        there.ready().await;
        assert_eq!(there.metric("dragoman_bus_connected").await, 1.0);
        rings(&here, &there).await;
        rings(&there, &here).await;
    }
    here.stop().await;
    there.stop().await;
}

/// Silent outage: connections stay open, and nothing passes.
#[tokio::test]
async fn everything_arrives_while_nats_is_silent() {
    let (mut here, mut there, proxy) = with_a_road_to_nats().await;
    let admin = here.log_in(support::ADMIN).await;
    proxy.set(Road::Silent);
    is_heard(&admin, &there, "into the silence").await;
    is_heard(&there.log_in(support::ADMIN).await, &here, "out of the silence").await;
    there.not_ready(CUT_OFF).await;
    assert_eq!(there.metric("dragoman_bus_connected").await, 0.0);
    assert_eq!(here.readiness().await, Ok(()), "the other one has nothing to complain of");
    is_heard(&admin, &there, "into a silence that is known").await;
    proxy.set(Road::Open);
    there.ready().await;
    assert_eq!(there.metric("dragoman_bus_connected").await, 1.0);
    rings(&here, &there).await;
    rings(&there, &here).await;
    here.stop().await;
    there.stop().await;
}

/// Silent outage of PostgreSQL's notification connection alone.
#[tokio::test]
async fn everything_arrives_while_notifications_are_silent() {
    let (backend, bus) = (Backend::postgres().await, Bus::postgres());
    let proxy = Proxy::before(&backend).await;
    let mut here = Server::builder(backend.clone()).node(&bus).start().await;
    let mut there = Server::builder(proxy.backend(&backend)).node(&bus).start().await;
    there.ready().await;
    let admin = here.log_in(support::ADMIN).await;
    for round in 0..2 {
        rings(&here, &there).await;
        proxy.deafen(true);
        is_heard(&admin, &there, &format!("into the silence {round}")).await;
        there.not_ready(CUT_OFF).await;
        assert_eq!(there.metric("dragoman_bus_connected").await, 0.0);
        assert_eq!(here.readiness().await, Ok(()), "the other one has nothing to complain of");
        is_heard(&admin, &there, &format!("into a silence that is known {round}")).await;
        // One-way outage: this node receives nothing, and its own notifications arrive.
        rings(&there, &here).await;
        proxy.deafen(false);
        there.ready().await;
        assert_eq!(there.metric("dragoman_bus_connected").await, 1.0);
    }
    rings(&here, &there).await;
    here.stop().await;
    there.stop().await;
}

/// Repeated disconnects of PostgreSQL's notification connections alone.
#[tokio::test]
async fn everything_arrives_while_notifications_are_cut() {
    let backend = Backend::postgres().await;
    let [mut here, mut there] = two_nodes(&backend, &Bus::postgres()).await;
    let admin = here.log_in(support::ADMIN).await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    for round in 0..5 {
        rings(&here, &there).await;
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()
            AND datname = current_database() AND (query LIKE 'LISTEN%' OR query LIKE '%pg_notify%')";
        let ended: i64 = sqlx::query_scalar(cut).fetch_one(&mut database).await.unwrap();
        assert!(ended >= 2, "{ended} connections of the bus were ended");
        is_heard(&admin, &there, &format!("without a bell {round}")).await;
    }
    for node in [&here, &there] {
        node.ready().await;
    }
    rings(&there, &here).await;
    here.stop().await;
    there.stop().await;
}

/// Database outage of one node, and with it of the bus: its waiting clients receive the messages afterwards.
#[tokio::test]
async fn a_node_that_was_cut_off_from_postgres_catches_up() {
    let (backend, bus) = (Backend::postgres().await, Bus::postgres());
    let proxy = Proxy::before(&backend).await;
    let mut here = Server::builder(backend.clone()).node(&bus).start().await;
    let mut there = Server::builder(proxy.backend(&backend)).node(&bus).start().await;
    there.ready().await;
    let (admin, john) = (here.log_in(support::ADMIN).await, there.log_in(support::JOHN).await);
    for road in [Road::Cut, Road::Silent] {
        let mut socket = enter(&there, JOHN, PAIR).await;
        let waiting = poll(&john, "/api/messaging/poll/messages", json!({"thread_id": PAIR, "timeout": 60}));
        there.polls_waiting(1).await;
        proxy.set(road);
        until("that it says so", async || there.readiness().await.err()).await;
        let id = send(&admin, &format!("{road:?}")).await;
        assert!(!waiting.is_finished());
        proxy.set(Road::Open);
        assert_eq!(waiting.await.unwrap()["messages"][0]["id"], id);
        assert_eq!(hear(&mut socket, "chat_message").await["message"]["id"], id.to_string());
        there.ready().await;
        rings(&here, &there).await;
        socket.close().await;
    }
    here.stop().await;
    there.stop().await;
}
