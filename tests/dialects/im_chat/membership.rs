//! Tests of membership: a new member receives later events only, a former one earlier events only; the ring and the event log
//! give the same result.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::Person;
use crate::{
    support::{ADMIN, BOB, Backend, JANE, JOHN, Server},
    with_every_backend,
};

const ACTIONS: usize = 60;

/// Pseudo-random numbers with a fixed seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits fit") % sides
    }
}

/// One user with two clients: `diligent` polls after each relevant event, `absent` only at the end.
struct Actor {
    diligent: Person,
    absent: Person,
    /// Texts posted while the user was a member.
    expected: Vec<String>,
    heard: Vec<Value>,
}

impl Actor {
    async fn log_in(server: &Server, login: &str) -> Self {
        let (mut diligent, mut absent) = (Person::log_in(server, login).await, Person::log_in(server, login).await);
        // Cursor at the beginning of the event log.
        (diligent.last, absent.last) = (1, 1);
        Self { diligent, absent, expected: Vec::new(), heard: Vec::new() }
    }

    async fn catch_up(person: &mut Person) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let told = person.poll().await;
            if told.is_empty() {
                return all;
            }
            all.extend(told);
        }
    }
}

fn texts(told: &[Value]) -> Vec<String> {
    let texts = told.iter().filter(|told| told["message"]["type"] == "message");
    texts.map(|told| told["message"]["message"].as_str().unwrap().to_owned()).collect()
}

struct Room {
    uuid: String,
    /// Indexes into the list of actors.
    members: BTreeSet<usize>,
}

/// Notifications without the parts that depend on time and node.
fn comparable(told: &[Value], rooms: &[Room]) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("create_date");
                fields.remove("im_status");
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut text = json!(told).to_string();
    for (number, room) in rooms.iter().enumerate() {
        text = text.replace(&room.uuid, &format!("room {number}"));
    }
    let mut value = serde_json::from_str(&text).unwrap();
    strip(&mut value);
    value
}

async fn act(dice: &mut Dice, actors: &mut [Actor], room: &mut Room, number: usize) {
    let members: Vec<_> = room.members.iter().copied().collect();
    let (member, anybody) = (members[dice.below(members.len())], dice.below(actors.len()));
    let uuid = room.uuid.clone();
    match dice.below(4) {
        0 if !room.members.contains(&anybody) => {
            let uid = actors[anybody].diligent.uid;
            actors[member].diligent.call_kw("im_chat.session", "add_user", json!([uuid, uid])).await;
            room.members.insert(anybody);
        }
        1 if members.len() > 2 => {
            let left = actors[member].diligent.call_kw("im_chat.session", "quit_user", json!([uuid])).await;
            assert_eq!(left["result"], true);
            room.members.remove(&member);
        }
        _ => {
            let text = format!("text {number}");
            assert!(actors[member].diligent.post(&uuid, &text).await.is_i64());
            for present in &members {
                actors[*present].expected.push(text.clone());
            }
        }
    }
    for present in members {
        let told = actors[present].diligent.poll().await;
        actors[present].heard.extend(told);
    }
}

/// Runs the same steps on a server with a ring of this size; returns the notifications of each absent client.
async fn story(backend: Backend, recent_events: usize) -> Vec<Value> {
    let server = Server::builder(backend).set("LIMITS__RECENT_EVENTS", recent_events).set("IM_CHAT__POLL_SECONDS", 1);
    let mut server = server.start().await;
    let mut actors = Vec::new();
    for login in [ADMIN, JOHN, JANE, BOB] {
        actors.push(Actor::log_in(&server, login).await);
    }
    let mut rooms = Vec::new();
    for document in 0..2 {
        let about = json!({"user_to": actors[1].diligent.uid, "doc_id": document, "doc_model": "sale.order"});
        let session = actors[0].diligent.im_chat("api/get_or_create_session", about).await;
        rooms.push(Room { uuid: session["uuid"].as_str().unwrap().to_owned(), members: [0, 1].into() });
    }
    let mut dice = Dice(9);
    for number in 0..ACTIONS {
        let room = dice.below(rooms.len());
        act(&mut dice, &mut actors, &mut rooms[room], number).await;
    }
    let mut all = Vec::new();
    for actor in &mut actors {
        let rest = Actor::catch_up(&mut actor.diligent).await;
        actor.heard.extend(rest);
        let told = Actor::catch_up(&mut actor.absent).await;
        let who = &actor.diligent.uid;
        assert_eq!(texts(&actor.heard), actor.expected, "{who}, who polls all the time");
        assert_eq!(texts(&told), actor.expected, "{who}, who was away");
        all.push(comparable(&told, &rooms));
    }
    assert!(actors.iter().any(|actor| actor.expected.len() < actors[0].expected.len()), "somebody was away for some time");
    server.stop().await;
    all
}

with_every_backend! {
    async fn memory_and_log_tell_the_same(backend) {
        let other = backend.another().await;
        let (remembered, read) = (story(backend, 16_384).await, story(other, 1).await);
        assert_eq!(remembered, read);
    }

    /// Newcomer: earlier messages are unread, but not sent as new.
    async fn who_joins_hears_only_what_follows(backend) {
        let mut server = Server::builder(backend).set("LIMITS__RECENT_EVENTS", 1).start().await;
        let (jane, bob) = (Person::log_in(&server, JANE).await, Person::log_in(&server, BOB).await);
        let mut john = Person::log_in(&server, JOHN).await;
        let uuid = jane.session_with(&bob).await;
        jane.post(&uuid, "before").await;
        jane.call_kw("im_chat.session", "add_user", json!([uuid, john.uid])).await;
        jane.post(&uuid, "meanwhile").await;
        john.call_kw("im_chat.session", "quit_user", json!([uuid])).await;
        jane.post(&uuid, "after").await;
        jane.call_kw("im_chat.session", "add_user", json!([uuid, john.uid])).await;
        jane.post(&uuid, "again").await;
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last| last != "again") {
            heard.extend(texts(&john.poll().await));
        }
        assert_eq!(heard, ["meanwhile", "again"]);
        server.stop().await;
    }
}

/// Several membership changes of another node in one batch: each event goes to the members at its position.
#[tokio::test]
async fn another_node_tells_the_same() {
    let backend = Backend::postgres().await;
    let (mut here, mut there) = (Server::demo(backend.clone()).await, Server::demo(backend).await);
    let (jane, bob) = (Person::log_in(&here, JANE).await, Person::log_in(&here, BOB).await);
    let (mut john, leaver) = (Person::log_in(&there, JOHN).await, Person::log_in(&here, JOHN).await);
    let uuid = jane.session_with(&bob).await;
    let join = json!([uuid, john.uid]);
    jane.post(&uuid, "before").await;
    for round in 0..5 {
        jane.call_kw("im_chat.session", "add_user", join.clone()).await;
        jane.post(&uuid, &format!("meanwhile {round}")).await;
        leaver.call_kw("im_chat.session", "quit_user", json!([uuid])).await;
        jane.post(&uuid, "after").await;
    }
    jane.call_kw("im_chat.session", "add_user", join).await;
    jane.post(&uuid, "again").await;
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != "again") {
        heard.extend(texts(&john.poll().await));
    }
    assert_eq!(heard, ["meanwhile 0", "meanwhile 1", "meanwhile 2", "meanwhile 3", "meanwhile 4", "again"]);
    here.stop().await;
    there.stop().await;
}
