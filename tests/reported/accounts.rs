//! Tests of accounts at the command line: validation of names and passwords, listing, deactivation and activation.

use serde_json::json;

use crate::support::{Answer, Backend, Client, JANE, JOHN, PASSWORD, Server, until};

const ADDED: &str = "a password\n";

/// Standard error of a command that fails: one line.
async fn refusal(backend: &Backend, arguments: &[&str], input: &str) -> String {
    let output = backend.run(arguments, input).await;
    let said = String::from_utf8(output.stderr).expect("it prints text");
    assert!(!output.status.success() && said.lines().count() == 1, "{arguments:?}: {said}");
    said
}

/// Standard error of a command that succeeds.
async fn warning(backend: &Backend, arguments: &[&str], input: &str) -> String {
    let output = backend.run(arguments, input).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).expect("it prints text")
}

async fn is_let_in(client: &Client, login: &str, password: &str) -> bool {
    let params = json!({"db": "odoo2", "login": login, "password": password});
    client.call("/web/session/authenticate", params).await["result"]["uid"].is_i64()
}

#[tokio::test]
async fn what_is_named_by_the_command_line_is_in_one_line_and_as_it_looks() {
    let backend = Backend::postgres().await;
    backend.administer(&["migrate"], "").await;
    for (odd, reason) in [
        ("", "must not be empty"),
        (" jane@example.com", "must not begin or end with white space"),
        ("new\nline", "must not contain control characters"),
        ("gpj.\u{202e}exe", "must not contain control characters"),
    ] {
        for (arguments, field) in [
            (vec!["user", "add", odd, "--name", "Jane"], "login"),
            (vec!["user", "add", "jane@example.com", "--name", odd], "name"),
            (vec!["user", "add", "jane@example.com", "--name", "Jane", "--email", odd], "email"),
            (vec!["group", "add", odd], "name"),
        ] {
            let said = refusal(&backend, &arguments, ADDED).await;
            assert_eq!(said, format!("dragoman: the {field} {reason}\n"), "{odd:?}");
        }
    }
    assert_eq!(backend.administer(&["user", "list"], "").await, "");
    assert_eq!(backend.administer(&["group", "list"], "").await, "");
}

/// Logins are case-sensitive: both may exist, with a warning to the administrator.
#[tokio::test]
async fn a_login_that_differs_by_case_alone_is_worth_a_warning() {
    let backend = Backend::postgres().await;
    let server = Server::demo(backend.clone()).await;
    let twin = ["user", "add", "Jane@Example.com", "--name", "Another Jane"];
    let said = warning(&backend, &twin, ADDED).await;
    assert!(said.lines().count() == 1 && said.contains("warning: jane@example.com "), "{said}");
    assert_eq!(warning(&backend, &["user", "add", "jane@example.org", "--name", "Jane"], ADDED).await, "");
    assert!(is_let_in(&server.client(), "Jane@Example.com", "a password").await);
    assert!(is_let_in(&server.client(), JANE, PASSWORD).await);
}

/// Passwords on standard input, also with a byte order mark or line ends from Windows.
#[tokio::test]
async fn a_password_is_the_first_line_and_not_short() {
    let backend = Backend::postgres().await;
    let server = Server::demo(backend.clone()).await;
    for (number, piped) in ["\u{feff}pass wörd\r\n", "pass wörd\nmore", "pass wörd\r"].into_iter().enumerate() {
        let login = format!("user-{number}");
        backend.administer(&["user", "add", &login, "--name", "Somebody"], piped).await;
        assert!(is_let_in(&server.client(), &login, "pass wörd").await, "{piped:?}");
    }
    for short in ["\u{feff}1234567\r\n", "äöüäöüä"] {
        for arguments in [&["user", "passwd", JOHN][..], &["user", "add", "short", "--name", "Short"]] {
            let said = refusal(&backend, arguments, short).await;
            assert_eq!(said, "dragoman: the password must have 8 characters or more\n", "{short:?}");
        }
    }
    let longer = "x".repeat(4097);
    assert!(refusal(&backend, &["user", "passwd", JOHN], &longer).await.contains("not be longer than 4096 bytes"));
    assert!(refusal(&backend, &["user", "passwd", JOHN], "\u{feff}\r\n").await.contains("must not be empty"));
    assert!(is_let_in(&server.client(), JOHN, PASSWORD).await, "nothing was changed");
    backend.administer(&["user", "passwd", JOHN], "12345678").await;
    assert!(is_let_in(&server.client(), JOHN, "12345678").await);
}

