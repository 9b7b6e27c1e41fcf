//! Tests of signal ids: they rise for a client that changes nodes, and after a restart.

use serde_json::{Value, json};

use super::{PAIR, on_every_bus, send};
use crate::support::{self, Client, Server, until};

async fn poll_bus(client: &Client, last: i64) -> Vec<Value> {
    let told = client.call("/longpolling/poll", json!({"channels": [], "last": last})).await["result"].take();
    told.as_array().unwrap_or_else(|| panic!("a poll succeeds: {told}")).clone()
}

/// Waits at a node for typing after `last`, the largest known id.
async fn hears_typing(there: &Server, admin: &Client, john: &Client, uuid: &str, last: &mut i64) {
    let admin = there.client().with_session(admin.session());
    let after = *last;
    let waiting = tokio::spawn(async move { poll_bus(&admin, after).await });
    let told = until("a signal", async || {
        let params = json!({"uuid": uuid, "message_type": "typing", "message_content": ""});
        john.call("/im_chat/post", params).await;
        waiting.is_finished().then_some(())
    });
    told.await;
    let told = waiting.await.unwrap();
    assert!(told.iter().any(|told| told["message"]["type"] == "typing"), "{told:?}");
    for told in &told {
        let id = told["id"].as_i64().unwrap();
        assert!(id > *last, "{id} comes after {last}: {told}");
        *last = id;
    }
}

on_every_bus! {
    async fn signals_go_on_from_where_they_were(here, there) {
        let (john, admin) = (here.log_in(support::JOHN).await, here.log_in(support::ADMIN).await);
        let message = send(&john, "hello").await;
        let told = poll_bus(&admin, 0).await;
        let posted = told.iter().find(|told| told["message"]["id"] == message).unwrap_or_else(|| panic!("{told:?}"));
        assert_eq!(posted["message"]["to_id"][0], PAIR);
        let uuid = posted["message"]["to_id"][1].as_str().unwrap();
        let mut last = told.iter().filter_map(|told| told["id"].as_i64()).max().unwrap();
        for _ in 0..3 {
            hears_typing(here, &admin, &john, uuid, &mut last).await;
            hears_typing(there, &admin, &john, uuid, &mut last).await;
        }
        let address = here.kill().await;
        here.start_again(address).await;
        here.ready().await;
        hears_typing(here, &admin, &john, uuid, &mut last).await;
        hears_typing(there, &admin, &john, uuid, &mut last).await;
    }
}
