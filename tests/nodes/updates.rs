//! What a session is told of by `poll/updates`, which it may ask of either node.

use serde_json::{Value, json};

use super::{PAIR, on_every_bus, send};
use crate::support::{self, Client};

/// The ids of the threads with updates, after so many seconds at the latest.
async fn updates(client: &Client, timeout: u64) -> Vec<i64> {
    let answer = client.messaging("poll/updates", json!({"timeout": timeout})).await;
    let threads = answer["threads_with_updates"].as_array().unwrap_or_else(|| panic!("{answer}"));
    threads.iter().map(|thread| thread["thread_id"].as_i64().unwrap()).collect()
}

on_every_bus! {
    /// Whether the node of the next poll has met the session before its first poll, or not.
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

    /// What one node was told to remember the other knows, though the first is no more.
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

    /// A session that has ended at one node is not told anything more at the other, however soon it asks.
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
