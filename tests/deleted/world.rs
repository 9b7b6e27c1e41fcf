//! The servers under test, with their files, users and conversations, and the actions of a sequence as calls to them.

use std::{collections::HashSet, path::Path};

use reqwest::{
    Method,
    header::CONTENT_TYPE,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use super::{
    look::Looking,
    model::{
        AGENT, Action, DIRECT, File, GROUP, MEETING, Model, ONE, OTHER, PEOPLE, PLACES, SUPPORT, TENANT, THIRD, Upload, With,
    },
    stored::{row_with, words_in_files},
};
use crate::{
    across::people::{self, Place, asked, concierge},
    support::{ADMIN, Answer, Client, JANE, JOHN, Server, Socket, files_below, http, token, until},
};

/// A user of the demo data.
pub struct Person {
    pub login: &'static str,
    pub uid: i64,
    pub uuid: &'static str,
}

pub const PERSONS: [Person; PEOPLE] = [
    Person { login: ADMIN, uid: 2, uuid: "75140d72-8b20-4549-885c-20599badb486" },
    Person { login: JOHN, uid: 4, uuid: "302e305b-6e73-4f9c-bac7-551a92b106b0" },
    Person { login: JANE, uid: 6, uuid: "3fa85f64-5717-4562-b3fc-2c963f66afa6" },
    Person { login: people::TENANT.login, uid: people::TENANT.uid, uuid: "" },
    Person { login: people::AGENT.login, uid: people::AGENT.uid, uuid: "" },
];

/// A conversation's id and uuid.
#[derive(Clone, Debug)]
pub struct Spot {
    pub id: i64,
    pub uuid: String,
}

pub struct World {
    pub nodes: Vec<Server>,
    /// Clients by node, then by person.
    pub clients: Vec<Vec<Client>>,
    pub places: Vec<Spot>,
    files: tempfile::TempDir,
    /// Conversation of all persons. A message there ends a sequence, so that no poll waits.
    everybody: i64,
    support: Place,
    /// Count of the markers so far: every text, name and content begins with its own.
    numbers: usize,
    cases: usize,
    /// Markers of everything that was taken back.
    gone: HashSet<String>,
}

impl World {
    pub async fn begin(nodes: Vec<Server>, files: tempfile::TempDir) -> Self {
        let mut clients = vec![Vec::new(); nodes.len()];
        for person in &PERSONS {
            let client = nodes[0].log_in(person.login).await;
            for (node, clients) in nodes.iter().zip(&mut clients) {
                clients.push(node.client().with_session(client.session()));
            }
        }
        let support = Place::support(&nodes[0]).await;
        let meeting = Place::direct(&nodes[0]).await;
        let uids: Vec<_> = PERSONS.iter().map(|person| person.uid).collect();
        let params = json!({"name": "everybody", "partner_ids": uids, "thread_type": "group"});
        let everybody = clients[0][ONE].messaging("thread/create", params).await["thread_id"].as_i64().expect("it is created");
        let nowhere = Spot { id: 0, uuid: String::new() };
        let spot = |place: &Place| Spot { id: place.id, uuid: place.uuid.clone() };
        let places = vec![nowhere.clone(), nowhere, spot(&meeting), spot(&support)];
        Self { nodes, clients, places, files, everybody, support, numbers: 0, cases: 0, gone: HashSet::new() }
    }

    /// Stops the servers. None of their log lines holds a marker, and no byte of a database file one that was taken back.
    pub async fn end(mut self) {
        let backend = self.nodes[0].backend();
        if backend.kind() == "sqlite" {
            until("a checkpoint without what was taken back", async || {
                words_in_files(backend, MARK, marker(0).len()).is_disjoint(&self.gone).then_some(())
            })
            .await;
        }
        for node in &mut self.nodes {
            let log = node.log();
            let told = (1..=self.numbers).map(marker).find(|marker| log.contains(marker.as_str()));
            assert_eq!(told, None, "the program's log holds what was said");
            node.stop().await;
        }
    }

    /// Runs one sequence of actions, in new conversations.
    pub async fn happen(&mut self, actions: &[Action]) -> Result<(), String> {
        self.cases += 1;
        let about = json!({"user_to": PERSONS[OTHER].uid, "doc_id": self.cases, "doc_model": "case"});
        let session = self.clients[0][ONE].result("/im_chat/api/get_or_create_session", about).await;
        self.places[DIRECT] = spot(&session);
        let uids = [PERSONS[ONE].uid, PERSONS[OTHER].uid];
        let params = json!({"name": format!("case {}", self.cases), "partner_ids": uids, "thread_type": "group"});
        let id = self.clients[0][ONE].messaging("thread/create", params).await["thread_id"].as_i64().expect("it is created");
        self.places[GROUP] = Spot { id, uuid: self.uuid_of(id).await };
        let mut looking = Looking::begin(self).await;
        let mut model = Model::default();
        for (number, action) in actions.iter().enumerate() {
            let node = number % self.nodes.len();
            let takes_back = self.act(node, &mut model, action).await;
            looking.passes(self).await;
            if takes_back {
                self.tell_everybody().await;
                looking.one_looks(self, &mut model, number).await?;
            }
        }
        self.tell_everybody().await;
        looking.all_look(self, &mut model).await?;
        self.nothing_is_stored(&model).await
    }

    /// The uuid of a group's session, from the bus of a member.
    async fn uuid_of(&self, id: i64) -> String {
        let client = &self.clients[0][ONE];
        let sent = client.messaging("message/send", json!({"thread_id": id, "body": "begins"})).await["message_id"].take();
        let init = client.result("/im_chat/init", json!({})).await;
        let posted = init.as_array().expect("it is a list").iter().find(|told| told[1]["id"] == sent);
        posted.and_then(|told| told[1]["to_id"][1].as_str()).unwrap_or_else(|| panic!("{sent} is told: {init}")).to_owned()
    }

    fn marker(&mut self) -> String {
        self.numbers += 1;
        marker(self.numbers)
    }

    async fn tell_everybody(&self) {
        let sent = json!({"thread_id": self.everybody, "body": "go on"});
        self.clients[0][ONE].messaging("message/send", sent).await;
    }

    /// Performs an action if it is possible. True if the action deletes, edits or revokes something.
    async fn act(&mut self, node: usize, model: &mut Model, action: &Action) -> bool {
        match action {
            Action::Post { place, who, with } => {
                let place = usize::from(*place) % PLACES;
                let members = model.members(place);
                self.post(node, model, place, members[usize::from(*who) % members.len()], with).await;
                false
            }
            Action::Edit(which) => {
                let open: Vec<_> = changeable(model);
                let Some(said) = pick(&open, *which) else { return false };
                let text = self.marker();
                let said = &mut model.said[said];
                if which % 2 == 0 {
                    let change = json!({"action": "edit_message", "message_id": said.id, "content": text});
                    self.change(node, said.author, said.place, change, "message.edited").await;
                } else {
                    let params = json!({"message_id": said.id, "body": text});
                    let edited = self.clients[node][said.author].messaging("message/edit", params).await;
                    assert_eq!(edited["success"], true, "{edited}");
                }
                let past = std::mem::replace(&mut said.text, text);
                said.past.push(past);
                said.upload = None;
                true
            }
            Action::Delete { which, at_desk } => {
                let open: Vec<_> = changeable(model);
                let Some(said) = pick(&open, *which) else { return false };
                let said = &mut model.said[said];
                if *at_desk && said.place == SUPPORT {
                    let who = if said.author == TENANT { people::TENANT } else { people::AGENT };
                    let mut socket = concierge(&self.nodes[node], who, "deleting").await;
                    let body = json!({"chatSessionId": self.support.session, "messageId": said.id});
                    asked(&mut socket, &format!("{}/delete-message", who.side), body).await;
                    socket.close().await;
                } else if which % 2 == 0 {
                    let change = json!({"action": "delete_message", "message_id": said.id});
                    self.change(node, said.author, said.place, change, "message.deleted").await;
                } else {
                    let params = json!({"message_id": said.id});
                    let deleted = self.clients[node][said.author].messaging("message/delete", params).await;
                    assert_eq!(deleted["success"], true, "{deleted}");
                }
                said.is_deleted = true;
                true
            }
            Action::EraseFile(which) => {
                let there: Vec<_> = (0..model.files.len()).filter(|file| model.is_held(*file)).collect();
                let Some(file) = pick(&there, *which) else { return false };
                let file = &mut model.files[file];
                let erased = self.clients[node][file.owner].messaging(&format!("attachment/delete/{}", file.id), json!({})).await;
                assert_eq!(erased["success"], true, "{erased}");
                file.is_erased = true;
                true
            }
            Action::Join { group } => {
                let place = usize::from(*group);
                if !model.is_there[place] {
                    let params = json!({"thread_id": self.places[place].id, "partner_id": PERSONS[THIRD].uid});
                    let added = self.clients[node][ONE].messaging("thread/add_participant", params).await;
                    assert_eq!(added["success"], true, "{added}");
                    model.joins(place);
                }
                false
            }
            Action::Leave { group } => {
                let place = usize::from(*group);
                let was_there = std::mem::take(&mut model.is_there[place]);
                if was_there {
                    let args = json!([self.places[place].uuid]);
                    let params = json!({"model": "im_chat.session", "method": "quit_user", "args": args, "kwargs": {}});
                    assert_eq!(self.clients[node][THIRD].result("/web/dataset/call_kw", params).await, true);
                }
                // Leaving revokes the reader's access.
                was_there
            }
        }
    }

    async fn post(&mut self, node: usize, model: &mut Model, place: usize, who: usize, with: &With) {
        let text = self.marker();
        match with {
            With::Nothing(how) => {
                let note = (place == SUPPORT && how % 4 == 2).then(|| self.marker());
                let id = self.say(node, place, who, &text, *how, note.as_deref()).await;
                model.posts(id, place, who, text).note = note;
            }
            With::File => {
                let file = self.upload(node, model, who).await;
                let id = self.send(node, place, who, &text, Some(model.files[file].id)).await;
                model.posts(id, place, who, text).files.push(file);
            }
            With::SameFile(which) => {
                let own: Vec<_> =
                    (0..model.files.len()).filter(|file| model.files[*file].owner == who && model.is_held(*file)).collect();
                let Some(file) = pick(&own, *which) else { return };
                let id = self.send(node, place, who, &text, Some(model.files[file].id)).await;
                model.posts(id, place, who, text).files.push(file);
            }
            With::RoomFile(shown) => {
                // `room` addresses a user, so the message goes to the one conversation of the two.
                let who = if who == OTHER { OTHER } else { ONE };
                self.send_in_room(node, model, who, text, *shown).await;
            }
            With::Upload => {
                let upload = self.put(node, model, who).await;
                let named = format!("{text} {}", model.uploads[upload].url);
                let id = self.send(node, place, who, &named, None).await;
                model.posts(id, place, who, text).upload = Some(upload);
                model.uploads[upload].was_named = true;
            }
            With::Quote(which) => {
                let there: Vec<_> = (0..model.uploads.len()).filter(|upload| model.is_kept(*upload)).collect();
                let Some(upload) = pick(&there, *which) else { return };
                let named = format!("{text} {}", model.uploads[upload].url);
                let id = self.send(node, place, who, &named, None).await;
                model.posts(id, place, who, text).upload = Some(upload);
            }
        }
    }

    /// Sends a text in one of the dialects.
    async fn say(&self, node: usize, place: usize, who: usize, text: &str, how: u8, note: Option<&str>) -> i64 {
        let key = uuid::Uuid::new_v4().to_string();
        match how % 4 {
            0 => {
                let post = json!({"uuid": self.places[place].uuid, "message_type": "message", "message_content": text});
                number(&self.clients[node][who].result("/im_chat/post", post).await)
            }
            1 => {
                let mut socket = self.enter(node, who, place).await;
                socket.say(json!({"action": "send_message", "content": text, "local_id": key})).await;
                let told = socket.hear_until(|told| told["message"]["content"] == text).await;
                socket.close().await;
                number(&told["message"]["id"])
            }
            2 if place == MEETING => {
                let mut socket = self.enter_room(node, who).await;
                let receiver = PERSONS[ONE + OTHER - who].uuid;
                socket.say(json!({"action": "text_message", "message_body": text, "receiver_id": receiver})).await;
                let told = socket.hear_until(|told| told["message"] == text).await;
                socket.close().await;
                number(&told["created_msg_id"])
            }
            2 if place == SUPPORT => {
                let person = if who == TENANT { people::TENANT } else { people::AGENT };
                let mut socket = concierge(&self.nodes[node], person, "saying").await;
                let metadata = json!({"note": note, "messageUid": key});
                let body = json!({"chatSessionId": self.support.session, "messageContent": text, "metadata": metadata});
                let sent = asked(&mut socket, &format!("{}/send-message", person.side), body).await;
                socket.close().await;
                number(&sent["chatMessage"]["id"])
            }
            _ => self.send(node, place, who, text, None).await,
        }
    }

    async fn send(&self, node: usize, place: usize, who: usize, body: &str, file: Option<i64>) -> i64 {
        let files = Vec::from_iter(file);
        let params = json!({"thread_id": self.places[place].id, "body": body, "attachment_ids": files});
        number(&self.clients[node][who].messaging("message/send", params).await["message_id"])
    }

    async fn upload(&mut self, node: usize, model: &mut Model, owner: usize) -> usize {
        let (name, content) = (self.marker(), self.marker());
        let form = Form::new().part("file", Part::bytes(content.clone().into_bytes()).file_name(format!("{name}.txt")));
        let request = self.clients[node][owner].request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
        let id = number(&Answer::of(request).await.json()["attachment_id"]);
        model.files.push(File { id, name, content, owner, is_erased: false, addresses: Default::default() });
        model.files.len() - 1
    }

    async fn put(&mut self, node: usize, model: &mut Model, owner: usize) -> usize {
        let content = self.marker();
        let wish = json!({"filename": "a.txt", "mimeType": "text/plain", "type": "chat-images"});
        let given =
            self.clients[node][owner].post("/file-new/get-upload-url", &wish).await.json()["data"]["uploadUrlData"].take();
        let [put, url] = ["uploadURL", "resourceUrl"].map(|key| given[key].as_str().expect("it is given").to_owned());
        let taken = Answer::of(http().put(put).header(CONTENT_TYPE, "text/plain").body(content.clone())).await;
        assert_eq!(taken.status, 200, "{taken:?}");
        model.uploads.push(Upload { url, content, owner, was_named: false });
        model.uploads.len() - 1
    }

    /// Uploads a file in `room`. The server holds the message back until its sender shows it or disconnects.
    async fn send_in_room(&mut self, node: usize, model: &mut Model, who: usize, text: String, shown: bool) {
        let (name, content) = (self.marker(), self.marker());
        let receiver = PERSONS[ONE + OTHER - who].uuid;
        let mut socket = self.enter_room(node, who).await;
        let form = Form::new().text("receiver", receiver).text("message", text.clone());
        let form = form.part("attached_file", Part::bytes(content.clone().into_bytes()).file_name(format!("{name}.txt")));
        let request = self.nodes[node].client().request(Method::POST, "/chat/attachment/");
        let message =
            Answer::of(request.bearer_auth(token(PERSONS[who].uid)).multipart(form)).await.json()["entity"]["message"].take();
        let id = number(&message["id"]);
        if shown {
            socket.say(json!({"action": "file_message", "chat_id": id})).await;
            socket.hear_until(|told| told["created_msg_id"] == id).await;
        }
        socket.close().await;
        let path = message["attached_file"].as_str().expect("it has an address").to_owned();
        let file = path.strip_prefix("/api/messaging/attachment/").and_then(|rest| rest.split('/').next()).expect("it is one");
        let mut addresses: [Option<String>; PEOPLE] = Default::default();
        let id_of_file = file.parse().expect("it is a number");
        addresses[who] = Some(path);
        model.files.push(File { id: id_of_file, name, content, owner: who, is_erased: false, addresses });
        let file = model.files.len() - 1;
        model.posts(id, MEETING, who, text).files.push(file);
    }

    pub async fn enter(&self, node: usize, who: usize, place: usize) -> Socket {
        let path = format!("/conversations/{}/?token={}", self.places[place].id, token(PERSONS[who].uid));
        Socket::open(self.nodes[node].socket_url(&path)).await
    }

    async fn enter_room(&self, node: usize, who: usize) -> Socket {
        let path = format!("/ws/chat/room/?token={}", token(PERSONS[who].uid));
        let mut socket = Socket::open(self.nodes[node].socket_url(&path)).await;
        socket.heard_so_far().await;
        socket
    }

    pub async fn at_desk(&self, node: usize, who: usize) -> Option<Value> {
        let person = match who {
            TENANT => people::TENANT,
            AGENT => people::AGENT,
            _ => return None,
        };
        let mut socket = concierge(&self.nodes[node], person, &format!("reader-{node}")).await;
        let route = format!("{}/get-chat-messages?page=1&limit=100", person.side);
        let history = asked(&mut socket, &route, json!({"chatSessionId": self.support.session})).await;
        socket.close().await;
        Some(history)
    }

    async fn change(&self, node: usize, who: usize, place: usize, change: Value, outcome: &str) {
        let mut socket = self.enter(node, who, place).await;
        let id = change["message_id"].to_string();
        socket.say(change).await;
        let told =
            socket.hear_until(|told| told["type"] == "error" || (told["type"] == outcome && told["message_id"] == id)).await;
        assert_eq!(told["type"], outcome, "{told}");
        socket.close().await;
    }

    /// Checks that no table and no object holds a deleted text.
    async fn nothing_is_stored(&mut self, model: &Model) -> Result<(), String> {
        let gone = model.taken_back();
        self.gone.extend(gone.iter().map(|gone| (*gone).to_owned()));
        let stored = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        until("the end of the bytes", async || {
            let files = files_below(self.files.path());
            let is_there = files.iter().map(|path| stored(path)).any(|bytes| gone.iter().any(|gone| bytes.contains(gone)));
            (!is_there).then_some(())
        })
        .await;
        let found = row_with(self.nodes[0].backend(), &gone).await;
        found.map_or(Ok(()), |found| Err(format!("the store holds it in {found}")))
    }
}

/// Messages that their authors may still edit or delete.
fn changeable(model: &Model) -> Vec<usize> {
    let open = |number: &usize| {
        let said = &model.said[*number];
        !said.is_deleted && model.is_in(said.author, said.place)
    };
    (0..model.said.len()).filter(open).collect()
}

fn pick(from: &[usize], which: u8) -> Option<usize> {
    (!from.is_empty()).then(|| from[usize::from(which) % from.len()])
}

/// Beginning of every marker.
const MARK: &str = "mark0";

/// Unique marker of fixed width: none is a prefix of another.
fn marker(number: usize) -> String {
    format!("{MARK}{number:05}x")
}

fn number(value: &Value) -> i64 {
    value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{value} is a number"))
}

fn spot(session: &Value) -> Spot {
    let uuid = session["uuid"].as_str().unwrap_or_else(|| panic!("{session}")).to_owned();
    Spot { id: number(&session["docs"][0]["id"]), uuid }
}
