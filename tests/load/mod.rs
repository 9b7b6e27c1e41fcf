//! Load generator: virtual users in every dialect who reconnect after every failure, to another address if need be, and
//! resume at their positions. Afterwards it compares the acknowledged messages with the stored ones and with those that each
//! reader received.

mod readers;
mod visitor;
mod writers;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    order::checker::{Fault, Heard, Kind, Sent, differences, faults},
    support::{ADMIN, Backend, JANE, JOHN, Server, ServerBuilder, Socket, token, until},
};
use readers::{follow_updates, read};
use visitor::Visitor;
use writers::Written;

/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;
/// The demo data's tenant and agent, who talk in a support session.
const TENANT: &str = "deepak@tis.co.th";
const AGENT: &str = "concierge@example.com";
/// Conversations beside those of the demo data.
const MORE: usize = 4;
/// The last message of each conversation: readers stop there.
const END: &str = "end";

/// Messages that one reader received, by conversation.
pub type ByConversation = HashMap<i64, Vec<Heard>>;

/// Dialects of the readers and writers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Messaging,
    ImChat,
    Conversations,
    Room,
    Concierge(Side),
}

/// Role in a support session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Tenant,
    Agent,
}

impl Side {
    /// First segment of the role's routes.
    fn name(self) -> &'static str {
        match self {
            Self::Tenant => "client",
            Self::Agent => "backend",
        }
    }
}

/// A conversation by id, and by uuid for im_chat.
#[derive(Clone, Debug)]
struct Place {
    id: i64,
    uuid: String,
}

/// Counters of acknowledged sends and of failures, shared by all virtual users.
#[derive(Default)]
struct Troubles {
    acknowledged: AtomicUsize,
    /// Sends with an error for an answer.
    refused: AtomicUsize,
    /// Requests with a broken connection, or with an answer from a proxy in place of the server.
    broken: AtomicUsize,
    /// Sockets that were closed or could not be opened.
    closed: AtomicUsize,
}

/// Running virtual users.
pub struct Load {
    backend: Backend,
    /// Every conversation with a writer, and the client that sends its last message.
    places: Vec<(Place, Visitor)>,
    writing: watch::Sender<bool>,
    writers: JoinSet<Vec<Sent>>,
    readers: JoinSet<(String, ByConversation)>,
    troubles: Arc<Troubles>,
}

/// Result of a run.
pub struct Outcome {
    pub acknowledged: usize,
    /// Sends with an error for an answer. A stored one counts as a fault.
    pub refused: usize,
    /// Requests with a broken connection. Such a send may be stored or not.
    pub broken: usize,
    /// Sockets that were closed or could not be opened.
    pub closed: usize,
    /// Acknowledged messages that the database lost in a failover or a restore.
    pub lost_by_database: usize,
    readers: usize,
    faults: Vec<Fault>,
}

impl Outcome {
    fn count(&self, kind: Kind) -> usize {
        self.faults.iter().filter(|fault| fault.kind == kind).count()
    }

    /// The result in one line.
    pub fn summary(&self) -> String {
        format!(
            "acknowledged {}, lost {}, doubled {}, out of order {}, refused and stored {}, heard and not \
             stored {}; {} readers; {} sends refused, {} \
             requests broken off, {} sockets closed; {} lost by the database",
            self.acknowledged,
            self.count(Kind::Lost),
            self.count(Kind::Doubled),
            self.count(Kind::OutOfOrder),
            self.count(Kind::Refused),
            self.count(Kind::Unstored),
            self.readers,
            self.refused,
            self.broken,
            self.closed,
            self.lost_by_database,
        )
    }

    /// Fails if a message was lost, duplicated or out of order, or if a refused one was stored.
    pub fn is_flawless(&self) {
        assert_eq!(self.faults, [], "{}", self.summary());
        assert!(self.acknowledged > 0, "people were at work");
    }
}

/// Settings without rate limits that this load would reach.
pub fn generous(server: ServerBuilder) -> ServerBuilder {
    let server = server.set("LIMITS__WAITING_POLLS_PER_USER", 1_000).set("SOCKETS__PER_USER", 1_000);
    server.set("SOCKETS__FRAMES_BURST", 10_000).set("SOCKETS__FRAMES_PER_SECOND", 10_000)
}

