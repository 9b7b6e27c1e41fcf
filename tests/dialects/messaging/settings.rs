//! Tests of the settings of this dialect.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::send;
use crate::{
    support::{Backend, JOHN, Server},
    with_every_backend,
};

with_every_backend! {
    /// Author ids for clients written against the later addon.
    async fn author_id_can_be_the_users(backend) {
        let server = Server::builder(backend).set("MESSAGING__AUTHOR_ID", "user").start().await;
        let john = server.log_in(JOHN).await;
        send(&john, 1, "x").await;
        let message = &john.messaging("messages", json!({"thread_id": 1})).await["messages"][0];
        assert_eq!((&message["author_id"], &message["author_partner_id"], &message["author_user_id"]), (&json!(4), &json!(5), &json!(4)));
    }
}

/// An imported database in which 4 is John's uid, and the id of another user's partner.
async fn ambiguous() -> Backend {
    let backend = Backend::postgres().await;
    Server::demo(backend.clone()).await.stop().await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    sqlx::query("INSERT INTO partners (id, name) VALUES (4, 'Contact Only')").execute(&mut database).await.unwrap();
    backend
}

/// Returns the name of the user or partner that 4 stands for.
async fn four(server: &Server) -> String {
    let answer = server.log_in(JOHN).await.messaging("presence/status", json!({"partner_ids": [4]})).await;
    answer["presence"][0]["name"].as_str().unwrap().to_owned()
}

/// User id first, as in the addon.
#[tokio::test]
async fn an_id_is_a_users_first() {
    let server = Server::demo(ambiguous().await).await;
    assert_eq!(four(&server).await, "John Doe");
}

/// Partner id first, by setting.
#[tokio::test]
async fn an_id_can_be_a_partners_first() {
    let server = Server::builder(ambiguous().await).set("MESSAGING__PREFERRED_ID", "partner").start().await;
    assert_eq!(four(&server).await, "Contact Only");
    let john = server.log_in(JOHN).await;
    let people = john.messaging("presence/status", json!({"partner_ids": [6]})).await;
    assert_eq!(people["presence"][0]["name"], "Jane Smith", "there is no partner 6, so it is the user");
}
