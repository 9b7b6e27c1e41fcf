//! Tests of the bus order: a client that passes its largest id receives every event once and in order. Odoo itself does not
//! promise that.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Person;
use crate::{
    support::{ADMIN, BOB, Backend, Client, JANE, JOHN, Server},
    with_every_backend,
};

const WRITERS: i64 = 8;
const CONVERSATIONS: i64 = 40;
const MESSAGES: i64 = 10;

/// Received texts by session, in order.
#[derive(Default)]
struct Heard(BTreeMap<String, Vec<String>>);

impl Heard {
    fn note(&mut self, told: &[Value], own: &Value) {
        for notification in told.iter().filter(|told| told["channel"] == *own && told["message"]["type"] == "message") {
            let message = &notification["message"];
            let text = message["message"].as_str().unwrap().to_owned();
            self.0.entry(message["to_id"][1].as_str().unwrap().to_owned()).or_default().push(text);
        }
    }

    fn messages(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }
}

/// Sessions of the admin with John, one for each document.
async fn sessions(admin: &Person) -> Vec<String> {
    let mut uuids = Vec::new();
    for document in 0..CONVERSATIONS {
        let params = json!({"user_to": 4, "doc_id": document, "doc_model": "sale.order"});
        let session = admin.im_chat("api/get_or_create_session", params).await;
        uuids.push(session["uuid"].as_str().unwrap().to_owned());
    }
    uuids
}

/// One writer: posts to all sessions in turn. Half of the writers are the admin, half John.
async fn write(client: Client, writer: i64, uuids: Vec<String>) {
    for round in 0..MESSAGES {
        for (index, uuid) in uuids.iter().enumerate().filter(|(index, _)| *index as i64 % WRITERS == (writer + round) % WRITERS) {
            let text = format!("{writer} {round} {index}");
            let params = json!({"uuid": uuid, "message_type": "message", "message_content": text});
            assert!(client.result("/im_chat/post", params).await.is_i64());
        }
    }
}

