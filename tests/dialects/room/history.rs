//! Tests of the message history.

use serde_json::{Value, json};

use super::{ADMIN, BOB, JANE, JOHN, failure, text};
use crate::{support::Server, with_every_backend};

async fn bodies(server: &Server, query: &str) -> Vec<Value> {
    let found = JOHN.data(server, &format!("/chat/messages/{}/{query}", ADMIN.uuid)).await;
    found["messages"].as_array().unwrap().iter().map(|message| message["message"].clone()).collect()
}

with_every_backend! {
    async fn history_comes_in_pages(backend) {
        let mut server = Server::with_tokens(backend).await;
        let client = server.log_in(JOHN.email).await;
        let mut ids = Vec::new();
        for number in 0..205 {
            let sent = client.messaging("message/send", json!({"thread_id": 1, "body": number.to_string()})).await;
            ids.push(sent["message_id"].as_i64().unwrap());
        }
        assert_eq!(bodies(&server, "").await.len(), 50);
        assert_eq!(bodies(&server, "?limit=0").await.len(), 50);
        assert_eq!(bodies(&server, "?limit=1000").await.len(), 200);
        assert_eq!(bodies(&server, "?limit=2").await, ["204", "203"]);
        assert_eq!(bodies(&server, &format!("?before={}&limit=2", ids[3])).await, ["2", "1"]);
        assert_eq!(bodies(&server, &format!("?before={}", ids[0])).await, [json!(null); 0]);
        assert_eq!(bodies(&server, "?before=99999999999999999999&limit=1").await, ["204"]);
        for (query, words) in [
            ("?limit=x", "limit must be a whole number"),
            ("?limit=-1", "limit must not be negative"),
            ("?before=1.5", "before must be a whole number"),
        ] {
            let answer = JOHN.get(&server, &format!("/chat/messages/{}{query}", ADMIN.uuid)).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (400, failure(words)), "{query}");
        }
        server.stop().await;
    }

    /// History of two users across their threads, from any dialect.
    async fn all_that_two_say_to_each_other_is_one_history(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut john = JOHN.socket(&server).await;
        let client = server.log_in(ADMIN.email).await;
        let other = client.messaging("thread/create", json!({"name": "another", "partner_ids": [JOHN.uid]})).await["thread_id"].take();
        for (thread, body) in [(json!(1), "one"), (other.clone(), "two"), (json!(1), "three"), (json!(2), "to the team")] {
            client.messaging("message/send", json!({"thread_id": thread, "body": body})).await;
        }
        assert_eq!(bodies(&server, "").await, ["three", "two", "one"]);
        for body in ["one", "two", "three", "to the team"] {
            assert_eq!(john.hear().await["message"], body, "as it was told");
        }
        let threads = JOHN.data(&server, "/chat/user/threads").await;
        let ids: Vec<_> = threads.as_array().unwrap().iter().map(|thread| thread["id"].clone()).collect();
        assert_eq!(ids, [json!(1), other], "groups are no threads");
        server.stop().await;
    }

    /// Empty history: a fetch creates no thread.
    async fn a_history_may_be_empty(backend) {
        let mut server = Server::with_tokens(backend).await;
        assert_eq!(JANE.history(&server, &BOB).await, [json!(null); 0]);
        assert_eq!(JANE.data(&server, "/chat/user/threads/").await, json!([]));
        let threads = JOHN.data(&server, "/chat/user/threads/").await;
        assert_eq!([&threads[0]["id"], &threads[0]["last_message"]], [&json!(1), &json!(null)]);
        let mut jane = JANE.socket(&server).await;
        jane.say(text(&BOB, " ")).await;
        assert_eq!(jane.hear().await["code"], "invalid");
        assert_eq!(JANE.data(&server, "/chat/user/threads/").await, json!([]));
        server.stop().await;
    }
}
