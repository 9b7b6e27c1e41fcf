//! Clients of all dialects for one user in one conversation.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::support::{Client, PASSWORD, Server, Socket, token};

/// Dialects with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Messaging,
    ImChat,
    Room,
    Conversations,
    Concierge,
}

/// A user of the demo data.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    pub login: &'static str,
    pub uid: i64,
    pub partner: i64,
    /// Only of users with a fixed uuid.
    pub uuid: &'static str,
    /// First segment of the concierge routes for this user.
    pub side: &'static str,
}

pub const ADMIN: Person =
    Person { login: "admin@gmail.com", uid: 2, partner: 3, uuid: "75140d72-8b20-4549-885c-20599badb486", side: "backend" };
pub const JOHN: Person =
    Person { login: "john@example.com", uid: 4, partner: 5, uuid: "302e305b-6e73-4f9c-bac7-551a92b106b0", side: "client" };
pub const TENANT: Person = Person { login: "deepak@tis.co.th", uid: 34, partner: 35, uuid: "", side: "client" };
pub const AGENT: Person = Person { login: "concierge@example.com", uid: 32314, partner: 32315, uuid: "", side: "backend" };

/// A conversation with its ids in all dialects.
#[derive(Clone, Debug)]
pub struct Place {
    pub id: i64,
    pub uuid: String,
    /// Its two participants, for `room`.
    pub pair: Option<[Person; 2]>,
    /// The `chatSessionId` of `concierge`.
    pub session: Option<Value>,
}

impl Place {
    /// The conversation of John and the admin.
    pub async fn direct(server: &Server) -> Self {
        let john = server.log_in(JOHN.login).await;
        let session = john.result("/im_chat/api/get_or_create_session", json!({"user_to": ADMIN.uid})).await;
        let uuid = session["uuid"].as_str().expect("it has one").to_owned();
        Self { id: 1, uuid, pair: Some([JOHN, ADMIN]), session: None }
    }

    /// A support session of the tenant, joined by the agent.
    pub async fn support(server: &Server) -> Self {
        let mut tenant = concierge(server, TENANT, "beginning").await;
        let session = asked(&mut tenant, "client/init-chat-with-concierge", json!({"newSession": true})).await;
        let session = session["chatSessionId"].clone();
        let mut agent = concierge(server, AGENT, "joining").await;
        let joined = asked(&mut agent, "backend/join-chat-session", json!({"chatSessionId": session})).await;
        let id = joined["chatSession"]["id"].as_str().and_then(|id| id.parse().ok()).expect("it is a number");
        let uuid = session.as_str().expect("it is a text").to_owned();
        Self { id, uuid, pair: None, session: Some(session) }
    }

    pub fn dialects(&self) -> Vec<Dialect> {
        let mut dialects = vec![Dialect::Messaging, Dialect::ImChat, Dialect::Room, Dialect::Conversations];
        dialects.extend(self.session.is_some().then_some(Dialect::Concierge));
        dialects
    }
}

pub async fn concierge(server: &Server, who: Person, device: &str) -> Socket {
    let path = format!("/concierge?Auth={}&deviceId={device}-{}", token(who.uid), who.uid);
    let mut socket = Socket::open(server.socket_url(&path)).await;
    assert_eq!(socket.hear().await["status"], 200);
    socket
}

/// Sends a request of `concierge`. Returns the body of its successful answer.
pub async fn asked(socket: &mut Socket, route: &str, body: Value) -> Value {
    asked_beside(socket, route, body, &mut Vec::new()).await
}

/// Like [`asked`]; appends the frames before the answer to `beside`.
pub async fn asked_beside(socket: &mut Socket, route: &str, body: Value, beside: &mut Vec<Value>) -> Value {
    socket.say(json!({"action": "api", "data": {"route": route, "body": body}})).await;
    loop {
        let mut told = socket.hear().await;
        if told["channel"] == route {
            assert_eq!(told["status"], 200, "{route}: {told}");
            return told["body"].take();
        }
        beside.push(told);
    }
}

/// A message as received in any dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub id: i64,
    pub text: String,
    /// `None` in `room` for users without a fixed uuid.
    pub author: Option<String>,
}

/// A client of one user in one dialect.
pub struct Ear {
    pub dialect: Dialect,
    pub who: Person,
    place: Place,
    voice: Voice,
    /// Events of the bus that no call has returned yet.
    waiting: VecDeque<Value>,
}

enum Voice {
    /// Holds the last received id.
    Polling(Client, i64),
    Open(Box<Socket>),
}

