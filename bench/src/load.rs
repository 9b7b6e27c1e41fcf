//! Load on one thread: throughput, latency, delivery and fan-out, over connections kept alive.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet, time::timeout};

use crate::{
    Result,
    http::{Connection, Request},
    requests::FROM_NOW_ON,
    socket::Socket,
};

/// Time-out of an answer or a delivery.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Time that a poll gets to begin waiting.
const SETTLE: Duration = Duration::from_millis(10);

/// Ratio of the whole duration of a throughput measurement to its measured part.
pub(crate) const DURATION_RATIO: f64 = 1.25;

/// Answers per second while each connection cycles through its requests. The first fifth of the time is warm-up.
pub(crate) async fn throughput(address: SocketAddr, connections: &[Vec<Request>], time: Duration) -> Result<f64> {
    let mut tasks = JoinSet::new();
    let end = Instant::now() + time.mul_f64(DURATION_RATIO);
    let begin = end - time;
    for requests in connections {
        let requests = requests.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut answers = 0_u32;
            for request in requests.iter().cycle() {
                connection.exchange(request).await?;
                let now = Instant::now();
                if now >= end {
                    break;
                }
                answers += u32::from(now >= begin);
            }
            Ok(answers)
        });
    }
    let mut answers = 0.0;
    while let Some(done) = timeout(time * 2 + TIMEOUT, tasks.join_next()).await? {
        let done: Result<u32> = done?;
        answers += f64::from(done?);
    }
    Ok(answers / time.as_secs_f64())
}

/// Median latency of the requests in microseconds, one at a time.
pub(crate) async fn latency(address: SocketAddr, requests: &[Request], times: usize) -> Result<f64> {
    let mut connection = Connection::open(address).await?;
    let mut taken = Vec::new();
    for request in requests.iter().cycle().take(times) {
        let begun = Instant::now();
        timeout(TIMEOUT, connection.exchange(request)).await??;
        taken.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&taken))
}

/// Median latency of a request that follows a send, and gets the id of the sent message.
pub(crate) async fn latency_after_send(
    address: SocketAddr,
    send: &Request,
    ask: &dyn Fn(&str) -> Request,
    times: usize,
) -> Result<f64> {
    let mut connection = Connection::open(address).await?;
    let mut taken = Vec::new();
    for _ in 0..times {
        let id = timeout(TIMEOUT, connection.exchange(send)).await??.number("message_id").ok_or("a send without an id")?;
        let ask = ask(&id);
        let begun = Instant::now();
        timeout(TIMEOUT, connection.exchange(&ask)).await??;
        taken.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&taken))
}

/// Median latencies of one message to a waiting poll, in microseconds.
#[derive(Clone, Copy)]
pub(crate) struct Delivery {
    /// From the sender's request to the answer to the poll.
    pub(crate) total: f64,
    /// From the sender's answer to the answer to the poll; negative if the latter came first.
    pub(crate) after_send: f64,
}

/// Sends one message at a time to a long poll that waits for messages after the last one.
pub(crate) async fn delivery(
    address: SocketAddr,
    poll: &dyn Fn(&str) -> Request,
    send: &Request,
    times: u32,
) -> Result<Delivery> {
    let (mut polling, mut sending) = (Connection::open(address).await?, Connection::open(address).await?);
    let (mut whole, mut behind) = (Vec::new(), Vec::new());
    let mut last = FROM_NOW_ON.to_owned();
    for _ in 0..times {
        polling.send(&poll(&last)).await?;
        tokio::time::sleep(SETTLE).await;
        let begun = Instant::now();
        let polled = async { polling.receive().await.map(|_| begun.elapsed().as_secs_f64()) };
        let sent = async {
            let answer = sending.exchange(send).await?;
            let after = begun.elapsed().as_secs_f64();
            Ok((after, answer.number("message_id")))
        };
        let (polled, (sent, id)) = timeout(TIMEOUT, async { tokio::try_join!(polled, sent) }).await??;
        whole.push(polled * 1e6);
        behind.push((polled - sent) * 1e6);
        last = id.unwrap_or(last);
    }
    Ok(Delivery { total: median(&whole), after_send: median(&behind) })
}

/// Sockets with a reader task each.
pub(crate) struct Listeners {
    /// One permit for each message that one of the sockets has received.
    received: Arc<Semaphore>,
    /// Reader tasks, aborted on drop.
    tasks: JoinSet<Result<()>>,
    pattern: &'static [u8],
}

