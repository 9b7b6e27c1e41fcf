//! The row about pairs of people who chat in the dialect `room`.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::timeout};

use crate::{
    Error, Result,
    children::Server,
    database::{Databases, WriteMode},
    report::{Row, RowTarget},
    requests::{BODY, session},
    rows::Benchmark,
    socket::Socket,
};

/// Number of pairs.
const PAIRS: i64 = 32;
/// Time-out of a message.
const TIMEOUT: Duration = Duration::from_secs(20);

impl Benchmark<'_> {
    /// Measures the pairs, and Django Channels beside them if `DRAGOMAN_BENCH_CHANNELS` names a Python that has it.
    pub(super) async fn rooms(&self, ours: &Server, databases: &Databases) -> Result<()> {
        databases.settle().await?;
        let uuids = databases.uuids().await?;
        let python = std::env::var_os("DRAGOMAN_BENCH_CHANNELS").map(PathBuf::from);
        let channels = python.map(|python| Server::channels(&python, &databases.ours)).transpose()?;
        let (mut rounds, mut stored) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds() {
            let said = self.chat(ours, &uuids, |person, _| ("/ws/chat/room".into(), session(person))).await?;
            stored
                .push((said, self.pgbench(&databases.limits, WriteMode::SingleStatement, ["first=1", "last=1000", "spread=0"])?));
            if let Some(channels) = &channels {
                let theirs = self.chat(channels, &uuids, |_, uuid| (format!("/?token={uuid}"), String::new())).await?;
                rounds.push((said, theirs));
            }
        }
        if channels.is_some() {
            self.finish_row(Row {
                key: "room-channels".into(),
                what: "room chat, PostgreSQL, 32 pairs, messages".into(),
                limit: "Django Channels on PostgreSQL".into(),
                unit: "/s".into(),
                mark: RowTarget::AtLeast(15.0),
                rounds,
                remark: String::new(),
            })?;
        }
        self.finish_row(Row {
            key: "room".into(),
            what: "room chat, PostgreSQL, 32 pairs, messages".into(),
            limit: "`pgbench`, 32 clients, the same writes in one statement".into(),
            unit: "/s".into(),
            mark: RowTarget::Reach(6_000.0),
            rounds: stored,
            remark: "what the disk and the database would take; the mark is 15 times 400".into(),
        })
    }

    /// Messages per second of all pairs. One person of a pair sends, again as soon as both have the last message.
    /// `door` returns path and session of a person's socket, from the number and the uuid of the person.
    async fn chat(
        &self,
        server: &Server,
        uuids: &HashMap<i64, String>,
        door: impl Fn(i64, &str) -> (String, String),
    ) -> Result<f64> {
        let uuid = |person| uuids.get(&person).ok_or("nobody to write to");
        let mut pairs = Vec::new();
        for person in 1..=PAIRS {
            let mut sockets = Vec::new();
            for person in [person, person + PAIRS] {
                let (path, session) = door(person, uuid(person)?);
                sockets.push(Socket::open(server.address, &path, &session).await?);
            }
            let receiver = uuid(person + PAIRS)?;
            let text = format!(r#"{{"action":"text_message","receiver_id":"{receiver}","message_body":"{BODY}"}}"#);
            let (Some(reader), Some(writer)) = (sockets.pop(), sockets.pop()) else { continue };
            let mut pair = Pair { writer, reader, text };
            // The first message creates the conversation.
            pair.message().await?;
            pairs.push(pair);
        }
        let mut chatting = JoinSet::new();
        let begun = Instant::now();
        let end = begun + self.turn_duration();
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
        Ok(f64::from(messages) / begun.elapsed().as_secs_f64())
    }
}

/// Two people who chat.
struct Pair {
    writer: Socket,
    reader: Socket,
    text: String,
}

impl Pair {
    /// Sends one message, and waits until both have it.
    async fn message(&mut self) -> Result<()> {
        self.writer.send(&self.text).await?;
        let told = async {
            tokio::try_join!(wait_for_frame(&mut self.writer, b"conf_message"), wait_for_frame(&mut self.reader, b"re_message"))
        };
        timeout(TIMEOUT, told).await??;
        Ok(())
    }
}

/// Waits for one such frame.
async fn wait_for_frame(socket: &mut Socket, words: &[u8]) -> Result<()> {
    while socket.count_frames(words).await? == 0 {}
    Ok(())
}
