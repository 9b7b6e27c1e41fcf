//! Tests of the login.

use reqwest::header::{HeaderMap, SET_COOKIE};
use serde_json::{Value, json};

use super::{AUTHENTICATE, credentials, fault, is_alive};
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, JOHN, PASSWORD, Server},
    with_every_backend,
};

fn cookies(headers: &HeaderMap) -> Vec<&str> {
    headers.get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap()).collect()
}

/// An error without `debug`, which differs each time.
fn without_debug(mut error: Value) -> Value {
    let debug = error["data"]["debug"].take();
    assert!(debug.as_str().is_some_and(|debug| !debug.is_empty()), "{error}");
    error
}

fn access_denied() -> Value {
    json!({
        "code": 200,
        "message": "Odoo Server Error",
        "data": {
            "name": "odoo.exceptions.AccessDenied",
            "debug": null,
            "message": "Access Denied",
            "arguments": ["Access Denied"],
            "context": {},
        },
    })
}

on_every_backend! {
    /// First cookie: the session in Odoo's format, from which clients cut the id with patterns of their own.
    async fn the_first_cookie_is_the_session_in_odoos_words(server) {
        let answer = server.client().post(AUTHENTICATE, &json!({"params": credentials(ADMIN, PASSWORD)})).await;
        let cookies = cookies(&answer.headers);
        let parts: Vec<_> = cookies[0].split("; ").collect();
        let [session, expires, max_age, http_only, path, same_site] = parts[..] else { panic!("{cookies:?}") };
        let id = session.strip_prefix("session_id=").unwrap();
        assert!(id.len() == 40 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
        let date = expires.strip_prefix("Expires=").unwrap();
        assert!(chrono::NaiveDateTime::parse_from_str(date, "%a, %d %b %Y %H:%M:%S GMT").is_ok(), "{date}");
        assert_eq!([max_age, http_only, path, same_site], ["Max-Age=604800", "HttpOnly", "Path=/", "SameSite=Lax"]);
    }

    /// Login result: JSON in UTF-8.
    async fn the_result_says_who_logged_in(server) {
        let answer = server.client().post(AUTHENTICATE, &json!({"params": credentials(ADMIN, PASSWORD), "id": 7})).await;
        assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
        let whole = answer.json();
        assert_eq!((&whole["jsonrpc"], &whole["id"]), (&json!("2.0"), &json!(7)));
        let result = &whole["result"];
        let expected = json!({
            "uid": 2, "is_system": true, "is_admin": true, "is_public": false, "is_internal_user": true,
            "user_context": {"lang": "en_US", "tz": "UTC", "uid": 2},
            "db": "odoo2", "server_version": "17.0", "server_version_info": [17, 0, 0, "final", 0, ""],
            "name": "Admin user", "username": ADMIN, "partner_display_name": "Admin user", "partner_id": 3,
            "company_id": 1, "user_id": [2], "max_file_upload_size": 134_217_728, "web.base.url": server.url(""),
            "session_id": answer.session(),
        });
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&result[key], value, "{key}");
        }
        assert!(result["currencies"].is_object() && result["user_companies"]["current_company"] == 1, "{result}");
    }

    /// Login result members: as recorded, and those of earlier versions, for every user.
    async fn everybody_gets_the_members_that_were_recorded(server) {
        let recorded = include_str!("../../wire/odoo17.jsonl").lines().next().unwrap();
        let recorded: Value = serde_json::from_str(recorded).unwrap();
        let recorded = recorded["response"]["body"]["result"].as_object().unwrap();
        for login in [ADMIN, JOHN] {
            let mut client = server.client();
            let info = client.log_in(login, PASSWORD).await;
            assert_eq!(info, client.result("/web/session/get_session_info", json!({})).await);
            let info = info.as_object().unwrap();
            let missing = recorded.keys().filter(|key| !info.contains_key(*key)).map(String::as_str);
            let new = info.keys().filter(|key| !recorded.contains_key(*key)).map(String::as_str);
            assert_eq!(missing.collect::<Vec<_>>(), [""; 0], "{login}");
            assert_eq!(new.collect::<Vec<_>>(), ["company_id", "session_id"], "{login}");
        }
    }

    /// Administrator flag: false for other users.
    async fn a_user_is_no_administrator(server) {
        let result = server.client().log_in(JOHN, PASSWORD).await;
        assert_eq!((&result["uid"], &result["is_system"], &result["is_admin"]), (&json!(4), &json!(false), &json!(false)));
    }

    /// New login: a new session id; the presented session is revoked.
    async fn every_login_makes_a_new_session_and_ends_the_one_presented(server) {
        let mut client = server.log_in(ADMIN).await;
        let first = client.clone();
        client.log_in(ADMIN, PASSWORD).await;
        assert_ne!(client.session(), first.session());
        assert!(is_alive(&client).await);
        assert!(!is_alive(&first).await);
    }

    /// Sessions on other devices: not affected by a login.
    async fn a_login_leaves_sessions_alone_that_it_does_not_present(server) {
        let (first, second) = (server.log_in(ADMIN).await, server.log_in(ADMIN).await);
        assert!(is_alive(&first).await);
        assert!(is_alive(&second).await);
    }

    /// Failed login: the presented session stays, even if it belongs to another user.
    async fn a_failed_login_leaves_the_presented_session(server) {
        let client = server.log_in(ADMIN).await;
        for login in [ADMIN, BOB] {
            let answer = client.post(AUTHENTICATE, &json!({"params": credentials(login, "wrong")})).await;
            assert!(answer.headers.get(SET_COOKIE).is_none(), "{answer:?}");
        }
        assert!(is_alive(&client).await);
    }

    /// Refused login: one answer for all reasons, so that logins cannot be probed.
    async fn wrong_password_unknown_login_and_null_password_are_one_answer(server) {
        let cases = [
            credentials(ADMIN, "wrong"),
            credentials(ADMIN, ""),
            credentials("nobody@example.com", PASSWORD),
            credentials("", PASSWORD),
            json!({"db": "odoo2", "login": ADMIN, "password": null}),
            json!({"db": "odoo2", "login": null, "password": PASSWORD}),
        ];
        for case in cases {
            let answer = server.client().post(AUTHENTICATE, &json!({"params": case})).await;
            assert_eq!(answer.status, 200, "{case}");
            assert!(answer.headers.get(SET_COOKIE).is_none(), "{case}");
            let whole = answer.json();
            assert!(whole.get("result").is_none(), "uid: false would be taken for a login: {whole}");
            assert_eq!(without_debug(whole["error"].clone()), access_denied(), "{case}");
        }
    }

    /// Unknown database: refused, with correct credentials as well.
    async fn another_database_does_not_exist(server) {
        for db in ["nosuchdb", ""] {
            let params = json!({"db": db, "login": ADMIN, "password": PASSWORD});
            let error = fault(&server.client(), AUTHENTICATE, params).await;
            assert_eq!((&error["code"], &error["data"]["name"]), (&json!(200), &json!("psycopg2.OperationalError")));
            let message = error["data"]["message"].as_str().unwrap();
            assert!(message.contains(&format!("database \"{db}\" does not exist")), "{message}");
        }
    }

    /// Missing arguments: Python's texts, as recorded.
    async fn missing_arguments_are_named(server) {
        let cases = [
            (json!({}), "3 required positional arguments: 'db', 'login', and 'password'"),
            (json!({"db": "odoo2"}), "2 required positional arguments: 'login' and 'password'"),
            (json!({"db": "odoo2", "login": ADMIN}), "1 required positional argument: 'password'"),
        ];
        for (params, missing) in cases {
            let error = fault(&server.client(), AUTHENTICATE, params).await;
            assert_eq!(error["data"]["name"], "builtins.TypeError");
            assert_eq!(error["data"]["message"], format!("Session.authenticate() missing {missing}"));
        }
    }
}

with_every_backend! {
    /// Database name: a setting.
    async fn the_database_is_called_as_the_setting_says(backend) {
        let server = Server::builder(backend).set("DATABASE", "company").start().await;
        let params = json!({"db": "company", "login": ADMIN, "password": PASSWORD});
        assert_eq!(server.client().result(AUTHENTICATE, params).await["db"], "company");
        let error = fault(&server.client(), AUTHENTICATE, credentials(ADMIN, PASSWORD)).await;
        assert_eq!(error["data"]["name"], "psycopg2.OperationalError");
    }

    /// HTTPS: the cookie has `Secure`.
    async fn behind_https_the_cookie_is_secure(backend) {
        let server = Server::builder(backend).set("BASE_URL", "https://chat.example").start().await;
        let answer = server.client().post(AUTHENTICATE, &json!({"params": credentials(ADMIN, PASSWORD)})).await;
        assert!(cookies(&answer.headers)[0].ends_with("; Path=/; SameSite=Lax; Secure"), "{answer:?}");
        assert_eq!(answer.json()["result"]["web.base.url"], "https://chat.example");
    }
}
