//! Tests of polling all threads for updates.

use serde_json::{Value, json};

use super::{LONG, send, while_waiting};
use crate::{
    on_every_backend,
    support::{ADMIN, Client, JANE, JOHN, Server},
    with_every_backend,
};

/// Polls without waiting.
async fn poll(client: &Client) -> Value {
    client.messaging("poll/updates", json!({"timeout": 0})).await
}

/// Ids of the threads with updates.
fn threads(answer: &Value) -> Vec<i64> {
    let listed = answer["threads_with_updates"].as_array().unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(answer["has_updates"], !listed.is_empty(), "{answer}");
    listed.iter().map(|thread| thread["thread_id"].as_i64().unwrap()).collect()
}

/// Polls until there is an update. A commit reaches other nodes a moment later.
async fn news(client: &Client) -> Value {
    client.messaging("poll/updates", json!({"timeout": LONG})).await
}

on_every_backend! {
    /// Visibility after the answer: a poll sees the message at once.
    async fn what_was_answered_is_seen_at_once(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        poll(&admin).await;
        for round in 0..20 {
            send(&john, 1, &format!("Round {round}")).await;
            assert_eq!(threads(&poll(&admin).await), [1], "round {round}");
        }
    }

    /// Logout: ends the session's polls, waiting ones included.
    async fn a_poll_ends_with_its_session(server) {
        for route in ["poll/updates", "poll/messages"] {
            let jane = server.log_in(JANE).await;
            let path = format!("/api/messaging/{route}");
            let (answer, ()) = tokio::join!(jane.call(&path, json!({"thread_id": 2, "timeout": LONG})), async {
                server.polls_waiting(1).await;
                jane.post("/web/session/destroy", &json!({})).await;
            });
            assert_eq!(answer["error"]["code"], 100, "{route}: {answer}");
        }
    }

    /// First poll of a session: a new cursor; earlier unread messages are no update.
    async fn the_first_poll_of_a_session_starts_from_now(server) {
        let (admin, watch, john) = (server.log_in(ADMIN).await, server.log_in(ADMIN).await, server.log_in(JOHN).await);
        poll(&watch).await;
        send(&john, 1, "Before").await;
        assert_eq!(threads(&news(&watch).await), [1], "it has gone round");
        assert_eq!(poll(&admin).await, json!({"has_updates": false, "unread_count": 1, "threads_with_updates": []}));
        send(&john, 2, "After").await;
        assert_eq!(threads(&news(&admin).await), [2]);
    }

    /// Cursor on the server: no update is lost between two polls.
    async fn nothing_is_lost_between_two_polls(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        poll(&admin).await;
        send(&john, 1, "Between").await;
        send(&john, 2, "Between").await;
        let mut told = std::collections::BTreeSet::new();
        while told.len() < 2 {
            let answer = news(&admin).await;
            assert_eq!(answer["unread_count"], 2);
            told.extend(threads(&answer));
        }
        assert_eq!(told, [1, 2].into());
    }

    /// Cursor across a restart.
    async fn nothing_is_lost_while_no_poll_waits(server) {
        if server.backend().is_durable() {
            let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
            poll(&admin).await;
            send(&john, 1, "Before the stop").await;
            let address = server.address();
            server.stop().await;
            server.start_again(address).await;
            assert_eq!(threads(&news(&admin).await), [1]);
        }
    }

    /// Deduplication: each update is sent once.
    async fn what_was_told_is_no_news(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        poll(&admin).await;
        send(&john, 1, "x").await;
        assert_eq!(threads(&news(&admin).await), [1]);
        send(&john, 2, "x").await;
        assert_eq!(threads(&news(&admin).await), [2]);
    }

    /// Cursor per session: each device gets all updates.
    async fn each_session_is_told(server) {
        let (desk, phone, john) = (server.log_in(ADMIN).await, server.log_in(ADMIN).await, server.log_in(JOHN).await);
        poll(&desk).await;
        poll(&phone).await;
        send(&john, 1, "x").await;
        assert_eq!(threads(&news(&desk).await), [1]);
        assert_eq!(threads(&news(&phone).await), [1]);
    }

    /// Read mark on another device: an update, also for a waiting poll.
    async fn reading_elsewhere_is_an_update(server) {
        let (desk, phone, john) = (server.log_in(ADMIN).await, server.log_in(ADMIN).await, server.log_in(JOHN).await);
        poll(&desk).await;
        send(&john, 1, "x").await;
        assert_eq!(threads(&news(&desk).await), [1]);
        let answer = while_waiting(server, &desk, "poll/updates", json!({"timeout": LONG}), async {
            phone.messaging("notifications/mark_all_read", json!({"thread_id": 1})).await;
        })
        .await;
        assert_eq!((threads(&answer), &answer["unread_count"]), (vec![1], &json!(0)));
        assert_eq!(answer["threads_with_updates"][0]["unread_count"], 0);
    }

    /// Own messages: no update; a later message of others is.
    async fn own_messages_are_no_update(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        poll(&admin).await;
        send(&admin, 1, "Mine").await;
        send(&john, 2, "His").await;
        assert_eq!(threads(&news(&admin).await), [2]);
    }

    /// Threads of other users: no update.
    async fn messages_of_strange_threads_are_no_update(server) {
        let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
        poll(&jane).await;
        send(&john, 1, "Not hers").await;
        send(&john, 2, "Hers").await;
        let answer = news(&jane).await;
        assert_eq!((threads(&answer), &answer["unread_count"]), (vec![2], &json!(1)));
    }

    /// Read marks of other users: no update.
    async fn reading_of_others_is_no_update(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        poll(&admin).await;
        send(&admin, 1, "x").await;
        john.messaging("notifications/mark_all_read", json!({})).await;
        send(&john, 2, "x").await;
        assert_eq!(threads(&news(&admin).await), [2]);
    }

    /// New message: the poll returns with its fields.
    async fn a_message_ends_the_wait(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let answer = while_waiting(server, &admin, "poll/updates", json!({"timeout": LONG}), async {
            send(&john, 2, "News").await;
        })
        .await;
        assert_eq!(threads(&answer), [2]);
        let thread = &answer["threads_with_updates"][0];
        assert_eq!((&thread["thread_name"], &thread["last_message"]), (&json!("Team Group"), &json!("News")));
    }

    /// Baseline `last_check` in ISO 8601, with or without a time zone.
    async fn last_check_is_the_baseline_if_given(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&john, 1, "x").await;
        for past in ["2024-01-01T00:00:00", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00", "2024-01-01T02:00:00.5+02:00"] {
            let answer = admin.messaging("poll/updates", json!({"timeout": LONG, "last_check": past})).await;
            assert_eq!(threads(&answer), [1], "{past}");
        }
        let future = admin.messaging("poll/updates", json!({"timeout": 0, "last_check": "2999-01-01T00:00:00Z"})).await;
        assert_eq!(threads(&future), [0; 0]);
    }
}

with_every_backend! {
    /// Stop of the server: a waiting poll gets an empty answer.
    async fn it_ends_when_the_server_stops(backend) {
        let mut server = Server::demo(backend).await;
        let admin = server.log_in(ADMIN).await;
        let (answer, ()) = tokio::join!(admin.messaging("poll/updates", json!({"timeout": LONG})), async {
            server.polls_waiting(1).await;
            server.terminate();
        });
        assert_eq!(answer, json!({"has_updates": false, "unread_count": 0, "threads_with_updates": []}));
        assert!(server.ended().await.success());
    }
}