/// Escaping of control characters that an earlier version has stored.
#[tokio::test]
async fn lists_have_one_line_for_each() {
    use sqlx::{Connection, Executor, PgConnection};
    let backend = Backend::postgres().await;
    let mut server = Server::demo(backend.clone()).await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let odd = r"U&'Forged\000A99\0009root\0009admin\001B[31m\202E\0085\2028 Zo\00EB'";
    for change in [
        format!("UPDATE users SET login = {odd} WHERE id = 6"),
        format!("UPDATE partners SET name = {odd} WHERE id = (SELECT partner_id FROM users WHERE id = 6)"),
        format!("UPDATE groups SET name = {odd}"),
    ] {
        database.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(change))).await.unwrap();
    }
    let shown = r"Forged\n99\troot\tadmin\u{1b}[31m\u{202e}\u{85}\u{2028} Zoë";
    let users = backend.administer(&["user", "list"], "").await;
    let (users_count,): (i64,) = sqlx::query_as("SELECT count(*) FROM users").fetch_one(&mut database).await.unwrap();
    assert_eq!(users.lines().count() as i64, users_count, "{users}");
    assert!(users.contains(&format!("6\t{shown}\tuser\t{shown}\n")), "{users}");
    assert_eq!(backend.administer(&["group", "list"], "").await, format!("3\t{shown}\n"));
    let name = "Forged\n99\troot\tadmin\u{1b}[31m\u{202e}\u{85}\u{2028} Zoë";
    let members = backend.administer(&["group", "members", name], "").await;
    assert!(!members.is_empty() && members.lines().all(|line| line.split('\t').count() >= 4), "{members}");
    let said = refusal(&backend, &["user", "passwd", "no\u{1b}[31m\nbody"], ADDED).await;
    assert_eq!(said, "dragoman: no user with the login no\\u{1b}[31m\\nbody\n");
    server.stop().await;
}

/// Running nodes notice the activation. Revoked sessions and tokens stay revoked, and conversations are unchanged.
#[tokio::test]
async fn a_deactivated_user_can_be_let_in_again() {
    let backend = Backend::postgres().await;
    let mut server = Server::demo(backend.clone()).await;
    let session = server.log_in(JOHN).await;
    let threads = async |client: &Client| client.messaging("threads", json!({})).await["threads"].take();
    let before = threads(&session).await;
    let tokens = session.post("/auth/token", &json!({})).await.json();
    let access = tokens["access"].as_str().unwrap().to_owned();
    let holder = async || {
        Answer::of(server.client().request(reqwest::Method::GET, "/auth/token").bearer_auth(&access)).await.status.as_u16()
    };
    assert_eq!(holder().await, 200);

    backend.administer(&["user", "deactivate", JOHN], "").await;
    until("the end of the token", async || (holder().await == 401).then_some(())).await;
    let said = warning(&backend, &["user", "passwd", JOHN], "another password").await;
    assert!(said.contains("john@example.com is deactivated and cannot log in"), "{said}");
    assert!(!is_let_in(&server.client(), JOHN, "another password").await);
    assert!(backend.administer(&["user", "list"], "").await.contains("John Doe\tdeactivated\n"));

    assert_eq!(warning(&backend, &["user", "activate", JOHN], "").await, "");
    assert!(!backend.administer(&["user", "list"], "").await.contains("deactivated"));
    let mut again = server.client();
    again.log_in(JOHN, "another password").await;
    assert_eq!(threads(&again).await, before);
    let jane = server.log_in(JANE).await;
    until("him to be found", async || {
        let found = jane.messaging("partners/search", json!({"query": "john"})).await;
        (found["partners"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    assert_eq!(session.call("/api/messaging/threads", json!({})).await["error"]["code"], 100, "the session has ended");
    assert_eq!(holder().await, 401, "the token is revoked");
    let refresh = server.client().post("/auth/token/refresh", &json!({"refresh": tokens["refresh"]})).await;
    assert_eq!(refresh.status, 401, "{refresh:?}");

    let said = warning(&backend, &["user", "activate", JOHN], "").await;
    assert!(said.contains("john@example.com is active already"), "{said}");
    assert_eq!(threads(&again).await, before, "who is active stays logged in");
    assert_eq!(warning(&backend, &["user", "passwd", JOHN], "another password").await, "");
    server.stop().await;
}
