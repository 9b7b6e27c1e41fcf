//! Tests of fairness: no client can disturb the polls of others.

use futures_util::future::join_all;
use serde_json::json;

use super::Person;
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, JANE, JOHN},
};

on_every_backend! {
    /// Events invisible to the caller: more of them than one read of the event log returns.
    async fn events_that_tell_nothing_hide_none_that_does(server) {
        let (jane, mut bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        jane.post(&uuid, "first").await;
        bob.hear_message("message", "first").await;
        for document in 0..501 {
            let params = json!({"user_to": bob.uid, "doc_id": document, "doc_model": "sale.order"});
            jane.im_chat("api/get_or_create_session", params).await;
        }
        jane.post(&uuid, "after them").await;
        bob.hear_message("message", "after them").await;
    }

    async fn no_idleness_is_too_long(server) {
        let mut bob = Person::log_in(server, BOB).await;
        let uuid = bob.session_with(&Person::log_in(server, JANE).await).await;
        for idle in [json!(u64::MAX), json!(1_u64 << 63), json!(9_000_000_000_000_000_u64), json!(-1), json!(1e300), json!("1")] {
            bob.post(&uuid, "news").await;
            let params = json!({"channels": [], "last": bob.last, "options": {"bus_inactivity": idle}});
            let told = bob.client.result("/longpolling/poll", params).await;
            assert!(told.as_array().is_some_and(|told| !told.is_empty()), "{idle}: {told}");
        }
        bob.hear_message("message", "news").await;
    }

    /// Size limit of typing signals, which the server caches for a minute.
    async fn who_types_has_no_long_story_to_tell(server) {
        let bob = Person::log_in(server, BOB).await;
        let uuid = bob.session_with(&Person::log_in(server, JANE).await).await;
        assert!(bob.post_as(&uuid, "typing", &"x".repeat(1024)).await.is_i64());
        let params = json!({"uuid": uuid, "message_type": "typing", "message_content": "x".repeat(1025)});
        let refused = bob.client.call("/im_chat/post", params).await;
        assert_eq!(refused["error"]["data"]["name"], "odoo.exceptions.ValidationError", "{refused}");
    }

    async fn of_three_who_quit_at_once_two_stay(server) {
        let (admin, john, jane) =
            (Person::log_in(server, ADMIN).await, Person::log_in(server, JOHN).await, Person::log_in(server, JANE).await);
        for document in 0..6 {
            let params = json!({"user_to": john.uid, "doc_id": document, "doc_model": "quit"});
            let session = admin.im_chat("api/get_or_create_session", params).await;
            let uuid = session["uuid"].as_str().unwrap();
            admin.call_kw("im_chat.session", "add_user", json!([uuid, jane.uid])).await;
            let quits = [&admin, &john, &jane].map(|person| person.call_kw("im_chat.session", "quit_user", json!([uuid])));
            let quits = join_all(quits).await;
            let gone = quits.iter().filter(|quit| quit["result"] == true).count();
            assert!(gone <= 1, "{quits:?}");
        }
    }

    async fn a_status_is_told_once_however_often_it_is_asked_for(server) {
        let bob = Person::log_in(server, BOB).await;
        let told = bob.client.result("/longpolling/im_status", json!({"partner_ids": [5, 5, 7, 5]})).await;
        let ids: Vec<_> = told.as_array().unwrap().iter().map(|status| status["id"].clone()).collect();
        assert_eq!(ids, [5, 7]);
    }
}
