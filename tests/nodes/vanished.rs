//! Tests of users who vanish with their node: the other nodes report them offline in time.

use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use super::{
    ADMIN, JANE, JOHN, PAIR, enter, enter_room,
    presence::{SECONDS, becomes, is, status_of},
    short_lives, with_every_bus,
};
use crate::support::{self, Backend, Bus, Client, Node, Proxy, Road, Server};

/// Conversation of four in the demo data, with the admin, John and Jane.
const TEAM: i64 = 2;
/// Number of users who vanish together: fewer than a socket tells of right after connecting.
const MANY: usize = 900;
/// First of their partner ids.
const FIRST: i64 = 1_000_000;

/// Polls the presence channel until a user has this status; returns all notifications.
fn is_told(client: &Client, uid: i64, status: &str) -> tokio::task::JoinHandle<Vec<Value>> {
    let (client, wanted) = (client.clone(), json!({"id": uid, "im_status": status}));
    tokio::spawn(async move {
        let (mut last, mut all) = (json!(i64::MAX), Vec::new());
        while all.last() != Some(&wanted) {
            let params = json!({"channels": [["odoo2", "im_chat.presence"]], "last": last});
            let told = client.call("/longpolling/poll", params).await["result"].take();
            for told in told.as_array().unwrap_or_else(|| panic!("a poll succeeds: {told}")) {
                last = told["id"].clone();
                if told["channel"][1] == "im_chat.presence" {
                    all.push(told["message"].clone());
                }
                if all.last() == Some(&wanted) {
                    break;
                }
            }
        }
        all
    })
}

/// Offline events in every dialect with presence. Jane, who is at the other node as well, stays online.
async fn who_vanishes_with_a_node_is_missed_in_time(bus: Bus) {
    let [mut here, mut there] = short_lives(&bus, SECONDS).await;
    let admin = there.log_in(support::ADMIN).await;
    let mut watching = enter(&there, ADMIN, TEAM).await;
    let _lost = [enter_room(&here, JOHN).await, enter_room(&here, JANE).await];
    let jane = enter_room(&there, JANE).await;
    for uid in [JOHN, JANE] {
        becomes(&admin, uid, "online").await;
        watching.hear_until(|told| told["user_id"] == *uid.to_string() && told["status"] == "online").await;
    }
    let polling = is_told(&admin, JOHN, "offline");
    there.polls_waiting(1).await;
    here.kill().await;
    assert_eq!(status_of(&admin, JOHN).await, "online", "he may be back in a moment");
    let mut told = Vec::new();
    while !told.last().is_some_and(|told| is(told, "offline")) {
        told.push(watching.hear().await);
    }
    assert_eq!(status_of(&admin, JOHN).await, "offline");
    let polled = polling.await.unwrap();
    assert_eq!(status_of(&admin, JANE).await, "online");
    told.extend(watching.heard_so_far().await);
    let gone: Vec<_> = told.iter().filter(|told| told["status"] == "offline").collect();
    assert!(matches!(gone.as_slice(), [john] if is(john, "offline")), "he alone, and once: {gone:?}");
    assert!(!polled.contains(&json!({"id": JANE, "im_status": "offline"})), "{polled:?}");
    jane.close().await;
    watching.close().await;
    there.stop().await;
}

with_every_bus! {
    who_vanishes_with_a_node_is_missed_in_time
}

/// Partition of a node from the store, longer than the TTL of heartbeats: the others report its users offline, and the node
/// corrects this after the partition.
#[tokio::test]
async fn who_was_missed_by_mistake_is_told_to_be_there() {
    let (backend, bus) = (Backend::postgres().await, Bus::nats());
    let proxy = Proxy::before(&backend).await;
    let start = |backend: Backend| {
        let server = Server::builder(backend).node(&bus);
        let server = server.set("PRESENCE__ONLINE_SECONDS", SECONDS).set("PRESENCE__POLL_SECONDS", SECONDS);
        server.set("IM_CHAT__POLL_SECONDS", 1).start()
    };
    let (mut here, mut there) = (start(proxy.backend(&backend)).await, start(backend.clone()).await);
    here.ready().await;
    there.ready().await;
    let mut watching = enter(&there, ADMIN, PAIR).await;
    let admin = there.log_in(support::ADMIN).await;
    let mut socket = enter_room(&here, JOHN).await;
    watching.hear_until(|told| is(told, "online")).await;
    becomes(&admin, JOHN, "online").await;
    proxy.set(Road::Cut);
    watching.hear_until(|told| is(told, "offline")).await;
    proxy.set(Road::Open);
    watching.hear_until(|told| is(told, "online")).await;
    becomes(&admin, JOHN, "online").await;
    socket.heard_so_far().await;
    socket.close().await;
    watching.close().await;
    here.stop().await;
    there.stop().await;
}

/// Batches of offline events: each user is reported, with a few statements for each hundred.
#[tokio::test]
async fn hundreds_who_vanish_together_are_missed_without_a_storm() {
    let backend = Backend::postgres().await;
    let proxy = Proxy::before(&backend).await;
    let server = Server::builder(proxy.backend(&backend)).node(&Bus::postgres());
    let mut server = server.set("SOCKETS__QUEUED_FRAMES", 100_000).set("SOCKETS__QUEUED_BYTES", 100_000_000).start().await;
    server.ready().await;
    let vanishing = format!(
        "INSERT INTO partners (id, name) SELECT {FIRST} + n, 'Somebody' FROM generate_series(1, {MANY}) n;
        INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq)
            SELECT {PAIR}, {FIRST} + n, now(), 0 FROM generate_series(1, {MANY}) n;
        INSERT INTO memberships (conversation_id, partner_id, from_position)
            SELECT {PAIR}, {FIRST} + n, 0 FROM generate_series(1, {MANY}) n;
        INSERT INTO presences (partner_id, last_seen, there_until)
            SELECT {FIRST} + n, now(), now() + interval '15 s' + n * interval '1 ms' FROM generate_series(1, {MANY}) n;"
    );
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    database.execute(sqlx::AssertSqlSafe(vanishing)).await.unwrap();
    let admin = server.log_in(support::ADMIN).await;
    let mut watching = enter(&server, ADMIN, PAIR).await;
    let polling = is_told(&admin, JOHN, "online");
    server.polls_waiting(1).await;
    let before = proxy.statements();
    let mut gone = HashSet::new();
    while gone.len() < MANY {
        let told = watching.hear_until(|told| told["status"] == "offline" && told["user_id"].as_str().unwrap().len() > 5).await;
        assert!(gone.insert(told["user_id"].as_str().unwrap().to_owned()), "{told} comes twice");
    }
    let asked = proxy.statements() - before;
    // Statements of the poll: one for each batch, not for each user.
    assert!(asked < MANY as u64 / 5, "{asked} statements for {MANY} who vanish");
    let john = enter_room(&server, JOHN).await;
    polling.await.unwrap();
    john.close().await;
    watching.close().await;
    server.stop().await;
}
