//! Test of ten thousand waiting polls: they cost almost no work until an event concerns them.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use nix::unistd::{SysconfVar, sysconf};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::support::{ADMIN, Backend, Client, Proxy, Server, raise_the_limit_of_files};

const CONVERSATIONS: usize = 100;
const POLLS_EACH: usize = 100;
const POLLS: usize = CONVERSATIONS * POLLS_EACH;
/// Conversations whose polls are sent at the same time.
const AT_ONCE: usize = 10;
/// Duration of the measurement. The event log's fallback polling runs once a second meanwhile.
const WATCHED: Duration = Duration::from_secs(3);
/// Upper bound of statements: far above those of all the server's timers in that time, and far below one for each poll.
const STATEMENTS: u64 = 100;

/// A poll without an answer so far.
struct Waiting(TcpStream);

impl Waiting {
    /// Sends a poll. `number` spreads the polls over local addresses, each with its own ports.
    async fn send(server: SocketAddr, session: &str, conversation: i64, number: usize) -> Self {
        let socket = TcpSocket::new_v4().expect("there are enough file descriptors");
        let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number % 4 + 1).expect("it is small"));
        socket.bind(SocketAddr::from((from, 0))).expect("all of 127.0.0.0/8 is ours");
        let mut stream = socket.connect(server).await.expect("the server listens");
        let body = json!({"params": {"thread_id": conversation, "timeout": 60}}).to_string();
        let head = format!(
            "POST /api/messaging/poll/messages HTTP/1.1\r\nHost: dragoman\r\nCookie: session_id={session}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("the server reads");
        Self(stream)
    }

    async fn answer(mut self) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"}}") {
            assert!(self.0.read_buf(&mut answer).await.expect("the server writes") > 0, "the answer is whole");
        }
        String::from_utf8(answer).expect("it is text")
    }

    /// True if no byte has arrived.
    fn is_waiting(&self) -> bool {
        let read = self.0.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// Processor time of the server so far.
fn processor_time(server: &Server) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("it runs");
    // The second field is a name in brackets. The times are the fourteenth and the fifteenth.
    let (_, after) = stat.rsplit_once(')').expect("it has a name");
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).expect("it can be asked for").expect("it is set");
    Duration::from_millis(ticks * 1_000 / u64::try_from(per_second).expect("it is positive"))
}

async fn conversations(admin: &Client) -> Vec<i64> {
    let mut all = Vec::new();
    for number in 0..CONVERSATIONS {
        let made = admin.messaging("thread/create", json!({"name": format!("thread {number}"), "partner_ids": [4]})).await;
        all.push(made["thread_id"].as_i64().expect("it has an id"));
    }
    all
}

#[tokio::test]
async fn ten_thousand_waiting_polls_cost_no_query_and_wake_only_for_what_concerns_them() {
    raise_the_limit_of_files(POLLS);
    let database = Backend::postgres().await;
    let proxy = Proxy::before(&database).await;
    let mut server = Server::builder(proxy.backend(&database))
        .set("LIMITS__WAITING_POLLS_PER_USER", 2 * POLLS)
        .set("LIMITS__CONNECTIONS", 2 * POLLS)
        // All polls belong to one user and begin at once.
        .set("LIMITS__USER__REQUESTS_AT_ONCE", 0)
        .set("POSTGRES__ACQUIRE_MILLISECONDS", 30_000)
        .start()
        .await;
    let admin = server.log_in(ADMIN).await;
    let conversations = conversations(&admin).await;

    let before = server.memory_bytes();
    let (address, session) = (server.address(), admin.session().expect("it is logged in").to_owned());
    let mut waiting = BTreeMap::new();
    for some in conversations.chunks(AT_ONCE) {
        let mut sending = JoinSet::new();
        for conversation in some.iter().copied() {
            let session = session.clone();
            sending.spawn(async move {
                let mut sent = Vec::with_capacity(POLLS_EACH);
                for poll in 0..POLLS_EACH {
                    sent.push(Waiting::send(address, &session, conversation, poll).await);
                }
                (conversation, sent)
            });
        }
        waiting.extend(sending.join_all().await);
        server.polls_waiting(waiting.len() * POLLS_EACH).await;
    }
    let each = server.memory_bytes().saturating_sub(before) / POLLS as u64;
    eprintln!("{POLLS} polls wait: {each} bytes of memory each");

    let (visits, statements, busy) =
        (server.metric("dragoman_store_seconds_count").await, proxy.statements(), processor_time(&server));
    tokio::time::sleep(WATCHED).await;
    let (visited, asked, spent) = (
        server.metric("dragoman_store_seconds_count").await - visits,
        proxy.statements() - statements,
        processor_time(&server) - busy,
    );
    eprintln!("in {WATCHED:?} the server asked {asked} statements of the database, and computed for {spent:?}");
    assert!(visited < STATEMENTS as f64, "nobody visits the store on their behalf: {visited} visits");
    assert!((1..STATEMENTS).contains(&asked), "only timers ask the database: {asked} statements");
    assert_eq!(server.metric("dragoman_polls_waiting").await, POLLS as f64, "all of them wait still");

    let (first, last) = (conversations[0], conversations[CONVERSATIONS - 1]);
    for (round, concerned) in [first, last].into_iter().enumerate() {
        admin.messaging("message/send", json!({"thread_id": concerned, "body": "wake up"})).await;
        for poll in waiting.remove(&concerned).expect("they wait") {
            let answer = poll.answer().await;
            assert!(answer.contains("wake up"), "{answer}");
        }
        server.polls_waiting(POLLS - (round + 1) * POLLS_EACH).await;
    }
    assert!(waiting.values().flatten().all(Waiting::is_waiting), "nobody else was answered");

    server.terminate();
    for poll in waiting.into_values().flatten() {
        let answer = poll.answer().await;
        assert!(answer.contains("\"has_new\":false"), "{answer}");
    }
    assert!(server.ended().await.success());
}
