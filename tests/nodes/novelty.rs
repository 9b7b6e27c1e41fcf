//! Tests of a rolling upgrade: a newer version writes events that an older one does not know.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{JOHN, PAIR, enter, enter_room, hear, on_every_bus, poll, send};
use crate::support::{self, Backend};

/// Events of an unknown kind, and of a known kind with unknown content.
const NOVELTIES: [&str; 3] =
    [r#"{"fact": "novelty", "of": {"anything": [1, 2]}}"#, r#"{"fact": "novelty"}"#, r#"{"fact": "message_posted", "of": {}}"#];
/// Partner id of John in the event log.
const JOHNS_PARTNER: i64 = 5;

/// Appends an event, as a node does, and returns its position.
async fn record(backend: &Backend, conversation: Option<i64>, partner: Option<i64>, fact: &str) -> i64 {
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let append = "WITH head AS (UPDATE log_head SET position = position + 1 RETURNING position)
        INSERT INTO events (position, conversation_id, partner_id, fact, at)
        SELECT position, $1, $2, $3::json, now() FROM head RETURNING position";
    let append = sqlx::query_scalar(append).bind(conversation).bind(partner).bind(fact);
    append.fetch_one(&mut database).await.unwrap()
}

on_every_bus! {
    /// Unknown event: skipped, and later events are delivered.
    async fn a_fact_that_is_unknown_stops_nobody(here, there) {
        let (admin, john) = (here.log_in(support::ADMIN).await, there.log_in(support::JOHN).await);
        for fact in NOVELTIES {
            let (mut conversation, mut room) = (enter(there, JOHN, PAIR).await, enter_room(there, JOHN).await);
            let polls = [
                poll(&john, "/api/messaging/poll/messages", json!({"thread_id": PAIR, "timeout": 60})),
                poll(&john, "/api/messaging/poll/updates", json!({"timeout": 60})),
                poll(&john, "/longpolling/poll", json!({"channels": [], "last": i64::MAX})),
            ];
            there.polls_waiting(polls.len()).await;
            let position = record(here.backend(), Some(PAIR), None, fact).await;
            record(here.backend(), None, Some(JOHNS_PARTNER), fact).await;
            let id = send(&admin, fact).await;
            let [messages, updates, bus] = polls;
            assert_eq!(messages.await.unwrap()["messages"][0]["id"], id);
            assert_eq!(updates.await.unwrap()["threads_with_updates"][0]["thread_id"], PAIR);
            assert_eq!(bus.await.unwrap()[0]["message"]["id"], id);
            assert_eq!(hear(&mut conversation, "chat_message").await["message"]["id"], id.to_string());
            room.hear_until(|told| told["created_msg_id"] == id).await;
            assert_eq!(there.readiness().await, Ok(()));
            conversation.close().await;
            room.close().await;

            // Reads of the event log itself, as after a restart: the same.
            let address = there.kill().await;
            there.start_again(address).await;
            there.ready().await;
            let told = john.result("/longpolling/poll", json!({"channels": [], "last": position - 1})).await;
            assert!(told.as_array().unwrap().iter().any(|told| told["message"]["id"] == id), "{told}");
        }
        assert_eq!(there.log().matches("event of a newer version skipped").count(), NOVELTIES.len(), "it is said once a start");
    }
}
