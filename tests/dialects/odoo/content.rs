//! Tests of content types, encodings and sizes of requests.

use serde_json::json;

use super::{CHECK, INFO, VERSION, typed};
use crate::{
    on_every_backend,
    support::{ADMIN, RawConnection, Server},
    with_every_backend,
};

/// A raw request with these headers.
fn request(path: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}")
}

on_every_backend! {
    /// Content type in any case, with any parameter.
    async fn json_types_are_taken(server) {
        let client = server.log_in(ADMIN).await;
        for kind in [
            "application/json",
            "application/json-rpc",
            "application/json; charset=utf-8",
            "APPLICATION/JSON; charset=x",
            "Application/Json-RPC;charset=UTF-8",
        ] {
            let answer = typed(&client, CHECK, kind, r#"{"id":1}"#).await;
            assert_eq!(answer.status, 200, "{kind}");
            assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 1}), "{kind}");
        }
    }

    /// Other content types: refused with an HTML page, with and without a session.
    async fn another_type_is_refused_before_any_look_at_the_session(server) {
        let with = server.log_in(ADMIN).await;
        for client in [with, server.client()] {
            for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/jsonp"] {
                let answer = typed(&client, INFO, kind, r#"{"params":{}}"#).await;
                assert_eq!(answer.status, 400, "{kind}");
                assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8", "{kind}");
                assert!(answer.body.contains(&format!("&#39;{INFO}&#39; is type=&#39;json&#39;")), "{}", answer.body);
            }
        }
    }

    /// Half-open connection: a published client leaves its side open and waits for the answer.
    async fn a_request_that_is_never_ended_is_answered(server) {
        let mut connection = RawConnection::to(server).await;
        let body = r#"{"id":"open","params":{}}"#;
        let length = format!("Content-Length: {}", body.len());
        connection.send(&request(VERSION, &["Content-Type: application/json", &length], body)).await;
        let answer = connection.read_until("\"protocol_version\"").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""id":"open""#), "{answer}");
    }

    /// Chunked transfer coding, without a length.
    async fn a_chunked_body_is_read(server) {
        let mut connection = RawConnection::to(server).await;
        let headers = ["Content-Type: application/json", "Transfer-Encoding: chunked", "Connection: close"];
        connection.send(&request(VERSION, &headers, "7\r\n{\"id\":4\r\n")).await;
        connection.send("d\r\n,\"params\":{}}\r\n0\r\n\r\n").await;
        let answer = connection.read_until("\"protocol_version\"").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""id":4"#), "{answer}");
    }

    /// `Expect: 100-continue`, which curl sends for bodies above a kilobyte.
    async fn expect_100_continue_is_answered_before_the_body_comes(server) {
        let mut connection = RawConnection::to(server).await;
        let body = r#"{"id":5,"params":{}}"#;
        let length = format!("Content-Length: {}", body.len());
        let headers = ["Content-Type: application/json", &length, "Expect: 100-continue"];
        connection.send(&request(VERSION, &headers, "")).await;
        let interim = connection.read_until("\r\n\r\n").await;
        assert!(interim.starts_with("HTTP/1.1 100 Continue\r\n"), "{interim}");
        connection.send(body).await;
        let answer = connection.read_until("\"protocol_version\"").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(r#""id":5"#), "{answer}");
    }
}

with_every_backend! {
    /// Size limit of a body: refused with `Connection: close` before the whole body has arrived.
    async fn a_body_beyond_the_limit_is_refused(backend) {
        let server = Server::builder(backend).set("LIMITS__BODY_BYTES", 1000).start().await;
        let fits = format!(r#"{{"id":1,"params":{{"x":"{}"}}}}"#, "x".repeat(900));
        assert_eq!(typed(&server.client(), VERSION, "application/json", &fits).await.status, 200);
        let large = format!(r#"{{"id":1,"params":{{"x":"{}"}}}}"#, "x".repeat(1000));
        let answer = typed(&server.client(), VERSION, "application/json", &large).await;
        assert_eq!(answer.status, 413);
        assert!(answer.json()["error"]["data"]["name"].is_string(), "{answer:?}");

        let mut connection = RawConnection::to(&server).await;
        connection.send(&request(VERSION, &["Content-Type: application/json", "Content-Length: 100000000"], "{")).await;
        let answer = connection.read_until("\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
}
