//! Tests of tokens in every dialect: equivalent to a session cookie, except for the origin check of cookies.

use reqwest::{
    Method, RequestBuilder, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, ORIGIN},
    multipart,
};
use serde_json::{Value, json};

use sqlx::Connection;

use super::{
    making::{Key, SECRET, claims, in_seconds, sign},
    text,
};
use crate::{
    on_every_backend,
    support::{Answer, Backend, Client, JOHN, PASSWORD, Server, until},
    with_every_backend,
};

const ADMIN_UUID: &str = "75140d72-8b20-4549-885c-20599badb486";

/// A token of another service.
fn foreign(uid: i64) -> String {
    sign(Key::Secret(SECRET), None, &claims(json!({"user_id": uid})))
}

async fn own(server: &Server) -> String {
    let pair = server.client().post("/auth/token", &json!({"login": JOHN, "password": PASSWORD})).await.json();
    text(&pair, "access")
}

fn with_tokens(backend: Backend) -> crate::support::ServerBuilder {
    Server::builder(backend).set("TOKENS__SECRET", SECRET)
}

/// Makes a call with a bearer token.
async fn call(server: &Server, token: &str, path: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "params": params});
    Answer::of(server.client().request(Method::POST, path).bearer_auth(token).json(&body)).await.json()
}

async fn result(server: &Server, token: &str, path: &str, params: Value) -> Value {
    let mut answer = call(server, token, path, params).await;
    assert!(answer.get("error").is_none(), "{path}: {answer}");
    answer["result"].take()
}

fn form() -> multipart::Form {
    let part = multipart::Part::bytes(b"bytes".to_vec()).file_name("notes.txt");
    multipart::Form::new().part("file", part)
}

