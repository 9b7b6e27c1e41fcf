//! People at work in every dialect who let nothing stop them: they come back, by another door if need be, and go on from
//! where they were. Afterwards what was acknowledged is compared with what is stored and with what each of them was told.

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

use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    order::checker::{Fault, Heard, Kind, Sent, faults},
    support::{ADMIN, Backend, JANE, JOHN, Server, ServerBuilder, until},
};
use readers::{follow_updates, read};
use visitor::Visitor;
use writers::Written;

/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;
/// Conversations beside those of the demo data.
const MORE: usize = 4;
/// The last message of each conversation: readers stop there.
const END: &str = "end";

/// What one reader has heard, by conversation.
pub type ByConversation = HashMap<i64, Vec<Heard>>;

/// The dialects, in which people write and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Messaging,
    ImChat,
    Conversations,
    Room,
}

/// Where a conversation is, and its uuid, by which im_chat knows it.
#[derive(Clone, Debug)]
struct Place {
    id: i64,
    uuid: String,
}

/// What went wrong for people and was mended by them, and what did not.
#[derive(Default)]
struct Troubles {
    acknowledged: AtomicUsize,
    /// Sends that were answered with an error.
    refused: AtomicUsize,
    /// Requests whose connection broke, or which something on the way answered in a server's place.
    broken: AtomicUsize,
    /// Sockets that were closed, or could not be opened.
    closed: AtomicUsize,
}

/// People at work.
pub struct Load {
    backend: Backend,
    admin: Visitor,
    places: Vec<Place>,
    writing: watch::Sender<bool>,
    writers: JoinSet<Vec<Sent>>,
    readers: JoinSet<(String, ByConversation)>,
    troubles: Arc<Troubles>,
}

/// What became of it all.
pub struct Outcome {
    pub acknowledged: usize,
    /// Sends that were answered with an error; none of them is stored, or it is among the faults.
    pub refused: usize,
    /// Requests whose connection broke. Of such a send it is not known whether it is stored.
    pub broken: usize,
    /// Sockets that were closed or not opened.
    pub closed: usize,
    readers: usize,
    faults: Vec<Fault>,
}

impl Outcome {
    fn count(&self, kind: Kind) -> usize {
        self.faults.iter().filter(|fault| fault.kind == kind).count()
    }

    /// What became of it all, in a line.
    pub fn summary(&self) -> String {
        format!(
            "acknowledged {}, lost {}, doubled {}, out of order {}, refused and stored {}; {} readers; {} sends refused, {} \
             requests broken off, {} sockets closed",
            self.acknowledged,
            self.count(Kind::Lost),
            self.count(Kind::Doubled),
            self.count(Kind::OutOfOrder),
            self.count(Kind::Refused),
            self.readers,
            self.refused,
            self.broken,
            self.closed,
        )
    }

    /// Fails unless nothing was lost, doubled, or out of order, and nothing stored that was refused.
    pub fn is_flawless(&self) {
        assert_eq!(self.faults, [], "{}", self.summary());
        assert!(self.acknowledged > 0, "people were at work");
    }
}

/// Settings under which nobody is sent away for doing so much at once.
pub fn generous(server: ServerBuilder) -> ServerBuilder {
    let server = server.set("LIMITS__WAITING_POLLS_PER_USER", 1_000).set("SOCKETS__PER_USER", 1_000);
    server.set("SOCKETS__FRAMES_BURST", 10_000).set("SOCKETS__FRAMES_PER_SECOND", 10_000)
}

