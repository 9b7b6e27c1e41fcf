//! The rows of the table, one after the other.

mod polls;
mod scale;
mod send;
mod sockets;

use std::{path::PathBuf, time::Duration};

use crate::{
    Cli, Result,
    children::Server,
    database::Databases,
    http::{self, Request},
    load,
    report::{self, Mark, Row},
    requests::{CONNECTIONS, Furnished, count, send, session},
    say,
};

pub(crate) struct Bench<'a> {
    pub(crate) cli: &'a Cli,
    pub(crate) program: PathBuf,
    pub(crate) databases: Option<Databases>,
}

impl Bench<'_> {
    pub(crate) async fn measure(&self) -> Result<()> {
        say(report::HEAD)?;
        self.on_memory().await?;
        match &self.databases {
            Some(databases) => self.on_postgres(databases).await?,
            None => say("\nWithout DRAGOMAN_TEST_POSTGRES nothing is measured on PostgreSQL; bench/run starts one.")?,
        }
        Ok(())
    }

    async fn on_memory(&self) -> Result<()> {
        let (ours, limits) = (Server::dragoman(&self.program, "memory:")?, Server::limits(None)?);
        let house = Furnished::by_the_api(&ours).await?;
        if self.wanted("count") {
            let constant = vec![vec![http::call("/constant", "", "{}")]; CONNECTIONS];
            let mut rounds = Vec::new();
            for _ in 0..self.rounds() {
                let count = load::throughput(ours.address, &house.count, self.time()).await?;
                rounds.push((count, load::throughput(limits.address, &constant, self.time()).await?));
            }
            Row {
                what: "`notifications/count`, memory, 32 connections",
                limit: "a bare handler, constant JSON",
                unit: "/s",
                mark: Mark::AtLeast(0.4),
                rounds,
                remark: String::new(),
            }
            .print()?;
        }
        if self.wanted("poll") {
            let pair = (house.thread, house.readers[0].as_str(), house.author.as_str());
            self.poll(&ours, &limits, pair, "/notify", "long poll, memory", "a bare pair on a `Notify`").await?;
        }
        drop((ours, limits));
        if self.wanted("memory") && self.databases.is_none() {
            self.memory("memory:", None).await?;
        }
        if self.wanted("fanout") {
            self.fan_out().await?;
        }
        if self.wanted("sockets") {
            self.memory_of_sockets().await?;
        }
        Ok(())
    }

    async fn on_postgres(&self, databases: &Databases) -> Result<()> {
        let ours = Server::dragoman(&self.program, &databases.ours)?;
        let limits = Server::limits(Some(&databases.limits))?;
        if self.wanted("count") {
            let select = vec![vec![http::call("/select", "", "{}")]; CONNECTIONS];
            let count: Vec<_> = (33..65).map(|reader| vec![count(&session(reader))]).collect();
            let mut rounds = Vec::new();
            for _ in 0..self.rounds() {
                let count = load::throughput(ours.address, &count, self.time()).await?;
                rounds.push((count, load::throughput(limits.address, &select, self.time()).await?));
            }
            Row {
                what: "`notifications/count`, PostgreSQL, 32 connections",
                limit: "a bare handler, one `select` by primary key",
                unit: "/s",
                mark: Mark::AtLeast(0.6),
                rounds,
                remark: String::new(),
            }
            .print()?;
        }
        if self.wanted("send") {
            // Writer n, counted from 0, is in the conversations whose number leaves the rest n, as person n + 1.
            let spread = |writer: i64| (1..=1000).filter(|n| n % 32 == writer).map(|n| send(&session(writer + 1), n)).collect();
            let spread: Vec<Vec<Request>> = (0..32).map(spread).collect();
            let what = "`message/send`, PostgreSQL, 32 connections, 1,000 conversations";
            self.send(&ours, databases, &spread, ["first=1", "last=1000", "spread=0"], what, Mark::AtLeast(2.0)).await?;
            let together: Vec<Vec<Request>> = (1..33).map(|writer| vec![send(&session(writer), 1001)]).collect();
            let what = "the same, all in one conversation";
            self.send(&ours, databases, &together, ["first=1001", "last=1001", "spread=1"], what, Mark::AtLeast(4.0)).await?;
        }
        if self.wanted("poll") {
            let (reader, writer) = (session(1), session(2));
            let pair = (32, reader.as_str(), writer.as_str());
            let limit = "a bare pair that stores with one statement, then a `Notify`";
            // Conversation 32 holds the persons 1 and 2.
            self.poll(&ours, &limits, pair, "/store", "long poll, PostgreSQL", limit).await?;
        }
        drop(limits);
        if self.wanted("lone") {
            self.lone(&ours, databases).await?;
        }
        if self.wanted("room") {
            self.room(&ours, databases).await?;
        }
        if self.wanted("scale") {
            self.scale(&ours, databases).await?;
        }
        drop(ours);
        if self.wanted("nodes") {
            self.nodes(databases).await?;
        }
        if self.wanted("memory") {
            self.memory(&databases.ours, Some(databases)).await?;
        }
        Ok(())
    }

    fn wanted(&self, word: &str) -> bool {
        self.cli.only.is_empty() || self.cli.only.iter().any(|only| only == word)
    }

    fn rounds(&self) -> usize {
        if self.cli.quick { 3 } else { 9 }
    }

    /// How long one turn takes.
    fn time(&self) -> Duration {
        Duration::from_secs(if self.cli.quick { 1 } else { 4 })
    }
}
