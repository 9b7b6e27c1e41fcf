//! Reader of the model test: collects every answer that a user can get, and checks that none holds a deleted or hidden text.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{
    model::{MEETING, Model, ONE, OTHER, PEOPLE, PLACES, THIRD},
    world::{PERSONS, World},
};
use crate::support::{Answer, token, until};

/// Starting points of one sequence's reads.
pub struct Looking {
    /// Positions of the event log at which a client could have stopped.
    positions: BTreeSet<i64>,
    /// The last message id of each conversation before the sequence.
    before: [i64; PLACES],
    since: String,
}

/// A request and its answer.
type Answered = (String, String);

impl Looking {
    pub async fn begin(world: &World) -> Self {
        let mut before = [0; PLACES];
        for (place, before) in before.iter_mut().enumerate() {
            let reader = if place > MEETING { PEOPLE - 1 } else { ONE };
            let params = json!({"thread_id": world.places[place].id, "limit": 1});
            let newest = world.clients[0][reader].messaging("messages", params).await;
            *before = newest["messages"][0]["id"].as_i64().unwrap_or(0);
        }
        let positions = BTreeSet::from([head(world).await]);
        Self { positions, before, since: chrono::Utc::now().to_rfc3339() }
    }

    /// Records the position after an action.
    pub async fn passes(&mut self, world: &World) {
        let head = head(world).await;
        self.positions.insert(head);
    }

    /// Lets one of the readers read at one of the nodes.
    pub async fn one_looks(&self, world: &World, model: &mut Model, number: usize) -> Result<(), String> {
        are_level(world).await;
        let readers: Vec<_> = (0..PEOPLE).filter(|who| (0..PLACES).any(|place| model.is_in(*who, place))).collect();
        let node = (number + 1) % world.nodes.len();
        let some = [self.positions.first(), self.positions.last()].into_iter().flatten().copied().collect();
        self.looks(world, model, (node, readers[number % readers.len()]), &some).await
    }

    /// Lets all readers read at every node, and tries every address of a file.
    pub async fn all_look(&self, world: &World, model: &mut Model) -> Result<(), String> {
        are_level(world).await;
        ask_for_addresses(world, model).await;
        let model = &*model;
        // Skips users without a message of this sequence in their conversations.
        let concerned = |who: &usize| *who == THIRD || model.said.iter().any(|said| model.is_in(*who, said.place));
        let readers: Vec<_> = (0..PEOPLE).filter(concerned).collect();
        // Each reader polls from the first position and from some of the later ones.
        let some = |part: usize| {
            let is_some = |place: usize| place == 0 || place % readers.len() == part;
            self.positions.iter().enumerate().filter(|(place, _)| is_some(*place)).map(|(_, position)| *position).collect()
        };
        let parts: Vec<BTreeSet<i64>> = (0..readers.len()).map(some).collect();
        let readers: Vec<_> = readers.iter().zip(&parts).collect();
        let everybody = (0..world.nodes.len()).flat_map(|node| readers.iter().map(move |(who, part)| ((node, **who), *part)));
        let found = join_all(everybody.map(|(at, part)| self.looks(world, model, at, part))).await;
        found.into_iter().collect::<Result<Vec<()>, _>>()?;
        for node in 0..world.nodes.len() {
            try_addresses(world, model, node).await?;
        }
        Ok(())
    }

    /// Checks one user's answers at one node, with polls of the bus from these positions.
    async fn looks(
        &self,
        world: &World,
        model: &Model,
        (node, who): (usize, usize),
        positions: &BTreeSet<i64>,
    ) -> Result<(), String> {
        let hidden = model.hidden_from(who);
        let mut answers = self.in_places(world, model, node, who).await;
        answers.extend(elsewhere(world, node, who, &self.since, positions).await);
        for (asked, answer) in &answers {
            if let Some(found) = hidden.iter().find(|hidden| answer.contains(**hidden)) {
                let name = PERSONS[who].login;
                return Err(format!("{name} finds {found} at node {node} by {asked}: {answer}\n{model:#?}"));
            }
        }
        for place in 0..PLACES {
            let history = format!("/api/messaging/messages {}", world.places[place].id);
            let history = answers.iter().find(|(asked, _)| *asked == history).map_or("", |(_, answer)| answer);
            if let Some(missing) = model.shown_to(who, place).into_iter().find(|shown| !history.contains(shown)) {
                return Err(format!("{} misses {missing} at node {node}: {history}\n{model:#?}", PERSONS[who].login));
            }
        }
        Ok(())
    }

    /// Answers of the routes that name a conversation, for its present and former members.
    async fn in_places(&self, world: &World, model: &Model, node: usize, who: usize) -> Vec<Answered> {
        let client = &world.clients[node][who];
        let mut answers = Vec::new();
        for place in (0..PLACES).filter(|place| model.is_in(who, *place) || (who == THIRD && *place < MEETING)) {
            let (spot, before) = (&world.places[place], self.before[place]);
            let page = json!({"thread_id": spot.id, "last_message_id": before, "uuid": spot.uuid, "limit": 200, "timeout": 0});
            for path in ["/api/messaging/messages", "/api/messaging/poll/messages", "/im_chat/history", "/im_chat/api/history"] {
                answers.push((format!("{path} {}", spot.id), client.call(path, page.clone()).await.to_string()));
            }
            answers.push(in_room(world, node, who, format!("/chat/thread/files/{}/", spot.id)).await);
            if model.is_in(who, place) {
                let mut socket = world.enter(node, who, place).await;
                for fetch in [json!({"limit": 100}), json!({"limit": 100, "after_id": before})] {
                    let mut asked = json!({"action": "fetch_messages"});
                    asked.as_object_mut().expect("it is one").extend(fetch.as_object().expect("it is one").clone());
                    socket.say(asked.clone()).await;
                    let fetched = socket.hear_until(|told| told["type"] == "messages_fetched").await;
                    answers.push((format!("{asked} in {}", spot.id), fetched.to_string()));
                }
                socket.close().await;
            }
        }
        answers
    }
}

