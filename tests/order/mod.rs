//! Tests of ordering and durability: many writers, many pollers, and in some tests a server that is killed, once or again and
//! again. No message is lost, duplicated or out of order.

pub mod checker;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    support::{ADMIN, BOB, Backend, Client, JANE, JOHN, Server},
    with_every_backend,
};
use checker::{Fault, Heard, Sent, faults};

const EVERYBODY: [&str; 4] = [ADMIN, JOHN, JANE, BOB];
const CONVERSATIONS: usize = 50;
const WRITERS: usize = 16;
const POLLERS: usize = 8;
/// Messages of each writer.
const MESSAGES: usize = 80;
/// Period, in messages of a writer, of a send that the server refuses.
const REFUSED_EVERY: usize = 10;
/// Count of acknowledged messages after which the late pollers begin.
const HALF: usize = WRITERS * MESSAGES / 2;
/// The last message of each conversation: pollers stop there.
const END: &str = "end";

/// Messages that one poller received, by conversation.
type ByConversation = HashMap<i64, Vec<Heard>>;

/// The conversations of a test, with its writers and pollers.
struct Stage {
    conversations: Arc<Vec<i64>>,
    writers: Vec<Client>,
    pollers: Vec<Client>,
}

impl Stage {
    async fn set(server: &Server, places: usize) -> Self {
        let admin = server.log_in(ADMIN).await;
        let mut conversations = Vec::new();
        for number in 0..places {
            let params = json!({"name": format!("thread {number}"), "partner_ids": [4, 6, 8], "thread_type": "group"});
            conversations.push(admin.messaging("thread/create", params).await["thread_id"].as_i64().expect("it has an id"));
        }
        let (mut writers, mut pollers) = (Vec::new(), Vec::new());
        for number in 0..WRITERS {
            writers.push(server.log_in(EVERYBODY[number % EVERYBODY.len()]).await);
        }
        for number in 0..POLLERS {
            pollers.push(server.log_in(EVERYBODY[number % EVERYBODY.len()]).await);
        }
        Self { conversations: Arc::new(conversations), writers, pollers }
    }
}

async fn start(backend: Backend) -> Server {
    // Limits high enough for all pollers to reconnect at once after a restart, on a debug build and a busy machine.
    let patient = Server::builder(backend).set("POSTGRES__ACQUIRE_MILLISECONDS", 60_000);
    patient.set("LIMITS__WAITING_POLLS_PER_USER", 1_000).start().await
}

/// The result of a call; `None` if the connection broke before the whole answer arrived.
async fn attempt(client: &Client, route: &str, params: &Value) -> Option<Value> {
    let request = client.request(Method::POST, &format!("/api/messaging/{route}")).header(CONTENT_TYPE, "application/json");
    let response = request.body(json!({"id": 1, "params": params}).to_string()).send().await.ok()?;
    let answer = response.text().await.ok()?;
    Some(serde_json::from_str(&answer).expect("an answer is JSON"))
}

/// Like [`attempt`], with retries as long as the server is down.
async fn insist(client: &Client, route: &str, params: &Value, up: &mut watch::Receiver<bool>) -> Value {
    loop {
        if let Some(answer) = attempt(client, route, params).await {
            return answer;
        }
        up.wait_for(|up| *up).await.expect("the test goes on");
    }
}

/// Sends a writer's messages to the conversations in turn. Returns their outcomes.
async fn write(
    number: usize,
    client: Client,
    conversations: Arc<Vec<i64>>,
    acknowledged: Arc<watch::Sender<usize>>,
    mut up: watch::Receiver<bool>,
) -> Vec<Sent> {
    let mut all = Vec::new();
    for step in 0..MESSAGES {
        let conversation = conversations[(number * 7 + step * 11) % conversations.len()];
        if step % REFUSED_EVERY == 0 {
            // No store accepts NUL.
            let body = format!("refused {number}/{step}\0");
            let answer = insist(&client, "message/send", &json!({"thread_id": conversation, "body": body}), &mut up).await;
            assert!(answer["result"]["error"].is_string(), "{answer}");
            all.push(Sent::refused(number, conversation, &body));
        }
        for retry in 0.. {
            let body = format!("message {number}/{step}/{retry}");
            let answer = attempt(&client, "message/send", &json!({"thread_id": conversation, "body": body})).await;
            match answer {
                Some(answer) => match answer["result"]["message_id"].as_i64() {
                    Some(id) => {
                        all.push(Sent::acknowledged(number, conversation, &body, id));
                        acknowledged.send_modify(|count| *count += 1);
                        break;
                    }
                    None => all.push(Sent::refused(number, conversation, &body)),
                },
                // The message may be stored or not.
                None => {
                    up.wait_for(|up| *up).await.expect("the test goes on");
                }
            }
        }
    }
    all
}

