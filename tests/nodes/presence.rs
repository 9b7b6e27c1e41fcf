//! Tests of presence across nodes.

use serde_json::{Value, json};

use super::{ADMIN, JOHN, PAIR, enter, enter_room, hear, on_every_bus, short_lives, with_every_bus};
use crate::support::{self, Bus, Client, until};

/// TTL of heartbeats in these tests, in seconds; a node writes them every five.
pub(super) const SECONDS: u64 = 12;

pub(super) async fn status_of(client: &Client, uid: i64) -> String {
    let answer = client.messaging("presence/status", json!({"partner_ids": [uid]})).await;
    answer["presence"][0]["status"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

pub(super) async fn becomes(client: &Client, uid: i64, status: &str) {
    until(status, async || (status_of(client, uid).await == status).then_some(())).await;
}

/// True if the event says that John has this status now.
pub(super) fn is(told: &Value, status: &str) -> bool {
    told["user_id"] == *JOHN.to_string() && told["status"] == status
}

on_every_bus! {
    async fn who_comes_at_one_node_is_seen_at_the_other(here, there) {
        let mut watching = enter(there, ADMIN, PAIR).await;
        let admin = there.log_in(support::ADMIN).await;
        assert_eq!(status_of(&admin, JOHN).await, "offline");
        let john = here.log_in(support::JOHN).await;
        john.messaging("threads", json!({})).await;
        let told = watching.hear_until(|told| is(told, "online")).await;
        assert_eq!(told["type"], "user_status");
        becomes(&admin, JOHN, "online").await;
        // Explicit status: effective at every node, at once.
        for status in ["away", "offline", "online"] {
            john.messaging("presence/update", json!({"status": status})).await;
            becomes(&admin, JOHN, status).await;
        }
    }
}

async fn a_socket_keeps_its_user_there_until_it_goes(bus: Bus) {
    let [mut here, mut there] = short_lives(&bus, SECONDS).await;
    let mut watching = enter(&there, ADMIN, PAIR).await;
    let admin = there.log_in(support::ADMIN).await;
    let socket = enter_room(&here, JOHN).await;
    becomes(&admin, JOHN, "online").await;
    socket.close().await;
    // Offline event: from the node of the last socket to the others.
    watching.hear_until(|told| is(told, "offline")).await;
    becomes(&admin, JOHN, "offline").await;
    here.stop().await;
    there.stop().await;
}

/// User at both nodes: offline only after the last socket.
async fn who_is_at_both_nodes_leaves_when_the_last_socket_goes(bus: Bus) {
    let [mut here, mut there] = short_lives(&bus, SECONDS).await;
    let (one, mut other) = (enter(&here, JOHN, PAIR).await, enter(&there, JOHN, PAIR).await);
    let mut watching = enter(&there, ADMIN, PAIR).await;
    one.close().await;
    here.stop().await;
    tokio::time::sleep(std::time::Duration::from_secs(SECONDS + 6)).await;
    let admin = there.log_in(support::ADMIN).await;
    assert_eq!(status_of(&admin, JOHN).await, "online");
    let said = watching.heard_so_far().await;
    assert!(!said.iter().any(|told| is(told, "offline")), "{said:?}");
    other.say(json!({"action": "typing", "is_typing": true})).await;
    hear(&mut watching, "typing").await;
    there.stop().await;
}

with_every_bus! {
    a_socket_keeps_its_user_there_until_it_goes
    who_is_at_both_nodes_leaves_when_the_last_socket_goes
}