/// Answers of the routes that name no conversation.
async fn elsewhere(world: &World, node: usize, who: usize, since: &str, positions: &BTreeSet<i64>) -> Vec<Answered> {
    let client = &world.clients[node][who];
    let mut calls = vec![
        ("/api/messaging/threads", json!({})),
        ("/api/messaging/poll/updates", json!({"timeout": 0, "last_check": since})),
        // Beginning of every marker.
        ("/api/messaging/messages/search", json!({"query": "mark0", "limit": 100})),
        ("/api/messaging/unread/count", json!({})),
        ("/im_chat/init", json!({})),
        ("/im_chat/api/init", json!({})),
        ("/im_chat/api/get_sessions", json!({})),
        ("/im_chat/api/get_sessions_group", json!({})),
    ];
    let uuids: Vec<_> = world.places.iter().map(|spot| spot.uuid.as_str()).collect();
    for last in positions.iter().map(|position| position << 20).chain([0]) {
        calls.push(("/longpolling/poll", json!({"channels": uuids, "last": last})));
    }
    let mut answers = Vec::new();
    for (path, params) in calls {
        let asked = format!("{path} {params}");
        answers.push((asked, client.call(path, params).await.to_string()));
    }
    let others = [ONE, OTHER, THIRD].into_iter().filter(|other| *other != who);
    let with_others = others.map(|other| format!("/chat/messages/{}/?limit=200", PERSONS[other].uuid));
    for path in with_others.chain(["/chat/user/threads/".to_owned()]) {
        answers.push(in_room(world, node, who, path).await);
    }
    let history = world.at_desk(node, who).await;
    answers.extend(history.map(|history| ("get-chat-messages".to_owned(), history.to_string())));
    answers
}

async fn in_room(world: &World, node: usize, who: usize, path: String) -> Answered {
    let request = world.nodes[node].client().request(Method::GET, &path).bearer_auth(token(PERSONS[who].uid));
    let answer = Answer::of(request).await.body;
    (path, answer)
}

/// The largest position that any node has read of the event log.
async fn head(world: &World) -> i64 {
    let mut head = 0;
    for node in &world.nodes {
        head = head.max(position(node).await);
    }
    head
}

async fn position(node: &crate::support::Server) -> i64 {
    let answer = node.get("/metrics").await.text().await.expect("the answer is whole");
    let line = answer.lines().find_map(|line| line.strip_prefix("dragoman_log_position "));
    line.and_then(|position| position.parse().ok()).expect("it is counted")
}

/// Waits until all nodes have read the event log equally far.
async fn are_level(world: &World) {
    let head = head(world).await;
    for node in &world.nodes {
        until("what happened at another node", async || (position(node).await >= head).then_some(())).await;
    }
}

/// Requests an address of every file for each of its readers, unless they have one, and keeps it.
async fn ask_for_addresses(world: &World, model: &mut Model) {
    for file in 0..model.files.len() {
        for who in 0..PEOPLE {
            if model.files[file].addresses[who].is_none() && model.reads_file(who, file) {
                let address = world.clients[0][who].address_of(&json!(model.files[file].id)).await;
                model.files[file].addresses[who] = Some(address);
            }
        }
    }
}

/// Checks all addresses: each works if and only if the user who received it may read the file now, whoever uses it.
async fn try_addresses(world: &World, model: &Model, node: usize) -> Result<(), String> {
    for (number, file) in model.files.iter().enumerate() {
        for (who, person) in PERSONS.iter().enumerate() {
            let may = model.reads_file(who, number);
            let given = file.addresses[who].iter().map(|path| (world.nodes[node].client(), path.clone()));
            let bare = (world.clients[node][who].clone(), format!("/api/messaging/attachment/{}", file.id));
            for (client, path) in given.chain([bare]) {
                let answer = Answer::of(client.request(Method::GET, &path)).await;
                let expected = match (may, model.is_held(number)) {
                    (true, _) => 200,
                    (false, true) => 403,
                    (false, false) => 404,
                };
                if answer.status != expected || (may && answer.body != file.content) {
                    let name = person.login;
                    return Err(format!("node {node} answers {path} of {name} with {answer:?}, not {expected}\n{model:#?}"));
                }
            }
        }
    }
    for (number, upload) in model.uploads.iter().enumerate() {
        // Its address may name another node.
        let (_, path) = upload.url.split_once("/files/").expect("it is an address");
        let answer = Answer::of(world.nodes[node].client().request(Method::GET, &format!("/files/{path}"))).await;
        let is_kept = model.is_kept(number);
        if (answer.status == 200) != is_kept || (is_kept && answer.body != upload.content) {
            return Err(format!("node {node} answers {} with {answer:?}, but it is kept: {is_kept}\n{model:#?}", upload.url));
        }
    }
    Ok(())
}
