//! Tests of the session cookie: reading it beside other cookies, renewing it in time, and its attributes.

use reqwest::{
    Method,
    header::{COOKIE, HeaderValue, SET_COOKIE},
};
use serde_json::json;

use crate::{
    on_every_backend,
    support::{Answer, Backend, Client, JOHN, Server, run, until},
    with_every_backend,
};

const CHECK: &str = "/web/session/check";

/// True if a cookie header of these bytes is accepted as a session.
async fn lets_in(server: &Server, cookie: &[u8]) -> bool {
    let value = HeaderValue::from_bytes(cookie).expect("it is a header");
    let request = server.client().request(Method::POST, CHECK).header(COOKIE, value);
    Answer::of(request.json(&json!({}))).await.json().get("error").is_none()
}

/// The log lines up to the start of the listener.
async fn log_of_start(server: &Server) -> String {
    until("the start", async || Some(server.log()).filter(|log| log.contains(": listening"))).await
}

async fn cookie_of(client: &Client) -> Option<String> {
    let answer = client.post(CHECK, &json!({})).await;
    assert!(answer.json().get("error").is_none(), "{answer:?}");
    answer.headers.get(SET_COOKIE).map(|cookie| cookie.to_str().expect("it is plain").to_owned())
}

on_every_backend! {
    /// Other applications on the same host may set any cookie.
    async fn a_bad_neighbour_spoils_nothing(server) {
        let john = server.log_in(JOHN).await;
        let own = format!("session_id={}", john.session().unwrap());
        for neighbour in [
            "city=München".as_bytes(),
            b"city=M\xfcnchen",
            "city=\"日本\"".as_bytes(),
            b"\xff\xfe",
            b"=",
            b"\"",
            b"a=\"b",
            b"session_id=",
            b"session_id=\"\"",
            b"session_id=M\xfcnchen",
            b"session_idx=1",
            b"xsession_id=1",
        ] {
            for (first, second) in [(neighbour, own.as_bytes()), (own.as_bytes(), neighbour)] {
                let cookie = [first, b"; ", second].concat();
                assert!(lets_in(server, &cookie).await, "{}", cookie.escape_ascii());
            }
        }
    }

    async fn quotes_do_not_belong_to_a_value(server) {
        let john = server.log_in(JOHN).await;
        let id = john.session().unwrap();
        for good in [format!("session_id=\"{id}\""), format!("$Version=1; session_id=\"{id}\"; $Path=\"/\""), format!("session_id = {id} ")] {
            assert!(lets_in(server, good.as_bytes()).await, "{good}");
        }
        for bad in [format!("session_id=\"{id}"), format!("session_id={id}\""), format!("session_id='{id}'"), format!("Session_Id={id}")] {
            assert!(!lets_in(server, bad.as_bytes()).await, "{bad}");
        }
    }

    /// The header counts with any cookie and from any origin: a foreign page cannot set it.
    async fn a_session_in_a_header_counts(server) {
        let john = server.log_in(JOHN).await;
        let id = john.session().unwrap();
        let ask = async |method, path: &str, cookie: &str| {
            let request = server.client().request(method, path).header("X-Openerp-Session-Id", id).header(COOKIE, cookie);
            Answer::of(request.header("Origin", "https://evil.example").header("Sec-Fetch-Site", "cross-site")).await
        };
        for cookie in ["a=b", "session_id=x", "session_id=00000000-0000-4000-8000-000000000000"] {
            assert_eq!(ask(Method::GET, "/chat/user/threads/", cookie).await.status, 200, "{cookie}");
            assert_eq!(ask(Method::POST, "/auth/token", cookie).await.status, 200, "{cookie}");
        }
    }

    /// Cookies of two paths, or of an old host and a new one.
    async fn of_several_the_first_that_is_alive_counts(server) {
        let (john, gone) = (server.log_in(JOHN).await, server.log_in(JOHN).await);
        gone.call("/web/session/destroy", json!({})).await;
        let [john, gone] = [&john, &gone].map(|client| format!("session_id={}", client.session().unwrap()));
        let never = format!("session_id={}", "0".repeat(40));
        for several in [
            format!("{gone}; {john}"),
            format!("{john}; {gone}"),
            format!("{never}; {gone}; session_id=; session_id=x; {john}"),
        ] {
            assert!(lets_in(server, several.as_bytes()).await, "{several}");
        }
        assert!(!lets_in(server, format!("{gone}; {never}").as_bytes()).await);
        let two = server.client().request(Method::POST, CHECK).header(COOKIE, &gone).header(COOKIE, &john);
        assert!(Answer::of(two.json(&json!({}))).await.json().get("error").is_none(), "in two lines");
        let others: Vec<_> = (0..200).map(|n| format!("session_id={n:040}")).collect();
        assert!(lets_in(server, format!("{}; {john}", others.join("; ")).as_bytes()).await, "whatever its place");
    }
}

