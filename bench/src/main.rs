//! Measures the server beside the limits it is held to, in turns, and prints a table. `README.md` says what each row means.

mod children;
mod database;
mod http;
mod limits;
mod load;
mod report;
mod scale;
mod socket;
mod sockets;

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, ExitCode},
    time::Duration,
};

use clap::{Parser, Subcommand};
use dragoman_bench::{
    Error, Result,
    crowd::{Load, MakePeople},
};

use children::Server;
use database::Databases;
use http::{Connection, Request};
use load::Delivery;
use report::{Mark, Row};

/// Measures Dragoman beside the limits it is held to.
#[derive(Parser)]
struct Cli {
    /// Two to three minutes instead of many.
    #[arg(long)]
    quick: bool,
    /// Only the rows that go by these words: count, send, lone, poll, memory, fanout, sockets, room, scale, nodes.
    only: Vec<String>,
    #[command(subcommand)]
    command: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Serves the bare handlers beside which the server is measured.
    #[command(hide = true)]
    Limits {
        database: Option<String>,
    },
    Load(Box<Load>),
    People(MakePeople),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        // poem as it is usually run.
        Some(Role::Limits { database }) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(limits::serve(database.as_deref()))),
        Some(Role::Load(load)) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(crowd(load))),
        Some(Role::People(people)) => people.make().and_then(|lines| say(lines.trim_end())),
        None => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Into::into)
            .and_then(|runtime| runtime.block_on(run(&cli))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody left to tell that this cannot be told.
            let _ = writeln!(std::io::stderr(), "dragoman-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends a crowd, and tells how it was, Ctrl-C or not.
async fn crowd(load: &Load) -> Result<()> {
    let report = load
        .run(async {
            // Without the signal it goes on to its end.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending().await
            }
        })
        .await?;
    say(report.to_string().trim_end())?;
    report.write(load)?;
    if report.is_flawless() { Ok(()) } else { Err("messages were lost, doubled or out of order".into()) }
}

async fn run(cli: &Cli) -> Result<()> {
    let program = children::build_server()?;
    let databases = match std::env::var("DRAGOMAN_TEST_POSTGRES") {
        Ok(admin) => Some(Databases::create(&admin, &program).await?),
        Err(_) => None,
    };
    let bench = Bench { cli, program, databases };
    let measured = bench.measure().await;
    if let Some(databases) = bench.databases {
        databases.drop().await?;
    }
    measured
}

/// How many connections make requests at the same time.
const CONNECTIONS: usize = 32;
/// How many polls wait for the measure of memory.
const POLLS: usize = 10_000;
/// Larger than the id of any message.
const FROM_NOW_ON: &str = "2147483647";
const BODY: &str = "A message of a usual length, neither short nor long.";

struct Bench<'a> {
    cli: &'a Cli,
    program: PathBuf,
    databases: Option<Databases>,
}

