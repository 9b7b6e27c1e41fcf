//! The rows about one user's flood: latency of another user's send during the flood and without it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::{
    Result,
    children::Server,
    database::Databases,
    http::{self, Connection, Request},
    load::median,
    report::{Row, RowTarget},
    requests::{poll, send, session},
    rows::Benchmark,
    socket::handshake,
};

/// Pause between two sends of the other user, which keeps them within the rate limit.
const SEND_PAUSE: Duration = Duration::from_millis(60);
const SENDS: usize = 40;
/// Time that a flood gets to build up.
const RAMP_UP: Duration = Duration::from_millis(500);
/// Pause before a closed connection is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(5);
/// An address in another network than the other user's.
const OTHER_NETWORK: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 1);
/// A third network. Each of its log-ins has an address of its own.
const THIRD_NETWORK: [u8; 3] = [127, 0, 5];
const LOGINS: u8 = 12;
const UPLOAD_BYTES: usize = 1024 * 1024;

/// Requests that one user, or one address, repeats without end.
#[derive(Clone)]
struct Flood {
    key: &'static str,
    what: &'static str,
    connections: usize,
    from: Ipv4Addr,
    request: Request,
    /// True if each request needs a connection of its own.
    reconnects: bool,
}

impl Benchmark<'_> {
    /// Measures all floods with the limits that the program ships with, and 50,000 people. Sender and flood use
    /// different conversations.
    pub(super) async fn floods(&self, databases: &Databases) -> Result<()> {
        databases.add_people().await?;
        let ours = Server::with_default_limits(&self.program, &databases.ours)?;
        for flood in floods(ours.address) {
            self.flood_row(&ours, (flood.key, flood.what), &[&flood], send_latency).await?;
        }
        let [_, searches, .., log_ins] = &floods(ours.address);
        let both = [searches, log_ins];
        self.flood_row(
            &ours,
            ("flood-both", "a send beside searches and log-ins with a wrong password at once"),
            &both,
            send_latency,
        )
        .await?;
        let name = ("flood-both-logins", "a log-in from a third network beside the same");
        self.flood_row(&ours, name, &both, log_in_latency).await
    }

    /// Measures something during the floods and without them, in turns.
    async fn flood_row(
        &self,
        ours: &Server,
        (key, what): (&'static str, &'static str),
        floods: &[&Flood],
        measured: impl AsyncFn(&Server) -> Result<f64>,
    ) -> Result<()> {
        let mut rounds = Vec::new();
        for _ in 0..self.rounds() {
            let alone = measured(ours).await?;
            let floods: Vec<_> = floods.iter().map(|flood| RunningFlood::begin(ours.address, flood)).collect();
            tokio::time::sleep(RAMP_UP).await;
            let beside = measured(ours).await;
            floods.into_iter().for_each(RunningFlood::end);
            rounds.push((beside?, alone));
        }
        let connections = floods.iter().map(|flood| flood.connections.to_string()).collect::<Vec<_>>().join(" and ");
        let (limit, unit, remark) = ("the same alone".into(), "us".into(), format!("{connections} connections"));
        self.finish_row(Row { key: key.into(), what: what.into(), limit, unit, mark: RowTarget::AtMost(2.0), rounds, remark })
    }
}

