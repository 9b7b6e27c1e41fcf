//! Tests of reconnection: a client that disconnects and returns repeatedly while others write misses nothing, and receives
//! nothing twice or out of order. Each dialect has its own way to catch up.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    across::people::{ADMIN, AGENT, Dialect, JOHN, Person, Place, TENANT, asked_beside, concierge},
    support::{Answer, Client, PASSWORD, Server, Socket, token},
    with_tokens_on_every_backend,
};

const WRITERS: usize = 3;
/// Messages of each writer in each conversation.
const MESSAGES: usize = 40;
const BEGINNING: &str = "beginning";
const END: &str = "end";
/// Page size small enough for several pages per visit.
const PAGE: usize = 5;

/// Ids and texts, oldest first.
type Messages = Vec<(i64, String)>;

/// Reader of one conversation, with the messages it knows so far.
struct Follower {
    who: Person,
    dialect: Dialect,
    place: Place,
    known: Messages,
    /// The largest id seen on the bus.
    bus: i64,
}

impl Follower {
    fn new(who: Person, dialect: Dialect, place: &Place) -> Self {
        Self { who, dialect, place: place.clone(), known: Vec::new(), bus: 0 }
    }

    fn last(&self) -> i64 {
        self.known.last().map_or(0, |(id, _)| *id)
    }

    fn is_done(&self) -> bool {
        self.known.last().is_some_and(|(_, text)| text == END)
    }

    /// Connects, catches up, receives new messages meanwhile, and disconnects.
    async fn visit(&mut self, server: &Server) {
        let came = match self.dialect {
            Dialect::Messaging => self.poll_messages(server).await,
            Dialect::ImChat => self.poll_bus(server).await,
            Dialect::Room => self.visit_room(server).await,
            Dialect::Conversations => self.visit_conversation(server).await,
            Dialect::Concierge => self.visit_desk(server).await,
        };
        for (id, text) in came {
            if id > self.last() {
                self.known.push((id, text));
            } else {
                assert!(self.known.contains(&(id, text.clone())), "{:?}: {id} {text} comes late", self.dialect);
            }
        }
    }

    async fn log_in(&self, server: &Server) -> Client {
        let mut client = server.client();
        client.log_in(self.who.login, PASSWORD).await;
        client
    }

    async fn poll_messages(&self, server: &Server) -> Messages {
        let poll = json!({"thread_id": self.place.id, "last_message_id": self.last(), "timeout": 60});
        let told = self.log_in(server).await.messaging("poll/messages", poll).await;
        read(told["messages"].as_array().unwrap(), "id", "body")
    }

    async fn poll_bus(&mut self, server: &Server) -> Messages {
        let poll = json!({"channels": [self.place.uuid], "last": self.bus});
        let told = self.log_in(server).await.result("/longpolling/poll", poll).await;
        let told = told.as_array().unwrap();
        self.bus = told.iter().map(|told| told["id"].as_i64().unwrap()).max().unwrap_or(self.bus);
        let own = told.iter().filter(|told| told["channel"] == self.place.uuid && told["message"]["type"] == "message");
        read(&own.map(|told| told["message"].clone()).collect::<Vec<_>>(), "id", "message")
    }

    /// Pages backwards through the history until there is nothing new.
    async fn visit_room(&self, server: &Server) -> Messages {
        let mut socket = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={}", token(self.who.uid)))).await;
        let mut live = socket.heard_so_far().await;
        let mut history = Messages::new();
        loop {
            let before = history.first().map_or(i64::MAX, |(id, _)| *id);
            let path = format!("/chat/messages/{}/?limit={PAGE}&before={before}", JOHN.uuid);
            let request = server.client().request(reqwest::Method::GET, &path).bearer_auth(token(self.who.uid));
            let page = Answer::of(request).await.json()["data"]["messages"].take();
            let mut page = read(page.as_array().unwrap(), "id", "message");
            page.reverse();
            let is_last = page.first().is_none_or(|(id, _)| *id <= self.last());
            history.splice(0..0, page);
            if is_last {
                break;
            }
        }
        live.extend(socket.heard_so_far().await);
        history.extend(read(&live, "created_msg_id", "message"));
        socket.close().await;
        history
    }

