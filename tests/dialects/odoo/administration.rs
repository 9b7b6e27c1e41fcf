//! Tests of the command line beside a running server.

use super::{AUTHENTICATE, credentials, fault, is_alive};
use crate::support::{ADMIN, Backend, JOHN, PASSWORD, Server, run, until};

async fn server() -> Server {
    Server::demo(Backend::postgres().await).await
}

/// Password from standard input.
#[tokio::test]
async fn an_added_user_can_log_in_at_once() {
    let server = server().await;
    let arguments = ["user", "add", "eve@example.com", "--name", "Eve", "--email", "eve@work.example"];
    server.backend().administer(&arguments, "eve's password\n").await;
    let result = server.client().log_in("eve@example.com", "eve's password").await;
    assert_eq!((&result["name"], &result["is_admin"]), (&"Eve".into(), &false.into()));
}

/// Duplicate login: refused.
#[tokio::test]
async fn a_login_is_taken_once() {
    let server = server().await;
    let output = server.backend().run(&["user", "add", ADMIN, "--name", "Another"], "a password\n").await;
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(ADMIN), "{text}");
}

/// Empty password: refused, since any client could log in.
#[tokio::test]
async fn an_empty_password_is_refused() {
    let server = server().await;
    let output = server.backend().run(&["user", "add", "eve@example.com", "--name", "Eve"], "\n").await;
    assert!(!output.status.success(), "{output:?}");
    assert!(!server.backend().administer(&["user", "list"], "").await.contains("eve@example.com"));
}

/// User list: one line each, with uid, role and name.
#[tokio::test]
async fn the_list_has_everybody() {
    let server = server().await;
    server.backend().administer(&["user", "deactivate", JOHN], "").await;
    let list = server.backend().administer(&["user", "list"], "").await;
    assert_eq!(list.lines().count(), 6, "{list}");
    assert!(list.contains(&format!("2\t{ADMIN}\tadmin\tAdmin user\n")), "{list}");
    assert!(list.contains(&format!("4\t{JOHN}\tuser\tJohn Doe\tdeactivated\n")), "{list}");
}

/// New password: revokes the user's sessions on every device.
#[tokio::test]
async fn a_new_password_ends_all_sessions_of_the_user() {
    let server = server().await;
    let sessions = [server.log_in(JOHN).await, server.log_in(JOHN).await];
    let other = server.log_in(ADMIN).await;
    server.backend().administer(&["user", "passwd", JOHN], "a new password\n").await;
    for session in &sessions {
        until("the end of the session", async || (!is_alive(session).await).then_some(())).await;
    }
    assert!(is_alive(&other).await, "sessions of others go on");
    let error = fault(&server.client(), AUTHENTICATE, credentials(JOHN, PASSWORD)).await;
    assert_eq!(error["data"]["name"], "odoo.exceptions.AccessDenied");
    server.client().log_in(JOHN, "a new password").await;
}

/// Deactivation: revokes existing sessions, and refuses new ones.
#[tokio::test]
async fn a_deactivated_user_is_kept_out() {
    let server = server().await;
    let session = server.log_in(JOHN).await;
    server.backend().administer(&["user", "deactivate", JOHN], "").await;
    until("the end of the session", async || (!is_alive(&session).await).then_some(())).await;
    let deactivated = fault(&server.client(), AUTHENTICATE, credentials(JOHN, PASSWORD)).await;
    let wrong = fault(&server.client(), AUTHENTICATE, credentials(ADMIN, "wrong")).await;
    for error in [&deactivated, &wrong] {
        assert_eq!(error["data"]["name"], "odoo.exceptions.AccessDenied", "{error}");
        assert_eq!(error["data"]["message"], "Access Denied", "{error}");
    }
    assert_eq!(
        (&deactivated["code"], &deactivated["message"], &deactivated["data"]["arguments"]),
        (&wrong["code"], &wrong["message"], &wrong["data"]["arguments"]),
        "nobody learns that the user was there"
    );
}

/// Unknown login: the error names it.
#[tokio::test]
async fn commands_for_nobody_fail() {
    let server = server().await;
    for arguments in [["user", "passwd", "nobody"], ["user", "deactivate", "nobody"], ["user", "activate", "nobody"]] {
        let output = server.backend().run(&arguments, "a password\n").await;
        assert!(!output.status.success(), "{arguments:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("nobody"), "{arguments:?}");
    }
}

/// Store in memory: refused, since the changes would be lost at the end of the command.
#[tokio::test]
async fn commands_need_a_database() {
    let output = run(&["user", "list"], &[("DRAGOMAN__STORAGE", "memory:")], "").await;
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("storage"));
}
