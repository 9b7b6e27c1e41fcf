//! Tests of read marks ("seen"): fan-out to the other side, and to the reader's other devices.

use serde_json::{Value, json};

use super::{CONCIERGE, Client, DEEPAK, SECRET, start};
use crate::{support::Server, with_every_backend};

/// Returns the ids of messages that the next events mark as seen.
async fn told(client: &mut Client, chat: &Value, messages: usize) -> Vec<Value> {
    let mut ids = Vec::new();
    for _ in 0..messages {
        let mut event = client.event().await;
        assert_eq!(event["channel"], format!("chat-message-{}", chat.as_str().expect("a text")), "{event}");
        let message = &mut event["payload"]["chatMessage"];
        assert_eq!(message["status"], 4, "{message}");
        assert!(message["seenAt"].is_number() && message["type"].is_number(), "{message}");
        ids.push(message["id"].to_string().into());
    }
    ids
}

async fn sees(client: &mut Client, side: &str, chat: &Value, message: &Value) -> Value {
    let body = json!({"chatSessionId": chat, "messageId": message});
    client.body(&format!("{side}/update-message-seen-at"), body).await["chatMessage"].take()
}

async fn hears_nothing(client: &mut Client) {
    assert_eq!(client.events_so_far().await, Vec::<Value>::new());
}

with_every_backend! {
    async fn both_sides_learn_what_was_seen(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut tablet = Client::connect(&server, DEEPAK, "tablet").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let mut other_desk = Client::connect(&server, CONCIERGE, "other-desk").await;
        let chat = tenant.init().await;
        agent.join(&chat).await;
        let mut asked = Vec::new();
        for text in ["is anybody there?", "hello?"] {
            asked.push(tenant.send("client", &chat, text).await["id"].take());
        }
        let mut answered = Vec::new();
        for text in ["yes", "what is it?"] {
            answered.push(agent.send("backend", &chat, text).await["id"].take());
        }
        for client in [&mut tenant, &mut tablet, &mut agent, &mut other_desk] {
            client.events_so_far().await;
        }

        // Read mark of a message: covers all earlier ones.
        let seen = sees(&mut tenant, "client", &chat, &answered[1]).await;
        assert_eq!((&seen["status"], &seen["id"]), (&json!(4), &answered[1]));
        for client in [&mut tablet, &mut agent, &mut other_desk] {
            assert_eq!(told(client, &chat, 2).await, answered);
        }
        sees(&mut agent, "backend", &chat, &asked[0]).await;
        for client in [&mut tenant, &mut tablet, &mut other_desk] {
            assert_eq!(told(client, &chat, 1).await, asked[..1]);
        }
        // Repeated read marks: no further event.
        sees(&mut tablet, "client", &chat, &answered[0]).await;
        sees(&mut tablet, "client", &chat, &answered[1]).await;
        for client in [&mut tenant, &mut tablet, &mut agent, &mut other_desk] {
            hears_nothing(client).await;
        }
        // Read mark from another dialect.
        let elsewhere = server.log_in("deepak@tis.co.th").await;
        let more = agent.send("backend", &chat, "anything else?").await["id"].take();
        for client in [&mut tenant, &mut tablet, &mut other_desk] {
            client.event().await;
        }
        elsewhere.messaging("notifications/mark_all_read", json!({})).await;
        for client in [&mut tenant, &mut tablet, &mut agent, &mut other_desk] {
            assert_eq!(told(client, &chat, 1).await, std::slice::from_ref(&more));
        }
        drop((tenant, tablet, agent, other_desk));
        server.stop().await;
    }

    /// Number format `app`: the published app reads ids and times as strings, with one exception.
    async fn the_published_app_reads_texts_but_for_what_was_unsent(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET);
        let mut server = builder.set("CONCIERGE__NUMBERS_IN_EVENTS", "app").start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        agent.event().await;
        agent.join(&chat).await;
        assert!(tenant.update(&chat).await["orgId"].is_string());
        let id = agent.send("backend", &chat, "hello").await["id"].take();
        let pushed = tenant.event().await["payload"]["chatMessage"].take();
        assert_eq!((&pushed["id"], &pushed["type"], &pushed["status"]), (&id, &json!(1), &json!(3)));
        assert!(pushed["sentAt"].is_string() && pushed["senderEntityId"].is_string(), "{pushed}");
        agent.body("backend/delete-message", json!({"chatSessionId": chat, "messageId": id})).await;
        let number: i64 = id.as_str().and_then(|id| id.parse().ok()).expect("a number");
        assert_eq!(tenant.event().await["payload"], json!({"messageId": number}));
        drop((tenant, agent));
        server.stop().await;
    }
}

/// Invalid values of the setting refused at the start.
#[tokio::test]
async fn other_forms_of_numbers_are_refused() {
    for given in ["maybe", "2", "App", ""] {
        let environment = [("DRAGOMAN__CONCIERGE__NUMBERS_IN_EVENTS", given)];
        let output = crate::support::run(&["serve", "--listen", "127.0.0.1:0"], &environment, "").await;
        assert!(!output.status.success(), "{given:?}");
        let errors = String::from_utf8(output.stderr).expect("it is a text");
        assert!(errors.contains("must be true, false or app") && errors.contains("numbers_in_events"), "{given:?}: {errors}");
    }
}
