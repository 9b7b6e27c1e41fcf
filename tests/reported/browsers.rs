//! Tests of HTTP rules that browsers and other HTTP clients expect of every route: header names, `Host`, codings, security
//! headers, CORS.

use reqwest::{Method, header::ORIGIN};
use serde_json::json;

use crate::support::{Answer, Backend, JOHN, PASSWORD, RawConnection, Server, http, run, token};

const UID_OF_JOHN: i64 = 4;

/// The raw answer to these bytes.
async fn raw(server: &Server, request: &str) -> String {
    let mut connection = RawConnection::to(server).await;
    connection.send(request).await;
    connection.read_until("no such thing is answered").await
}

/// Some clients, such as Java's HttpURLConnection, look header names up in this case.
#[tokio::test]
async fn header_names_are_in_title_case() {
    let mut server = Server::with_tokens(Backend::memory()).await;
    let body = json!({"params": {"db": "odoo2", "login": JOHN, "password": PASSWORD}}).to_string();
    let length = body.len();
    let login = format!(
        "POST /web/session/authenticate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    let answer = raw(&server, &login).await;
    for name in ["Set-Cookie: session_id=", "Content-Type: application/json", "Content-Length: ", "Cache-Control: no-store"] {
        assert!(answer.contains(&format!("\r\n{name}")), "{name}: {answer}");
    }
    let mut socket = RawConnection::to(&server).await;
    let token = token(UID_OF_JOHN);
    socket
        .send(&format!(
            "GET /ws/chat/room/?token={token} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .await;
    let answer = socket.read_until("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    assert!(answer.contains("\r\nUpgrade: websocket\r\n") && answer.contains("\r\nConnection: Upgrade\r\n"), "{answer}");
    drop(socket);
    server.stop().await;
}

/// RFC 9112, section 3.2. HTTP/1.0 does not require `Host`.
#[tokio::test]
async fn a_request_names_its_host() {
    let mut server = Server::demo(Backend::memory()).await;
    for (hosts, version, status) in [
        ("", "1.1", "400 Bad Request"),
        ("Host: a\r\nHost: b\r\n", "1.1", "400 Bad Request"),
        ("Host: a\r\n", "1.1", "200 OK"),
        ("Host:\r\n", "1.1", "200 OK"),
        ("Host: chat.example:8069\r\n", "1.1", "200 OK"),
        ("Host: a/../b\r\n", "1.1", "400 Bad Request"),
        ("Host: user@a\r\n", "1.1", "400 Bad Request"),
        ("Host: a:port\r\n", "1.1", "400 Bad Request"),
        ("", "1.0", "200 OK"),
        ("Host: a\r\n", "1.0", "200 OK"),
    ] {
        let answer = raw(&server, &format!("GET /healthz HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/{version} {status}\r\n")), "{hosts:?} {version}: {answer}");
        assert!(answer.contains("\r\nX-Content-Type-Options: nosniff\r\n"), "{answer}");
    }
    server.stop().await;
}

/// An unknown `Content-Encoding` is refused in each dialect's notation: its body would be misread.
#[tokio::test]
async fn a_coding_that_is_not_known_is_refused() {
    let mut server = Server::with_tokens(Backend::memory()).await;
    let john = server.log_in(JOHN).await;
    let words = "The body must come without Content-Encoding: none is known here.";
    let said = json!({"message": words});
    for (path, kind, expected) in [
        ("/web/session/check", "application/json", None),
        ("/api/messaging/threads", "application/json", None),
        ("/api/messaging/attachment/upload", "multipart/form-data; boundary=b", Some(json!({"error": words}))),
        (
            "/chat/attachment/",
            "multipart/form-data; boundary=b",
            Some(json!({"status": "failure", "entity": null, "message": words, "success": false})),
        ),
        ("/file-new/get-upload-url", "application/json", Some(said.clone())),
        ("/auth/token", "application/json", Some(said)),
    ] {
        for (coding, is_refused) in [("gzip", true), ("br", true), ("gzip, identity", true), ("identity", false), ("", false)] {
            let request = john.request(Method::POST, path).header("Content-Encoding", coding).header("Content-Type", kind);
            let answer = Answer::of(request.bearer_auth(token(UID_OF_JOHN)).body("{}")).await;
            assert_eq!(answer.status == 415, is_refused, "{path}, {coding}: {answer:?}");
            if !is_refused {
                continue;
            }
            assert_eq!(answer.headers["accept-encoding"], "identity");
            match &expected {
                Some(expected) => assert_eq!(&answer.json(), expected),
                None => assert!(answer.body.starts_with("<!doctype html>") && answer.body.contains(words), "{answer:?}"),
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn every_answer_says_what_it_is_not() {
    let mut server = Server::builder(Backend::memory()).set("BASE_URL", "https://chat.example").start().await;
    let john = server.log_in(JOHN).await;
    let call = |path| john.request(Method::POST, path).header("Content-Type", "application/json").body("{}");
    for (what, request, kept) in [
        ("a page", john.request(Method::GET, "/docs"), "no-cache"),
        ("another page", john.request(Method::GET, "/asyncapi"), "no-cache"),
        ("a page that is not there", john.request(Method::GET, "/nowhere"), "no-cache"),
        ("a call", call("/web/session/get_session_info"), "no-store"),
        ("a call of a wrong method", john.request(Method::GET, "/web/session/check"), "no-cache"),
        ("a refusal", server.client().request(Method::GET, "/auth/token"), "no-store"),
        ("a token's holder", john.request(Method::GET, "/auth/token"), "no-store"),
        ("a document", john.request(Method::GET, "/openapi.json"), "no-store"),
        ("a refused file", john.request(Method::GET, "/files/chat-images/a"), "no-store"),
        ("counters", john.request(Method::GET, "/metrics"), "no-cache"),
    ] {
        let answer = Answer::of(request).await;
        let header = |name| answer.headers.get(name).unwrap_or_else(|| panic!("{what} lacks {name}")).to_str().unwrap();
        assert_eq!(header("cache-control"), kept, "{what}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{what}");
        assert_eq!(header("referrer-policy"), "same-origin", "{what}");
        assert_eq!(header("cross-origin-resource-policy"), "same-origin", "{what}");
        assert_eq!(header("strict-transport-security"), "max-age=31536000", "{what}");
        let policy = header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
            assert!(policy.contains(part), "{what}: {policy}");
        }
        assert!(!policy.contains("script-src 'unsafe-inline'") && !policy.contains("unsafe-eval"), "{what}: {policy}");
    }
    server.stop().await;
    let mut server = Server::demo(Backend::memory()).await;
    let answer = server.get("/healthz").await;
    assert_eq!(answer.headers().get("strict-transport-security"), None, "without TLS it would lock everybody out");
    server.stop().await;
}

/// Content security policy: the documentation page runs only its own scripts, each by its hash.
#[tokio::test]
async fn the_documentation_runs_its_own_scripts() {
    let mut server = Server::demo(Backend::memory()).await;
    let answer = server.get("/docs").await;
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let scripts = answer.text().await.unwrap().matches("<script").count();
    // The library has `<script` in a text of its own, too.
    assert!((2..=scripts).contains(&policy.matches("'sha256-").count()), "{policy}");
    server.stop().await;
}

/// CORS origins: schemes of apps, and a star for one label of a host name.
#[tokio::test]
async fn origins_of_every_kind_may_call() {
    let allowed = [
        "https://app.example",
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "https://*.example.org",
    ];
    let mut server = Server::builder(Backend::memory()).set("CORS__ORIGINS", allowed.join(",")).start().await;
    let preflight = async |origin: &str, headers: Option<&str>| {
        let request = http().request(Method::OPTIONS, server.url("/file-new/get-upload-url")).header(ORIGIN, origin);
        let request = request.header("Access-Control-Request-Method", "POST");
        let request = headers.into_iter().fold(request, |request, asked| request.header("Access-Control-Request-Headers", asked));
        Answer::of(request).await
    };
    for origin in allowed[..5].iter().copied().chain(["https://chat.example.org"]) {
        let asked = "authorization,content-type,x-of-an-app";
        let answer = preflight(origin, Some(asked)).await;
        assert_eq!(
            (&answer.headers["x-content-type-options"], &answer.headers["cache-control"]),
            (&"nosniff".parse().unwrap(), &"no-cache".parse().unwrap())
        );
        assert_eq!(answer.status, 204, "{origin}");
        assert_eq!(answer.headers["access-control-allow-origin"], origin);
        assert_eq!(answer.headers["access-control-allow-headers"], asked);
        let vary: Vec<_> = answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(vary, ["Access-Control-Request-Headers", "Origin"]);
        let answer = Answer::of(http().get(server.url("/healthz")).header(ORIGIN, origin)).await;
        assert_eq!(answer.headers["access-control-allow-origin"], origin);
        assert_eq!(answer.headers["vary"], "Origin");
        let exposed = answer.headers["access-control-expose-headers"].to_str().unwrap();
        for name in ["Content-Disposition", "Content-Range", "ETag", "Retry-After", "WWW-Authenticate"] {
            assert!(exposed.contains(name), "{name}: {exposed}");
        }
    }
    let unasked = preflight("https://app.example", None).await;
    assert!(unasked.headers["access-control-allow-headers"].to_str().unwrap().contains("Authorization"), "{unasked:?}");
    for origin in [
        "https://example.org",
        "https://a.b.example.org",
        "http://chat.example.org",
        "https://chat.example.org:8443",
        "https://chat.example.org.evil.example",
        "capacitor://elsewhere",
        "null",
        "*",
    ] {
        for answer in [preflight(origin, None).await, Answer::of(http().get(server.url("/healthz")).header(ORIGIN, origin)).await]
        {
            assert_eq!(answer.headers.get("access-control-allow-origin"), None, "{origin}");
            assert_eq!(answer.headers["vary"], "Origin", "what a browser keeps is of no use to a page that may call");
        }
    }
    server.stop().await;
}

/// An allowed origin may post forms like the server's own, and open sockets with its cookie.
#[tokio::test]
async fn an_allowed_origin_counts_wherever_one_is_asked_for() {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    use crate::support::Socket;

    let origins = "capacitor://localhost,https://*.example.org";
    let mut server = Server::builder(Backend::memory()).set("CORS__ORIGINS", origins).start().await;
    let john = server.log_in(JOHN).await;
    let cookie = format!("session_id={}", john.session().unwrap());
    for (origin, counts) in [
        ("capacitor://localhost", true),
        ("https://app.example.org", true),
        ("https://a.app.example.org", false),
        ("https://evil.example", false),
    ] {
        let part = reqwest::multipart::Part::bytes(b"x".to_vec()).file_name("a.txt");
        let form = reqwest::multipart::Form::new().part("file", part);
        let request = john.request(Method::POST, "/api/messaging/attachment/upload").header(ORIGIN, origin).multipart(form);
        assert_eq!(Answer::of(request).await.status == 200, counts, "{origin}");
        let mut request = server.url("/ws/chat/room/").replacen("http", "ws", 1).into_client_request().unwrap();
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let mut socket = Socket::open(request).await;
        if counts {
            socket.say(json!({"action": "ping"})).await;
            assert_eq!(socket.hear().await, json!({"action": "pong"}));
            socket.close().await;
        } else {
            assert_eq!(socket.closed().await, 4003, "{origin}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_origin_stops_the_start() {
    for origin in ["*", "null", "https://*.example", "https://a.*.example.org", "capacitor://localhost/", "app.example"] {
        let output = run(&["serve", "--listen", "127.0.0.1:0"], &[("DRAGOMAN__CORS__ORIGINS", origin)], "").await;
        let said = String::from_utf8(output.stderr).expect("it is a text");
        assert!(!output.status.success() && said.contains("cors.origins") && said.contains(origin), "{origin}: {said}");
    }
}
