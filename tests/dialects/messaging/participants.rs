//! Tests of participants.

use serde_json::json;

use super::{bodies, refusal, send, thread_with, unread};
use crate::{
    on_every_backend,
    support::{BOB, JANE, JOHN},
};

on_every_backend! {
    /// Participants with the fields of an address book; `false` for empty ones.
    async fn participants_are_listed_with_how_to_reach_them(server) {
        let answer = server.log_in(JOHN).await.messaging("thread/participants/1", json!({})).await;
        let expected = json!({
            "thread_id": 1, "thread_name": "Chat with John",
            "participants": [
                {"id": 2, "name": "Admin user", "partner_id": 3, "user_id": 2, "email": "admin@gmail.com", "phone": false, "mobile": false},
                {"id": 4, "name": "John Doe", "partner_id": 5, "user_id": 4, "email": "john@example.com", "phone": false, "mobile": false},
            ],
        });
        assert_eq!(answer, expected);
    }

    /// Idempotent addition of a participant, by user id or partner id.
    async fn adding_somebody_succeeds_also_again(server) {
        let john = server.log_in(JOHN).await;
        let thread = thread_with(&john, json!([])).await;
        let expected = json!({
            "success": true, "thread_id": thread, "partner_id": 7, "user_id": 6,
            "participant": {"id": 6, "name": "Jane Smith", "partner_id": 7, "user_id": 6},
        });
        for id in [json!(6), json!(7), json!("6"), json!(6)] {
            let added = john.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": id})).await;
            assert_eq!(added, expected, "{id}");
        }
        let people = john.messaging(&format!("thread/participants/{thread}"), json!({})).await;
        assert_eq!(people["participants"].as_array().unwrap().len(), 2, "{people}");
    }

    /// Access of a new participant.
    async fn whoever_was_added_may_read_and_send(server) {
        let (john, bob) = (server.log_in(JOHN).await, server.log_in(BOB).await);
        let thread = thread_with(&john, json!([7])).await;
        send(&john, thread, "Before").await;
        assert_eq!(refusal(&bob, "messages", json!({"thread_id": thread})).await, "Access denied");
        john.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": 8})).await;
        send(&bob, thread, "I am here").await;
        assert_eq!(bodies(&bob, thread).await[0], "I am here");
        send(&john, thread, "After").await;
        assert!(unread(&bob).await >= 1);
    }

    /// Read marks of others after an addition: unchanged.
    async fn adding_somebody_leaves_read_marks_alone(server) {
        let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
        let thread = thread_with(&john, json!([7])).await;
        send(&john, thread, "x").await;
        assert_eq!(unread(&jane).await, 1);
        john.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": 8})).await;
        assert_eq!((unread(&john).await, unread(&jane).await), (0, 1));
    }
}
