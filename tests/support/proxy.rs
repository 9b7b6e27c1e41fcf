//! A TCP proxy with fault injection, which counts PostgreSQL statements.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::Backend;

/// State of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    Open,
    /// Connections are reset, new ones at once.
    Cut,
    /// Connections are accepted and stay open, but no byte passes.
    Silent,
}

/// State of the proxy, by kind of connection.
#[derive(Clone, Copy)]
struct Way {
    road: Road,
    /// True if connections that `LISTEN` receive nothing.
    is_deaf: bool,
}

impl Way {
    fn is_open(self, listens: bool) -> bool {
        self.road == Road::Open && !(listens && self.is_deaf)
    }
}

/// Fault injected at the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Reset before the database receives the commit.
    Commit,
    /// Reset after the commit, before the server receives the answer.
    Answer,
    /// The same as `Commit`, and the proxy is silent from then on.
    CommitAndRoad,
    /// The same as `Answer`, and the proxy is silent from then on.
    AnswerAndRoad,
}

/// A TCP proxy with fault injection. It counts the statements of a PostgreSQL client.
pub struct Proxy {
    address: SocketAddr,
    destination: Arc<Mutex<SocketAddr>>,
    way: watch::Sender<Way>,
    /// Number of resets of all connections.
    resets: watch::Sender<u64>,
    /// Number of times that all connections were made silent for good.
    strandings: watch::Sender<u64>,
    arrivals: Arc<AtomicU64>,
    statements: Arc<AtomicU64>,
    loss: Arc<Mutex<Option<Loss>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub async fn before(backend: &Backend) -> Self {
        Self::to(backend.address()).await
    }

    pub async fn to(destination: SocketAddr) -> Self {
        let destination = Arc::new(Mutex::new(destination));
        let leads_to = Arc::clone(&destination);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let (way, looking) = watch::channel(Way { road: Road::Open, is_deaf: false });
        let (resets, reset) = watch::channel(0);
        let (strandings, stranded) = watch::channel(0);
        let arrivals = Arc::<AtomicU64>::default();
        let statements = Arc::<AtomicU64>::default();
        let loss = Arc::<Mutex<Option<Loss>>>::default();
        let toll = Toll { way: way.clone(), statements: Arc::clone(&statements), loss: Arc::clone(&loss) };
        let arrived = Arc::clone(&arrivals);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("there are enough file descriptors");
                arrived.fetch_add(1, Ordering::Relaxed);
                let (mut reset, mut stranded) = (reset.clone(), stranded.clone());
                reset.mark_unchanged();
                stranded.mark_unchanged();
                let destination = *leads_to.lock();
                let carried = carry(client, destination, looking.clone(), stranded, toll.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = reset.changed() => {}
                        () = carried => {}
                    }
                });
            }
        });
        Self { address, destination, way, resets, strandings, arrivals, statements, loss, accepting }
    }

    /// Address of the proxy.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets another destination for new connections, and resets existing ones.
    pub fn lead_to(&self, destination: SocketAddr) {
        *self.destination.lock() = destination;
        self.reset();
    }

    /// The same database through this proxy.
    pub fn backend(&self, behind: &Backend) -> Backend {
        Backend::at(behind.url().replace(&behind.address().to_string(), &self.address.to_string()))
    }

    pub fn set(&self, road: Road) {
        self.way.send_modify(|way| way.road = road);
    }

    /// Makes connections that `LISTEN` silent, and no others.
    pub fn deafen(&self, is_deaf: bool) {
        self.way.send_modify(|way| way.is_deaf = is_deaf);
    }

    /// Resets all connections. New ones are accepted.
    pub fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }

    /// Makes all connections silent for good, in both directions and without a reset. New ones work.
    pub fn strand(&self) {
        self.strandings.send_modify(|strandings| *strandings += 1);
    }

    /// Number of connections accepted so far.
    pub fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed)
    }

    /// Injects a fault at the next commit.
    pub fn lose(&self, loss: Loss) {
        *self.loss.lock() = Some(loss);
    }

    /// True if the fault has happened.
    pub fn has_lost(&self) -> bool {
        self.loss.lock().is_none()
    }

    /// Number of statements that the server has sent.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Road::Cut);
    }
}

