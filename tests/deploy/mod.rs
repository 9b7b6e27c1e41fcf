//! Tests of the files in `deploy/` with the real nginx: the configuration, the unit, the dashboard and the alerts fit the
//! program.

mod load_generator;
pub mod nginx;
mod operation;
mod restart;

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode, header::CONTENT_TYPE, multipart};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_tungstenite::{
    accept_async,
    tungstenite::protocol::{CloseFrame, frame::coding::CloseCode},
};

use crate::{
    support::{ADMIN, Answer, JOHN, Server, Socket, until},
    with_every_backend,
};
use nginx::Nginx;

const MEBIBYTE: usize = 1024 * 1024;

with_every_backend! {
    /// A poll waits and is answered, and a file is uploaded and downloaded, as without nginx.
    async fn people_talk_through_nginx(backend) {
        let mut server = Server::builder(backend).set("PROXIES", "127.0.0.1").start().await;
        let nginx = Nginx::before([server.address(); 2]).await;
        let (john, admin) = (nginx.log_in(JOHN).await, nginx.log_in(ADMIN).await);

        let waiting = tokio::spawn(async move {
            john.messaging("poll/messages", json!({"thread_id": 1, "timeout": 60})).await
        });
        server.polls_waiting(1).await;
        admin.messaging("message/send", json!({"thread_id": 1, "body": "through the door"})).await;
        let heard = waiting.await.expect("it is answered");
        assert_eq!(heard["messages"][0]["body"], "through the door");

        let file: Vec<u8> = (0..8 * MEBIBYTE).map(|at| (at % 251) as u8).collect();
        let form = multipart::Form::new().part("file", multipart::Part::bytes(file.clone()).file_name("large.bin"));
        let upload = admin.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
        let uploaded = Answer::of(upload).await.json();
        assert_eq!(uploaded["file_size"], json!(file.len()), "{uploaded}");
        let path = format!("/api/messaging/attachment/{}", uploaded["attachment_id"]);
        let read = admin.request(Method::GET, &path).send().await.expect("it is answered").bytes().await.expect("it is whole");
        assert!(read == file, "the file comes back as it was");
        server.stop().await;
    }

    /// Body limits: the node answers an oversized body in its dialect. nginx refuses only much larger ones itself.
    async fn limits_are_told_by_the_node(backend) {
        let mut server = Server::builder(backend).set("PROXIES", "127.0.0.1").start().await;
        let nginx = Nginx::before([server.address(); 2]).await;
        let john = nginx.log_in(JOHN).await;
        let say = |bytes: usize| json!({"params": {"thread_id": 1, "body": "x".repeat(bytes)}});
        let refused = john.post("/api/messaging/message/send", &say(MEBIBYTE + MEBIBYTE / 2)).await;
        assert!(refused.json()["error"].is_object(), "{refused:?}");
        let send = john.request(Method::POST, "/api/messaging/message/send").header(CONTENT_TYPE, "application/json");
        let refused = Answer::of(send.body(say(3 * MEBIBYTE).to_string())).await;
        assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);
        server.stop().await;
    }

    /// Limits of one address on connections and requests. The shipped limits are far beyond this test's reach, so it lowers
    /// them.
    async fn an_address_has_its_share_of_nginx(backend) {
        let mut server = Server::builder(backend).start().await;
        let few = [("rate=1000r/s", "rate=1r/m"), ("burst=2000", "burst=1")];
        let nginx = Nginx::changed([server.address(); 2], &few).await;
        let ask = async || Answer::of(nginx.client().request(Method::GET, "/healthz")).await.status;
        assert_eq!([ask().await, ask().await, ask().await].map(|status| status.as_u16()), [200, 200, 429]);
        let nginx = Nginx::changed([server.address(); 2], &[("limit_conn connections 15000", "limit_conn connections 1")]).await;
        let john = nginx.log_in(JOHN).await;
        let poll = john.request(Method::POST, "/api/messaging/poll/messages").header(CONTENT_TYPE, "application/json");
        let waiting = tokio::spawn(Answer::of(poll.body(json!({"params": {"thread_id": 1, "timeout": 60}}).to_string())));
        server.polls_waiting(1).await;
        assert_eq!(Answer::of(nginx.client().request(Method::GET, "/healthz")).await.status, StatusCode::TOO_MANY_REQUESTS);
        waiting.abort();
        server.stop().await;
    }

    /// Log hygiene: nginx logs no tokens, not even in its error log when no node answers.
    async fn queries_are_not_logged(backend) {
        let mut server = Server::builder(backend).start().await;
        let nginx = Nginx::before([server.address(); 2]).await;
        let secret = "5ec4e7";
        let ask = async || {
            let named = format!("/api/messaging/attachment/1/{secret}/{secret}.pdf");
            for path in ["/ws/chat/room", "/concierge", "/api/messaging/attachment/1", &named] {
                let query = format!("?token={secret}&Auth={secret}&access_token={secret}");
                let referer = format!("https://chat.example.com/{query}");
                let request = nginx.client().request(Method::GET, &format!("{path}{query}")).header("Referer", referer);
                Answer::of(request).await;
            }
        };
        ask().await;
        server.stop().await;
        ask().await;
        until("the log", async || (nginx.access_log().matches("/ws/chat/room").count() >= 2).then_some(())).await;
        assert!(nginx.access_log().contains("\"status\":502"), "that there was no node is logged");
        assert!(!nginx.logs().contains(secret), "{}", nginx.logs());
    }

    /// `/metrics` and `/readyz` are not public, in any spelling.
    async fn metrics_are_not_for_everybody(backend) {
        let mut server = Server::builder(backend).start().await;
        let nginx = Nginx::before([server.address(); 2]).await;
        for path in ["/metrics", "/metrics/", "//metrics", "/%6Detrics", "/x/..%2Fmetrics", "/metrics?a", "/readyz", "/readyz//"] {
            let answer = Answer::of(nginx.client().request(Method::GET, path)).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {answer:?}");
        }
        assert_eq!(Answer::of(nginx.client().request(Method::GET, "/healthz")).await.status, StatusCode::OK);
        server.stop().await;
    }

    /// TLS, with a redirect from plain HTTP.
    async fn people_come_over_tls(backend) {
        let mut server = Server::builder(backend).set("BASE_URL", "https://chat.example.com").start().await;
        let nginx = Nginx::before([server.address(); 2]).await;
        let sent = Answer::of(nginx.client().request(Method::GET, "/")).await;
        assert_eq!(sent.headers["location"], "/docs", "addresses are the client's, not the node's");
        let careless = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = careless.tls_danger_accept_invalid_certs(true).build().expect("a client can be made");
        let health = Answer::of(http.get(nginx.url_over_tls("/healthz"))).await;
        assert_eq!(health.status, StatusCode::OK);
        assert_eq!(health.headers.get_all("strict-transport-security").iter().count(), 1, "{health:?}");
        let moved = Answer::of(http.post(nginx.url_of_the_redirect("/web/session/check"))).await;
        assert_eq!(moved.status, StatusCode::PERMANENT_REDIRECT, "the body is to be sent again");
        assert_eq!(moved.headers["location"], "https://127.0.0.1/web/session/check");
        server.stop().await;
    }
}

/// A socket through nginx: opening, frames both ways, and the node's close code.
#[tokio::test]
async fn sockets_pass_through_nginx() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let nginx = Nginx::before([listener.local_addr().expect("it listens"); 2]).await;
    let node = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("nginx connects");
        let mut socket = accept_async(stream).await.expect("nginx asks for a socket");
        let frame = socket.next().await.expect("a frame comes").expect("the socket works");
        socket.send(frame).await.expect("the socket works");
        let going = CloseFrame { code: CloseCode::Away, reason: "".into() };
        socket.close(Some(going)).await.expect("the socket works");
        while let Some(Ok(_)) = socket.next().await {}
    });
    let mut socket = Socket::open(nginx.url("/ws/chat/room/?token=t").replacen("http", "ws", 1)).await;
    socket.say(json!({"action": "echo"})).await;
    assert_eq!(socket.hear().await, json!({"action": "echo"}));
    assert_eq!(socket.closed().await, 1001);
    node.await.expect("it ends");
}

#[tokio::test]
async fn nginx_takes_the_configuration() {
    Nginx::check().await;
}
