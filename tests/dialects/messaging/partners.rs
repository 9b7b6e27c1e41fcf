//! Tests of partner search.

use serde_json::{Value, json};

use super::is_time;
use crate::{
    on_every_backend,
    support::{Backend, Client, JOHN, Server},
};

async fn found(client: &Client, params: Value) -> Vec<Value> {
    client.messaging("partners/search", params).await["partners"].as_array().unwrap().clone()
}

async fn names(client: &Client, params: Value) -> Vec<String> {
    found(client, params).await.iter().map(|person| person["name"].as_str().unwrap().to_owned()).collect()
}

on_every_backend! {
    /// Partners with the fields of an address book.
    async fn people_are_found_with_how_to_reach_them(server) {
        let expected = json!([{
            "id": 6, "name": "Jane Smith", "partner_id": 7, "user_id": 6, "email": "jane@example.com", "phone": false, "mobile": false,
        }]);
        assert_eq!(json!(found(&server.log_in(JOHN).await, json!({"query": "Jane Smith"})).await), expected);
    }

    /// Case-insensitive search, in names and addresses.
    async fn the_case_makes_no_difference(server) {
        let john = server.log_in(JOHN).await;
        for query in ["jane", "JANE", "ne sm", "JaNe@ExAmPlE.com"] {
            assert_eq!(names(&john, json!({"query": query})).await, ["Jane Smith"], "{query}");
        }
    }

    /// Wildcards in a query: taken literally.
    async fn a_query_is_taken_as_it_is(server) {
        let john = server.log_in(JOHN).await;
        for query in ["%", "_", "j%e", "\\", "'", "zzzzzz"] {
            assert_eq!(names(&john, json!({"query": query})).await, [""; 0], "{query}");
        }
    }

    /// Limit of results: 20 by default, also for 0.
    async fn the_limit_holds(server) {
        let john = server.log_in(JOHN).await;
        assert_eq!(names(&john, json!({"query": "e", "limit": 2})).await.len(), 2);
        assert_eq!(names(&john, json!({"query": "e", "limit": "1"})).await.len(), 1);
        let all = names(&john, json!({"query": "e"})).await;
        assert_eq!(names(&john, json!({"query": "e", "limit": 0})).await, all);
        assert!(all.len() > 2, "{all:?}");
    }
}

/// Contact: a partner without a user.
#[tokio::test]
async fn a_partner_without_a_user_has_none() {
    use sqlx::{Connection, PgConnection};

    let server = Server::demo(Backend::postgres().await).await;
    let mut database = PgConnection::connect(server.backend().url()).await.unwrap();
    let insert = "INSERT INTO partners (id, name, email, phone, mobile) VALUES (100, 'Contact Only', NULL, '+1 555 0100', '')";
    sqlx::query(insert).execute(&mut database).await.unwrap();
    let john = server.log_in(JOHN).await;
    let contact = json!([{
        "id": 100, "name": "Contact Only", "partner_id": 100, "user_id": null, "email": false, "phone": "+1 555 0100", "mobile": false,
    }]);
    for query in ["contact only", "555 01"] {
        assert_eq!(json!(found(&john, json!({"query": query})).await), contact, "{query}");
    }
    let add = json!({"thread_id": 1, "partner_id": 100});
    let added = john.messaging("thread/add_participant", add).await;
    assert_eq!((&added["partner_id"], &added["user_id"]), (&json!(100), &json!(null)));
    let seen = john.messaging("presence/status", json!({"partner_ids": [100, 5]})).await;
    assert_eq!((&seen["presence"][0]["user_id"], &seen["presence"][0]["last_seen"]), (&json!(null), &json!(null)));
    assert!(is_time(&seen["presence"][1]["last_seen"]), "{seen}");
}
