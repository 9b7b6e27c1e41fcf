//! Tests of the login throttle: password guesses are slow, and lock out no other user.

use std::sync::Arc;

use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use super::{AUTHENTICATE, credentials};
use crate::{
    support::{ADMIN, Answer, Backend, JOHN, PASSWORD, Server},
    with_every_backend,
};

/// Logs in from behind a proxy.
async fn log_in_from(server: &Server, address: &str, login: &str, password: &str) -> Answer {
    let request = server.client().request(reqwest::Method::POST, AUTHENTICATE).header("Content-Type", "application/json");
    let body = json!({"id": 9, "params": credentials(login, password)}).to_string();
    Answer::of(request.header("X-Forwarded-For", address).body(body)).await
}

fn is_access_denied(answer: &Answer) -> bool {
    let error = &answer.json()["error"]["data"];
    answer.status == 200
        && error["name"] == "odoo.exceptions.AccessDenied"
        && error["message"] == "Access Denied"
        && answer.json()["id"] == 9
}

/// True if the login is throttled. Status 200 as in Odoo, since published clients cannot read another one.
fn has_to_wait(answer: &Answer) -> bool {
    let seconds = answer.headers.get("retry-after").and_then(|seconds| seconds.to_str().ok()?.parse::<u64>().ok());
    let error = &answer.json()["error"]["data"];
    answer.status == 200
        && error["name"] == "odoo.exceptions.AccessDenied"
        && error["message"] == "Too many login failures, please wait a bit before trying again."
        && answer.session().is_none()
        && seconds.is_some_and(|seconds| (1..=60).contains(&seconds))
}

async fn behind_a_proxy(backend: crate::support::Backend) -> Server {
    Server::builder(backend).set("PROXIES", "127.0.0.1").set("LIMITS__FAILED_LOGINS_PER_LOGIN", 3).start().await
}

with_every_backend! {
    async fn after_so_many_failures_a_login_has_to_wait(backend) {
        let server = behind_a_proxy(backend).await;
        for _ in 0..3 {
            let answer = log_in_from(&server, "192.0.2.1", ADMIN, "wrong").await;
            assert!(is_access_denied(&answer), "{answer:?}");
        }
        for password in ["wrong", PASSWORD] {
            let answer = log_in_from(&server, "192.0.2.1", ADMIN, password).await;
            assert!(has_to_wait(&answer), "{answer:?}");
        }
    }

    /// Throttle by login and address: otherwise any client could lock out a user.
    async fn the_same_login_from_another_address_is_not_slowed(backend) {
        let server = behind_a_proxy(backend).await;
        for _ in 0..4 {
            log_in_from(&server, "192.0.2.1", ADMIN, "wrong").await;
        }
        let answer = log_in_from(&server, "192.0.2.2", ADMIN, PASSWORD).await;
        assert!(answer.session().is_some(), "{answer:?}");
    }

    /// Other users at the same address: not throttled.
    async fn another_login_from_the_same_address_is_not_slowed(backend) {
        let server = behind_a_proxy(backend).await;
        for _ in 0..4 {
            log_in_from(&server, "192.0.2.1", ADMIN, "wrong").await;
        }
        let answer = log_in_from(&server, "192.0.2.1", JOHN, PASSWORD).await;
        assert!(answer.session().is_some(), "{answer:?}");
    }

    /// Successful logins: not counted.
    async fn logins_that_succeed_are_not_counted(backend) {
        let server = behind_a_proxy(backend).await;
        for _ in 0..5 {
            let answer = log_in_from(&server, "192.0.2.1", ADMIN, PASSWORD).await;
            assert!(answer.session().is_some(), "{answer:?}");
        }
    }

    /// Failures by address: counted as well, across logins.
    async fn failures_from_one_address_are_counted_together_as_well(backend) {
        let server =
            Server::builder(backend).set("PROXIES", "127.0.0.1").set("LIMITS__FAILED_LOGINS_PER_ADDRESS", 2).start().await;
        for login in ["a", "b"] {
            assert!(is_access_denied(&log_in_from(&server, "192.0.2.1", login, "wrong").await));
        }
        assert!(has_to_wait(&log_in_from(&server, "192.0.2.1", "c", "wrong").await));
        assert!(is_access_denied(&log_in_from(&server, "192.0.2.2", "c", "wrong").await));
    }

    /// Forwarded address from an untrusted peer: ignored, otherwise the header would evade the throttle.
    async fn an_address_told_by_a_stranger_is_not_believed(backend) {
        let server = Server::builder(backend).set("LIMITS__FAILED_LOGINS_PER_LOGIN", 1).start().await;
        assert!(is_access_denied(&log_in_from(&server, "192.0.2.1", ADMIN, "wrong").await));
        assert!(has_to_wait(&log_in_from(&server, "192.0.2.2", ADMIN, "wrong").await));
    }

    /// Throttle of `/jsonrpc`, another way to log in.
    async fn the_limit_holds_for_jsonrpc(backend) {
        let server = Server::builder(backend).set("LIMITS__FAILED_LOGINS_PER_LOGIN", 2).start().await;
        let call = json!({"params": {"service": "common", "method": "login", "args": ["odoo2", ADMIN, "wrong"]}});
        for is_let_try in [true, true, false] {
            let answer = server.client().post("/jsonrpc", &call).await;
            assert_eq!(has_to_wait(&answer), !is_let_try, "{answer:?}");
        }
    }
}