impl Load {
    /// Starts all readers and writers. `doors` are the addresses for clients, and `server` is one of the servers behind them.
    pub async fn begin(server: &Server, doors: &[SocketAddr]) -> Self {
        let backend = server.backend().clone();
        let [admin, john, jane] = [server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await];
        // `poll/updates` has a cursor for each session, so that reader has a session of its own.
        let other = server.log_in(JOHN).await;
        for number in 0..MORE {
            let params = json!({"name": format!("thread {number}"), "partner_ids": [4, 6], "thread_type": "group"});
            admin.messaging("thread/create", params).await;
        }
        let places = places(&backend).await;
        let [tenant, agent] = [server.log_in(TENANT).await, server.log_in(AGENT).await];
        let desk = support_session(server).await;
        let (writing, stop) = watch::channel(true);
        let troubles = Arc::<Troubles>::default();
        let doors: Arc<[SocketAddr]> = doors.into();
        let visitor = |number: usize, uid: i64, client: &crate::support::Client| {
            Visitor::new(&doors, number, uid, client.session().expect("it is logged in"), &troubles)
        };

        let (mut readers, mut number) = (JoinSet::new(), 0);
        let mut begin_reading = |dialect: Dialect, (uid, client): (i64, &crate::support::Client), places: Vec<Place>| {
            let names: Vec<_> = places.iter().map(|place| place.id).collect();
            let name = format!("reader {number}, {dialect:?} of {names:?}");
            let reading = read(dialect, visitor(number, uid, client), places);
            number += 1;
            readers.spawn(async move { (name, reading.await) });
        };
        let (as_john, as_tenant, as_agent) = ((4, &john), (34, &tenant), (32314, &agent));
        for place in &places {
            begin_reading(Dialect::Messaging, as_john, vec![place.clone()]);
            begin_reading(Dialect::Conversations, as_john, vec![place.clone()]);
        }
        for _ in 0..2 {
            begin_reading(Dialect::ImChat, as_john, places.clone());
            begin_reading(Dialect::Room, as_john, places.iter().filter(|place| place.id == PAIR).cloned().collect());
            begin_reading(Dialect::Concierge(Side::Tenant), as_tenant, vec![desk.clone()]);
            begin_reading(Dialect::Concierge(Side::Agent), as_agent, vec![desk.clone()]);
        }
        begin_reading(Dialect::Messaging, as_tenant, vec![desk.clone()]);
        begin_reading(Dialect::ImChat, as_tenant, vec![desk.clone()]);
        begin_reading(Dialect::Conversations, as_agent, vec![desk.clone()]);

        let names: Vec<_> = places.iter().map(|place| place.id).collect();
        let following = follow_updates(visitor(0, 4, &other), names);
        readers.spawn(async move { ("reader of updates".to_owned(), following.await) });

        let mut writers = JoinSet::new();
        let groups: Vec<_> = places.iter().filter(|place| place.id != PAIR).cloned().collect();
        let at_desk = vec![desk.clone()];
        let people = [
            (Dialect::Messaging, 2, &admin, &places),
            (Dialect::Messaging, 6, &jane, &groups),
            (Dialect::ImChat, 2, &admin, &places),
            (Dialect::ImChat, 6, &jane, &groups),
            (Dialect::Conversations, 2, &admin, &places),
            (Dialect::Conversations, 6, &jane, &groups),
            (Dialect::Room, 2, &admin, &places),
            (Dialect::Concierge(Side::Tenant), 34, &tenant, &at_desk),
            (Dialect::Concierge(Side::Agent), 32314, &agent, &at_desk),
            (Dialect::Messaging, 34, &tenant, &at_desk),
        ];
        for (number, (dialect, uid, client, places)) in people.into_iter().enumerate() {
            let written = Written { writer: number, places: places.clone(), stop: stop.clone() };
            writers.spawn(written.by(dialect, visitor(number, uid, client)));
        }
        let (admin, tenant) = (visitor(0, 2, &admin), visitor(0, 34, &tenant));
        let places = places.into_iter().map(|place| (place, admin.clone())).chain([(desk, tenant)]).collect();
        Self { backend, places, writing, writers, readers, troubles }
    }

    /// Waits until so many more messages are acknowledged.
    pub async fn goes_on(&self, messages: usize) {
        let wanted = self.acknowledged() + messages;
        until("more messages", async || (self.acknowledged() >= wanted).then_some(())).await;
    }

