//! Tests of session start: an existing session or a new one.

use serde_json::{Value, json};

use super::Person;
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, JANE, JOHN},
};

on_every_backend! {
    /// Existing thread of another dialect: it is the session of its two participants.
    async fn a_thread_of_another_dialect_is_the_session_of_its_two_people(server) {
        let (admin, john) = (Person::log_in(server, ADMIN).await, Person::log_in(server, JOHN).await);
        let uuid = john.session_with(&admin).await;
        john.post(&uuid, "Hello").await;
        let page = admin.client.messaging("messages", json!({"thread_id": 1})).await;
        assert_eq!(page["messages"][0]["body"], "Hello");
        assert_eq!(admin.session_with(&john).await, uuid);
    }

    async fn each_document_has_a_session_of_its_own(server) {
        let admin = Person::log_in(server, ADMIN).await;
        let mut uuids = Vec::new();
        for about in [json!({}), json!({"doc_id": 1, "doc_model": "a"}), json!({"doc_id": 2, "doc_model": "a"}), json!({"doc_id": 1, "doc_model": "b"})] {
            let mut params = about;
            params["user_to"] = json!(6);
            let first = admin.im_chat("api/get_or_create_session", params.clone()).await["uuid"].clone();
            assert_eq!(admin.im_chat("api/get_or_create_session", params).await["uuid"], first);
            assert!(!uuids.contains(&first), "{first}");
            uuids.push(first);
        }
        let half = admin.client.call("/im_chat/api/get_or_create_session", json!({"user_to": 6, "doc_id": 1})).await;
        assert_eq!(half["error"]["data"]["name"], "builtins.ValueError");
        for nobody in [json!(999), json!("Jane"), json!(null)] {
            let answer = admin.client.call("/im_chat/api/get_or_create_session", json!({"user_to": nobody})).await;
            assert!(answer["error"]["data"]["name"].is_string(), "{nobody}: {answer}");
        }
    }

    /// Simultaneous session starts: one session, and all get it.
    async fn of_many_who_begin_a_session_at_once_all_get_the_same(server) {
        let (jane, bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        for (route, begin) in [
            ("api/get_or_create_session", [json!({"user_to": 8}), json!({"user_to": 6})]),
            ("api/get_or_create_session_group", [json!({"group": 3}), json!({"group": 3})]),
        ] {
            let asks = (0..12).map(|n| {
                let (person, params) = if n % 2 == 0 { (&jane, &begin[0]) } else { (&bob, &begin[1]) };
                async move { person.im_chat(route, params.clone()).await["uuid"].clone() }
            });
            let uuids: Vec<Value> = futures_util::future::join_all(asks).await;
            assert!(uuids.iter().all(|uuid| *uuid == uuids[0]), "{uuids:?}");
        }
    }

    /// Third member: the session becomes a group, and the two start a new one.
    async fn a_session_that_got_a_third_is_a_group_session(server) {
        let (admin, john, bob) =
            (Person::log_in(server, ADMIN).await, Person::log_in(server, JOHN).await, Person::log_in(server, BOB).await);
        let first = john.session_with(&bob).await;
        john.call_kw("im_chat.session", "add_user", json!([first, admin.uid])).await;
        let second = bob.session_with(&john).await;
        assert_ne!(first, second);
        assert_eq!(john.session_with(&bob).await, second);
        let groups = bob.im_chat("api/get_sessions_group", json!({})).await;
        assert!(groups.as_array().unwrap().iter().any(|session| session["uuid"] == *first), "{groups}");
    }

    async fn windows_are_filtered_by_their_state(server) {
        let (jane, bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        jane.call_kw("im_chat.session", "update_state", json!([uuid, "closed"])).await;
        let found = async |person: &Person, state: &str| {
            let found = person.im_chat("api/get_sessions", json!({"state": state})).await;
            found.as_array().unwrap().len()
        };
        assert_eq!((found(&jane, "closed").await, found(&jane, "open").await), (1, 0));
        assert_eq!((found(&bob, "closed").await, found(&bob, "open").await), (0, 1));
        let answer = jane.client.call("/im_chat/api/get_sessions", json!({"state": "ajar"})).await;
        assert_eq!(answer["error"]["data"]["name"], "builtins.ValueError");
    }
}
