//! The rows about memory that is returned after use.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    Result,
    children::Server,
    http::{self, Connection},
    load,
    report::{Row, RowTarget},
    requests::{DemoThreads, session},
    rows::{Benchmark, sockets::reader_sockets},
};

/// Log-ins, one after another.
const LOGINS: usize = 1_000;
/// Messages of `TEXT_BYTES`, 100 MB in all.
const MESSAGES: usize = 1_600;
const TEXT_BYTES: usize = 62_500;
/// Number of sockets that are opened and closed.
const SOCKETS: usize = 10_000;
/// Memory of one password check (19 MiB). The allowance is one for each core.
const CHECK_KIB: f64 = 19.0 * 1024.0;
/// Time that the server gets to free memory: its allocator and the password checks free memory after ten idle seconds.
const SETTLE: Duration = Duration::from_secs(30);

impl Benchmark<'_> {
    /// Measures a server after its start, and after each of three uses of memory. It may keep a fifth more than at its
    /// start, and the memory of one password check for each core.
    pub(crate) async fn memory_returned(&self, database: Option<&str>) -> Result<()> {
        let at_start = self.start_with_small_ring("memory:")?;
        let row = ("memory-start", "memory at the start", "32 MiB");
        self.returned_row(row, RowTarget::AtMost(1.0), (at_start.resident()?, 32.0 * 1024.0))?;
        drop(at_start);

        let server = self.start_with_small_ring("memory:")?;
        let before = server.resident()?;
        log_in_often(&server).await?;
        self.kept_memory_row("memory-logins", "memory after 1,000 log-ins", before, &server).await?;

        let server = self.start_with_small_ring("memory:")?;
        let before = server.resident()?;
        let house = DemoThreads::create(&server).await?;
        drop(load::open_sockets(server.address, &reader_sockets(&house), load::connections_limit(SOCKETS)?).await?);
        self.kept_memory_row("memory-sockets", "memory after 10,000 sockets came and went", before, &server).await?;

        let Some(database) = database else { return Ok(()) };
        let server = self.start_with_small_ring(database)?;
        let before = server.resident()?;
        send_much(&server).await?;
        self.kept_memory_row("memory-messages", "memory after 100 MB of messages passed through", before, &server).await
    }

    /// Starts a server with a ring of 1 MiB: the ring is a cache with a limit of its own.
    fn start_with_small_ring(&self, storage: &str) -> Result<Server> {
        Server::with_settings(&self.program, storage, &[("DRAGOMAN__LIMITS__RING_BYTES", "1048576")])
    }

    async fn kept_memory_row(&self, key: &'static str, what: &'static str, before: f64, server: &Server) -> Result<()> {
        tokio::time::sleep(SETTLE).await;
        let cores = std::thread::available_parallelism()?.get() as f64;
        let row = (key, what, "a fifth more than at the start, and 19 MiB a core");
        self.returned_row(row, RowTarget::AtMost(1.0), (server.resident()?, before * 1.2 + cores * CHECK_KIB))
    }

    fn returned_row(
        &self,
        (key, what, limit): (&'static str, &'static str, &'static str),
        mark: RowTarget,
        (ours, allowed): (f64, f64),
    ) -> Result<()> {
        let rounds = vec![(ours / 1024.0, allowed / 1024.0)];
        self.finish_row(Row {
            key: key.into(),
            what: what.into(),
            limit: limit.into(),
            unit: "MiB".into(),
            mark,
            rounds,
            remark: String::new(),
        })
    }
}

async fn log_in_often(server: &Server) -> Result<()> {
    let log_in = http::post("/auth/token", "", r#"{"login":"jane@example.com","password":"123456"}"#);
    let mut connection = Connection::open(server.address).await?;
    for _ in 0..LOGINS {
        connection.exchange(&log_in).await?;
    }
    Ok(())
}

/// Sends from one member of conversation 32 of `seed.sql`, while another one receives.
async fn send_much(server: &Server) -> Result<()> {
    let doors = [("/conversations/32/".to_owned(), session(2))];
    let mut listener = load::open_sockets(server.address, &doors, 1).await?.remove(0);
    let text = "x".repeat(TEXT_BYTES);
    let send = http::call("/api/messaging/message/send", &session(1), &format!(r#"{{"thread_id":32,"body":"{text}"}}"#));
    let mut connection = Connection::open(server.address).await?;
    let mut listening = JoinSet::new();
    listening.spawn(async move {
        let mut told = 0;
        while told < MESSAGES {
            told += listener.count_frames(br#""chat_message""#).await?;
        }
        Ok::<_, crate::Error>(())
    });
    for _ in 0..MESSAGES {
        connection.exchange(&send).await?;
    }
    listening.join_next().await.ok_or("nobody listened")??
}