impl Ear {
    pub async fn open(server: &Server, who: Person, place: &Place, dialect: Dialect, device: &str) -> Self {
        let at = |path: String| Socket::open(server.socket_url(&path));
        let voice = match dialect {
            Dialect::Messaging => {
                let mut client = server.client();
                client.log_in(who.login, PASSWORD).await;
                let newest = client.messaging("messages", json!({"thread_id": place.id, "limit": 1})).await;
                let last = newest["messages"][0]["id"].as_i64().unwrap_or(0);
                Voice::Polling(client, last)
            }
            Dialect::ImChat => {
                let mut client = server.client();
                client.log_in(who.login, PASSWORD).await;
                Voice::Polling(client, 0)
            }
            Dialect::Room => Voice::Open(Box::new(at(format!("/ws/chat/room/?token={}", token(who.uid))).await)),
            Dialect::Conversations => {
                Voice::Open(Box::new(at(format!("/conversations/{}/?token={}", place.id, token(who.uid))).await))
            }
            Dialect::Concierge => Voice::Open(Box::new(concierge(server, who, device).await)),
        };
        let mut ear = Self { dialect, who, place: place.clone(), voice, waiting: VecDeque::new() };
        if let Voice::Open(socket) = &mut ear.voice {
            // Waits until the server has registered the connection.
            socket.heard_so_far().await;
        }
        ear
    }

    pub fn socket(&mut self) -> &mut Socket {
        match &mut self.voice {
            Voice::Open(socket) => socket,
            Voice::Polling(..) => panic!("{:?} has no socket", self.dialect),
        }
    }

    pub fn client(&self) -> &Client {
        match &self.voice {
            Voice::Polling(client, _) => client,
            Voice::Open(_) => panic!("{:?} has a socket", self.dialect),
        }
    }

    /// Sends a text.
    pub async fn say(&mut self, text: &str) {
        let place = self.place.clone();
        match self.dialect {
            Dialect::Messaging => {
                self.client().messaging("message/send", json!({"thread_id": place.id, "body": text})).await;
            }
            Dialect::ImChat => {
                let post = json!({"uuid": place.uuid, "message_type": "message", "message_content": text});
                assert!(self.client().result("/im_chat/post", post).await.is_i64());
            }
            Dialect::Room => {
                let [one, other] = place.pair.expect("room speaks between two");
                let receiver = if one.uid == self.who.uid { other } else { one };
                let said = json!({"action": "text_message", "message_body": text, "receiver_id": receiver.uuid});
                self.socket().say(said).await;
            }
            Dialect::Conversations => self.socket().say(json!({"action": "send_message", "content": text})).await,
            Dialect::Concierge => {
                let route = format!("{}/send-message", self.who.side);
                let body = json!({"chatSessionId": place.session, "contentType": "TEXT", "messageContent": text});
                asked(self.socket(), &route, body).await;
            }
        }
    }

    /// The next event of the bus, or the next frame, that fits.
    pub async fn hear(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let place = self.place.id;
        match &mut self.voice {
            Voice::Open(socket) => socket.hear_until(fits).await,
            Voice::Polling(client, last) => loop {
                while let Some(told) = self.waiting.pop_front() {
                    if fits(&told) {
                        return told;
                    }
                }
                let told = match self.dialect {
                    Dialect::Messaging => {
                        let poll = json!({"thread_id": place, "last_message_id": *last, "timeout": 60});
                        client.messaging("poll/messages", poll).await["messages"].take()
                    }
                    _ => {
                        let poll = json!({"channels": [["odoo2", "im_chat.presence"]], "last": *last});
                        client.result("/longpolling/poll", poll).await
                    }
                };
                let told = told.as_array().expect("it is a list").clone();
                assert!(!told.is_empty(), "{:?} hears nothing", self.dialect);
                *last = told.iter().filter_map(|told| told["id"].as_i64()).max().expect("each has an id").max(*last);
                self.waiting.extend(told);
            },
        }
    }

    /// The message with this text.
    pub async fn hear_text(&mut self, text: &str) -> Heard {
        let told = match self.dialect {
            Dialect::Messaging => self.hear(|told| told["body"] == text).await,
            Dialect::ImChat => {
                let own = json!(["odoo2", "im_chat.session", self.who.uid]);
                self.hear(|told| told["channel"] == own && told["message"]["message"] == text).await["message"].take()
            }
            Dialect::Room => self.hear(|told| told["message"] == text).await,
            Dialect::Conversations => self.hear(|told| told["message"]["content"] == text).await["message"].take(),
            Dialect::Concierge => {
                self.hear(|told| told["payload"]["chatMessage"]["messageContent"] == text).await["payload"]["chatMessage"].take()
            }
        };
        let id = match self.dialect {
            Dialect::Room => &told["created_msg_id"],
            _ => &told["id"],
        };
        let id = id.as_i64().or_else(|| id.as_str()?.parse().ok()).unwrap_or_else(|| panic!("it has an id: {told}"));
        let author = match self.dialect {
            Dialect::Messaging => Some(told["author_user_id"].to_string()),
            Dialect::ImChat => Some(told["from_id"][0].to_string()),
            Dialect::Room => {
                let known = [JOHN, ADMIN].into_iter().find(|person| told["sender_id"] == person.uuid);
                known.map(|person| person.uid.to_string())
            }
            Dialect::Conversations => told["sender_id"].as_str().map(str::to_owned),
            Dialect::Concierge => Some(told["senderEntityId"].to_string()),
        };
        Heard { id, text: text.to_owned(), author }
    }
}
