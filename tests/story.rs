//! Model test of polling: an earlier full read plus all updates since equals a full read now.

use std::{collections::BTreeMap, ops::Range};

use serde_json::{Value, json};

use crate::{
    on_every_backend,
    support::{ADMIN, BOB, Client, JANE, JOHN, Server},
};

/// Rounds of actions, each with a catch-up of the follower after it.
const ROUNDS: usize = 25;
/// Actions in a round.
const ACTIONS: usize = 8;

/// Deterministic pseudorandom numbers (a linear congruential generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits fit") % sides
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// A conversation as its reader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Thread {
    unread: i64,
    /// Ids, authors and bodies, oldest first.
    messages: Vec<(i64, i64, String)>,
}

type State = BTreeMap<i64, Thread>;

fn message(message: &Value) -> (i64, i64, String) {
    let number = |key: &str| message[key].as_i64().expect("it is a number");
    (number("id"), number("author_id"), message["body"].as_str().expect("it is a text").to_owned())
}

fn number(of: &Value, key: &str) -> i64 {
    of[key].as_i64().unwrap_or_else(|| panic!("{key} is a number in {of}"))
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().unwrap_or_else(|| panic!("{key} is a list in {of}"))
}

/// Reads everything that is readable now.
async fn read(client: &Client) -> State {
    let mut state = State::new();
    for thread in list(&client.messaging("threads", json!({})).await, "threads") {
        let id = number(thread, "id");
        let mut messages = Vec::new();
        loop {
            let before = messages.first().map_or(i64::MAX, |(id, _, _): &(i64, i64, String)| *id);
            let page = client.messaging("messages", json!({"thread_id": id, "before_id": before, "limit": 100})).await;
            let page: Vec<_> = list(&page, "messages").iter().rev().map(message).collect();
            if page.is_empty() {
                break;
            }
            messages.splice(0..0, page);
        }
        state.insert(id, Thread { unread: number(thread, "unread_count"), messages });
    }
    state
}

/// A client that has read everything once and only polls since then.
struct Follower {
    client: Client,
    state: State,
}

impl Follower {
    async fn begin(client: Client) -> Self {
        // A session's first poll sets its cursor.
        client.messaging("poll/updates", json!({"timeout": 0})).await;
        let state = read(&client).await;
        Self { client, state }
    }

    /// Applies one answer of `poll/updates`. True if it held an update.
    async fn updates(&mut self, timeout: u32) -> bool {
        let told = self.client.messaging("poll/updates", json!({"timeout": timeout})).await;
        let threads = list(&told, "threads_with_updates");
        assert_eq!(told["has_updates"], !threads.is_empty(), "{told}");
        for thread in threads {
            self.state.entry(number(thread, "thread_id")).or_default().unread = number(thread, "unread_count");
        }
        !threads.is_empty()
    }

    /// Applies the messages of a thread after the last known one. True if there were any.
    async fn messages(&mut self, of: i64, timeout: u32) -> bool {
        let thread = self.state.get_mut(&of).expect("it is a known thread");
        let last = thread.messages.last().map_or(0, |(id, _, _)| *id);
        let params = json!({"thread_id": of, "last_message_id": last, "timeout": timeout});
        let told = self.client.messaging("poll/messages", params).await;
        thread.messages.extend(list(&told, "messages").iter().map(message));
        told["has_new"] == true
    }

    /// Polls until the state equals `now`. Every difference must be reported: no poll may end without news.
    async fn catch_up(&mut self, now: &State) {
        loop {
            let known = |state: &State, id| state.get(id).cloned().unwrap_or_default();
            let stale = now.iter().find(|(id, thread)| known(&self.state, id).unread != thread.unread);
            if let Some((id, thread)) = stale {
                let told = self.updates(5).await;
                assert!(told, "thread {id} holds {} unread, and no poll says so: {:?}", thread.unread, self.state.get(id));
                continue;
            }
            let stale = now.iter().find(|(id, thread)| known(&self.state, id).messages != thread.messages);
            let Some((id, _)) = stale.map(|(id, thread)| (*id, thread)) else { return };
            // A client's own sends are no updates for it, so the thread may be new.
            self.state.entry(id).or_default();
            assert!(self.messages(id, 5).await, "thread {id} holds more, and no poll says so");
        }
    }
}

/// Performs a random action as one of the users.
async fn act(dice: &mut Dice, actors: &[Client], threads: &mut Vec<i64>) {
    let actor = dice.pick(actors);
    let thread = *dice.pick(threads);
    match dice.below(10) {
        // Refusals for non-members change nothing and are part of the test.
        0..=4 => drop(actor.messaging("message/send", json!({"thread_id": thread, "body": format!("die {}", dice.0)})).await),
        5 | 6 => {
            let page = actor.messaging("messages", json!({"thread_id": thread, "limit": 5})).await;
            let ids: Vec<_> = page["messages"].as_array().into_iter().flatten().map(|message| message["id"].clone()).collect();
            if !ids.is_empty() {
                actor.messaging("message/read", json!({"message_id": dice.pick(&ids)})).await;
            }
        }
        7 => drop(actor.messaging("notifications/mark_all_read", json!({"thread_id": thread})).await),
        8 => {
            const PEOPLE: [&[i64]; 4] = [&[2, 4], &[4, 6], &[2, 6, 8], &[4, 8]];
            let params = json!({"name": "another", "partner_ids": dice.pick(&PEOPLE), "thread_type": "group"});
            threads.push(number(&actor.messaging("thread/create", params).await, "thread_id"));
        }
        _ => {
            const PEOPLE: Range<i64> = 2..9;
            let person = PEOPLE.start + 2 * i64::try_from(dice.below(4)).expect("it is small");
            actor.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": person})).await;
        }
    }
}

async fn tell(server: &Server, seed: u64) {
    let mut actors = Vec::new();
    for login in [ADMIN, JOHN, JANE, BOB] {
        actors.push(server.log_in(login).await);
    }
    let mut dice = Dice(seed);
    let mut threads = vec![1, 2];
    for _ in 0..ACTIONS {
        act(&mut dice, &actors, &mut threads).await;
    }
    // The follower is one of the acting users, with another session.
    let mut follower = Follower::begin(server.log_in(JOHN).await).await;
    for round in 0..ROUNDS {
        for _ in 0..ACTIONS {
            act(&mut dice, &actors, &mut threads).await;
            if dice.below(4) == 0 {
                follower.updates(0).await;
            }
        }
        let now = read(&follower.client).await;
        follower.catch_up(&now).await;
        let unread: i64 = now.values().map(|thread| thread.unread).sum();
        let count = follower.client.messaging("notifications/count", json!({})).await;
        assert_eq!(number(&count, "total_count"), unread, "round {round}");
        let known: State = now.keys().map(|id| (*id, follower.state.get(id).cloned().unwrap_or_default())).collect();
        assert_eq!(known, now, "round {round} of seed {seed}");
        assert!(follower.state.keys().all(|id| now.contains_key(id)), "nothing is told of threads that it cannot read");
    }
}

on_every_backend! {
    async fn what_was_read_and_what_was_told_are_what_is(server) {
        for seed in [1, 20_251_203, 77] {
            tell(server, seed).await;
        }
    }
}