    /// Pages forwards from the last known message.
    async fn visit_conversation(&self, server: &Server) -> Messages {
        let path = format!("/conversations/{}/?token={}", self.place.id, token(self.who.uid));
        let mut socket = Socket::open(server.socket_url(&path)).await;
        let (mut history, mut live) = (Messages::new(), Vec::new());
        loop {
            let after = history.last().map_or(self.last(), |(id, _)| *id);
            socket.say(json!({"action": "fetch_messages", "after_id": after, "limit": PAGE})).await;
            let page = loop {
                let told = socket.hear().await;
                if told["type"] == "messages_fetched" {
                    break read(told["messages"].as_array().unwrap(), "id", "content");
                }
                live.push(told);
            };
            if page.is_empty() {
                break;
            }
            history.extend(page);
        }
        live.extend(socket.heard_so_far().await);
        let posted = live.into_iter().filter(|told| told["type"] == "chat_message").map(|mut told| told["message"].take());
        history.extend(read(&posted.collect::<Vec<_>>(), "id", "content"));
        socket.close().await;
        history
    }

    /// Pages backwards from the newest page. New messages shift the pages meanwhile, so that some arrive twice.
    async fn visit_desk(&self, server: &Server) -> Messages {
        let mut socket = concierge(server, self.who, "follower").await;
        let (mut history, mut live) = (BTreeMap::new(), Vec::new());
        for number in 1.. {
            let route = format!("backend/get-chat-messages?page={number}&limit={PAGE}");
            let body = json!({"chatSessionId": self.place.session});
            let answer = asked_beside(&mut socket, &route, body, &mut live).await;
            let page = read(answer["messages"].as_array().unwrap(), "id", "messageContent");
            let is_last = page.first().is_none_or(|(id, _)| *id <= self.last());
            history.extend(page);
            if is_last {
                break;
            }
        }
        live.extend(socket.heard_so_far().await);
        let posted = live.into_iter().filter_map(|mut told| Some(told["payload"].get_mut("chatMessage")?.take()));
        let mut came: Messages = history.into_iter().collect();
        came.extend(read(&posted.collect::<Vec<_>>(), "id", "messageContent"));
        socket.close().await;
        came
    }
}

/// Extracts the messages from frames or answers.
fn read(came: &[Value], id: &str, text: &str) -> Messages {
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    came.iter().map(|told| (number(&told[id]).expect("each has an id"), told[text].as_str().unwrap().to_owned())).collect()
}

async fn send(client: &Client, place: &Place, text: &str) {
    let sent = client.messaging("message/send", json!({"thread_id": place.id, "body": text})).await;
    assert_eq!(sent["success"], true, "{sent}");
}

async fn write(clients: [Client; 2], places: [Place; 2], writer: usize) {
    for number in 0..MESSAGES {
        for (client, place) in clients.iter().zip(&places) {
            send(client, place, &format!("{number} of {writer}")).await;
        }
    }
}

with_tokens_on_every_backend! {
    async fn whoever_comes_back_again_and_again_misses_nothing(server) {
        let places = [Place::direct(server).await, Place::support(server).await];
        let authors = [server.log_in(JOHN.login).await, server.log_in(TENANT.login).await];
        for (author, place) in authors.iter().zip(&places) {
            send(author, place, BEGINNING).await;
        }
        let others = [Dialect::Messaging, Dialect::ImChat, Dialect::Conversations, Dialect::Concierge];
        let mut followers = vec![Follower::new(ADMIN, Dialect::Room, &places[0])];
        followers.extend(others.map(|dialect| Follower::new(AGENT, dialect, &places[1])));
        for follower in &mut followers {
            follower.visit(server).await;
            assert_eq!(follower.known.len(), 1, "{:?} begins at the beginning", follower.dialect);
        }

        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write(authors.clone(), places.clone(), writer));
        }
        let ending = async {
            while let Some(written) = writers.join_next().await {
                written.expect("it has written all");
            }
            for (author, place) in authors.iter().zip(&places) {
                send(author, place, END).await;
            }
        };
        let server = &*server;
        let following = futures_util::future::join_all(followers.iter_mut().map(async |follower| {
            let mut visits = 0;
            while !follower.is_done() {
                follower.visit(server).await;
                visits += 1;
            }
            visits
        }));
        let (visits, ()) = futures_util::future::join(following, ending).await;

        for (follower, visits) in followers.iter().zip(visits) {
            assert!(visits > 3, "{:?} came only {visits} times", follower.dialect);
            let messages = WRITERS * MESSAGES + 2;
            let reader = server.log_in(follower.who.login).await;
            let mut stored = Messages::new();
            while stored.len() < messages {
                let before = stored.first().map_or(i64::MAX, |(id, _)| *id);
                let page = json!({"thread_id": follower.place.id, "before_id": before, "limit": 100});
                let page = reader.messaging("messages", page).await;
                let page = read(page["messages"].as_array().unwrap(), "id", "body");
                assert!(!page.is_empty(), "only {} are stored", stored.len());
                stored.splice(0..0, page.into_iter().rev());
            }
            assert_eq!(follower.known, stored, "{:?}", follower.dialect);
        }
    }
}
