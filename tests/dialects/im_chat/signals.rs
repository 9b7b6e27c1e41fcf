//! Tests of signals: a poll within a minute still receives them, once and in order.

use serde_json::{Value, json};

use super::Person;
use crate::{
    support::{BOB, JANE, PASSWORD, Server, until},
    with_every_backend,
};

/// Types and texts of the messages among the notifications.
fn short(told: &[Value]) -> Vec<(&str, &str)> {
    told.iter().map(|told| (told["message"]["type"].as_str().unwrap(), told["message"]["message"].as_str().unwrap())).collect()
}

fn ids(told: &[Value]) -> Vec<i64> {
    told.iter().map(|told| told["id"].as_i64().unwrap()).collect()
}

with_every_backend! {
    async fn who_types_between_two_polls_is_heard_once_and_in_order(backend) {
        let mut server = Server::builder(backend).set("IM_CHAT__POLL_SECONDS", 1).start().await;
        let (jane, mut bob) = (Person::log_in(&server, JANE).await, Person::log_in(&server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        jane.post(&uuid, "first").await;
        bob.hear_message("message", "first").await;
        let last = bob.last;

        for text in ["a", "b"] {
            jane.post_as(&uuid, "typing", text).await;
        }
        let typing = bob.poll().await;
        assert_eq!(short(&typing), [("typing", "a"), ("typing", "b")]);
        assert_eq!(bob.poll().await, [json!(null); 0], "once");

        jane.post_as(&uuid, "typing", "c").await;
        jane.post(&uuid, "second").await;
        jane.post_as(&uuid, "typing", "d").await;
        let rest = bob.poll().await;
        assert_eq!(short(&rest), [("typing", "c"), ("message", "second"), ("typing", "d")]);
        assert_eq!(bob.poll().await, [json!(null); 0]);

        // Other clients, of the same user and of the other: same notifications, same ids.
        let mut again = Person::log_in(&server, BOB).await;
        again.last = last;
        let all = again.poll().await;
        assert_eq!(ids(&all), [ids(&typing), ids(&rest)].concat());
        // Cursor between the signals after one event.
        again.seen.clear();
        again.last = ids(&typing)[0];
        assert_eq!(short(&again.poll().await)[0], ("typing", "b"));
        server.stop().await;
    }

    /// Typing on both channels of a session, with an id for each.
    async fn each_channel_hears_who_types(backend) {
        let mut server = Server::builder(backend).set("IM_CHAT__POLL_SECONDS", 1).set("LIMITS__RECENT_EVENTS", 1).start().await;
        let (jane, mut bob) = (Person::log_in(&server, JANE).await, Person::log_in(&server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        bob.channels = vec![json!(uuid)];
        for text in ["a", "b"] {
            jane.post_as(&uuid, "typing", text).await;
        }
        jane.post(&uuid, "done").await;
        let mut told = Vec::new();
        while told.len() < 6 {
            let more = bob.poll().await;
            assert!(!more.is_empty(), "{told:?}");
            told.extend(more);
        }
        let expected = [("typing", "a"), ("typing", "b"), ("message", "done")].map(|told| [told; 2]).concat();
        assert_eq!(short(&told), expected);
        server.stop().await;
    }

    /// Presence of an address book contact, also between two polls.
    async fn who_comes_between_two_polls_is_heard(backend) {
        let mut server = Server::demo(backend).await;
        let mut bob = Person::log_in(&server, BOB).await;
        bob.channels = vec![json!(["odoo2", "im_chat.presence"])];
        bob.im_chat("api/user_chat_ab/add_users", json!({"user_ids": [34]})).await;
        bob.hear("the own coming", |told| told["message"] == json!({"id": 8, "im_status": "online"})).await;
        let mut deepak = server.client();
        deepak.log_in("deepak@tis.co.th", PASSWORD).await;
        deepak.messaging("threads", json!({})).await;
        until("that he is there", async || {
            let status = bob.client.result("/longpolling/im_status", json!({"partner_ids": [35]})).await;
            (status[0]["im_status"] == "online").then_some(())
        })
        .await;
        bob.hear("his coming", |told| told["message"] == json!({"id": 34, "im_status": "online"})).await;

        // Idle report of the other user's client.
        let poll = async |last: i64, idle: i64| {
            let params = json!({"channels": [], "last": last, "options": {"bus_inactivity": idle}});
            deepak.call("/longpolling/poll", params).await
        };
        for _ in 0..3 {
            tokio::select! {
                _ = poll(i64::MAX, 11 * 60 * 1_000) => panic!("nothing concerns him"),
                _ = bob.hear("his going away", |told| told["message"] == json!({"id": 34, "im_status": "away"})) => {}
            }
            tokio::select! {
                _ = poll(i64::MAX, 0) => panic!("nothing concerns him"),
                _ = bob.hear("his coming back", |told| told["message"] == json!({"id": 34, "im_status": "online"})) => {}
            }
        }
        server.stop().await;
    }
}