with_every_backend! {
    async fn a_token_counts_in_every_dialect(backend) {
        let mut server = with_tokens(backend).start().await;
        for token in [own(&server).await, foreign(4)] {
            let info = result(&server, &token, "/web/session/get_session_info", json!({})).await;
            assert_eq!((&info["uid"], &info["session_id"]), (&json!(4), &json!("")));
            assert!(call(&server, &token, "/web/session/check", json!({})).await.get("error").is_none());
            let kw = json!({"model": "res.users", "method": "context_get", "args": [], "kwargs": {}});
            assert_eq!(result(&server, &token, "/web/dataset/call_kw", kw).await["uid"], 4);
            let sent = json!({"thread_id": 1, "body": "by token"});
            assert!(result(&server, &token, "/api/messaging/message/send", sent).await["message_id"].is_i64());
            let upload = server.client().request(Method::POST, "/api/messaging/attachment/upload").bearer_auth(&token);
            let uploaded = Answer::of(upload.multipart(form())).await;
            assert_eq!(uploaded.status, StatusCode::OK, "{uploaded:?}");
            let path = format!("/api/messaging/attachment/{}", uploaded.json()["attachment_id"]);
            assert_eq!(Answer::of(server.client().request(Method::GET, &path).bearer_auth(&token)).await.body, "bytes");
            let session = result(&server, &token, "/im_chat/api/get_or_create_session", json!({"user_to": 2})).await;
            assert!(session["uuid"].is_string(), "{session}");
            assert!(result(&server, &token, "/im_chat/init", json!({})).await.is_array());
            let rooms = server.client().request(Method::GET, "/chat/user/threads/").bearer_auth(&token);
            assert_eq!(Answer::of(rooms).await.status, StatusCode::OK);
        }
        for token in ["x", &foreign(17)] {
            assert_eq!(call(&server, token, "/api/messaging/threads", json!({})).await["error"]["code"], 100);
        }
        server.stop().await;
    }

    /// Malformed token, such as a proxy's own: ignored beside a valid cookie.
    async fn a_token_that_is_none_takes_nothing_from_the_cookie(backend) {
        let mut server = with_tokens(backend).start().await;
        let john = server.log_in(JOHN).await;
        let asked = async |client: &Client, header: &str| {
            let request = client.request(Method::POST, "/web/session/get_session_info").header(AUTHORIZATION, header);
            Answer::of(request.json(&json!({}))).await.json()["result"]["uid"].take()
        };
        assert_eq!(asked(&john, "Bearer of-the-proxy").await, 4);
        assert_eq!(asked(&john, &format!("Bearer {}", foreign(2))).await, 2, "a good one counts first");
        assert_eq!(asked(&server.client(), "Bearer of-the-proxy").await, Value::Null);
        for path in ["/chat/user/threads/", "/auth/token"] {
            let answer = async |client: &Client| Answer::of(client.request(Method::GET, path).bearer_auth("of-the-proxy")).await.status;
            assert_eq!([answer(&john).await, answer(&server.client()).await], [StatusCode::OK, StatusCode::UNAUTHORIZED], "{path}");
        }
        server.stop().await;
    }

    /// Cursor of `poll/updates` by token: the same at every node and after a restart.
    async fn a_poll_of_updates_goes_on_by_token(backend) {
        let mut server = with_tokens(backend.clone()).start().await;
        let admin = server.log_in(crate::support::ADMIN).await;
        let token = foreign(4);
        let poll = async |server: &Server, timeout: u32| {
            let updates = result(server, &token, "/api/messaging/poll/updates", json!({"timeout": timeout})).await;
            updates["threads_with_updates"].as_array().expect("it is a list").len()
        };
        poll(&server, 0).await;
        let send = async |body: &str| admin.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
        send("one").await;
        assert_eq!([poll(&server, 60).await, poll(&server, 0).await], [1, 0]);
        if backend.is_postgres() {
            let mut other = with_tokens(backend).start().await;
            send("two").await;
            until("the message there", async || (poll(&other, 0).await == 1).then_some(())).await;
            other.stop().await;
            send("three").await;
            let address = server.address();
            server.stop().await;
            server.start_again(address).await;
            assert_eq!(poll(&server, 60).await, 1, "what it was not told before");
        }
        server.stop().await;
    }

    /// Cursor per token: each device of a user gets all updates.
    async fn each_token_of_another_service_has_a_cursor_of_its_own(backend) {
        let mut server = with_tokens(backend.clone()).set("LIMITS__USER__SESSIONS", 3).start().await;
        let (admin, john) = (server.log_in(crate::support::ADMIN).await, server.log_in(JOHN).await);
        let token = |jti: u32| sign(Key::Secret(SECRET), None, &claims(json!({"jti": jti})));
        let poll = async |token: &str| {
            let updates = result(&server, token, "/api/messaging/poll/updates", json!({"timeout": 0})).await;
            updates["threads_with_updates"].as_array().expect("it is a list").len()
        };
        let send = async |body: &str| admin.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
        let (phone, tablet) = (token(1), token(2));
        assert_eq!([poll(&phone).await, poll(&tablet).await], [0, 0]);
        send("one").await;
        assert_eq!([poll(&phone).await, poll(&tablet).await], [1, 1]);
        assert_eq!([poll(&phone).await, poll(&tablet).await], [0, 0]);
        send("two").await;
        assert_eq!(poll(&token(3)).await, 1, "it may follow one that has run out");
        for jti in 4..12 {
            poll(&token(jti)).await;
        }
        assert!(john.call("/web/session/check", json!({})).await.get("error").is_none(), "cursors drive out no session");
        if backend.is_postgres() {
            let mut database = sqlx::PgConnection::connect(backend.url()).await.unwrap();
            let rows = "SELECT count(*) FROM sessions WHERE user_id = 4 AND is_cursor";
            assert_eq!(sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut database).await.unwrap(), 3);
        }
        server.stop().await;
    }

    /// Session from a token: ends with the token's expiry, or with its revocation at any node.
    async fn a_session_ends_with_the_token_that_it_was_begun_with(backend) {
        let mut server = with_tokens(backend).start().await;
        let begin = async |token: &str| {
            let answer = Answer::of(server.client().request(Method::POST, "/auth/session").bearer_auth(token)).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            (server.client().with_session(answer.session().as_deref()), answer)
        };
        let is_alive = async |session: &Client| session.call("/web/session/check", json!({})).await.get("error").is_none();
        let short = sign(Key::Secret(SECRET), None, &claims(json!({"exp": in_seconds(-25)})));
        let (soon_over, answer) = begin(&short).await;
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        let life: u32 = cookie.split("Max-Age=").nth(1).and_then(|rest| rest.split(';').next()?.parse().ok()).unwrap();
        assert!(life <= 5, "{cookie}");
        until("its end", async || (!is_alive(&soon_over).await).then_some(())).await;

        let pair = server.client().post("/auth/token", &json!({"login": JOHN, "password": PASSWORD})).await.json();
        let (access, refresh) = (text(&pair, "access"), text(&pair, "refresh"));
        let (session, _) = begin(&access).await;
        for session in [&session, &begin(&foreign(4)).await.0] {
            assert!(is_alive(session).await);
            assert_eq!(session.post("/auth/token", &json!({})).await.status, StatusCode::UNAUTHORIZED, "nothing that renews");
        }
        let waiting = {
            let session = session.clone();
            tokio::spawn(async move { session.call("/api/messaging/poll/messages", json!({"thread_id": 1, "timeout": 60})).await })
        };
        server.polls_waiting(1).await;
        assert_eq!(server.client().post("/auth/token/revoke", &json!({"token": refresh})).await.status, StatusCode::OK);
        assert_eq!(waiting.await.expect("it ends")["error"]["code"], 100, "whoever waits is told at once");
        assert!(!is_alive(&session).await);
        server.stop().await;
    }

    /// Exchange of a token for a session cookie, which replaces a presented session, as a login does.
    async fn a_token_is_exchanged_for_a_cookie(backend) {
        let mut server = with_tokens(backend).start().await;
        let former = server.log_in(JOHN).await;
        for token in [own(&server).await, foreign(4)] {
            let answer = Answer::of(former.request(Method::POST, "/auth/session").bearer_auth(&token)).await;
            assert_eq!((answer.status, &answer.json()["uid"]), (StatusCode::OK, &json!(4)), "{answer:?}");
            assert_eq!(answer.headers["cache-control"], "no-store");
            let session = server.client().with_session(answer.session().as_deref());
            assert!(session.messaging("threads", json!({})).await["threads"].is_array());
            session.call("/web/session/destroy", json!({})).await;
            assert_eq!(session.call("/web/session/check", json!({})).await["error"]["code"], 100);
        }
        assert_eq!(former.call("/web/session/check", json!({})).await["error"]["code"], 100, "the one presented has ended");
        let john = server.log_in(JOHN).await;
        for request in [john.request(Method::POST, "/auth/session"), server.client().request(Method::POST, "/auth/session").bearer_auth("x")] {
            let answer = Answer::of(request).await;
            assert_eq!((answer.status, answer.session()), (StatusCode::UNAUTHORIZED, None));
        }
        server.stop().await;
    }

    /// Access token of an hour: no exchange for a refresh token.
    async fn an_access_token_is_no_way_to_a_refresh_token(backend) {
        let mut server = with_tokens(backend).start().await;
        for token in [own(&server).await, foreign(4)] {
            result(&server, &token, "/api/messaging/poll/updates", json!({"timeout": 0})).await;
            let asked = server.client().request(Method::POST, "/auth/token").bearer_auth(&token).json(&json!({}));
            assert_eq!(Answer::of(asked).await.status, StatusCode::UNAUTHORIZED);
        }
        server.stop().await;
    }

    /// All presented sessions end: beside a token, and beside each other; a new login replaces them as well.
    async fn all_sessions_that_are_presented_end(backend) {
        let mut server = with_tokens(backend.clone()).start().await;
        let is_alive = async |session: &Client| session.call("/web/session/check", json!({})).await.get("error").is_none();
        let log_in = json!({"params": {"db": "odoo2", "login": JOHN, "password": PASSWORD}});
        for (path, body) in [
            ("/web/session/destroy", json!({})),
            ("/web/session/authenticate", log_in),
            ("/auth/session", json!({})),
        ] {
            for token in [None, Some(own(&server).await), Some(foreign(4))] {
                if path == "/auth/session" && token.is_none() {
                    continue;
                }
                let (one, two, other) = (server.log_in(JOHN).await, server.log_in(JOHN).await, server.log_in(JOHN).await);
                let [first, second] = [&one, &two].map(|session| session.session().unwrap().to_owned());
                let cookies = format!("session_id={}; session_id={first}; session_id={second}", "0".repeat(40));
                let request = server.client().request(Method::POST, path).header(COOKIE, cookies).json(&body);
                let request = token.iter().fold(request, |request, token| request.bearer_auth(token));
                let answer = Answer::of(request).await;
                assert!(answer.status == 200 && answer.json().get("error").is_none(), "{path}: {answer:?}");
                let alive = [is_alive(&one).await, is_alive(&two).await, is_alive(&other).await];
                assert_eq!(alive, [false, false, true], "{path} {token:?}");
            }
        }
        let (one, two) = (server.log_in(JOHN).await, server.log_in(JOHN).await);
        let cookies = format!("session_id={}; session_id={}", one.session().unwrap(), two.session().unwrap());
        let answer = Answer::of(server.client().request(Method::GET, "/web/session/logout").header(COOKIE, cookies)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!([is_alive(&one).await, is_alive(&two).await], [false, false]);

        let refused = call(&server, &foreign(4), "/web/session/destroy", json!({})).await;
        assert_eq!(refused["error"]["data"]["name"], "odoo.exceptions.UserError", "{refused}");
        assert!(call(&server, &foreign(4), "/web/session/check", json!({})).await.get("error").is_none(), "it is not ours to end");
        assert!(server.log().contains("sign_out: not_ours"));
        server.stop().await;
    }

    /// Logout by token: effective at every node and in every dialect.
    async fn logging_out_by_token_ends_its_login(backend) {
        let mut server = with_tokens(backend).start().await;
        let (token, other) = (own(&server).await, own(&server).await);
        call(&server, &token, "/web/session/destroy", json!({})).await;
        assert_eq!(call(&server, &token, "/web/session/check", json!({})).await["error"]["code"], 100);
        assert_eq!(crate::tokens::holder(&server, &token).await.status, StatusCode::UNAUTHORIZED);
        assert!(call(&server, &other, "/web/session/check", json!({})).await.get("error").is_none());
        server.stop().await;
    }
}

