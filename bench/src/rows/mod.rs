//! The rows of the table: one measurement after the other.

mod count;
mod floods;
mod growth;
mod mix;
mod nodes;
mod polls;
mod returned;
mod rooms;
mod scale;
mod send;
mod sockets;
mod sqlite;

use std::{cell::RefCell, path::PathBuf, time::Duration};

use crate::{
    Cli, Result,
    children::Server,
    database::Databases,
    http::{self, Request},
    print_line,
    report::{self, Growth, Row, RowTarget},
    requests::{CONNECTIONS, DemoThreads, count, send, session},
};

/// Names by which the command line selects rows.
pub(crate) const ROW_NAMES: [&str; 15] = [
    "count", "send", "lone", "poll", "memory", "fanout", "sockets", "returned", "room", "sqlite", "scale", "nodes", "floods",
    "mix", "growth",
];

pub(crate) struct Benchmark<'a> {
    pub(crate) cli: &'a Cli,
    pub(crate) program: PathBuf,
    pub(crate) databases: Option<Databases>,
    /// Results up to now.
    pub(crate) rows: RefCell<Vec<Row>>,
    pub(crate) growth: RefCell<Vec<Growth>>,
}

impl Benchmark<'_> {
    pub(crate) async fn measure(&self) -> Result<()> {
        print_line(report::HEAD)?;
        self.on_memory().await?;
        match &self.databases {
            Some(databases) => self.on_postgres(databases).await?,
            None => print_line("\nWithout DRAGOMAN_TEST_POSTGRES nothing is measured on PostgreSQL; bench/run starts one.")?,
        }
        Ok(())
    }

    async fn on_memory(&self) -> Result<()> {
        let (ours, limits) = (Server::dragoman(&self.program, "memory:")?, Server::limits(None)?);
        let house = DemoThreads::create(&ours).await?;
        if self.is_selected("count") {
            let constant = vec![vec![http::call("/constant", "", "{}")]; CONNECTIONS];
            let name = ("count-memory", "`notifications/count`, memory, 32 connections", "a bare handler, constant JSON");
            self.throughput_row((&ours, &house.count), (&limits, &constant), name, RowTarget::AtLeast(0.4)).await?;
        }
        if self.is_selected("poll") {
            let pair = (house.thread, house.readers[0].as_str(), house.author.as_str());
            let name = ("poll-memory", "long poll, memory");
            self.poll(&ours, &limits, pair, "/notify", name, "a bare pair on a `Notify`").await?;
        }
        drop((ours, limits));
        if self.is_selected("memory") && self.databases.is_none() {
            self.memory("memory:", None).await?;
        }
        if self.is_selected("fanout") {
            self.fan_out().await?;
        }
        if self.is_selected("sockets") {
            self.memory_of_sockets().await?;
        }
        if self.is_selected("returned") {
            self.memory_returned(self.databases.as_ref().map(|databases| databases.ours.as_str())).await?;
        }
        if self.is_selected("growth") {
            self.growth_of_connections().await?;
        }
        Ok(())
    }

    async fn on_postgres(&self, databases: &Databases) -> Result<()> {
        let ours = Server::dragoman(&self.program, &databases.ours)?;
        let limits = Server::limits(Some(&databases.limits))?;
        if self.is_selected("count") {
            let select = vec![vec![http::call("/select", "", "{}")]; CONNECTIONS];
            let count = counts_of_readers();
            let (what, limit) =
                ("`notifications/count`, PostgreSQL, 32 connections", "a bare handler, one `select` by primary key");
            self.throughput_row((&ours, &count), (&limits, &select), ("count-postgres", what, limit), RowTarget::AtLeast(0.6))
                .await?;
        }
        if self.is_selected("send") {
            let spread = spread_over_conversations(|writer, conversation| send(&session(writer), conversation));
            let name = ("send-spread", "`message/send`, PostgreSQL, 32 connections, 1,000 conversations");
            self.send(&ours, databases, &spread, ["first=1", "last=1000", "spread=0"], name, RowTarget::AtLeast(2.0)).await?;
            let together = sends_together();
            let name = ("send-together", "the same, all in one conversation");
            self.send(&ours, databases, &together, ["first=1001", "last=1001", "spread=1"], name, RowTarget::AtLeast(4.0))
                .await?;
        }
        if self.is_selected("poll") {
            databases.settle().await?;
            let (reader, writer) = (session(1), session(2));
            let pair = (32, reader.as_str(), writer.as_str());
            let limit = "a bare pair that stores with one statement, then a `Notify`";
            // Conversation 32 holds the persons 1 and 2.
            self.poll(&ours, &limits, pair, "/store", ("poll-postgres", "long poll, PostgreSQL"), limit).await?;
        }
        drop(limits);
        if self.is_selected("lone") {
            self.lone_send(&ours, databases).await?;
        }
        if self.is_selected("room") {
            self.rooms(&ours, databases).await?;
        }
        drop(ours);
        if self.is_selected("sqlite") {
            self.sqlite(databases).await?;
        }
        if self.is_selected("nodes") {
            self.nodes(databases).await?;
            self.buses(databases).await?;
        }
        if self.is_selected("memory") {
            self.memory(&databases.ours, Some(databases)).await?;
        }
        if self.is_selected("floods") {
            self.floods(databases).await?;
        }
        if self.is_selected("mix") {
            self.mix(databases).await?;
        }
        self.on_large_tables(databases).await
    }

    /// Measures the rows on large tables. They come last, because the tables stay large.
    async fn on_large_tables(&self, databases: &Databases) -> Result<()> {
        if !["sqlite", "scale", "growth"].iter().any(|word| self.is_selected(word)) {
            return Ok(());
        }
        databases.add_histories(&self.histories()).await?;
        if self.is_selected("sqlite") {
            self.sqlite_memory(databases).await?;
        }
        let ours = Server::dragoman(&self.program, &databases.ours)?;
        if self.is_selected("scale") {
            self.scale(&ours).await?;
        }
        if self.is_selected("growth") {
            self.growth_of_histories(&ours, databases).await?;
            databases.add_large_conversations(&self.conversations(), &self.conversation_sizes()).await?;
            self.growth_of_conversations(&ours).await?;
            self.growth_of_participants(&ours).await?;
        }
        Ok(())
    }

    /// Prints a row, and keeps it for the report.
    fn finish_row(&self, row: Row) -> Result<()> {
        print_line(&report::row_line(&row))?;
        if !row.is_known() {
            return Err(format!("the report has no place for {}", row.key).into());
        }
        self.rows.borrow_mut().push(row);
        Ok(())
    }

    fn finish_growth(&self, growth: Growth) -> Result<()> {
        print_line(&report::growth_table(&growth))?;
        self.growth.borrow_mut().push(growth);
        Ok(())
    }

    fn is_selected(&self, word: &str) -> bool {
        self.cli.only.is_empty() || self.cli.only.iter().any(|only| only == word)
    }

    fn rounds(&self) -> usize {
        if self.cli.quick { 3 } else { 5 }
    }

    /// Duration of one turn.
    fn turn_duration(&self) -> Duration {
        Duration::from_secs(if self.cli.quick { 1 } else { 3 })
    }
}

/// For each of 32 writers, a request for each of its conversations among 1,000. Writer n, counted from 0, is person n + 1 and
/// member of the conversations whose number modulo 32 is n.
fn spread_over_conversations(request: impl Fn(i64, i64) -> Request) -> Vec<Vec<Request>> {
    let of = |writer| (1..=1000).filter(move |n| n % 32 == writer).map(|n| request(writer + 1, n)).collect();
    (0..32).map(of).collect()
}

/// A send of each writer, all in one conversation.
fn sends_together() -> Vec<Vec<Request>> {
    (1..33).map(|writer| vec![send(&session(writer), 1001)]).collect()
}

/// A count of each reader.
fn counts_of_readers() -> Vec<Vec<Request>> {
    (33..65).map(|reader| vec![count(&session(reader))]).collect()
}
