//! Tests of graceful shutdown, and of the limits on slow headers and on waiting polls.

use std::time::Duration;

use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinSet};

use crate::{
    on_every_backend,
    support::{ADMIN, Answer, Client, JOHN, RawConnection, Server, until},
    with_every_backend,
};

/// Sends a waiting poll. Resolves to its result.
fn poll(client: &Client, route: &str) -> impl Future<Output = Value> + use<> {
    let request = client.request(Method::POST, &format!("/api/messaging/{route}")).header(CONTENT_TYPE, "application/json");
    let request = request.body(json!({"id": 1, "params": {"thread_id": 1, "timeout": 60}}).to_string());
    async move { Answer::of(request).await.json()["result"].take() }
}

on_every_backend! {
    /// Graceful stop: waiting polls are answered at once, and the program exits with 0.
    async fn waiting_polls_are_answered_at_the_stop(server) {
        let john = server.log_in(JOHN).await;
        let mut waiting = JoinSet::new();
        for _ in 0..10 {
            waiting.spawn(poll(&john, "poll/messages"));
        }
        let updates = tokio::spawn(poll(&john, "poll/updates"));
        server.polls_waiting(11).await;
        let address = server.address();
        server.terminate();
        for answer in waiting.join_all().await {
            assert_eq!(answer, json!({"has_new": false, "count": 0, "messages": []}));
        }
        let answer = updates.await.expect("it ends");
        assert_eq!(answer, json!({"has_updates": false, "unread_count": 0, "threads_with_updates": []}));
        assert_eq!(server.ended().await.code(), Some(0));
        assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
        server.start_again(address).await;
    }

    /// Requests in flight finish, new ones are not accepted, and idle connections are closed.
    async fn a_request_in_flight_finishes(server) {
        let john = server.log_in(JOHN).await;
        let session = john.session().expect("it is logged in");
        let body = json!({"id": 1, "params": {"thread_id": 1, "body": "last words"}}).to_string();
        let head = format!(
            "POST /api/messaging/message/send HTTP/1.1\r\nHost: dragoman\r\nCookie: session_id={session}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let (begun, rest) = body.split_at(10);
        let mut writing = RawConnection::to(server).await;
        writing.send(&format!("{head}{begun}")).await;
        let mut idle = RawConnection::to(server).await;
        idle.send("GET /healthz HTTP/1.1\r\nHost: dragoman\r\n\r\n").await;
        idle.read_until("}").await;
        let mut silent = RawConnection::to(server).await;
        until("the connections", async || (server.metric("dragoman_connections").await >= 3.0).then_some(())).await;

        let address = server.address();
        server.terminate();
        assert_eq!(idle.read_until("anything").await, "", "a connection that is kept is closed");
        assert_eq!(silent.read_until("anything").await, "", "and so is one on which nothing was said");
        until("a closed door", async || TcpStream::connect(address).await.is_err().then_some(())).await;
        writing.send(rest).await;
        let answer = writing.read_until("}}").await;
        assert!(answer.contains("\"success\":true"), "{answer}");
        assert_eq!(writing.read_until("anything").await, "", "then it is closed as well");
        assert_eq!(server.ended().await.code(), Some(0));

        let stored = server.backend().is_durable();
        server.start_again(address).await;
        if stored {
            let page = server.log_in(JOHN).await.messaging("messages", json!({"thread_id": 1})).await;
            assert_eq!(page["messages"][0]["body"], "last words", "what was answered with success is stored");
        }
    }
}

with_every_backend! {
    /// Deadline of the stop: a request that does not finish in time is aborted.
    async fn a_request_that_never_ends_does_not_stop_the_stop(backend) {
        let mut server = Server::builder(backend).set("LIMITS__STOP_SECONDS", 1).start().await;
        let mut hanging = RawConnection::to(&server).await;
        hanging.send("POST /jsonrpc HTTP/1.1\r\nHost: dragoman\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{").await;
        until("the connection", async || (server.metric("dragoman_connections").await >= 1.0).then_some(())).await;
        server.terminate();
        assert_eq!(server.ended().await.code(), Some(0));
    }

    /// A request with an incomplete header does not delay the stop.
    async fn half_a_header_does_not_hold_up_the_stop(backend) {
        // Longer than the test waits for the end.
        let server = Server::builder(backend).set("LIMITS__HEADER_SECONDS", 600).set("LIMITS__STOP_SECONDS", 600);
        let mut server = server.start().await;
        let mut half = RawConnection::to(&server).await;
        half.send("POST / HTTP/1.1\r\nHo").await;
        until("the connection", async || (server.metric("dragoman_connections").await >= 2.0).then_some(())).await;
        server.terminate();
        assert_eq!(server.ended().await.code(), Some(0));
    }

    /// Header time-out against slow clients (slowloris): it counts from the first byte, not from the last.
    async fn a_slow_header_is_cut_off(backend) {
        let mut server = Server::builder(backend).set("LIMITS__HEADER_SECONDS", 1).start().await;
        let stream = TcpStream::connect(server.address()).await.expect("the server listens");
        let (mut reading, writing) = stream.into_split();
        let dripping = tokio::spawn(async move {
            let mut drops = b"GET /healthz HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'a'));
            // A failed write means that the server has closed the connection.
            while let Some(drop) = drops.next()
                && writing.writable().await.is_ok()
                && writing.try_write(&[*drop]).is_ok()
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let mut read = Vec::new();
        // The server may answer 408 or only close the connection.
        let _ = reading.read_to_end(&mut read).await;
        let read = String::from_utf8(read).expect("answers are text");
        assert!(read.is_empty() || read.starts_with("HTTP/1.1 408"), "{read}");
        dripping.await.expect("it ends");
        server.stop().await;
    }

    /// Quota of waiting polls for each user: a poll counts until its client disconnects.
    async fn places_to_wait_in_are_limited_and_come_back(backend) {
        const PLACES: usize = 5;
        let mut server = Server::builder(backend).set("LIMITS__WAITING_POLLS_PER_USER", PLACES).start().await;
        let (john, admin) = (server.log_in(JOHN).await, server.log_in(ADMIN).await);
        for _ in 0..3 {
            let mut waiting = JoinSet::new();
            for number in 0..PLACES {
                waiting.spawn(poll(&john, if number % 2 == 0 { "poll/messages" } else { "poll/updates" }));
            }
            server.polls_waiting(PLACES).await;
            for route in ["poll/messages", "poll/updates"] {
                let refused = poll(&john, route).await;
                assert!(refused["error"].as_str().is_some_and(|text| text.starts_with("Too many")), "{route}: {refused}");
                let at_once = john.messaging(route, json!({"thread_id": 1, "timeout": 0})).await;
                assert_eq!(at_once.get("error"), None, "an answer at once needs no place: {route}: {at_once}");
            }
            let other = tokio::spawn(poll(&admin, "poll/messages"));
            server.polls_waiting(PLACES + 1).await;
            other.abort();
            waiting.shutdown().await;
            server.polls_waiting(0).await;
        }
        server.stop().await;
    }
}
