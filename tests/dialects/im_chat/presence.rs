//! Tests of presence by the rules of this dialect.

use serde_json::{Value, json};

use super::Person;
use crate::{
    support::{BOB, JANE, JOHN, Server, until},
    with_every_backend,
};

async fn status(asker: &Person, partner: i64) -> Value {
    let answer = asker.client.result("/longpolling/im_status", json!({"partner_ids": [partner]})).await;
    assert_eq!(answer[0]["id"], partner, "{answer}");
    answer[0]["im_status"].clone()
}

async fn poll(person: &Person, options: Value) {
    let params = json!({"channels": [], "last": 0, "options": options});
    person.client.result("/longpolling/poll", params).await;
}

with_every_backend! {
    async fn polls_say_whether_somebody_is_there(backend) {
        let server = Server::builder(backend)
            .set("IM_CHAT__POLL_SECONDS", 1)
            .set("PRESENCE__ONLINE_SECONDS", 1)
            .set("PRESENCE__POLL_SECONDS", 3);
        let mut server = server.start().await;
        let (jane, bob) = (Person::log_in(&server, JANE).await, Person::log_in(&server, BOB).await);
        poll(&bob, json!({"im_presence": true})).await;
        assert_eq!(status(&jane, 9).await, "online");
        poll(&bob, json!({"bus_inactivity": 11 * 60 * 1_000})).await;
        assert_eq!(status(&jane, 9).await, "away", "after ten minutes");
        poll(&bob, json!({"bus_inactivity": 9 * 60 * 1_000})).await;
        assert_eq!(status(&jane, 9).await, "online");
        until("that who polls no more is offline", async || (status(&jane, 9).await == "offline").then_some(())).await;
        let several = jane.client.result("/longpolling/im_status", json!({"partner_ids": [9, 999, 7]})).await;
        let ids: Vec<_> = several.as_array().unwrap().iter().map(|one| &one["id"]).collect();
        assert_eq!(ids, [9, 7], "in the order asked, without those who are not there");
        server.stop().await;
    }

    /// Activity in another dialect: the user is online, though the window of this dialect is idle.
    async fn what_one_does_in_another_dialect_counts(backend) {
        let mut server = Server::builder(backend).set("IM_CHAT__POLL_SECONDS", 1).start().await;
        let (jane, john) = (Person::log_in(&server, JANE).await, Person::log_in(&server, JOHN).await);
        poll(&john, json!({"bus_inactivity": 11 * 60 * 1_000})).await;
        assert_eq!(status(&jane, 5).await, "away");
        john.client.messaging("message/send", json!({"thread_id": 2, "body": "I am here"})).await;
        assert_eq!(status(&jane, 5).await, "online");
        john.client.messaging("presence/update", json!({"status": "away"})).await;
        assert_eq!(status(&jane, 5).await, "away", "as it says itself");
        server.stop().await;
    }

    /// Presence channel: sent only on request, as in Odoo 8.
    async fn who_comes_is_told_on_the_channel_of_presence(backend) {
        let mut server = Server::demo(backend).await;
        let mut jane = Person::log_in(&server, JANE).await;
        let channel = json!(["odoo2", "im_chat.presence"]);
        jane.channels = vec![channel.clone()];
        jane.hear("the own coming", |told| told["message"] == json!({"id": 6, "im_status": "online"})).await;
        let (heard, ()) = tokio::join!(
            jane.hear("Bob's coming", |told| told["message"] == json!({"id": 8, "im_status": "online"})),
            async {
                server.polls_waiting(1).await;
                let bob = server.log_in(BOB).await;
                bob.messaging("threads", json!({})).await;
            }
        );
        assert_eq!(heard["channel"], channel);
        server.stop().await;
    }
}

/// Time-out check: with a longer poll, a client that polls without pause would go offline in between.
#[tokio::test]
async fn a_poll_that_waits_longer_than_it_counts_is_refused() {
    for seconds in ["55", "50", "51"] {
        let environment = [("DRAGOMAN__PRESENCE__POLL_SECONDS", "50"), ("DRAGOMAN__IM_CHAT__POLL_SECONDS", seconds)];
        let output = crate::support::run(&["serve", "--listen", "127.0.0.1:0"], &environment, "").await;
        assert!(!output.status.success());
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("presence.poll_seconds must be greater than im_chat.poll_seconds"), "{errors}");
    }
}
