//! Tests of sessions and their end.

use std::time::Duration;

use reqwest::{
    Method,
    header::{COOKIE, LOCATION, SET_COOKIE},
};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::{AUTHENTICATE, CHECK, DESTROY, INFO, credentials, fault, is_alive};
use crate::{
    on_every_backend,
    support::{ADMIN, Answer, Backend, JOHN, PASSWORD, Server, until},
    with_every_backend,
};

/// Calls `check` with these headers.
async fn check_with(server: &Server, headers: &[(&str, &str)]) -> Answer {
    let mut request = server.client().request(Method::POST, CHECK).header("Content-Type", "application/json").body("{}");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

async fn is_let_in(server: &Server, headers: &[(&str, &str)]) -> bool {
    check_with(server, headers).await.json().get("error").is_none()
}

on_every_backend! {
    /// Session info: the login result again, since typed clients use one type for both. The cookie is set again, which extends
    /// it.
    async fn get_session_info_repeats_the_login(server) {
        let mut client = server.client();
        let at_login = client.log_in(JOHN, PASSWORD).await;
        let answer = client.post(INFO, &json!({})).await;
        assert_eq!(answer.json()["result"], at_login);
        assert_eq!(answer.session().as_deref(), client.session());
    }

    /// No `result` key, as in Odoo: some clients look for it.
    async fn check_and_destroy_have_no_result_key(server) {
        let client = server.log_in(ADMIN).await;
        for path in [CHECK, DESTROY] {
            let answer = client.call(path, json!({})).await;
            assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1}), "{path}");
        }
    }

    /// Revocation by `destroy`: immediate, and the cookie is cleared.
    async fn destroy_ends_the_session(server) {
        let client = server.log_in(ADMIN).await;
        let answer = client.post(DESTROY, &json!({})).await;
        assert!(answer.headers[SET_COOKIE].to_str().unwrap().starts_with("session_id=;"), "{answer:?}");
        assert!(!is_alive(&client).await);
    }

    /// Revocation of one session: others stay.
    async fn destroy_ends_no_other_session(server) {
        let (first, second) = (server.log_in(ADMIN).await, server.log_in(ADMIN).await);
        first.call(DESTROY, json!({})).await;
        assert!(is_alive(&second).await);
    }

    /// Logout by `GET`, for a browser's address bar.
    async fn logout_ends_the_session_and_leads_to_the_start(server) {
        let client = server.log_in(ADMIN).await;
        let answer = Answer::of(client.request(Method::GET, "/web/session/logout")).await;
        assert_eq!(answer.status, 303);
        assert_eq!(answer.headers[LOCATION], "/");
        assert!(!is_alive(&client).await);
    }

    /// Logout without a session: the same redirect.
    async fn logout_without_a_session_leads_to_the_start(server) {
        let answer = Answer::of(server.client().request(Method::GET, "/web/session/logout")).await;
        assert_eq!((answer.status.as_u16(), &answer.headers[LOCATION]), (303, &"/".parse().unwrap()));
    }

    /// Missing, unknown and malformed session ids: expired.
    async fn without_a_live_session_it_has_expired(server) {
        let unknown = "0".repeat(40);
        for session in [None, Some(unknown.as_str()), Some("not-a-sid"), Some("")] {
            for path in [CHECK, INFO, DESTROY, "/web/session/modules"] {
                let error = fault(&server.client().with_session(session), path, json!({})).await;
                assert_eq!(error["code"], 100, "{path}");
                assert_eq!(error["message"], "Odoo Session Expired", "{path}");
                assert_eq!(error["data"]["name"], "odoo.http.SessionExpiredException", "{path}");
                assert_eq!(error["data"]["message"], "Session expired", "{path}");
            }
        }
    }

    /// Error without a session: has the request id, which Odoo drops.
    async fn a_call_without_a_session_keeps_its_id(server) {
        let answer = server.client().post(CHECK, &json!({"id": "r-55"})).await;
        assert_eq!(answer.json()["id"], "r-55");
    }

    /// Session header instead of the cookie, as two clients send it.
    async fn the_header_stands_in_for_the_cookie(server) {
        let client = server.log_in(ADMIN).await;
        assert!(is_let_in(server, &[("X-Openerp-Session-Id", client.session().unwrap())]).await);
    }

    /// Empty session header: ignored, since clients send it before a login.
    async fn an_empty_header_is_none(server) {
        let client = server.log_in(ADMIN).await;
        let cookie = format!("session_id={}", client.session().unwrap());
        assert!(is_let_in(server, &[("Cookie", &cookie), ("X-Openerp-Session-Id", "")]).await);
        assert!(!is_let_in(server, &[("X-Openerp-Session-Id", "")]).await);
    }

    /// Cookie before header: a stale header is ignored.
    async fn the_cookie_comes_before_the_header(server) {
        let client = server.log_in(ADMIN).await;
        let cookie = format!("session_id={}", client.session().unwrap());
        assert!(is_let_in(server, &[("Cookie", &cookie), ("X-Openerp-Session-Id", &"0".repeat(40))]).await);
        let (stale, header) = (format!("session_id={}", "0".repeat(40)), client.session().unwrap());
        assert!(!is_let_in(server, &[("Cookie", &stale), ("X-Openerp-Session-Id", header)]).await);
    }

    /// Whole `Set-Cookie` line as the cookie: some clients store it.
    async fn a_whole_set_cookie_line_can_be_sent_back(server) {
        let answer = server.client().post(AUTHENTICATE, &json!({"params": credentials(ADMIN, PASSWORD)})).await;
        let line = answer.headers[SET_COOKIE].to_str().unwrap();
        assert!(is_let_in(server, &[("Cookie", line)]).await);
    }

    /// Session cookie among any others.
    async fn the_cookie_is_found_however_it_is_written(server) {
        let client = server.log_in(ADMIN).await;
        let id = client.session().unwrap();
        for cookie in
            [format!("session_id={id};"), format!("frontend_lang=en_US; session_id={id}; tz=UTC"), format!("a;b;;session_id={id} ")]
        {
            assert!(is_let_in(server, &[(COOKIE.as_str(), &cookie)]).await, "{cookie}");
        }
    }

    /// Session id in the result, for clients of Odoo 12 and before.
    async fn the_id_in_the_result_is_that_of_the_cookie(server) {
        let mut client = server.client();
        let result = client.log_in(ADMIN, PASSWORD).await;
        assert_eq!(result["session_id"].as_str(), client.session());
    }
}

