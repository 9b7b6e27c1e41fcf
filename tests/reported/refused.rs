//! Tests of back-off for clients that retry at once after any answer: the server delays its refusals.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    support::{ADMIN, Backend, JOHN, Server, Socket, token},
    with_every_backend,
};

/// Whole seconds until the server closed the socket.
async fn seconds(server: &Server, path: &str, code: u16) -> u64 {
    let begun = Instant::now();
    assert_eq!(Socket::open(server.socket_url(path)).await.closed().await, code, "{path}");
    begun.elapsed().as_secs()
}

/// Delays of refused sockets: the refusals of all dialects that close with a code count together.
#[tokio::test]
async fn refused_sockets_are_closed_later_and_later() {
    let mut server = Server::builder(Backend::memory()).with_tokens().set("SOCKETS__REFUSED_SECONDS", 2).start().await;
    let outsider = format!("/conversations/1/?token={}", token(8));
    for (path, code, least) in [
        ("/conversations/1/?token=x", 4003, 0),
        (outsider.as_str(), 4004, 0),
        ("/ws/chat/room/?token=x", 4003, 0),
        ("/conversations/?token=x", 4003, 1),
        (outsider.as_str(), 4004, 2),
        ("/ws/chat/room/?token=x", 4003, 2),
    ] {
        let taken = seconds(&server, path, code).await;
        assert!(taken >= least, "{path} was closed after {taken} s");
    }
    // Accepted sockets do not wait, and neither do others beside refused ones.
    let waiting = Socket::open(server.socket_url("/conversations/1/?token=x")).await;
    let mut socket = Socket::open(server.socket_url(&format!("/conversations/1/?token={}", token(4)))).await;
    assert_eq!(socket.hear().await["type"], "user_status");
    // A delayed refusal ends with its client's disconnect, and does not delay the stop.
    waiting.close().await;
    let waiting = Socket::open(server.socket_url("/conversations/1/?token=x")).await;
    server.terminate();
    waiting.closed().await;
    assert!(server.ended().await.success());
}

/// Checks that a failing poll is answered after a second, whatever its error.
async fn poll(server: &Server, client: &crate::support::Client, route: &str, params: Value) -> Value {
    let begun = Instant::now();
    let answer = client.call(&format!("/api/messaging/{route}"), params.clone()).await;
    assert!(begun.elapsed() >= Duration::from_secs(1), "{route} {params} was answered at once: {answer}");
    assert!(!server.log().contains("panicked"));
    answer
}

with_every_backend! {
    async fn a_poll_that_errs_waits_a_second(backend) {
        let mut server = Server::demo(backend).await;
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let own = admin.messaging("thread/create", json!({"name": "own"})).await["thread_id"].take();
        let polls = [
            ("poll/messages", json!({"thread_id": 999_999, "timeout": 0}), "Thread not found"),
            ("poll/messages", json!({"thread_id": own}), "Access denied"),
            ("poll/messages", json!({}), "thread_id is required"),
            ("poll/updates", json!({"last_check": "yesterday"}), "last_check must be a time in ISO 8601"),
        ];
        let asked = polls.map(|(route, params, error)| {
            let (server, john) = (&server, &john);
            async move { assert_eq!(poll(server, john, route, params).await["result"]["error"], error) }
        });
        futures_util::future::join_all(asked).await;
        let stranger = server.client();
        let (messages, updates) = tokio::join!(
            poll(&server, &stranger, "poll/messages", json!({"thread_id": 1})),
            poll(&server, &stranger, "poll/updates", json!({})),
        );
        for answer in [messages, updates] {
            assert_eq!(answer["error"]["code"], 100, "{answer}");
        }
        // A valid poll is answered at once.
        john.messaging("message/send", json!({"thread_id": 1, "body": "hello"})).await;
        assert_eq!(john.messaging("poll/messages", json!({"thread_id": 1, "last_message_id": 0})).await["count"], 1);
        server.stop().await;
    }
}