fn floods(address: SocketAddr) -> [Flood; 6] {
    let (one, local) = (session(1), Ipv4Addr::LOCALHOST);
    let log_in = r#"{"db":"odoo2","login":"person1","password":"wrong"}"#;
    let flood = |key, what, connections, from, request| Flood { key, what, connections, from, request, reconnects: false };
    [
        flood("flood-sends", "a send beside another user's sends", 100, local, send(&one, 32)),
        flood(
            "flood-searches",
            "a send beside another user's searches among 50,000 people",
            300,
            local,
            http::call("/api/messaging/partners/search", &one, r#"{"query":"erson 1"}"#),
        ),
        flood("flood-uploads", "a send beside another user's uploads of 1 MiB", 20, local, upload(&one)),
        Flood {
            reconnects: true,
            ..flood(
                "flood-sockets",
                "a send beside another user's sockets, opened and closed",
                50,
                local,
                handshake(address, "/conversations/32/", &one),
            )
        },
        flood("flood-polls", "a send beside another user's long polls", 300, local, poll(&one, 32, crate::requests::FROM_NOW_ON)),
        flood(
            "flood-logins",
            "a send beside another network's log-ins with a wrong password",
            450,
            OTHER_NETWORK,
            http::call("/web/session/authenticate", "", log_in),
        ),
    ]
}

/// Median latency of a send by person 3, in microseconds.
async fn send_latency(server: &Server) -> Result<f64> {
    // Conversation 2 holds the persons 3 and 4.
    let send = send(&session(3), 2);
    let mut connection = Connection::open(server.address).await?;
    let mut taken = Vec::new();
    for _ in 0..SENDS {
        tokio::time::sleep(SEND_PAUSE).await;
        let begun = Instant::now();
        connection.exchange(&send).await?;
        taken.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&taken))
}

/// Median latency of a log-in in microseconds, each from another address of a third network. A wrong password takes as
/// long as the right one.
async fn log_in_latency(server: &Server) -> Result<f64> {
    let [first, second, third] = THIRD_NETWORK;
    let mut taken = Vec::new();
    for number in 1..=LOGINS {
        let login = uuid::Uuid::new_v4();
        let log_in = format!(r#"{{"db":"odoo2","login":"{login}","password":"wrong"}}"#);
        let request = http::call("/web/session/authenticate", "", &log_in);
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::new(first, second, third, number), 0).into())?;
        let mut stream = socket.connect(server.address).await?;
        let begun = Instant::now();
        stream.write_all(&request).await?;
        let mut answer = vec![0; 4096];
        let bytes = stream.read(&mut answer).await?;
        taken.push(begun.elapsed().as_secs_f64() * 1e6);
        if http::find(&answer[..bytes], b"Access Denied").is_none() {
            return Err(format!("a log-in was refused: {}", String::from_utf8_lossy(&answer[..bytes])).into());
        }
    }
    Ok(median(&taken))
}

/// A running flood, on a thread of its own.
struct RunningFlood {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl RunningFlood {
    fn begin(address: SocketAddr, flood: &Flood) -> Self {
        let Flood { connections, from, request, reconnects, .. } = flood.clone();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there are resources");
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                let request: Arc<[u8]> = request.into();
                for _ in 0..connections {
                    let request = Arc::clone(&request);
                    tasks.spawn(async move {
                        loop {
                            // Errors are expected: the server refuses much of a flood.
                            let _ = repeat_request(address, from, &request, reconnects).await;
                            tokio::time::sleep(RECONNECT_PAUSE).await;
                        }
                    });
                }
                while !ends.load(Ordering::Acquire) {
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            });
        });
        Self { over, thread }
    }

    fn end(self) {
        self.over.store(true, Ordering::Release);
        self.thread.join().expect("it does not panic");
    }
}

/// Repeats the request on one connection until the server closes it.
async fn repeat_request(address: SocketAddr, from: Ipv4Addr, request: &[u8], reconnects: bool) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream: TcpStream = socket.connect(address).await?;
    let mut answer = vec![0; 64 * 1024];
    loop {
        stream.write_all(request).await?;
        if stream.read(&mut answer).await? == 0 || reconnects {
            return Ok(());
        }
    }
}

fn upload(session: &str) -> Request {
    let file = "x".repeat(UPLOAD_BYTES);
    let body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n{file}\r\n--b--\r\n"
    );
    let length = body.len();
    format!(
        "POST /api/messaging/attachment/upload HTTP/1.1\r\nHost: localhost\r\nCookie: session_id={session}\r\n\
         Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