with_every_backend! {
    /// Renewal on any request; a fresh cookie stays.
    async fn a_cookie_is_given_again_when_a_seventh_of_its_life_is_used(backend) {
        let mut server = Server::builder(backend).set("SESSION__LIFETIME_SECONDS", 70_000).start().await;
        let john = server.log_in(JOHN).await;
        assert_eq!(cookie_of(&john).await, None);
        server.stop().await;

        let mut server = Server::builder(Backend::memory()).set("SESSION__LIFETIME_SECONDS", 7).start().await;
        let john = server.log_in(JOHN).await;
        let cookie = until("a new cookie", async || cookie_of(&john).await).await;
        let id = john.session().unwrap();
        assert!(cookie.starts_with(&format!("session_id={id}; Expires=")), "{cookie}");
        assert!(cookie.contains("; Max-Age=7; HttpOnly; Path=/; SameSite=Lax"), "{cookie}");
        for path in ["/web/version", "/im_chat/image/x/4", "/chat/user/threads", "/nowhere"] {
            let given = async || {
                let answer = Answer::of(john.request(Method::GET, path)).await;
                // The session stays the same.
                (answer.session().as_deref() == Some(id)).then_some(())
            };
            until(path, given).await;
        }
        // A request without the cookie receives none.
        let by_header = server.client().request(Method::POST, CHECK).header("X-Openerp-Session-Id", id);
        let answer = Answer::of(by_header.json(&json!({}))).await;
        assert!(answer.json().get("error").is_none() && answer.session().is_none(), "{answer:?}");
        server.stop().await;
    }

    /// Absolute session lifetime, however active the session is.
    async fn a_session_ends_at_last(backend) {
        let mut server = Server::builder(backend).set("SESSION__LONGEST_SECONDS", 2).start().await;
        let john = server.log_in(JOHN).await;
        let answer = john.post("/web/session/get_session_info", &json!({})).await;
        let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains("; Max-Age=2; ") || cookie.contains("; Max-Age=1; "), "{cookie}");
        until("the end", async || (john.call(CHECK, json!({})).await["error"]["code"] == 100).then_some(())).await;
        server.stop().await;
    }
}

/// Foreign pages send the cookie only with `SameSite=None`, which browsers accept over TLS alone.
#[tokio::test]
async fn same_site_is_a_setting() {
    let server = Server::builder(Backend::memory()).set("BASE_URL", "https://chat.example").set("SESSION__SAME_SITE", "none");
    let mut server = server.set("CORS__ORIGINS", "https://app.elsewhere").start().await;
    let john = server.log_in(JOHN).await;
    let answer = john.post("/web/session/get_session_info", &json!({})).await;
    assert!(answer.headers[SET_COOKIE].to_str().unwrap().ends_with("; SameSite=None; Secure"), "{answer:?}");
    assert!(!log_of_start(&server).await.contains("of another site"));
    server.stop().await;

    for (value, says) in [("none", "session.same_site can be none only if base_url is https"), ("strict", "session.same_site")] {
        let output = run(&["serve", "--listen", "127.0.0.1:0"], &[("DRAGOMAN__SESSION__SAME_SITE", value)], "").await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.lines().last().is_some_and(|line| line.contains(says)), "{value}: {said}");
    }
}

/// CSRF by a picture or a link on a foreign page, for which browsers send the cookie.
#[tokio::test]
async fn no_page_of_others_logs_anybody_out() {
    let server = Server::builder(Backend::memory()).set("BASE_URL", "https://chat.example").set("SESSION__SAME_SITE", "none");
    let mut server = server.set("CORS__ORIGINS", "https://app.elsewhere").start().await;
    for (name, value, is_refused) in [
        ("Sec-Fetch-Site", "cross-site", true),
        ("Sec-Fetch-Site", "same-site", true),
        ("Origin", "https://evil.example", true),
        ("Origin", "null", true),
        ("Origin", "https://app.elsewhere", false),
        ("Origin", "https://chat.example", false),
        ("Sec-Fetch-Site", "same-origin", false),
        ("Sec-Fetch-Site", "none", false),
        ("User-Agent", "curl", false),
    ] {
        let john = server.log_in(JOHN).await;
        let answer = Answer::of(john.request(Method::GET, "/web/session/logout").header(name, value)).await;
        let is_alive = john.call(CHECK, json!({})).await.get("error").is_none();
        assert_eq!((answer.status == 403, is_alive), (is_refused, is_refused), "{name}: {value}: {answer:?}");
        assert_eq!(answer.headers.contains_key(SET_COOKIE), !is_refused, "{name}: {value}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_origin_of_another_site_is_worth_a_warning() {
    let server = Server::builder(Backend::memory()).set("BASE_URL", "https://chat.example.com");
    let mut server = server.set("CORS__ORIGINS", "https://app.example.com,https://app.example.org").start().await;
    let log = log_of_start(&server).await;
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("of another site")).collect();
    assert!(matches!(warnings[..], [line] if line.contains("https://app.example.org")), "{log}");
    server.stop().await;
}
