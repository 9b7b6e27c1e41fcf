//! The rows about SQLite: each figure beside the same on PostgreSQL, and beside PocketBase where that does the same work.

use std::time::{Duration, Instant};

use crate::{
    Result,
    children::Server,
    database::Databases,
    http::Request,
    load,
    pocketbase::PocketBase,
    report::{Row, RowTarget, number},
    requests::{CONNECTIONS, count, page, poll, send, session},
    rows::{Benchmark, counts_of_readers, sends_together, spread_over_conversations},
    sqlite::SqliteFile,
};

/// Bound of the memory at the start, in MiB.
const START_MIB: f64 = 32.0;
/// Bound of SQLite's page caches, in MiB: 16 of the connection that writes, 4 of each of the nine that read.
const CACHES_MIB: f64 = 16.0 + 9.0 * 4.0;
/// Time that a server gets to end what its start has begun: at the moment it listens, it is still allocating memory.
const SETTLE: Duration = Duration::from_millis(200);
/// Memory of one password check, in MiB.
const CHECK_MIB: f64 = 19.0;

/// Key, name and unit of a figure.
type Figure<'a> = (&'static str, &'a str, &'static str);

/// Server beside which SQLite is measured, in the row of one figure.
struct Peer {
    /// Ending of the row's key.
    suffix: &'static str,
    name: &'static str,
    mark: RowTarget,
    remark: &'static str,
}

fn postgres(mark: RowTarget, remark: &'static str) -> Peer {
    Peer { suffix: "", name: "the same on PostgreSQL", mark, remark }
}

fn pocketbase(mark: RowTarget, remark: &'static str) -> Peer {
    Peer { suffix: "-pocketbase", name: "PocketBase", mark, remark }
}