async fn write_all(server: &Server, uuids: &[String]) {
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = server.log_in(if writer % 2 == 0 { ADMIN } else { JOHN }).await;
        writers.push(tokio::spawn(write(client, writer, uuids.to_vec())));
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

/// Asserts that each session's messages were received once, in the order of the history.
async fn is_complete(person: &Person, heard: &Heard, uuids: &[String]) {
    for uuid in uuids {
        let mut stored = person.history(uuid).await.as_array().unwrap().clone();
        stored.reverse();
        let heard = heard.0.get(uuid).cloned().unwrap_or_default();
        assert_eq!(json!(heard), json!(stored), "{uuid}");
    }
}

const ALL: usize = (CONVERSATIONS * MESSAGES) as usize;

with_every_backend! {
    /// Poll from 0 on, while all writers post.
    async fn a_poller_hears_everything_once_and_in_order(backend) {
        let mut server = Server::demo(backend).await;
        let (admin, mut poller) = (Person::log_in(&server, ADMIN).await, Person::log_in(&server, JOHN).await);
        let uuids = sessions(&admin).await;
        let mut heard = Heard::default();
        let listen = async {
            while heard.messages() < ALL {
                let told = poller.poll().await;
                heard.note(&told, &poller.channel());
            }
        };
        tokio::join!(write_all(&server, &uuids), listen);
        is_complete(&admin, &heard, &uuids).await;
        server.stop().await;
    }

    /// Catch-up from the event log: the ring of recent events is far shorter than the gap.
    async fn who_was_away_hears_what_it_has_missed(backend) {
        let mut server = Server::builder(backend).set("LIMITS__RECENT_EVENTS", 4).start().await;
        let (admin, mut poller) = (Person::log_in(&server, ADMIN).await, Person::log_in(&server, JOHN).await);
        let uuids = sessions(&admin).await;
        let mut heard = Heard::default();
        admin.post(&uuids[0], "before").await;
        heard.note(&poller.poll().await, &poller.channel());
        write_all(&server, &uuids).await;
        while heard.messages() < ALL + 1 {
            let told = poller.poll().await;
            assert!(!told.is_empty(), "{} of {ALL} were heard", heard.messages());
            heard.note(&told, &poller.channel());
        }
        is_complete(&admin, &heard, &uuids).await;
        server.stop().await;
    }

    /// Fan-out to several channels: the notifications of one event come together, each with its own id.
    async fn each_channel_has_its_notification(backend) {
        let mut server = Server::builder(backend).set("LIMITS__RECENT_EVENTS", 1).start().await;
        let (jane, mut bob) = (Person::log_in(&server, JANE).await, Person::log_in(&server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        bob.channels = vec![json!(uuid)];
        for text in ["one", "two", "three"] {
            jane.post(&uuid, text).await;
        }
        let told = bob.poll().await;
        let texts: Vec<_> = told.iter().map(|told| told["message"]["message"].as_str().unwrap()).collect();
        assert_eq!(texts, ["one", "one", "two", "two", "three", "three"]);
        server.stop().await;
    }

    /// Cursor beyond the newest position, such as one from another database.
    async fn a_last_beyond_the_newest_counts_as_the_newest(backend) {
        let mut server = Server::demo(backend).await;
        let (jane, bob) = (Person::log_in(&server, JANE).await, Person::log_in(&server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        jane.post(&uuid, "old").await;
        for last in [json!(i64::MAX), json!("99999999999999999999"), json!(1_i64 << 52)] {
            let params = json!({"channels": [], "last": last});
            let (told, ()) = tokio::join!(bob.client.result("/longpolling/poll", params), async {
                server.polls_waiting(1).await;
                jane.post(&uuid, "new").await;
            });
            assert_eq!(told.as_array().unwrap().iter().map(|told| &told["message"]["message"]).collect::<Vec<_>>(), ["new"]);
        }
        server.stop().await;
    }

    /// Cursor of a signal: a client that passes it skips no event.
    async fn a_signal_moves_nobody_past_an_event(backend) {
        let mut server = Server::demo(backend).await;
        let (jane, mut bob) = (Person::log_in(&server, JANE).await, Person::log_in(&server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        jane.post(&uuid, "first").await;
        bob.hear_message("message", "first").await;
        for round in 0..5 {
            let (told, ()) = tokio::join!(bob.poll(), async {
                server.polls_waiting(1).await;
                jane.post_as(&uuid, "typing", "...").await;
            });
            assert_eq!(told[0]["message"]["type"], "typing", "{told:?}");
            let text = format!("after typing {round}");
            jane.post(&uuid, &text).await;
            bob.hear_message("message", &text).await;
        }
        server.stop().await;
    }
}

/// Cursors across a restart: positions belong to the event log, so the client receives everything once and in order.
#[tokio::test]
async fn a_poller_goes_on_after_a_restart() {
    let mut server = Server::demo(Backend::postgres().await).await;
    let (admin, mut poller) = (Person::log_in(&server, ADMIN).await, Person::log_in(&server, JOHN).await);
    let uuids = sessions(&admin).await;
    let mut heard = Heard::default();
    let listen = async {
        while heard.messages() < ALL / 2 {
            let told = poller.poll().await;
            heard.note(&told, &poller.channel());
        }
    };
    tokio::join!(write_all(&server, &uuids), listen);
    admin.post(&uuids[0], "unheard").await;
    let address = server.kill().await;
    server.start_again(address).await;
    let writing = write_all(&server, &uuids);
    let listen = async {
        while heard.messages() < 2 * ALL + 1 {
            let told = poller.poll().await;
            assert!(!told.is_empty(), "{} were heard", heard.messages());
            heard.note(&told, &poller.channel());
        }
    };
    tokio::join!(writing, listen);
    is_complete(&admin, &heard, &uuids).await;
    server.stop().await;
}
