//! Tests of sign-ins: the audit trail, one login throttle for all routes, and the wait after a wrong password.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    support::{Answer, BOB, Backend, JANE, JOHN, PASSWORD, Server, until},
    with_every_backend,
};

/// A route that takes a login and a password.
#[derive(Clone, Copy, Debug)]
enum Route {
    Session,
    Tokens,
    SimpleJwt,
    JsonRpc,
}

const ROUTES: [Route; 4] = [Route::Session, Route::Tokens, Route::SimpleJwt, Route::JsonRpc];

impl Route {
    async fn log_in(self, server: &Server, login: &str, password: &str) -> Answer {
        let (path, body) = match self {
            Self::Session => {
                ("/web/session/authenticate", json!({"params": {"db": "odoo2", "login": login, "password": password}}))
            }
            Self::Tokens => ("/auth/token", json!({"login": login, "password": password})),
            Self::SimpleJwt => ("/api/token", json!({"username": login, "password": password})),
            Self::JsonRpc => {
                let args = json!(["odoo2", login, password]);
                ("/jsonrpc", json!({"params": {"service": "common", "method": "login", "args": args}}))
            }
        };
        server.client().post(path, &body).await
    }
}

/// A call by uid and password, as OdooRPC makes them.
async fn call_by_uid(server: &Server, uid: i64, password: &str) -> Answer {
    let args = json!(["odoo2", uid, password, "res.users", "context_get", []]);
    server.client().post("/jsonrpc", &json!({"params": {"service": "object", "method": "execute_kw", "args": args}})).await
}

fn has_to_wait(answer: &Answer) -> bool {
    answer.headers.contains_key("retry-after")
}

/// Entries of the audit trail, oldest first: kind and id of the actor, address, action, object, outcome, correlation id.
type Row = (String, Option<String>, Option<String>, String, Option<String>, String, Option<String>);

async fn trail(database: &mut PgConnection) -> Vec<Row> {
    let entries = "SELECT actor_kind, actor_id, address, action, object, outcome, correlation FROM audit ORDER BY id";
    sqlx::query_as(entries).fetch_all(database).await.unwrap()
}

#[tokio::test]
async fn every_sign_in_is_an_entry_of_the_audit_trail_and_a_line_of_the_log() {
    let backend = Backend::postgres().await;
    let mut server = Server::builder(backend.clone()).set("LIMITS__FAILED_LOGINS_PER_LOGIN", 2).start().await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    backend.administer(&["user", "deactivate", BOB], "").await;
    sqlx::query("DELETE FROM audit").execute(&mut database).await.unwrap();

    for route in ROUTES {
        route.log_in(&server, JOHN, PASSWORD).await;
    }
    Route::Session.log_in(&server, JANE, "mistyped-4711").await;
    Route::Tokens.log_in(&server, "nobody@example.com", "mistyped-4711").await;
    Route::JsonRpc.log_in(&server, BOB, PASSWORD).await;
    call_by_uid(&server, 6, "mistyped-4711").await;
    assert_eq!(Route::SimpleJwt.log_in(&server, JANE, PASSWORD).await.status, 401, "under two names together");
    for _ in 0..3 {
        assert!(has_to_wait(&Route::SimpleJwt.log_in(&server, JANE, PASSWORD).await));
    }
    let jane = server.log_in(JOHN).await;
    jane.call("/web/session/destroy", json!({})).await;

    let rows = trail(&mut database).await;
    let told: Vec<_> = rows
        .iter()
        .map(|(kind, id, _, action, object, outcome, _)| {
            let id = id.as_deref().filter(|_| kind == "user").unwrap_or_default();
            let object = object.as_deref().unwrap_or_default();
            format!("{kind} {id} {action} {object} {outcome}").split_whitespace().collect::<Vec<_>>().join(" ")
        })
        .collect();
    let expected = [
        "user 4 sign_in session ok",
        "user 4 sign_in tokens ok",
        "user 4 sign_in tokens ok",
        "user 4 sign_in password ok",
        "stranger sign_in user 6 wrong_password",
        "stranger sign_in unknown_login",
        "stranger sign_in user 8 deactivated",
        "stranger sign_in user 6 wrong_password",
        "stranger sign_in user 6 locked_out",
        "stranger lock_out user 6 login",
        "user 4 sign_in session ok",
        "user 4 sign_out session ok",
    ];
    assert_eq!(told, expected);
    let hash = |n: usize| rows[n].1.as_deref().expect("what was typed has a hash");
    assert!(hash(4) == hash(8) && hash(4) != hash(5) && hash(4).len() == 32, "the same text has the same one");
    let answered = Route::Session.log_in(&server, JOHN, "wrong").await.json();
    let (.., correlation) = trail(&mut database).await.pop().expect("it was audited");
    let debug = answered["error"]["data"]["debug"].as_str().expect("it is a text");
    assert_eq!(debug, format!("correlation id {}", correlation.expect("it has one")), "the answer has the same one");
    let log = server.log();
    for (_, id, address, action, _, outcome, correlation) in &rows {
        assert_eq!(address.as_deref(), Some("127.0.0.1"));
        let correlation = correlation.as_deref().expect("it has one");
        let line = log.lines().find(|line| line.contains(correlation)).unwrap_or_else(|| panic!("{action} is not in {log}"));
        assert!(line.contains("dragoman::audit") && line.contains(&format!("{action}: {outcome}")), "{line}");
        assert!(line.contains("127.0.0.1") && line.contains(id.as_deref().expect("it has one")), "{line}");
    }
    let written = format!("{rows:?}");
    for secret in ["mistyped", JANE, JOHN, "nobody", PASSWORD] {
        assert!(!written.contains(secret), "{secret}: {written}");
    }
    server.stop().await;
}