/// Polls one conversation from its first message to its last, always from the last known id.
async fn poll(client: Client, conversation: i64, mut up: watch::Receiver<bool>) -> Vec<Heard> {
    let mut heard: Vec<Heard> = Vec::new();
    while heard.last().is_none_or(|last| last.body != END) {
        let last = heard.last().map_or(0, |last| last.id);
        let params = json!({"thread_id": conversation, "last_message_id": last, "timeout": 60});
        let answer = insist(&client, "poll/messages", &params, &mut up).await;
        let messages = answer["result"]["messages"].as_array().unwrap_or_else(|| panic!("a poll succeeds: {answer}"));
        heard.extend(messages.iter().map(Heard::read));
    }
    heard
}

/// Runs all writers and pollers in this number of conversations, and kills the server so often meanwhile, evenly spread: of each
/// two kills the second comes as soon as the server listens again. Returns the sent messages and the received ones, last those
/// that a reader finds afterwards.
async fn play(server: &mut Server, places: usize, kills: usize) -> (Vec<Sent>, Vec<ByConversation>) {
    let stage = Stage::set(server, places).await;
    let (set_up, up) = watch::channel(true);
    let acknowledged = Arc::new(watch::Sender::new(0));
    let heard = Arc::new(Mutex::new(vec![ByConversation::new(); POLLERS]));
    let late = Arc::new(AtomicUsize::new(0));

    let mut pollers = JoinSet::new();
    for (number, client) in stage.pollers.into_iter().enumerate() {
        for conversation in stage.conversations.iter().copied() {
            let (client, up, heard, late) = (client.clone(), up.clone(), Arc::clone(&heard), Arc::clone(&late));
            let mut acknowledged = acknowledged.subscribe();
            pollers.spawn(async move {
                if number % 2 == 1 {
                    acknowledged.wait_for(|count| *count >= HALF).await.expect("the test goes on");
                    late.fetch_add(1, Ordering::Relaxed);
                }
                let all = poll(client, conversation, up).await;
                heard.lock()[number].insert(conversation, all);
            });
        }
    }
    let mut writers = JoinSet::new();
    for (number, client) in stage.writers.into_iter().enumerate() {
        writers.spawn(write(number, client, Arc::clone(&stage.conversations), Arc::clone(&acknowledged), up.clone()));
    }
    for kill in 0..kills {
        let before = WRITERS * MESSAGES * (kill / 2 + 1) / (kills.div_ceil(2) + 1);
        acknowledged.subscribe().wait_for(|count| *count >= before).await.expect("the test goes on");
        set_up.send_replace(false);
        let address = server.kill().await;
        server.start_again(address).await;
        set_up.send_replace(true);
    }
    let mut sent: Vec<Sent> = writers.join_all().await.into_iter().flatten().collect();
    let admin = server.log_in(ADMIN).await;
    for conversation in stage.conversations.iter().copied() {
        let id = admin.messaging("message/send", json!({"thread_id": conversation, "body": END})).await["message_id"].as_i64();
        sent.push(Sent::acknowledged(WRITERS, conversation, END, id.expect("it is stored")));
    }
    pollers.join_all().await;
    assert_eq!(late.load(Ordering::Relaxed), POLLERS / 2 * places, "half of the pollers came late");
    let mut heard = std::mem::take(&mut *heard.lock());
    let mut stored = ByConversation::new();
    for conversation in stage.conversations.iter().copied() {
        stored.insert(conversation, poll(admin.clone(), conversation, up.clone()).await);
    }
    heard.push(stored);
    (sent, heard)
}

fn compare(places: usize, sent: &[Sent], heard: &[ByConversation]) {
    let written = sent.iter().filter(|sent| sent.id.is_some()).count();
    assert_eq!(written, WRITERS * MESSAGES + places, "all of them are acknowledged at last");
    for (number, heard) in heard.iter().enumerate() {
        assert_eq!(heard.len(), places, "poller {number} has polled everywhere");
        assert_eq!(faults(sent, heard), Vec::<Fault>::new(), "poller {number}");
    }
    // Unacknowledged messages may have been stored, but the same ones for every poller.
    assert!(heard.iter().all(|other| other == &heard[0]), "all pollers have heard the same");
}

with_every_backend! {
    /// Every poller receives every acknowledged message once and in order, and no refused one.
    async fn everybody_hears_everything_once_and_in_order(backend) {
        let mut server = start(backend).await;
        let (sent, heard) = play(&mut server, CONVERSATIONS, 0).await;
        compare(CONVERSATIONS, &sent, &heard);
        server.stop().await;
    }
}

/// The same with a killed server: acknowledged messages survive, and a poller that resumes from its last id misses none.
async fn kills_lose_nothing(backend: Backend, places: usize, kills: usize) {
    let mut server = start(backend).await;
    let (sent, heard) = play(&mut server, places, kills).await;
    compare(places, &sent, &heard);
    server.stop().await;
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_acknowledged() {
    kills_lose_nothing(Backend::postgres().await, CONVERSATIONS, 1).await;
}

/// Fewer conversations: after each kill all pollers come back in each of them.
#[tokio::test]
async fn fifty_kills_lose_nothing_in_a_file() {
    kills_lose_nothing(Backend::sqlite(), 8, 50).await;
}
