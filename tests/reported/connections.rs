//! Tests of the connection limits: one address cannot take all connections, and health checks get reserved ones.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::interval,
};

use crate::support::{Backend, JOHN, Server, until};

const PLACES: usize = 40;
/// Connections that are not reserved, 19 of 20, and the quota of one address, 3 of 4.
const OPEN: usize = 38;
const PER_ADDRESS: usize = 30;
const PROXY: [u8; 4] = [127, 0, 0, 9];

async fn connect(server: &Server, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("there is room for a socket");
    socket.bind((Ipv4Addr::from(from), 0).into()).expect("every loopback address is ours");
    socket.connect(server.address()).await.expect("the server listens")
}

/// Sends a request that closes its connection. Returns the answer.
async fn get(mut connection: TcpStream, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let _ = connection.write_all(request.as_bytes()).await;
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer).await;
    answer
}

/// Waits for an unreserved place: an earlier connection may still hold it.
async fn is_served(server: &Server, from: [u8; 4]) {
    until("an open place", async || {
        let answer = get(connect(server, from).await, "/web/health").await;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

async fn connections(server: &Server, expected: usize) {
    until("the connections", async || {
        let answer = get(connect(server, PROXY).await, "/metrics").await;
        let count = answer.lines().find_map(|line| line.strip_prefix("dragoman_connections ")?.parse::<usize>().ok());
        // The counting request's own connection counts as well.
        (count == Some(expected + 1)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_address_does_not_take_all_places() {
    let proxy = Ipv4Addr::from(PROXY).to_string();
    let server = Server::builder(Backend::memory()).set("LIMITS__CONNECTIONS", PLACES).set("PROXIES", proxy).start().await;
    let mut held = Vec::new();
    for _ in 0..PER_ADDRESS {
        held.push(connect(&server, [127, 0, 0, 2]).await);
    }
    connections(&server, PER_ADDRESS).await;
    let mut more = connect(&server, [127, 0, 0, 2]).await;
    let mut answer = String::new();
    more.read_to_string(&mut answer).await.expect("it is closed in order");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("Retry-After: 1"), "{answer}");
    for _ in PER_ADDRESS..OPEN {
        is_served(&server, [127, 0, 0, 3]).await;
        held.push(connect(&server, [127, 0, 0, 3]).await);
        connections(&server, held.len()).await;
    }
    for (from, path, status) in [
        ([127, 0, 0, 4], "/healthz", 200),
        ([127, 0, 0, 4], "/readyz", 200),
        ([127, 0, 0, 4], "/web/health", 503),
        (PROXY, "/web/health", 200),
    ] {
        let answer = get(connect(&server, from).await, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} from {from:?}: {answer}");
        connections(&server, held.len()).await;
    }
    let answer = get(connect(&server, PROXY).await, "/metrics").await;
    assert!(answer.contains("dragoman_refused_total{limit=\"connections_per_address\"} 1\n"), "{answer}");
    assert!(!answer.contains("dragoman_refused_total{limit=\"connections\"} 0\n"), "{answer}");
    held.truncate(OPEN - 1);
    connections(&server, held.len()).await;
    is_served(&server, [127, 0, 0, 4]).await;
}

/// Least rate of a body: one that arrives byte by byte never reaches the idle time-out, but occupies memory and a connection.
#[tokio::test]
async fn a_body_below_the_least_rate_is_cut_off() {
    let server = Server::demo(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    let mut connection = connect(&server, [127, 0, 0, 2]).await;
    let head = format!(
        "POST /api/messaging/threads HTTP/1.1\r\nHost: x\r\nCookie: session_id={}\r\nContent-Type: application/json\r\n\
         Content-Length: 1000000\r\n\r\n",
        john.session().expect("it is logged in")
    );
    connection.write_all(head.as_bytes()).await.expect("the server reads");
    let (mut reading, mut writing) = connection.into_split();
    let dripping = tokio::spawn(async move {
        let mut drops = interval(Duration::from_millis(100));
        let mut bytes = 0;
        while writing.write_all(b" ").await.is_ok() {
            bytes += 1;
            drops.tick().await;
        }
        bytes
    });
    let mut answer = Vec::new();
    // The server may close the connection without an answer.
    let _ = reading.read_to_end(&mut answer).await;
    drop(reading);
    assert!(dripping.await.expect("it ends") < 1_000_000);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    john.messaging("threads", serde_json::json!({})).await;
}