/// State that all connections share: faults and the statement count.
#[derive(Clone)]
struct Toll {
    way: watch::Sender<Way>,
    statements: Arc<AtomicU64>,
    loss: Arc<Mutex<Option<Loss>>>,
}

async fn carry(
    mut client: TcpStream,
    destination: SocketAddr,
    mut way: watch::Receiver<Way>,
    mut stranded: watch::Receiver<u64>,
    toll: Toll,
) {
    let cut = {
        let mut way = way.clone();
        async move { drop(way.wait_for(|way| way.road == Road::Cut).await) }
    };
    let carried = async {
        let mut listens = false;
        if way.wait_for(|way| way.is_open(listens)).await.is_err() {
            return;
        }
        let Ok(mut server) = TcpStream::connect(destination).await else { return };
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut reader = Reader::default();
        let (mut asked, mut answered) = ([0; 16 * 1024], [0; 16 * 1024]);
        loop {
            let passed = tokio::select! {
                read = from_client.read(&mut asked) => match read {
                    Ok(read) if read > 0 => {
                        listens |= asked[..read].windows(LISTEN.len()).any(|asked| asked == LISTEN);
                        toll.statements.fetch_add(reader.statements(&asked[..read]), Ordering::Relaxed);
                        if way.wait_for(|way| way.is_open(listens)).await.is_err() {
                            return;
                        }
                        let lost = if asked[..read].ends_with(COMMIT) { toll.loss.lock().take() } else { None };
                        let Some(lost) = lost else {
                            if to_server.write_all(&asked[..read]).await.is_err() {
                                return;
                            }
                            continue;
                        };
                        if matches!(lost, Loss::Answer | Loss::AnswerAndRoad)
                            && to_server.write_all(&asked[..read]).await.is_ok()
                        {
                            let _ = from_server.read(&mut answered).await;
                        }
                        if matches!(lost, Loss::CommitAndRoad | Loss::AnswerAndRoad) {
                            toll.way.send_modify(|way| way.road = Road::Silent);
                            let _ = way.wait_for(|way| way.is_open(listens)).await;
                        }
                        return;
                    }
                    _ => return,
                },
                read = from_server.read(&mut answered) => match read {
                    Ok(read) if read > 0 => {
                        if way.wait_for(|way| way.is_open(listens)).await.is_err() {
                            return;
                        }
                        to_client.write_all(&answered[..read]).await
                    }
                    _ => return,
                },
            };
            if passed.is_err() {
                return;
            }
        }
    };
    let (mut cut, mut carried) = (std::pin::pin!(cut), std::pin::pin!(carried));
    tokio::select! {
        () = &mut cut => return,
        () = &mut carried => return,
        _ = stranded.changed() => {}
    }
    // Silence: both ends stay open, and neither is read.
    cut.await;
}

/// A parser of a client's messages in PostgreSQL's protocol.
#[derive(Default)]
struct Reader {
    unread: Vec<u8>,
    /// False during the start-up packets, which have no type byte.
    begun: bool,
}

/// Prefix of the statement that subscribes to notifications.
const LISTEN: &[u8] = b"LISTEN \"";
/// End of the text of a committing statement.
const COMMIT: &[u8] = b"COMMIT\0";

/// Code of an `SSLRequest`, which precedes the real start-up packet.
const SSL_REQUEST: u32 = 80_877_103;

impl Reader {
    /// Counts the statements that these bytes complete: `Execute` and simple queries.
    fn statements(&mut self, bytes: &[u8]) -> u64 {
        self.unread.extend_from_slice(bytes);
        let (mut at, mut statements) = (0, 0);
        let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().expect("four bytes"));
        loop {
            let rest = &self.unread[at..];
            let kind = usize::from(self.begun);
            if rest.len() < kind + 4 {
                break;
            }
            let length = kind + number(&rest[kind..kind + 4]) as usize;
            if rest.len() < length {
                break;
            }
            if self.begun {
                statements += u64::from(matches!(rest[0], b'E' | b'Q'));
            } else {
                self.begun = number(&rest[4..8]) != SSL_REQUEST;
            }
            at += length;
        }
        self.unread.drain(..at);
        statements
    }
}