/// Load generator: posts logins from one network until it is dropped, and counts refusals for a full queue of password checks.
struct Flood {
    refused: watch::Receiver<usize>,
    _floods: JoinSet<()>,
}

impl Flood {
    fn from_network(server: &Server, network: &'static str) -> Self {
        let (counted, refused) = watch::channel(0);
        let mut floods = JoinSet::new();
        let counted = Arc::new(counted);
        for number in 0..20 {
            let (client, counted) = (server.client(), Arc::clone(&counted));
            floods.spawn(async move {
                for turn in 0.. {
                    let credentials = json!({"login": format!("nobody-{number}-{turn}"), "password": "wrong"});
                    let request = client.request(reqwest::Method::POST, "/auth/token").json(&credentials);
                    let answer = Answer::of(request.header("X-Forwarded-For", format!("{network}.{number}"))).await;
                    if answer.status == 503 {
                        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
                        counted.send_modify(|refused| *refused += 1);
                    } else {
                        assert_eq!(answer.status, 401, "{answer:?}");
                    }
                }
            });
        }
        Self { refused, _floods: floods }
    }

    async fn has_no_place(&mut self) {
        let refused = *self.refused.borrow_and_update();
        self.refused.wait_for(|now| *now > refused).await.expect("the flood goes on");
    }
}

/// Fairness of password checks: a login from another network is neither refused nor queued behind the flood.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_from_one_network_leaves_places_to_others() {
    let server = Server::builder(Backend::memory())
        .set("PROXIES", "127.0.0.1")
        .set("LIMITS__PASSWORD_CHECKS_WAITING", 4)
        .set("LIMITS__FAILED_LOGINS_PER_ADDRESS", 1_000_000)
        .start()
        .await;
    let mut flood = Flood::from_network(&server, "192.0.2");
    for _ in 0..5 {
        flood.has_no_place().await;
        let answer = log_in_from(&server, "198.51.100.1", ADMIN, PASSWORD).await;
        assert!(answer.session().is_some(), "{answer:?}");
    }
    flood.has_no_place().await;
    let answer = std::iter::repeat_with(|| log_in_from(&server, "192.0.2.77", ADMIN, PASSWORD));
    let mut refused = false;
    for attempt in answer.take(200) {
        let answer = attempt.await;
        refused = has_to_wait(&answer);
        if refused {
            break;
        }
        assert!(answer.session().is_some(), "{answer:?}");
    }
    assert!(refused, "the network of the flood has its half of the places and no more");
}
