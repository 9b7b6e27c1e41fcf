//! Tests of bus notifications and their receivers.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, postgres::PgListener};
use tokio::sync::mpsc;

use super::{JANE, JOHN, on_every_bus};
use crate::support::{self, Backend, Bus, Client, Server, two_nodes, until};

/// Time limit of a notification, far beyond the expected one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Subscribes to all notifications of the bus.
async fn eavesdrop(backend: &Backend, bus: &Bus) -> mpsc::Receiver<Value> {
    let (sender, letters) = mpsc::channel(1_000);
    let read = |letter: &[u8]| serde_json::from_slice::<Value>(letter).expect("letters are JSON");
    if bus.is_postgres() {
        let mut listener = PgListener::connect(backend.url()).await.unwrap();
        listener.listen("dragoman").await.unwrap();
        tokio::spawn(async move {
            while let Ok(letter) = listener.recv().await {
                let _ = sender.send(read(letter.payload().as_bytes())).await;
            }
        });
    } else {
        let address = url::Url::parse(bus.address()).expect("it is an address");
        let [user, password] = [Some(address.username()), address.password()].map(|part| part.unwrap_or_default().to_owned());
        let options = async_nats::ConnectOptions::with_user_and_password(user, password);
        let client = options.connect(bus.server().to_string()).await.expect("NATS is up");
        let mut subscription = client.subscribe(bus.subject().to_owned()).await.unwrap();
        client.flush().await.unwrap();
        tokio::spawn(async move {
            while let Some(letter) = subscription.next().await {
                let _ = sender.send(read(&letter.payload)).await;
            }
        });
    }
    letters
}

/// Waits for a notification of the newest event of this kind, after which nothing else happens.
async fn is_rung_for(backend: &Backend, letters: &mut mpsc::Receiver<Value>, fact: &str) {
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let newest = "SELECT max(position) FROM events WHERE fact->>'fact' = $1";
    let position: i64 = sqlx::query_scalar(newest).bind(fact).fetch_one(&mut database).await.unwrap();
    let rung = async { while letters.recv().await.expect("the bus goes on")["head"] != position {} };
    tokio::time::timeout(PATIENCE, rung).await.unwrap_or_else(|_| panic!("nobody rings for {fact} at {position}"));
}

on_every_bus! {
    /// Notification of a revocation: faster than polling the event log, which takes up to a second.
    async fn the_end_of_a_session_is_rung_for(here, there, bus) {
        let backend = here.backend().clone();
        let mut letters = eavesdrop(&backend, bus).await;
        let john = here.log_in(support::JOHN).await;
        john.call("/web/session/destroy", json!({})).await;
        is_rung_for(&backend, &mut letters, "session_ended").await;
        let mut john = there.log_in(support::JOHN).await;
        john.log_in(support::JOHN, support::PASSWORD).await;
        is_rung_for(&backend, &mut letters, "session_ended").await;
        let [_, refresh] = here.tokens(support::JOHN).await;
        there.client().post("/auth/token/revoke", &json!({"token": refresh})).await;
        is_rung_for(&backend, &mut letters, "tokens_revoked").await;
    }

    /// Notification of changes by the command line, which has no bus: the first node that reads them sends it.
    async fn what_is_found_is_rung_for(here, there, bus) {
        let backend = here.backend().clone();
        let mut letters = eavesdrop(&backend, bus).await;
        for login in [support::JOHN, support::JANE] {
            backend.administer(&["user", "deactivate", login], "").await;
            is_rung_for(&backend, &mut letters, "user_changed").await;
        }
        there.ready().await;
    }
}

async fn typing(client: &Client, thread: i64) -> Vec<i64> {
    let typing = client.messaging(&format!("typing/status/{thread}"), json!({})).await;
    typing["typing_users"].as_array().unwrap().iter().map(|typist| typist["user_id"].as_i64().unwrap()).collect()
}

/// Two workspaces on one subject.
#[tokio::test]
async fn workspaces_on_one_subject_do_not_hear_each_other() {
    let bus = Bus::nats();
    let [one, other] = [Backend::postgres().await, Backend::postgres().await];
    let (mut ours, mut theirs): ([Server; 2], [Server; 2]) = (two_nodes(&one, &bus).await, two_nodes(&other, &bus).await);
    let [admin, their_admin] = [ours[1].log_in(support::ADMIN).await, theirs[1].log_in(support::ADMIN).await];
    // Order of NATS: a later notification of their own nodes arrives after those of ours.
    let john = ours[0].log_in(support::JOHN).await;
    until("that John types", async || {
        john.messaging("typing/start", json!({"thread_id": 2})).await;
        typing(&admin, 2).await.contains(&JOHN).then_some(())
    })
    .await;
    let jane = theirs[0].log_in(support::JANE).await;
    let typists = until("that Jane types", async || {
        jane.messaging("typing/start", json!({"thread_id": 2})).await;
        Some(typing(&their_admin, 2).await).filter(|typists| typists.contains(&JANE))
    })
    .await;
    assert_eq!(typists, [JANE], "John is somebody else there");
    for node in ours.iter_mut().chain(&mut theirs) {
        node.stop().await;
    }
}
