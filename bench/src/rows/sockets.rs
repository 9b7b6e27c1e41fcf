//! The rows about sockets.

use std::time::{Duration, Instant};

use tokio::{task::JoinSet, time::timeout};

use crate::{
    Error, Result,
    children::Server,
    database::Databases,
    http::{self, Request},
    load::{self, Listeners, median},
    report::{Mark, Row},
    requests::{BODY, Furnished, send, session},
    rows::Bench,
    socket::Socket,
};

/// How many sockets are told every message.
const LISTENERS: usize = 1_000;
/// How many sockets are open for the measure of memory.
const IDLE: usize = 10_000;
/// How many pairs chat.
const PAIRS: i64 = 32;
/// Within which a message has come, or it never will.
const PATIENCE: Duration = Duration::from_secs(20);
/// What frames hold that tell a message, of Dragoman's `conversations` and of the bare handler.
const MESSAGE: &[u8] = br#""chat_message""#;

/// What one turn has brought.
struct Turn {
    per_second: f64,
    /// Of the server's processor time, or of the busiest server's.
    busy_per_second: f64,
}

impl Bench<'_> {
    pub(crate) async fn fan_out(&self) -> Result<()> {
        let (ours, limits) = (Server::dragoman(&self.program, "memory:")?, Server::limits(None)?);
        let house = Furnished::by_the_api(&ours).await?;
        let (said, told) = (send(&house.author, house.thread), http::call("/tell", "", "{}"));
        let rows = [
            (1, "fan-out-1", "fan-out to 1,000 sockets, one message at a time", Mark::AtLeast(0.8)),
            (16, "fan-out-16", "fan-out to 1,000 sockets, 16 messages at a time", Mark::AtLeast(0.5)),
        ];
        for (at_once, key, what, mark) in rows {
            let (mut rounds, mut costs) = (Vec::new(), Vec::new());
            for _ in 0..self.rounds() {
                let ours = self.turn(&[(&ours, LISTENERS)], &doors(&house), &said, at_once).await?;
                let limit = self.turn(&[(&limits, LISTENERS)], &[bare()], &told, at_once).await?;
                rounds.push((ours.per_second, limit.per_second));
                costs.push(ours.busy_per_second / limit.busy_per_second);
            }
            let remark = format!("deliveries; per second of the server's processor time {:.2} times as many", median(&costs));
            let limit = "bare sockets, one shared frame, writes gathered".into();
            self.done(Row { key: key.into(), what: what.into(), limit, unit: "/s".into(), mark, rounds, remark })?;
        }
        Ok(())
    }

    /// Sends through the first server to everybody's sockets.
    async fn turn(
        &self,
        servers: &[(&Server, usize)],
        doors: &[(String, String)],
        send: &Request,
        at_once: usize,
    ) -> Result<Turn> {
        let mut sockets = Vec::new();
        for (server, count) in servers {
            sockets.extend(load::open(server.address, doors, *count).await?);
        }
        let mut listeners = Listeners::new(sockets, MESSAGE);
        let first = servers[0].0.address;
        listeners.deliveries(first, send, at_once, self.time() / 4).await?;
        let busy = || servers.iter().map(|(server, _)| server.busy()).collect::<Result<Vec<f64>>>();
        let before = busy()?;
        let (delivered, seconds) = listeners.deliveries(first, send, at_once, self.time()).await?;
        let busiest = busy()?.iter().zip(before).map(|(after, before)| after - before).fold(0.0, f64::max);
        Ok(Turn { per_second: delivered / seconds, busy_per_second: delivered / busiest })
    }

    pub(crate) async fn memory_of_sockets(&self) -> Result<()> {
        let count = load::connections_allowed(IDLE)?;
        let rows = [
            ("memory-conversations", "memory of an idle socket, `conversations`", true),
            ("memory-room", "memory of an idle socket, `room`", false),
        ];
        for (key, what, converses) in rows {
            let mut rounds = Vec::new();
            for _ in 0..if self.cli.quick { 1 } else { 3 } {
                let ours = Server::dragoman(&self.program, "memory:")?;
                let house = Furnished::by_the_api(&ours).await?;
                let rooms = || house.readers.iter().map(|reader| ("/ws/chat/room".to_owned(), reader.clone())).collect();
                let doors = if converses { doors(&house) } else { rooms() };
                let each = held(&ours, &doors, count).await?;
                drop(ours);
                rounds.push((each, held(&Server::limits(None)?, &[bare()], count).await?));
            }
            let (limit, remark) = ("a bare socket with small buffers".into(), format!("{count} sockets"));
            let (key, what, unit) = (key.into(), what.into(), "KiB".into());
            self.done(Row { key, what, limit, unit, mark: Mark::Below(8.0), rounds, remark })?;
        }
        Ok(())
    }

    /// Pairs of which one says something as soon as both have the last.
    pub(crate) async fn room(&self, ours: &Server, databases: &Databases) -> Result<()> {
        databases.settle().await?;
        let uuids = databases.uuids().await?;
        let mut rounds = Vec::new();
        for _ in 0..self.rounds() {
            let mut pairs = Vec::new();
            for person in 1..=PAIRS {
                let writer = Socket::open(ours.address, "/ws/chat/room", &session(person)).await?;
                let reader = Socket::open(ours.address, "/ws/chat/room", &session(person + PAIRS)).await?;
                let receiver = uuids.get(&(person + PAIRS)).ok_or("nobody to write to")?;
                let text = format!(r#"{{"action":"text_message","receiver_id":"{receiver}","message_body":"{BODY}"}}"#);
                let mut pair = Pair { writer, reader, text };
                // The first message begins the conversation.
                pair.message().await?;
                pairs.push(pair);
            }
            let mut chatting = JoinSet::new();
            let begun = Instant::now();
            let end = begun + self.time();
            for mut pair in pairs {
                chatting.spawn(async move {
                    let mut messages = 0;
                    while Instant::now() < end {
                        pair.message().await?;
                        messages += 1;
                    }
                    Ok::<_, Error>(messages)
                });
            }
            let mut messages = 0;
            while let Some(done) = chatting.join_next().await {
                messages += done??;
            }
            let said = f64::from(messages) / begun.elapsed().as_secs_f64();
            rounds.push((said, self.pgbench(&databases.limits, ["first=1", "last=1000", "spread=0"])?));
        }
        self.done(Row {
            key: "room".into(),
            what: "room chat, PostgreSQL, 32 pairs, messages".into(),
            limit: "`pgbench`, 32 clients, the same writes in one statement".into(),
            unit: "/s".into(),
            mark: Mark::Reach(6_000.0),
            rounds,
            remark: "15 times what Django Channels does".into(),
        })
    }

    pub(crate) async fn nodes(&self, databases: &Databases) -> Result<()> {
        let [one, two] = [(); 2].map(|()| Server::node(&self.program, &databases.ours));
        let (one, two) = (one?, two?);
        let doors: Vec<_> = (2..=32).map(|person| ("/conversations/1001/".to_owned(), session(person))).collect();
        let said = send(&session(1), 1001);
        let mut rounds = Vec::new();
        for _ in 0..self.rounds() {
            let both = self.turn(&[(&one, LISTENERS / 2), (&two, LISTENERS / 2)], &doors, &said, 16).await?;
            let alone = self.turn(&[(&one, LISTENERS)], &doors, &said, 16).await?;
            rounds.push((both.busy_per_second, alone.busy_per_second));
        }
        self.done(Row {
            key: "nodes".into(),
            what: "two nodes, 500 sockets each, 16 messages at a time".into(),
            limit: "one node with all 1,000".into(),
            unit: "/s".into(),
            mark: Mark::AtLeast(1.7),
            rounds,
            remark: "deliveries per second of the busiest node's processor time".into(),
        })
    }
}

/// Where the readers listen to the thread.
fn doors(house: &Furnished) -> Vec<(String, String)> {
    let path = format!("/conversations/{}/", house.thread);
    house.readers.iter().map(|reader| (path.clone(), reader.clone())).collect()
}

fn bare() -> (String, String) {
    ("/socket".into(), String::new())
}

/// How many KiB each of so many sockets makes the server hold.
async fn held(server: &Server, doors: &[(String, String)], count: usize) -> Result<f64> {
    let before = server.resident()?;
    let _open = load::open(server.address, doors, count).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok((server.resident()? - before) / count as f64)
}

/// Two people who chat.
struct Pair {
    writer: Socket,
    reader: Socket,
    text: String,
}

impl Pair {
    /// One message, until both have it.
    async fn message(&mut self) -> Result<()> {
        self.writer.say(&self.text).await?;
        let told = async { tokio::try_join!(one(&mut self.writer, b"conf_message"), one(&mut self.reader, b"re_message")) };
        timeout(PATIENCE, told).await??;
        Ok(())
    }
}

/// Waits for one such frame.
async fn one(socket: &mut Socket, words: &[u8]) -> Result<()> {
    while socket.count(words).await? == 0 {}
    Ok(())
}