with_every_backend! {
    /// Session lifetime: a setting.
    async fn a_session_ends_when_it_was_not_used_for_its_lifetime(backend) {
        let server = Server::builder(backend).set("SESSION__LIFETIME_SECONDS", 1).start().await;
        let answer = server.client().post(AUTHENTICATE, &json!({"params": credentials(ADMIN, PASSWORD)})).await;
        assert!(answer.headers[SET_COOKIE].to_str().unwrap().contains("; Max-Age=1; "), "{answer:?}");
        let client = server.client().with_session(answer.session().as_deref());
        // Growing intervals: each check extends the session, until one comes too late.
        let mut pause = Duration::from_millis(100);
        until("the end of the session", async || {
            tokio::time::sleep(pause).await;
            pause *= 2;
            (!is_alive(&client).await).then_some(())
        })
        .await;
        assert!(!is_alive(&client).await);
    }
}

/// Session ids: stored as hashes only, so that a reader of the table cannot log in.
#[tokio::test]
async fn the_database_holds_no_session_id() {
    let server = Server::demo(Backend::postgres().await).await;
    let client = server.log_in(ADMIN).await;
    let id = client.session().unwrap();
    let mut database = PgConnection::connect(server.backend().url()).await.unwrap();
    let rows: Vec<String> = sqlx::query_scalar("SELECT sessions::text FROM sessions").fetch_all(&mut database).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(!rows[0].to_lowercase().contains(id), "{rows:?}");
    let matches: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions WHERE key = $1 OR key = decode($2, 'hex')")
        .bind(id.as_bytes())
        .bind(id)
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(matches, 0);
}
