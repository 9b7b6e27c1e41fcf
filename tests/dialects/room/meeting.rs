//! Tests of the cache of direct threads: an entry is valid only while exactly these two users are members.

use serde_json::{Value, json};

use super::{ADMIN, BOB, JANE, JOHN, text};
use crate::{support::Server, with_every_backend};

/// Returns the number of messages of a thread.
async fn messages(client: &crate::support::Client, thread: i64) -> usize {
    client.messaging("messages", json!({"thread_id": thread})).await["messages"].as_array().expect("it is a list").len()
}

with_every_backend! {
    /// Third member: later direct messages go to another thread.
    async fn a_third_ends_a_meeting_of_two(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin, mut jane) =
            (JOHN.socket(&server).await, ADMIN.socket(&server).await, JANE.socket(&server).await);
        for body in ["begun in thread 1", "there again"] {
            john.say(text(&ADMIN, body)).await;
            assert_eq!(admin.hear().await["message"], body);
            john.hear().await;
        }
        let client = server.log_in(JOHN.email).await;
        assert_eq!(messages(&client, 1).await, 2);
        client.messaging("thread/add_participant", json!({"thread_id": 1, "partner_id": JANE.uid})).await;
        for body in ["only you", "and still only you"] {
            john.say(text(&ADMIN, body)).await;
            let heard = admin.hear().await;
            assert_eq!([&heard["message"], &heard["thread"]], [&json!(body), &Value::Null]);
        }
        assert_eq!(messages(&client, 1).await, 2);
        john.say(text(&JANE, "and only you")).await;
        assert_eq!(jane.hear().await["message"], "and only you");
        server.stop().await;
    }

    /// Oldest thread of two users: chosen even if it has only just become one of two.
    async fn who_was_alone_gets_company(backend) {
        let mut server = Server::with_tokens(backend).await;
        let client = server.log_in(JOHN.email).await;
        let alone = client.messaging("thread/create", json!({"name": "Notes", "partner_ids": []})).await["thread_id"].take();
        let (mut john, mut bob) = (JOHN.socket(&server).await, BOB.socket(&server).await);
        john.say(text(&BOB, "in a thread of its own")).await;
        bob.hear().await;
        let alone = alone.as_i64().expect("it is a number");
        assert_eq!(messages(&client, alone).await, 0);
        client.messaging("thread/add_participant", json!({"thread_id": alone, "partner_id": BOB.uid})).await;
        john.say(text(&BOB, "in the older one")).await;
        assert_eq!(bob.hear().await["message"], "in the older one");
        assert_eq!(messages(&client, alone).await, 1);
        server.stop().await;
    }

    /// Deactivated receiver: refused, despite a cached entry. Durable stores only: a store in memory has no command line.
    async fn a_deactivated_user_is_nobody_to_write_to(backend) {
        let mut server = Server::with_tokens(backend.clone()).await;
        let (mut john, mut jane) = (JOHN.socket(&server).await, JANE.socket(&server).await);
        john.say(text(&JANE, "still there?")).await;
        jane.hear().await;
        john.hear().await;
        if backend.is_durable() {
            backend.administer(&["user", "deactivate", JANE.email], "").await;
            // End of the receiver's socket: the server has processed the deactivation.
            jane.closed().await;
            john.say(text(&JANE, "and now?")).await;
            let refused = john.hear().await;
            assert_eq!([&refused["action"], &refused["code"]], ["error", "not_found"]);
        }
        server.stop().await;
    }
}
