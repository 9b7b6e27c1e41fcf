//! Test of restarting one node after another behind nginx: no request fails.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use super::nginx::Nginx;
use crate::support::{Backend, Client, JOHN, Server, until};

const POLLERS: usize = 16;
const SENDERS: usize = 4;
/// Polls that wait at a node that nginx trusts again. After failures it tries a node with one request in `fail_timeout`, and avoids
/// it until that one is answered, which takes a poll two seconds: one poll at a node does not show that nginx would send it more.
const TRUSTED_POLLS: f64 = 4.0;

/// Polls until `end`, and counts the answers. Any error fails the test.
async fn poll(client: Client, end: Arc<AtomicBool>) -> i64 {
    let mut answers = 0;
    while !end.load(Ordering::Relaxed) {
        let answer = client.messaging("poll/messages", json!({"thread_id": 1, "timeout": 2})).await;
        assert_eq!(answer["has_new"], false, "{answer}");
        answers += 1;
    }
    answers
}

async fn send(client: Client, end: Arc<AtomicBool>) -> i64 {
    let mut sent = 0;
    while !end.load(Ordering::Relaxed) {
        let answer = client.messaging("message/send", json!({"thread_id": 2, "body": "on and on"})).await;
        assert_eq!(answer["success"], true, "{answer}");
        sent += 1;
    }
    sent
}

#[tokio::test]
async fn nobody_notices_that_nodes_are_restarted() {
    let files = tempfile::tempdir().expect("a directory can be made");
    let files = format!("file:{}", files.path().display());
    let backend = Backend::postgres().await;
    let node = async || Server::builder(backend.clone()).set("PROXIES", "127.0.0.1").set("FILES", &files).start().await;
    let (mut first, mut second) = (node().await, node().await);
    let nginx = Nginx::before([first.address(), second.address()]).await;
    let john = nginx.log_in(JOHN).await;

    let end = Arc::new(AtomicBool::new(false));
    let (mut polling, mut sending) = (JoinSet::new(), JoinSet::new());
    for _ in 0..POLLERS {
        polling.spawn(poll(john.clone(), Arc::clone(&end)));
    }
    for _ in 0..SENDERS {
        sending.spawn(send(john.clone(), Arc::clone(&end)));
    }
    for restarted in 0..4 {
        // nginx avoids a node for a while after it could not reach it, so this waits until both have polls again.
        for node in [&first, &second] {
            until("work for both", async || (node.metric("dragoman_polls_waiting").await >= TRUSTED_POLLS).then_some(())).await;
        }
        let node = if restarted % 2 == 0 { &mut first } else { &mut second };
        let address = node.address();
        node.stop().await;
        node.start_again(address).await;
    }
    end.store(true, Ordering::Relaxed);
    let answers: i64 = polling.join_all().await.into_iter().sum();
    let sent: i64 = sending.join_all().await.into_iter().sum();

    let mut database = PgConnection::connect(backend.url()).await.expect("the throwaway PostgreSQL is up");
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM messages").fetch_one(&mut database).await.expect("it is read");
    assert_eq!(stored, sent, "each is stored once");
    assert!(answers > 0 && sent > 0, "people were at work: {answers} answers, {sent} messages");
    assert!(!nginx.access_log().contains("\"status\":5"), "{}", nginx.access_log());
    first.stop().await;
    second.stop().await;
}
