//! Tests of threads and their creation.

use serde_json::{Value, json};

use super::{is_time, refusal, send};
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, Client, JOHN},
};

async fn threads(client: &Client, params: Value) -> Vec<Value> {
    client.messaging("threads", params).await["threads"].as_array().unwrap().clone()
}

/// Returns the partner ids of a thread's participants.
async fn people(client: &Client, thread: &Value) -> Vec<i64> {
    let answer = client.messaging(&format!("thread/participants/{thread}"), json!({})).await;
    answer["participants"].as_array().unwrap().iter().map(|person| person["partner_id"].as_i64().unwrap()).collect()
}

on_every_backend! {
    /// Listed thread: participants, type, and empty texts without a message.
    async fn a_thread_is_listed_with_all_about_it(server) {
        let listed = threads(&server.log_in(ADMIN).await, json!({"thread_type": "chat"})).await;
        let expected = json!([{
            "id": 1, "name": "Chat with John", "type": "chat",
            "participants": [
                {"id": 2, "name": "Admin user", "partner_id": 3, "user_id": 2},
                {"id": 4, "name": "John Doe", "partner_id": 5, "user_id": 4},
            ],
            "last_message": "", "last_message_date": "", "unread_count": 0,
        }]);
        assert_eq!(json!(listed), expected);
    }

    /// Newest message in the list: content, time and unread flag.
    async fn the_newest_message_stands_in_the_list(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&john, 1, "First").await;
        send(&john, 1, "Newest").await;
        let listed = &threads(&admin, json!({"thread_type": "chat"})).await[0];
        assert_eq!((&listed["last_message"], &listed["unread_count"]), (&json!("Newest"), &json!(2)));
        assert!(is_time(&listed["last_message_date"]), "{listed}");
    }

    /// Thread order: by most recent message.
    async fn the_thread_with_the_most_recent_message_is_first(server) {
        let admin = server.log_in(ADMIN).await;
        for first in [1, 2, 1] {
            send(&admin, first, "x").await;
            assert_eq!(threads(&admin, json!({})).await[0]["id"], first);
        }
    }

    /// Filter by type; none for an unknown type.
    async fn threads_are_listed_by_type(server) {
        let admin = server.log_in(ADMIN).await;
        let ids = async |kind: Value| -> Vec<i64> {
            let listed = threads(&admin, json!({"thread_type": kind})).await;
            listed.iter().map(|thread| thread["id"].as_i64().unwrap()).collect()
        };
        assert_eq!(ids(json!("chat")).await, [1]);
        assert_eq!(ids(json!("group")).await, [2]);
        assert_eq!(ids(json!("sms")).await, [0; 0]);
        assert_eq!(ids(json!("nope")).await, [0; 0]);
        for all in [json!(null), json!(false), json!("")] {
            assert_eq!(ids(all).await.len(), 2);
        }
    }

    /// Threads of other users: not listed. Bob is in the group only.
    async fn threads_of_others_are_not_listed(server) {
        let listed = threads(&server.log_in(BOB).await, json!({})).await;
        assert_eq!(listed.iter().map(|thread| &thread["id"]).collect::<Vec<_>>(), [&json!(2)]);
    }

    /// Participants of a new thread: the caller, named or not, and the named partners.
    async fn a_new_thread_holds_the_caller_and_those_named(server) {
        let john = server.log_in(JOHN).await;
        for partners in [json!([7]), json!([5, 7]), json!([4, 7])] {
            let made = john.messaging("thread/create", json!({"name": "New", "partner_ids": partners})).await;
            assert_eq!((&made["success"], &made["name"]), (&json!(true), &json!("New")));
            assert_eq!(made.as_object().unwrap().len(), 3, "{made}");
            assert_eq!(people(&john, &made["thread_id"]).await, [5, 7], "{partners}");
        }
    }

    /// Type of a new thread: `chat` by default.
    async fn a_new_thread_is_of_the_type_asked_for(server) {
        let john = server.log_in(JOHN).await;
        for (kind, expected) in [(json!(null), "chat"), (json!("chat"), "chat"), (json!("group"), "group"), (json!("sms"), "sms")] {
            let made = john.messaging("thread/create", json!({"name": "New", "thread_type": kind})).await;
            let listed = threads(&john, json!({"thread_type": expected})).await;
            assert!(listed.iter().any(|thread| thread["id"] == made["thread_id"]), "{kind}");
        }
    }

    /// Partner ids of a new thread: user or partner ids, without unknown ones and duplicates.
    async fn partner_ids_may_be_anything(server) {
        let john = server.log_in(JOHN).await;
        let cases = [
            (json!(6), vec![5, 7]),
            (json!("6"), vec![5, 7]),
            (json!([6, 7, 7, "6"]), vec![5, 7]),
            (json!([999_999, 6]), vec![5, 7]),
            (json!([6, null, "x", 9]), vec![5, 7, 9]),
            (json!([]), vec![5]),
            (json!(null), vec![5]),
            (json!([999_999]), vec![5]),
        ];
        for (partners, expected) in cases {
            let made = john.messaging("thread/create", json!({"name": "New", "partner_ids": partners})).await;
            assert_eq!(people(&john, &made["thread_id"]).await, expected, "{partners}");
        }
    }

    /// Number as a name, accepted as the addon does.
    async fn a_number_as_a_name_is_its_text(server) {
        let john = server.log_in(JOHN).await;
        assert_eq!(john.messaging("thread/create", json!({"name": 123})).await["name"], "123");
    }

    /// Refused thread: not created.
    async fn a_thread_that_was_refused_does_not_exist(server) {
        let john = server.log_in(JOHN).await;
        refusal(&john, "thread/create", json!({"name": "New", "thread_type": "nope"})).await;
        assert_eq!(threads(&john, json!({})).await.len(), 2);
    }
}
