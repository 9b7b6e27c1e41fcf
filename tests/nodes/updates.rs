//! Tests of `poll/updates` of one session at alternating nodes.

use serde_json::{Value, json};

use super::{PAIR, on_every_bus, send};
use crate::support::{self, Client};

/// Polls for updates, with a time-out in seconds, and returns the thread ids.
async fn updates(client: &Client, timeout: u64) -> Vec<i64> {
    let answer = client.messaging("poll/updates", json!({"timeout": timeout})).await;
    let threads = answer["threads_with_updates"].as_array().unwrap_or_else(|| panic!("{answer}"));
    threads.iter().map(|thread| thread["thread_id"].as_i64().unwrap()).collect()
}

on_every_bus! {
    /// No gap between polls at two nodes, with and without an earlier request of the session at the second.
    async fn nothing_is_lost_between_two_polls_at_two_nodes(here, there) {
        let admin = here.log_in(support::ADMIN).await;
        for met in [false, true] {
            let john = here.log_in(support::JOHN).await;
            let same = there.client().with_session(john.session());
            if met {
                same.messaging("threads", json!({})).await;
            }
            assert_eq!(updates(&john, 0).await, [0; 0], "its first poll starts from now");
            send(&admin, "between").await;
            assert_eq!(updates(&same, 60).await, [PAIR], "met before: {met}");
            assert_eq!(updates(&john, 0).await, [0; 0], "what was told at one node is no news at the other");
            send(&admin, "and again").await;
            assert_eq!(updates(&john, 60).await, [PAIR]);
            assert_eq!(updates(&same, 0).await, [0; 0]);
        }
    }

    /// Cursor of a session: survives the death of its node.
    async fn nothing_is_lost_with_a_node(here, there) {
        let (admin, john) = (there.log_in(support::ADMIN).await, here.log_in(support::JOHN).await);
        assert_eq!(updates(&john, 0).await, [0; 0]);
        let address = here.kill().await;
        send(&admin, "meanwhile").await;
        let same = there.client().with_session(john.session());
        assert_eq!(updates(&same, 60).await, [PAIR]);
        here.start_again(address).await;
        assert_eq!(updates(&john, 0).await, [0; 0]);
    }

    /// Revoked session: no further update at the other node, even at once.
    async fn a_session_that_has_ended_is_told_nothing(here, there) {
        for _ in 0..5 {
            let john = here.log_in(support::JOHN).await;
            let same = there.client().with_session(john.session());
            updates(&same, 0).await;
            john.call("/web/session/destroy", json!({})).await;
            let refused: Value = same.call("/api/messaging/poll/updates", json!({"timeout": 0})).await;
            assert_eq!(refused["error"]["code"], 100, "{refused}");
        }
    }
}
