//! Guessing passwords is slow, and locks nobody else out.

use serde_json::json;

use super::{AUTHENTICATE, credentials};
use crate::{
    support::{ADMIN, Answer, JOHN, PASSWORD, Server},
    with_every_backend,
};

/// A login from behind a proxy.
async fn log_in_from(server: &Server, address: &str, login: &str, password: &str) -> Answer {
    let request = server.client().request(reqwest::Method::POST, AUTHENTICATE).header("Content-Type", "application/json");
    let body = json!({"id": 9, "params": credentials(login, password)}).to_string();
    Answer::of(request.header("X-Forwarded-For", address).body(body)).await
}

fn is_access_denied(answer: &Answer) -> bool {
    answer.json()["error"]["data"]["name"] == "odoo.exceptions.AccessDenied" && answer.json()["id"] == 9
}

async fn behind_a_proxy(backend: crate::support::Backend) -> Server {
    Server::builder(backend).set("PROXIES", "127.0.0.1").set("LIMITS__FAILED_LOGINS_PER_LOGIN", 3).start().await
}

with_every_backend! {
    /// 429 tells the client when to try again, and the body is what it knows.
    async fn after_so_many_failures_a_login_has_to_wait(backend) {
        let server = behind_a_proxy(backend).await;
        for _ in 0..3 {
            let answer = log_in_from(&server, "192.0.2.1", ADMIN, "wrong").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(is_access_denied(&answer), "{answer:?}");
        }
        for password in ["wrong", PASSWORD] {
            let answer = log_in_from(&server, "192.0.2.1", ADMIN, password).await;
            assert_eq!(answer.status, 429, "{answer:?}");
            let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
            assert!(is_access_denied(&answer), "{answer:?}");
            assert!(answer.session().is_none());
        }
    }

    /// Otherwise anybody could lock out whom they like.
    async fn the_same_login_from_another_address_is_not_slowed(backend) {
        let server = behind_a_proxy(backend).await;
        for _ in 0..4 {
            log_in_from(&server, "192.0.2.1", ADMIN, "wrong").await;
        }
        let answer = log_in_from(&server, "192.0.2.2", ADMIN, PASSWORD).await;
        assert!(answer.session().is_some(), "{answer:?}");
    }

    /// Colleagues behind one address.
    async fn another_login_from_the_same_address_is_not_slowed(backend) {
        let server = behind_a_proxy(backend).await;
        for _ in 0..4 {
            log_in_from(&server, "192.0.2.1", ADMIN, "wrong").await;
        }
        let answer = log_in_from(&server, "192.0.2.1", JOHN, PASSWORD).await;
        assert!(answer.session().is_some(), "{answer:?}");
    }

    /// Only failures count.
    async fn logins_that_succeed_are_not_counted(backend) {
        let server = behind_a_proxy(backend).await;
        for _ in 0..5 {
            let answer = log_in_from(&server, "192.0.2.1", ADMIN, PASSWORD).await;
            assert!(answer.session().is_some(), "{answer:?}");
        }
    }

    /// Whoever has many logins to try is slowed all the same.
    async fn failures_from_one_address_are_counted_together_as_well(backend) {
        let server =
            Server::builder(backend).set("PROXIES", "127.0.0.1").set("LIMITS__FAILED_LOGINS_PER_ADDRESS", 2).start().await;
        for login in ["a", "b"] {
            assert_eq!(log_in_from(&server, "192.0.2.1", login, "wrong").await.status, 200);
        }
        assert_eq!(log_in_from(&server, "192.0.2.1", "c", "wrong").await.status, 429);
        assert_eq!(log_in_from(&server, "192.0.2.2", "c", "wrong").await.status, 200);
    }

    /// Else the header would be a way around the limit.
    async fn an_address_told_by_a_stranger_is_not_believed(backend) {
        let server = Server::builder(backend).set("LIMITS__FAILED_LOGINS_PER_LOGIN", 1).start().await;
        assert_eq!(log_in_from(&server, "192.0.2.1", ADMIN, "wrong").await.status, 200);
        assert_eq!(log_in_from(&server, "192.0.2.2", ADMIN, "wrong").await.status, 429);
    }

    /// The services without a cookie are a way in as well.
    async fn the_limit_holds_for_jsonrpc(backend) {
        let server = Server::builder(backend).set("LIMITS__FAILED_LOGINS_PER_LOGIN", 2).start().await;
        let call = json!({"params": {"service": "common", "method": "login", "args": ["odoo2", ADMIN, "wrong"]}});
        for expected in [200, 200, 429] {
            assert_eq!(server.client().post("/jsonrpc", &call).await.status, expected);
        }
    }
}