/// Audit of password changes at the command line, and of the revocation after a refresh token's reuse.
#[tokio::test]
async fn what_ends_sessions_is_audited() {
    let backend = Backend::postgres().await;
    let mut server = Server::builder(backend.clone()).set("TOKENS__REFRESH_GRACE_SECONDS", 0).start().await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let pair = server.client().post("/auth/token", &json!({"login": JOHN, "password": PASSWORD})).await.json();
    for _ in 0..2 {
        server.client().post("/auth/token/refresh", &json!({"refresh": pair["refresh"]})).await;
    }
    backend.administer(&["user", "passwd", JOHN], "another password\n").await;
    let told: Vec<_> = trail(&mut database)
        .await
        .into_iter()
        .map(|(kind, _, _, action, object, outcome, _)| (kind, action, object, outcome))
        .collect();
    let row = |kind: &str, action: &str, object: &str, outcome: &str| {
        (kind.to_owned(), action.to_owned(), Some(object.to_owned()), outcome.to_owned())
    };
    let expected = [
        row("user", "sign_in", "tokens", "ok"),
        row("stranger", "tokens_revoked", "user 4", "used_again"),
        row("operator", "password_change", "user 4", "ok"),
    ];
    assert_eq!(told, expected);
    server.stop().await;
}

with_every_backend! {
    /// Login throttle: failures on all routes count together, so that a guesser gains nothing by changing routes.
    async fn failures_count_for_the_account_whatever_the_route(backend) {
        let mut server = Server::builder(backend).set("LIMITS__FAILED_LOGINS_PER_LOGIN", 4).start().await;
        for route in ROUTES {
            assert!(!has_to_wait(&route.log_in(&server, JANE, "wrong").await), "{route:?}");
        }
        for route in ROUTES {
            assert!(has_to_wait(&route.log_in(&server, JANE, PASSWORD).await), "{route:?}");
        }
        for _ in 0..4 {
            let answer = call_by_uid(&server, 6, PASSWORD).await;
            assert!(!has_to_wait(&answer) && answer.json()["error"]["data"]["message"] == "Access Denied", "{answer:?}");
        }
        assert!(has_to_wait(&call_by_uid(&server, 6, PASSWORD).await));
        assert!(call_by_uid(&server, 4, PASSWORD).await.json()["result"].is_object(), "another account");
        server.stop().await;
    }

    /// A locked login reveals neither whether it exists nor its uid.
    async fn a_lock_out_tells_nothing_of_another_name(backend) {
        let server = Server::builder(backend).set("LIMITS__FAILED_LOGINS_PER_LOGIN", 2);
        let mut server = server.set("LIMITS__FAILED_LOGINS_PER_ADDRESS", 1_000).start().await;
        for login in [JANE, "nobody@example.com"] {
            let answers = [(); 3].map(|()| Route::Tokens.log_in(&server, login, "wrong"));
            let mut waits = Vec::new();
            for answer in answers {
                waits.push(has_to_wait(&answer.await));
            }
            assert_eq!(waits, [false, false, true], "{login}");
        }
        let mut told = Vec::new();
        for uid in [4, 6, 987_654] {
            let mut answers = Vec::new();
            for _ in 0..3 {
                let answer = call_by_uid(&server, uid, "wrong").await;
                answers.push((answer.status, has_to_wait(&answer), answer.json()["error"]["data"]["message"].take()));
            }
            told.push(answers);
        }
        assert!(told[0] == told[1] && told[1] == told[2], "{told:?}");
        server.stop().await;
    }
}

/// A PBKDF2 hash in Odoo's notation, with this many rounds.
fn imported(rounds: u32) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
    let encoded = |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes).replace('+', ".");
    format!("$pbkdf2-sha512${rounds}${}${}", encoded(b"0123456789abcdef"), encoded(&[7; 64]))
}

/// Rounds that take much longer than a new hash, in a build without optimisation.
const ROUNDS: u32 = 50_000;

async fn import(backend: &Backend, login: &str) {
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let update = sqlx::query("UPDATE users SET password_hash = $1 WHERE login = $2").bind(imported(ROUNDS)).bind(login);
    update.execute(&mut database).await.unwrap();
}

/// A correct password does not wait behind wrong ones.
#[tokio::test]
async fn whoever_waits_after_a_wrong_password_holds_no_place() {
    let backend = Backend::postgres().await;
    // A single network's share is half of the waiting password checks.
    let mut server = Server::builder(backend.clone()).set("LIMITS__PASSWORD_CHECKS_WAITING", 2).start().await;
    import(&backend, BOB).await;
    assert_eq!(Route::Tokens.log_in(&server, BOB, "wrong").await.status, 401);
    let (client, address) = (server.client(), "/auth/token");
    let waiting = tokio::spawn(async move {
        let wrong = json!({"login": "nobody@example.com", "password": "wrong"});
        Answer::of(client.request(Method::POST, address).json(&wrong)).await.status
    });
    until("the check", async || server.log().contains("sign_in: unknown_login").then_some(())).await;
    let answer = Route::Tokens.log_in(&server, JOHN, PASSWORD).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["token_type"], Value::from("Bearer"));
    assert_eq!(waiting.await.expect("it is answered"), 401);
    server.stop().await;
}