impl Bench<'_> {
    async fn measure(&self) -> Result<()> {
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

    async fn send(
        &self,
        ours: &Server,
        databases: &Databases,
        load: &[Vec<Request>],
        variables: [&str; 3],
        what: &'static str,
        mark: Mark,
    ) -> Result<()> {
        let mut rounds = Vec::new();
        for _ in 0..self.rounds() {
            let sent = load::throughput(ours.address, load, self.time()).await?;
            rounds.push((sent, self.pgbench(&databases.limits, variables)?));
        }
        Row {
            what,
            limit: "`pgbench`, 32 clients, the same writes in one statement",
            unit: "/s",
            mark,
            rounds,
            remark: String::new(),
        }
        .print()
    }

    fn pgbench(&self, database: &str, variables: [&str; 3]) -> Result<f64> {
        let script = std::env::temp_dir().join(format!("dragoman-bench-{}.sql", std::process::id()));
        std::fs::write(&script, database::script())?;
        let mut command = Command::new(children::pgbench());
        command.args(["--no-vacuum", "--protocol=prepared", "--client=32", "--jobs=1"]);
        command.arg(format!("--time={}", self.time().as_secs().max(1)));
        command.args(variables.map(|variable| format!("--define={variable}"))).arg("--file").arg(&script).arg(database);
        let printed = children::finished(&mut command);
        std::fs::remove_file(script)?;
        let printed = printed?;
        let rate = printed.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate = rate.and_then(|rate| rate.split_whitespace().next()).ok_or("pgbench printed no rate")?;
        Ok(rate.parse()?)
    }

    async fn poll(
        &self,
        ours: &Server,
        limits: &Server,
        (thread, reader, writer): (i64, &str, &str),
        route: &str,
        what: &'static str,
        limit: &'static str,
    ) -> Result<()> {
        let wait = |_: &str| http::call("/wait", "", "{}");
        let poll = |last: &str| poll(reader, thread, last);
        let (send, notify) = (send(writer, thread), http::call(route, "", "{}"));
        let times = if self.cli.quick { 30 } else { 100 };
        let mut deliveries: Vec<(Delivery, Delivery)> = Vec::new();
        for _ in 0..self.rounds() {
            let delivery = load::delivery(ours.address, &poll, &send, times).await?;
            deliveries.push((delivery, load::delivery(limits.address, &wait, &notify, times).await?));
        }
        let (ours, limits): (Vec<_>, Vec<_>) = deliveries.iter().map(|(ours, limit)| (ours.behind, limit.behind)).unzip();
        let (ours, limits) = (load::median(&ours), load::median(&limits));
        let remark = format!("after the send's own answer: {ours:.0} us, limit {limits:.0} us");
        let rounds = deliveries.iter().map(|(ours, limit)| (ours.whole, limit.whole)).collect();
        Row { what, limit, unit: "us", mark: Mark::AtMost(2.0), rounds, remark }.print()
    }

    async fn memory(&self, storage: &str, databases: Option<&Databases>) -> Result<()> {
        let polls = load::connections_allowed(POLLS)?;
        let mut rounds = Vec::new();
        let mut remark = format!("{polls} polls");
        for round in 0..if self.cli.quick { 1 } else { 3 } {
            let ours = Server::dragoman(&self.program, storage)?;
            let polling: Vec<Request> = match databases {
                Some(_) => (1..=1000).map(|n| poll(&session(n % 32 + 1), n, FROM_NOW_ON)).collect(),
                None => {
                    let house = Furnished::by_the_api(&ours).await?;
                    vec![poll(&house.readers[0], house.thread, FROM_NOW_ON)]
                }
            };
            let before = ours.resident()?;
            let waiting = load::wait(ours.address, polling.into_iter().cycle(), polls).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            let each = (ours.resident()? - before) / polls as f64;
            if let Some(databases) = databases.filter(|_| round == 0) {
                // By now every connection to the database has told what it did before.
                tokio::time::sleep(Duration::from_secs(12)).await;
                let before = databases.transactions().await?;
                tokio::time::sleep(Duration::from_secs(12)).await;
                let transactions = databases.transactions().await? - before;
                remark += &format!(", transactions in 12 s of waiting: {transactions}");
            }
            drop((waiting, ours));

            let limits = Server::limits(None)?;
            let before = limits.resident()?;
            let request = http::call("/wait", "", "{}");
            let _waiting = load::wait(limits.address, std::iter::repeat(request), polls).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            rounds.push((each, (limits.resident()? - before) / polls as f64));
        }
        let (what, limit) = ("memory of a waiting long poll", "a bare handler that waits");
        Row { what, limit, unit: "KiB", mark: Mark::Below(24.0), rounds, remark }.print()
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

impl Row {
    fn print(&self) -> Result<()> {
        say(&self.to_string())
    }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// The session of a person of `seed.sql`.
fn session(person: i64) -> String {
    format!("{person:040x}")
}

fn count(session: &str) -> Request {
    http::call("/api/messaging/notifications/count", session, "{}")
}

fn send(session: &str, conversation: i64) -> Request {
    let params = format!(r#"{{"thread_id":{conversation},"body":"{BODY}"}}"#);
    http::call("/api/messaging/message/send", session, &params)
}

fn poll(session: &str, conversation: i64, last: &str) -> Request {
    let params = format!(r#"{{"thread_id":{conversation},"last_message_id":{last},"timeout":60}}"#);
    http::call("/api/messaging/poll/messages", session, &params)
}

/// Requests to a server on memory, whose demo data has been added to: six people, ten more threads of all of them, with
/// five messages each.
struct Furnished {
    /// For each connection.
    count: Vec<Vec<Request>>,
    thread: i64,
    author: String,
    readers: Vec<String>,
}

impl Furnished {
    async fn by_the_api(server: &Server) -> Result<Self> {
        const LOGINS: [&str; 6] = [
            "admin@gmail.com",
            "john@example.com",
            "jane@example.com",
            "bob@example.com",
            "deepak@tis.co.th",
            "concierge@example.com",
        ];
        let mut connection = Connection::open(server.address).await?;
        let mut sessions = Vec::new();
        for login in LOGINS {
            let params = format!(r#"{{"db":"odoo2","login":"{login}","password":"123456"}}"#);
            let answer = connection.exchange(&http::call("/web/session/authenticate", "", &params)).await?;
            let cookie = answer.head.split_once("session_id=").and_then(|(_, cookie)| cookie.split_once(';'));
            sessions.push(cookie.ok_or("no session")?.0.to_owned());
        }
        let create = r#"{"name":"Thread","thread_type":"group","partner_ids":[2,4,6,8,34,32314]}"#;
        let mut thread = 0;
        for _ in 0..10 {
            let create = http::call("/api/messaging/thread/create", &sessions[0], create);
            let id = connection.exchange(&create).await?.number("thread_id");
            thread = id.ok_or("no thread")?.parse()?;
            for _ in 0..5 {
                connection.exchange(&send(&sessions[0], thread)).await?;
            }
        }
        let count = sessions.iter().cycle().take(CONNECTIONS).map(|session| vec![count(session)]).collect();
        let author = sessions.remove(0);
        Ok(Self { count, thread, author, readers: sessions })
    }
}