impl Listeners {
    /// Begins to count the messages on these sockets: frames that contain `pattern`.
    pub(crate) fn new(sockets: Vec<Socket>, words: &'static [u8]) -> Self {
        let mut listeners = Self { received: Arc::new(Semaphore::new(0)), tasks: JoinSet::new(), pattern: words };
        sockets.into_iter().for_each(|socket| listeners.add(socket));
        listeners
    }

    /// Adds a socket.
    pub(crate) fn add(&mut self, mut socket: Socket) {
        let (told, words) = (Arc::clone(&self.received), self.pattern);
        self.tasks.spawn(async move {
            loop {
                told.add_permits(socket.count_frames(words).await?);
            }
        });
    }

    /// Measures fan-out for about `time`: sends `at_once` messages together, through these servers in turn, and waits
    /// until all sockets have them before the next ones. Returns the number of deliveries, and the duration in seconds.
    pub(crate) async fn fan_out(
        &mut self,
        through: &[SocketAddr],
        send: &Request,
        at_once: usize,
        time: Duration,
    ) -> Result<(f64, f64)> {
        let everybody = u32::try_from(self.tasks.len() * at_once)?;
        let mut senders = Vec::new();
        for address in through.iter().cycle().take(at_once.max(through.len())) {
            senders.push(Connection::open(*address).await?);
        }
        let (begun, mut times) = (Instant::now(), 0);
        while begun.elapsed() < time {
            for sender in &mut senders[..at_once] {
                sender.send(send).await?;
            }
            for sender in &mut senders[..at_once] {
                sender.receive().await?;
            }
            senders.rotate_left(at_once);
            self.wait_for_deliveries(everybody).await?;
            times += 1;
        }
        Ok((f64::from(everybody) * f64::from(times), begun.elapsed().as_secs_f64()))
    }
}

impl Listeners {
    /// Waits until the sockets together have received this many messages. Fails if a socket is closed.
    async fn wait_for_deliveries(&mut self, told: u32) -> Result<()> {
        let (counted, tasks) = (&self.received, &mut self.tasks);
        let waiting = async {
            tokio::select! {
                all = counted.acquire_many(told) => {
                    all?.forget();
                    Ok(())
                }
                Some(ended) = tasks.join_next() => ended?,
            }
        };
        let missing = || format!("{told} deliveries did not come, but {}", self.received.available_permits());
        timeout(TIMEOUT, waiting).await.unwrap_or_else(|_| Err(missing().into()))
    }

    /// Median latencies of one message in microseconds: until its sender has the answer, and until all sockets have the
    /// message.
    pub(crate) async fn delivery_latency(&mut self, address: SocketAddr, send: &Request, times: usize) -> Result<(f64, f64)> {
        let everybody = u32::try_from(self.tasks.len())?;
        let mut sender = Connection::open(address).await?;
        let (mut answered, mut told) = (Vec::new(), Vec::new());
        for _ in 0..times {
            let begun = Instant::now();
            timeout(TIMEOUT, sender.exchange(send)).await??;
            answered.push(begun.elapsed().as_secs_f64() * 1e6);
            self.wait_for_deliveries(everybody).await?;
            told.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        Ok((median(&answered), median(&told)))
    }
}

/// Opens `count_frames` sockets, with these paths and sessions in turn.
pub(crate) async fn open_sockets(address: SocketAddr, doors: &[(String, String)], count: usize) -> Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for (path, session) in doors.iter().cycle().take(count) {
        sockets.push(timeout(TIMEOUT, Socket::open(address, path, session)).await??);
    }
    Ok(sockets)
}

/// Connections with one unanswered request each.
pub(crate) struct WaitingRequests(#[expect(dead_code, reason = "they are open as long as this lives")] Vec<Connection>);

/// Opens a connection for each of the requests, `most` at most, and leaves the requests unanswered.
pub(crate) async fn open_waiting_requests(
    address: SocketAddr,
    requests: impl Iterator<Item = Request>,
    most: usize,
) -> Result<WaitingRequests> {
    let mut connections = Vec::new();
    for request in requests.take(most) {
        let mut connection = timeout(TIMEOUT, Connection::open(address)).await??;
        connection.send(&request).await?;
        connections.push(connection);
    }
    Ok(WaitingRequests(connections))
}

/// Number of connections that the limit of open files allows, up to `most`.
pub(crate) fn connections_limit(most: usize) -> Result<usize> {
    let files = dragoman_load::open_files_limit()?;
    Ok(most.min(files.saturating_sub(200)))
}

/// The median.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
