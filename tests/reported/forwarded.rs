//! Tests of `X-Forwarded-For`: clients behind a reverse proxy are told apart by address, in any notation.

use reqwest::Method;
use serde_json::json;

use crate::support::{Answer, Backend, JANE, JOHN, PASSWORD, Server};

/// Value of `limits.failed_logins_per_login`.
const FAILURES: usize = 3;

/// A log-in through a proxy that sends these lines of the header.
async fn log_in(server: &Server, hops: &[&str], login: &str, password: &str) -> Answer {
    let params = json!({"params": {"db": "odoo2", "login": login, "password": password}});
    let request = server.client().request(Method::POST, "/web/session/authenticate").json(&params);
    Answer::of(hops.iter().fold(request, |request, hop| request.header("X-Forwarded-For", *hop))).await
}

async fn is_locked_out(server: &Server, hops: &[&str], login: &str) -> bool {
    let answer = log_in(server, hops, login, PASSWORD).await;
    let locked = answer.headers.contains_key("retry-after");
    assert_eq!(answer.session().is_none(), locked, "{answer:?}");
    locked
}

async fn start(proxies: &str) -> Server {
    let server = Server::builder(Backend::memory()).set("PROXIES", proxies).set("LIMITS__FAILED_LOGINS_PER_LOGIN", FAILURES);
    server.start().await
}

#[tokio::test]
async fn one_address_in_all_its_forms_is_one_client() {
    let server = start("127.0.0.0/8,10.0.0.0/8").await;
    for hops in [
        &["192.0.2.1:51000"][..],
        &["203.0.113.1, \"[::ffff:192.0.2.1]:80\", 10.3.4.5"],
        &["203.0.113.1", " 192.0.2.1 ,", "10.3.4.5:443"],
    ] {
        log_in(&server, hops, JOHN, "wrong").await;
    }
    assert!(is_locked_out(&server, &["192.0.2.1:51001"], JOHN).await);
    assert!(!is_locked_out(&server, &["192.0.2.1"], JANE).await);
    assert!(!is_locked_out(&server, &["192.0.2.1, 192.0.2.2:51000"], JOHN).await);
    for port in 1..=FAILURES {
        log_in(&server, &[&format!("[2001:db8::{port}]:471{port}")], JOHN, "wrong").await;
    }
    assert!(is_locked_out(&server, &["2001:db8::9"], JOHN).await, "a subscriber has a /64");
    assert!(!is_locked_out(&server, &["[2001:db8:1::1]:4711"], JOHN).await);
}

/// Clients with an unreadable address share one throttle, and the program writes one log line for all of them.
#[tokio::test]
async fn an_unreadable_hop_locks_nobody_else_out() {
    let mut server = start("127.0.0.1").await;
    for port in 1..=FAILURES {
        log_in(&server, &[&format!("unknown:{port}")], JOHN, "wrong").await;
    }
    assert!(is_locked_out(&server, &["unknown"], JOHN).await);
    for others in [&["phone-7.example"][..], &["_hidden"], &["unknown, 192.0.2.1"], &[]] {
        assert!(!is_locked_out(&server, others, JOHN).await, "{others:?}");
    }
    let text = "holds what is no address";
    assert_eq!(server.log().matches(text).count(), 1, "{}", server.log());
    server.stop().await;
}

/// A listener on `[::]` sees IPv4 peers as mapped addresses.
#[tokio::test]
async fn a_proxy_is_known_by_its_mapped_address() {
    for (proxies, is_believed) in [("::ffff:127.0.0.0/104", true), ("127.0.0.2,::1", false)] {
        let server = Server::builder(Backend::memory()).set("PROXIES", proxies).set("LIMITS__FAILED_LOGINS_PER_LOGIN", 1);
        let mut server = server.start().await;
        server.kill().await;
        server.start_again("[::]:0".parse().unwrap()).await;
        let through = format!("http://127.0.0.1:{}/auth/token", server.address().port());
        let fail = async |from: &str| {
            let request = crate::support::http().post(&through).json(&json!({"login": JOHN, "password": "wrong"}));
            Answer::of(request.header("X-Forwarded-For", from)).await.status.as_u16()
        };
        let statuses = [fail("192.0.2.1").await, fail("192.0.2.1").await, fail("192.0.2.2").await];
        assert_eq!(statuses, [401, 429, if is_believed { 401 } else { 429 }], "{proxies}");
        server.kill().await;
    }
}