impl Benchmark<'_> {
    pub(super) async fn sqlite(&self, databases: &Databases) -> Result<()> {
        let file = SqliteFile::create(&self.program, databases).await?;
        let base = PocketBase::prepare().await?;
        self.sqlite_requests(&file, databases, base.as_ref()).await?;
        file.settle().await?;
        self.sqlite_starts(&file, databases, base.as_ref()).await
    }

    async fn sqlite_requests(&self, file: &SqliteFile, databases: &Databases, base: Option<&PocketBase>) -> Result<()> {
        let ours = Server::dragoman(&self.program, &file.storage())?;
        let on_postgres = Server::dragoman(&self.program, &databases.ours)?;
        let base = base.map(|base| base.start().map(|server| (server, base))).transpose()?;
        let base = base.as_ref();
        let latency = async |(server, request): &(&Server, Request)| {
            load::latency(server.address, std::slice::from_ref(request), self.times()).await
        };
        let rate = async |(server, load): &(&Server, Vec<Vec<Request>>)| Ok(self.cost(server, load).await?.0);
        let both = [&ours, &on_postgres];

        // Conversation 32 holds the persons 1 and 2.
        let mut sends = both.map(|server| (server, send(&session(1), 32))).to_vec();
        sends.extend(base.map(|(server, base)| (server, base.send(1, 32))));
        let marks = [
            postgres(RowTarget::AtMost(0.5), "both over HTTP, and both wait for the disk"),
            pocketbase(RowTarget::AtMost(1.0), "which stores one row, and does not wait for the disk"),
        ];
        self.compare(("sqlite-lone-send", "one lone send, SQLite", "us"), &sends, &marks, latency).await?;

        let spread = || spread_over_conversations(|writer, conversation| send(&session(writer), conversation));
        let mut spreads = both.map(|server| (server, spread())).to_vec();
        spreads.extend(base.map(|(server, base)| (server, spread_over_conversations(|author, at| base.send(author, at)))));
        let marks = [
            postgres(RowTarget::AtLeast(1.0), ""),
            pocketbase(RowTarget::AtLeast(1.0), "which stores one row, and does not wait for the disk"),
        ];
        let what = "`message/send`, SQLite, 32 connections, 1,000 conversations";
        self.compare(("sqlite-send-spread", what, "/s"), &spreads, &marks, &rate).await?;

        let marks = [postgres(RowTarget::AtLeast(1.0), "")];
        let together = both.map(|server| (server, sends_together()));
        let what = "`message/send`, SQLite, 32 connections, one conversation";
        self.compare(("sqlite-send-together", what, "/s"), &together, &marks, &rate).await?;
        let counts = both.map(|server| (server, counts_of_readers()));
        let what = "`notifications/count`, SQLite, 32 connections";
        self.compare(("sqlite-count", what, "/s"), &counts, &marks, &rate).await?;

        let times = if self.cli.quick { 30 } else { 100 };
        let delivery = async |server: &&Server| {
            let poll = |last: &str| poll(&session(1), 32, last);
            Ok(load::delivery(server.address, &poll, &send(&session(2), 32), times).await?.total)
        };
        let marks = [postgres(RowTarget::AtMost(1.0), "from the sender's request to the answer to the poll")];
        self.compare(("sqlite-poll", "long poll, SQLite", "us"), &both, &marks, delivery).await
    }

    async fn sqlite_starts(&self, file: &SqliteFile, databases: &Databases, base: Option<&PocketBase>) -> Result<()> {
        let dragoman = |storage: String| move || Server::dragoman(&self.program, &storage);
        let (ours, on_postgres) = (dragoman(file.storage()), dragoman(databases.ours.clone()));
        let mut starts: Vec<&dyn Fn() -> Result<Server>> = vec![&ours, &on_postgres];
        let theirs = base.map(|base| move || base.start());
        starts.extend(theirs.as_ref().map(|start| start as &dyn Fn() -> Result<Server>));

        let listening = async |start: &&dyn Fn() -> Result<Server>| {
            let begun = Instant::now();
            let _server = start()?;
            Ok(begun.elapsed().as_secs_f64() * 1e3)
        };
        let marks = [postgres(RowTarget::AtMost(1.0), "whose own start is not counted"), pocketbase(RowTarget::AtMost(1.0), "")];
        self.compare(("sqlite-start", "start, SQLite, until it listens", "ms"), &starts, &marks, listening).await?;

        let resident = async |start: &&dyn Fn() -> Result<Server>| {
            let server = start()?;
            tokio::time::sleep(SETTLE).await;
            Ok(server.resident()? / 1024.0)
        };
        let marks = [
            postgres(RowTarget::Below(START_MIB), "whose own processes are not counted"),
            pocketbase(RowTarget::Below(START_MIB), ""),
        ];
        self.compare(("sqlite-memory-start", "memory at the start, SQLite", "MiB"), &starts, &marks, resident).await
    }

    /// Measures memory with the largest conversation, which the database on PostgreSQL has already.
    pub(super) async fn sqlite_memory(&self, databases: &Databases) -> Result<()> {
        let (file, histories) = (SqliteFile::create(&self.program, databases).await?, self.histories());
        file.add_histories(&histories, databases).await?;
        let (reads, cores) = (reads_of_largest(&histories)?, std::thread::available_parallelism()?.get() as f64);
        let resident = async |storage: &String| {
            let server = Server::dragoman(&self.program, storage)?;
            load::throughput(server.address, &reads, self.turn_duration() / 2).await?;
            Ok(server.resident()? / 1024.0)
        };
        let marks = [postgres(
            RowTarget::Below(START_MIB + CACHES_MIB + CHECK_MIB * cores),
            "after reads on 32 connections; its own processes are not counted",
        )];
        let largest = number(histories.last().copied().map_or(0.0, f64::from));
        let what = format!("memory with {largest} messages in one conversation, SQLite");
        self.compare(("sqlite-memory-large", &what, "MiB"), &[file.storage(), databases.ours.clone()], &marks, resident).await
    }

    /// Measures a figure of the first of these, and of its peers, in turns. A peer that is not there has no row.
    async fn compare<T>(
        &self,
        (key, what, unit): Figure<'_>,
        compared: &[T],
        peers: &[Peer],
        measure: impl AsyncFn(&T) -> Result<f64>,
    ) -> Result<()> {
        let [ours, others @ ..] = compared else { return Ok(()) };
        if let Some(databases) = &self.databases {
            databases.settle().await?;
        }
        let mut rounds = vec![Vec::new(); others.len()];
        for _ in 0..self.rounds() {
            let value = measure(ours).await?;
            for (other, rounds) in others.iter().zip(&mut rounds) {
                rounds.push((value, measure(other).await?));
            }
        }
        for (Peer { suffix, name, mark, remark }, rounds) in peers.iter().zip(rounds) {
            self.finish_row(Row {
                key: format!("{key}{suffix}").into(),
                what: what.to_owned().into(),
                limit: (*name).into(),
                unit: unit.into(),
                mark: *mark,
                rounds,
                remark: (*remark).to_owned(),
            })?;
        }
        Ok(())
    }
}

/// For each connection, reads of the largest conversation of `large.sql`: a hundred pages all over it, and a count.
fn reads_of_largest(histories: &[u32]) -> Result<Vec<Vec<Request>>> {
    let (place, messages) = (i64::try_from(histories.len())?, histories.last().copied().unwrap_or(0));
    let (conversation, reader) = (1499 + place, session(64 + place));
    let page = |part: usize| {
        let offset = messages as usize * part / (100 * CONNECTIONS);
        page(&reader, conversation, &format!(r#""offset":{offset}"#))
    };
    let reads = |first| (first..100 * CONNECTIONS).step_by(CONNECTIONS).map(page).chain([count(&reader)]).collect();
    Ok((0..CONNECTIONS).map(reads).collect())
}
