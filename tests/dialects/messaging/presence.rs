//! Tests of presence.

use serde_json::{Value, json};

use super::{bodies, is_time, refusal};
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, Client, JANE, JOHN, PASSWORD, Server, until},
    with_every_backend,
};

async fn status_of(client: &Client, partner: i64) -> String {
    let answer = client.messaging("presence/status", json!({"partner_ids": [partner]})).await;
    answer["presence"][0]["status"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn update(client: &Client, params: Value) -> Value {
    client.messaging("presence/update", params).await
}

on_every_backend! {
    /// User without any activity: offline, and no time.
    async fn whoever_was_never_there_is_offline_without_a_time(server) {
        let answer = server.log_in(ADMIN).await.messaging("presence/status", json!({"partner_ids": [9]})).await;
        let bob = json!([{"id": 8, "name": "Bob Wilson", "partner_id": 9, "user_id": 8, "status": "offline", "last_seen": null}]);
        assert_eq!(answer, json!({"presence": bob}));
    }

    /// Activity: any request makes its user online.
    async fn a_request_makes_online(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        bodies(&john, 1).await;
        let answer = admin.messaging("presence/status", json!({"partner_ids": [5]})).await;
        assert_eq!(answer["presence"][0]["status"], "online");
        assert!(is_time(&answer["presence"][0]["last_seen"]), "{answer}");
    }

    /// Order of the request, by user or partner id; unknown ids are left out, and a single id needs no list.
    async fn people_come_in_the_order_asked(server) {
        let admin = server.log_in(ADMIN).await;
        let partners = async |ids: Value| -> Vec<i64> {
            let answer = admin.messaging("presence/status", json!({"partner_ids": ids})).await;
            answer["presence"].as_array().unwrap().iter().map(|one| one["partner_id"].as_i64().unwrap()).collect()
        };
        assert_eq!(partners(json!([9, 3, 7])).await, [9, 3, 7]);
        assert_eq!(partners(json!([8, "4", 999_999, 2])).await, [9, 5, 3]);
        assert_eq!(partners(json!(6)).await, [7]);
        assert_eq!(partners(json!([7, 6, 7])).await, [7]);
    }

    /// Explicit status: takes precedence over activity.
    async fn away_and_offline_last_while_requests_are_made(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        for status in ["away", "offline"] {
            assert_eq!(update(&john, json!({"status": status})).await["status"], status);
            bodies(&john, 1).await;
            assert_eq!(status_of(&admin, 5).await, status);
        }
    }

    /// Explicit `online`: activity counts again.
    async fn the_next_update_ends_it(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        for online in [json!({"status": "online"}), json!({})] {
            update(&john, json!({"status": "away"})).await;
            assert_eq!(update(&john, online).await["status"], "online");
            assert_eq!(status_of(&admin, 5).await, "online");
        }
    }

    /// Login: ends an explicit status.
    async fn the_next_login_ends_it(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        for status in ["away", "offline"] {
            update(&john, json!({"status": status})).await;
            server.client().log_in(JOHN, PASSWORD).await;
            assert_eq!(status_of(&admin, 5).await, "online", "{status}");
        }
    }

    /// Invalid status: refused, and no change.
    async fn a_refused_status_changes_nothing(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        update(&john, json!({"status": "away"})).await;
        refusal(&john, "presence/update", json!({"status": "banana"})).await;
        assert_eq!(status_of(&admin, 5).await, "away");
    }

    /// Explicit status of one user: others keep theirs.
    async fn others_are_not_concerned(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        bodies(&jane, 2).await;
        update(&john, json!({"status": "offline"})).await;
        assert_eq!(status_of(&admin, 7).await, "online");
    }
}

with_every_backend! {
    /// Offline after five minutes without activity ("Wait 6 minutes without activity"). Here the limit is one second.
    async fn without_activity_one_is_offline(backend) {
        let server = Server::builder(backend).set("PRESENCE__ONLINE_SECONDS", 1).start().await;
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        bodies(&john, 1).await;
        until("offline", async || (status_of(&admin, 5).await == "offline").then_some(())).await;
        bodies(&john, 1).await;
        until("online", async || {
            bodies(&john, 1).await;
            (status_of(&admin, 5).await == "online").then_some(())
        })
        .await;
    }

    /// Persistence of `last_seen`: other nodes read it from the store.
    async fn last_seen_outlives_the_server(backend) {
        if !backend.is_durable() {
            return;
        }
        let mut server = Server::demo(backend).await;
        let bob = server.log_in(BOB).await;
        update(&bob, json!({"status": "away"})).await;
        let address = server.address();
        server.stop().await;
        server.start_again(address).await;
        let seen = server.log_in(ADMIN).await.messaging("presence/status", json!({"partner_ids": [9]})).await;
        assert_eq!(seen["presence"][0]["status"], "away");
        assert!(is_time(&seen["presence"][0]["last_seen"]), "{seen}");
    }
}