on_every_backend! {
    /// Cross-origin request with the cookie: no tokens.
    async fn tokens_for_a_cookie_are_for_our_own_pages(server) {
        let john = server.log_in(JOHN).await;
        let evil = "https://evil.example";
        let asked = |origin: Option<&str>, kind: Option<&str>| {
            let mut request = john.request(Method::POST, "/auth/token");
            if let Some(origin) = origin {
                request = request.header(ORIGIN, origin);
            }
            if let Some(kind) = kind {
                request = request.header(CONTENT_TYPE, kind);
            }
            Answer::of(request)
        };
        let ours = server.url("");
        for (origin, kind, status) in [
            (None, None, 403),
            (Some(evil), None, 403),
            (Some("null"), None, 403),
            (Some(evil), Some("text/plain"), 403),
            (None, Some("application/x-www-form-urlencoded"), 403),
            (Some(ours.as_str()), None, 200),
            (None, Some("application/json"), 200),
        ] {
            let answer = asked(origin, kind).await;
            assert_eq!(answer.status.as_u16(), status, "{origin:?} {kind:?}: {answer:?}");
            assert_eq!(answer.body.contains("access"), status == 200);
        }
    }

    /// Origin check of the cookie on the HTTP routes of the `room` dialect, as on its socket.
    async fn a_cookie_counts_in_the_room_from_our_own_pages(server) {
        let john = server.log_in(JOHN).await;
        let ours = server.url("");
        let get = |page: Option<(&str, &str)>| {
            let request = john.request(Method::GET, "/chat/user/threads/");
            Answer::of(page.into_iter().fold(request, |request, (name, value)| request.header(name, value)))
        };
        for (page, status) in [
            (None, 200),
            (Some(("Origin", ours.as_str())), 200),
            (Some(("Sec-Fetch-Site", "same-origin")), 200),
            (Some(("Sec-Fetch-Site", "cross-site")), 401),
            (Some(("Sec-Fetch-Site", "same-site")), 401),
            (Some(("Origin", "https://evil.example")), 401),
            (Some(("Origin", "null")), 401),
        ] {
            assert_eq!(get(page).await.status.as_u16(), status, "{page:?}");
        }
        let upload = |page: Option<&str>| {
            let file = multipart::Part::bytes(b"bytes".to_vec()).file_name("notes.txt");
            let form = multipart::Form::new().text("receiver", ADMIN_UUID).part("attached_file", file);
            let request = john.request(Method::POST, "/chat/attachment/").multipart(form);
            let with = |request: RequestBuilder, page| request.header(ORIGIN, page);
            Answer::of(match page {
                Some(page) => with(request, page),
                None => request,
            })
        };
        for (page, status) in [(Some(ours.as_str()), 201), (Some("https://evil.example"), 401), (None, 401)] {
            let answer = upload(page).await;
            assert_eq!(answer.status.as_u16(), status, "{page:?}: {answer:?}");
        }
        let stranger = server.client().request(Method::GET, "/chat/user/threads/").header(COOKIE, "session_id=x");
        assert_eq!(Answer::of(stranger).await.status, StatusCode::UNAUTHORIZED);
    }

    /// Paths and fields of simplejwt, for clients of a Django server.
    async fn the_words_of_simplejwt(server) {
        let post = async |path: &str, body: Value| server.client().post(path, &body).await;
        for name in ["username", "email"] {
            for path in ["/api/token/", "/api/token"] {
                let answer = post(path, json!({name: JOHN, "password": PASSWORD})).await;
                assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
                let pair = answer.json();
                assert_eq!(pair.as_object().unwrap().keys().collect::<Vec<_>>(), ["access", "refresh"]);
                assert_eq!(crate::tokens::uid(server, &text(&pair, "access")).await, 4);
                let renewed = post("/api/token/refresh/", json!({"refresh": pair["refresh"]})).await.json();
                assert_eq!(crate::tokens::uid(server, &text(&renewed, "access")).await, 4);
                assert_ne!(renewed["refresh"], pair["refresh"]);
            }
        }
        let by_form = server.client().request(Method::POST, "/api/token/").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let by_form = Answer::of(by_form.body("username=john%40example.com&password=123456")).await;
        assert_eq!(by_form.status, StatusCode::OK, "{by_form:?}");
        let required = json!(["This field is required."]);
        for (path, body, status, expected) in [
            ("/api/token/", json!({"username": JOHN, "password": "wrong"}), 401, json!({"detail": "No active account found with the given credentials"})),
            ("/api/token/", json!({}), 400, json!({"username": required, "password": required})),
            ("/api/token/", json!({"email": "", "password": PASSWORD}), 400, json!({"email": ["This field may not be blank."]})),
            ("/api/token/refresh/", json!({}), 400, json!({"refresh": required})),
            ("/api/token/refresh/", json!({"refresh": "x"}), 401, json!({"detail": "Token is invalid or expired", "code": "token_not_valid"})),
        ] {
            let answer = post(path, body).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (status, expected), "{path}");
        }
    }
}