impl Load {
    /// Sets everybody to work. `server` is one of those behind the doors.
    pub async fn begin(server: &Server, doors: &[SocketAddr]) -> Self {
        let backend = server.backend().clone();
        let [admin, john, jane] = [server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await];
        // Each session is told of updates by itself.
        let other = server.log_in(JOHN).await;
        for number in 0..MORE {
            let params = json!({"name": format!("thread {number}"), "partner_ids": [4, 6], "thread_type": "group"});
            admin.messaging("thread/create", params).await;
        }
        let places = places(&backend).await;
        let (writing, stop) = watch::channel(true);
        let troubles = Arc::<Troubles>::default();
        let doors: Arc<[SocketAddr]> = doors.into();
        let visitor = |number: usize, uid: i64, client: &crate::support::Client| {
            Visitor::new(&doors, number, uid, client.session().expect("it is logged in"), &troubles)
        };

        let (mut readers, mut number) = (JoinSet::new(), 0);
        let mut begin_reading = |dialect: Dialect, places: Vec<Place>| {
            let names: Vec<_> = places.iter().map(|place| place.id).collect();
            let name = format!("reader {number}, {dialect:?} of {names:?}");
            let reading = read(dialect, visitor(number, 4, &john), names);
            number += 1;
            readers.spawn(async move { (name, reading.await) });
        };
        for place in &places {
            begin_reading(Dialect::Messaging, vec![place.clone()]);
            begin_reading(Dialect::Conversations, vec![place.clone()]);
        }
        for _ in 0..2 {
            begin_reading(Dialect::ImChat, places.clone());
            begin_reading(Dialect::Room, places.iter().filter(|place| place.id == PAIR).cloned().collect());
        }

        let names: Vec<_> = places.iter().map(|place| place.id).collect();
        let following = follow_updates(visitor(0, 4, &other), names);
        readers.spawn(async move { ("reader of updates".to_owned(), following.await) });

        let mut writers = JoinSet::new();
        let groups: Vec<_> = places.iter().filter(|place| place.id != PAIR).cloned().collect();
        let people = [
            (Dialect::Messaging, 2, &admin, &places),
            (Dialect::Messaging, 6, &jane, &groups),
            (Dialect::ImChat, 2, &admin, &places),
            (Dialect::ImChat, 6, &jane, &groups),
            (Dialect::Conversations, 2, &admin, &places),
            (Dialect::Conversations, 6, &jane, &groups),
            (Dialect::Room, 2, &admin, &places),
        ];
        for (number, (dialect, uid, client, places)) in people.into_iter().enumerate() {
            let written = Written { writer: number, places: places.clone(), stop: stop.clone() };
            writers.spawn(written.by(dialect, visitor(number, uid, client)));
        }
        let admin = visitor(0, 2, &admin);
        Self { backend, admin, places, writing, writers, readers, troubles }
    }

    /// Waits until so many more messages are acknowledged.
    pub async fn goes_on(&self, messages: usize) {
        let wanted = self.acknowledged() + messages;
        until("more messages", async || (self.acknowledged() >= wanted).then_some(())).await;
    }

    pub fn acknowledged(&self) -> usize {
        self.troubles.acknowledged.load(Ordering::Relaxed)
    }

    /// Lets everybody finish, once all doors are open again.
    pub async fn end(self) -> Outcome {
        let Self { backend, admin, places, writing, writers, readers, troubles } = self;
        writing.send_replace(false);
        let mut sent: Vec<Sent> = writers.join_all().await.into_iter().flatten().collect();
        for place in &places {
            sent.push(writers::end(&admin, place.id).await);
        }
        let heard = readers.join_all().await;
        let stored = stored(&backend).await;

        let mut all = faults(&sent, &stored);
        for (name, heard) in &heard {
            let of_them: Vec<_> = sent.iter().filter(|sent| heard.contains_key(&sent.conversation)).cloned().collect();
            let named = |fault: Fault| Fault { what: format!("{name}: {}", fault.what), ..fault };
            all.extend(faults(&of_them, heard).into_iter().map(named));
            for (conversation, messages) in heard {
                if messages != &stored[conversation] {
                    let what = format!("{name}: not what is stored of {conversation}");
                    all.push(Fault { kind: Kind::Lost, what });
                }
            }
        }
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        Outcome {
            acknowledged: sent.iter().filter(|sent| sent.id.is_some()).count(),
            refused: count(&troubles.refused),
            broken: count(&troubles.broken),
            closed: count(&troubles.closed),
            readers: heard.len(),
            faults: all,
        }
    }
}

async fn database(backend: &Backend) -> PgConnection {
    PgConnection::connect(backend.url()).await.expect("the throwaway PostgreSQL is up")
}

async fn places(backend: &Backend) -> Vec<Place> {
    let rows: Vec<(i64, String)> = sqlx::query_as("SELECT id, uuid::text FROM conversations ORDER BY id")
        .fetch_all(&mut database(backend).await)
        .await
        .expect("it can be read");
    rows.into_iter().map(|(id, uuid)| Place { id, uuid }).collect()
}

/// Everything that is stored, as somebody who reads it from the beginning.
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