    pub fn acknowledged(&self) -> usize {
        self.troubles.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the run, once all addresses are reachable again.
    pub async fn end(self) -> Outcome {
        self.compare(|_, _| true).await
    }

    /// The same after the database lost its last acknowledged messages: those are not compared.
    pub async fn end_of_lossy(self) -> Outcome {
        self.compare(|stored, message| stored.iter().any(|there| there.body == message)).await
    }

    /// Compares sent, stored and received messages. `counts`: true if the message with this body is compared, given the
    /// stored messages of its conversation.
    async fn compare(self, counts: impl Fn(&[Heard], &str) -> bool) -> Outcome {
        let Self { backend, places, writing, writers, readers, troubles } = self;
        writing.send_replace(false);
        let mut sent: Vec<Sent> = writers.join_all().await.into_iter().flatten().collect();
        for (place, by) in &places {
            sent.push(writers::end(by, place.id).await);
        }
        let mut heard = readers.join_all().await;
        let stored = stored(&backend).await;
        let before = sent.len();
        sent.retain(|sent| sent.id.is_none() || counts(&stored[&sent.conversation], sent.body()));
        let lost_by_database = before - sent.len();
        for (conversation, messages) in heard.iter_mut().flat_map(|(_, heard)| heard) {
            messages.retain(|message| counts(&stored[conversation], &message.body));
        }

        let mut all = faults(&sent, &stored);
        for (name, heard) in &heard {
            let of_them: Vec<_> = sent.iter().filter(|sent| heard.contains_key(&sent.conversation)).cloned().collect();
            let named = |fault: Fault| Fault { what: format!("{name}: {}", fault.what), ..fault };
            all.extend(faults(&of_them, heard).into_iter().map(named));
            for (conversation, messages) in heard {
                all.extend(differences(&stored[conversation], messages).into_iter().map(named));
            }
        }
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        Outcome {
            acknowledged: sent.iter().filter(|sent| sent.id.is_some()).count(),
            refused: count(&troubles.refused),
            broken: count(&troubles.broken),
            closed: count(&troubles.closed),
            lost_by_database,
            readers: heard.len(),
            faults: all,
        }
    }
}

async fn database(backend: &Backend) -> PgConnection {
    PgConnection::connect(backend.url()).await.expect("the throwaway PostgreSQL is up")
}

/// Begins a support session as the demo data's tenant and joins it as the agent.
async fn support_session(server: &Server) -> Place {
    let begun = ask(server, 34, "client/init-chat-with-concierge", json!({"newSession": true})).await;
    let session = &begun["chatSession"];
    ask(server, 32314, "backend/join-chat-session", json!({"chatSessionId": session["chatSessionId"]})).await;
    let [id, uuid] = ["id", "chatSessionId"].map(|name| session[name].as_str().expect("it is a text").to_owned());
    Place { id: id.parse().expect("it is a number"), uuid }
}

async fn ask(server: &Server, uid: i64, route: &str, body: Value) -> Value {
    let path = format!("/concierge?Auth={}&deviceId=begins", token(uid));
    let mut socket = Socket::open(server.socket_url(&path)).await;
    socket.say(json!({"action": "api", "data": {"route": route, "body": body}})).await;
    let mut answer = socket.hear_until(|told| told["channel"] == route).await;
    assert_eq!(answer["status"], 200, "{answer}");
    socket.close().await;
    answer["body"].take()
}

async fn places(backend: &Backend) -> Vec<Place> {
    let rows: Vec<(i64, String)> = sqlx::query_as("SELECT id, uuid::text FROM conversations ORDER BY id")
        .fetch_all(&mut database(backend).await)
        .await
        .expect("it can be read");
    rows.into_iter().map(|(id, uuid)| Place { id, uuid }).collect()
}

/// All stored messages by conversation, in order of their ids.
async fn stored(backend: &Backend) -> ByConversation {
    let rows: Vec<(i64, i64, String)> = sqlx::query_as("SELECT conversation_id, id, body FROM messages ORDER BY id")
        .fetch_all(&mut database(backend).await)
        .await
        .expect("it can be read");
    let mut stored: BTreeMap<i64, Vec<Heard>> = BTreeMap::new();
    for (conversation, id, body) in rows {
        stored.entry(conversation).or_default().push(Heard { id, body });
    }
    stored.into_iter().collect()
}
