//! Tests of polling a thread for messages.

use serde_json::{Value, json};

use super::{LONG, refusal, send, texts, unread, while_waiting};
use crate::{
    on_every_backend,
    support::{ADMIN, Client, JOHN, Server},
    with_every_backend,
};

async fn poll(client: &Client, params: Value) -> Value {
    client.messaging("poll/messages", params).await
}

fn nothing() -> Value {
    json!({"has_new": false, "count": 0, "messages": []})
}

on_every_backend! {
    /// Poll without a cursor: only later messages.
    async fn without_last_message_id_it_waits_for_what_comes(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&john, 1, "Old").await;
        for absent in [json!({}), json!({"last_message_id": null}), json!({"last_message_id": false})] {
            let mut params = absent;
            params["thread_id"] = json!(1);
            params["timeout"] = json!(LONG);
            let answer = while_waiting(server, &admin, "poll/messages", params, async {
                send(&john, 1, "New").await;
            })
            .await;
            assert_eq!(texts(&answer), ["New"]);
        }
    }

    /// Poll from 0: the history, as a published client expects.
    async fn with_0_it_gives_the_history_at_once(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&john, 1, "First").await;
        send(&admin, 1, "Second").await;
        for zero in [json!(0), json!("0"), json!(-5)] {
            let answer = poll(&admin, json!({"thread_id": 1, "last_message_id": zero, "timeout": LONG})).await;
            assert_eq!((&answer["count"], texts(&answer)), (&json!(2), vec!["First".into(), "Second".into()]), "{zero}");
        }
    }

    /// Poll from an id: later messages, oldest first.
    async fn with_an_id_it_gives_what_is_newer_at_once(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let first = send(&john, 1, "First").await;
        send(&john, 2, "Elsewhere").await;
        send(&john, 1, "Second").await;
        send(&john, 1, "Third").await;
        let answer = poll(&admin, json!({"thread_id": 1, "last_message_id": first, "timeout": LONG})).await;
        assert_eq!((&answer["has_new"], texts(&answer)), (&json!(true), vec!["Second".into(), "Third".into()]));
    }

    /// Poll from the newest id: waits, as without a cursor.
    async fn with_the_newest_id_it_waits(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let newest = send(&john, 1, "Newest").await;
        let params = json!({"thread_id": 1, "last_message_id": newest, "timeout": LONG});
        let answer = while_waiting(server, &admin, "poll/messages", params, async {
            send(&john, 1, "Newer").await;
        })
        .await;
        assert_eq!(texts(&answer), ["Newer"]);
    }

    /// Cursor beyond the newest message, such as one from another server.
    async fn an_id_beyond_the_newest_counts_as_the_newest(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let params = json!({"thread_id": 1, "last_message_id": 1_000_000, "timeout": LONG});
        let answer = while_waiting(server, &admin, "poll/messages", params, async {
            send(&john, 1, "Newer").await;
        })
        .await;
        assert_eq!(texts(&answer), ["Newer"]);
    }

    /// Page size of a poll: the next poll continues after it.
    async fn it_gives_a_hundred_at_a_time(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        for number in 1..=101 {
            send(&john, 1, &number.to_string()).await;
        }
        let answer = poll(&admin, json!({"thread_id": 1, "last_message_id": 0, "timeout": 0})).await;
        let hundred: Vec<_> = (1..=100).map(|number| number.to_string()).collect();
        assert_eq!((&answer["count"], texts(&answer)), (&json!(100), hundred));
        let last = &answer["messages"][99]["id"];
        assert_eq!(texts(&poll(&admin, json!({"thread_id": 1, "last_message_id": last, "timeout": 0})).await), ["101"]);
    }

    /// Time-out of 0 or less: no wait.
    async fn timeout_0_answers_at_once(server) {
        let admin = server.log_in(ADMIN).await;
        for timeout in [json!(0), json!("0"), json!(-5)] {
            assert_eq!(poll(&admin, json!({"thread_id": 1, "timeout": timeout})).await, nothing(), "{timeout}");
        }
    }

    /// Messages of other threads: the poll goes on waiting.
    async fn messages_elsewhere_do_not_end_it(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let answer = while_waiting(server, &admin, "poll/messages", json!({"thread_id": 1, "timeout": LONG}), async {
            send(&john, 2, "Elsewhere").await;
            admin.messaging("notifications/mark_all_read", json!({})).await;
            john.messaging("typing/start", json!({"thread_id": 1})).await;
            send(&john, 1, "Here").await;
        })
        .await;
        assert_eq!(texts(&answer), ["Here"]);
    }

    /// Own messages: the poll returns them for other tabs of the sender.
    async fn own_messages_end_it_as_well(server) {
        let admin = server.log_in(ADMIN).await;
        let answer = while_waiting(server, &admin, "poll/messages", json!({"thread_id": 1, "timeout": LONG}), async {
            send(&admin, 1, "Mine").await;
        })
        .await;
        assert_eq!(texts(&answer), ["Mine"]);
    }

    /// Message format: the same with and without a wait.
    async fn a_polled_message_is_the_same_as_a_listed_one(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let waited = while_waiting(server, &admin, "poll/messages", json!({"thread_id": 1, "timeout": LONG}), async {
            send(&john, 1, "Hello").await;
        })
        .await;
        let at_once = poll(&admin, json!({"thread_id": 1, "last_message_id": 0, "timeout": 0})).await;
        let listed = admin.messaging("messages", json!({"thread_id": 1})).await;
        assert_eq!(waited["messages"], listed["messages"]);
        assert_eq!(at_once["messages"], listed["messages"]);
        assert_eq!(unread(&admin).await, 1, "polling is not reading");
    }
}

with_every_backend! {
    /// Stop of the server: a waiting poll gets an empty answer.
    async fn it_ends_when_the_server_stops(backend) {
        let mut server = Server::demo(backend).await;
        let admin = server.log_in(ADMIN).await;
        let (answer, ()) = tokio::join!(poll(&admin, json!({"thread_id": 1, "timeout": LONG})), async {
            server.polls_waiting(1).await;
            server.terminate();
        });
        assert_eq!(answer, nothing());
        assert!(server.ended().await.success());
    }

    /// Disconnect: the poll frees its quota.
    async fn it_ends_when_the_client_goes_away(backend) {
        let server = Server::demo(backend).await;
        let admin = server.log_in(ADMIN).await;
        tokio::select! {
            answer = poll(&admin, json!({"thread_id": 1, "timeout": LONG})) => panic!("nothing has come: {answer}"),
            () = server.polls_waiting(1) => {}
        }
        server.polls_waiting(0).await;
    }

    /// Quota of waiting polls per user: a setting.
    async fn one_poll_too_many_is_refused(backend) {
        let server = Server::builder(backend).set("LIMITS__WAITING_POLLS_PER_USER", 1).start().await;
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let params = json!({"thread_id": 1, "timeout": LONG});
        let answer = while_waiting(&server, &admin, "poll/messages", params, async {
            let text = refusal(&admin, "poll/messages", json!({"thread_id": 1, "timeout": LONG})).await;
            assert!(text.contains("oo many"), "{text}");
            send(&john, 1, "The first goes on").await;
        })
        .await;
        assert_eq!(texts(&answer), ["The first goes on"]);
    }
}
