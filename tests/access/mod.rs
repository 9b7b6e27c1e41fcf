//! Tests of access control: every route of the server, without a session, with a revoked one, and with the session of a user
//! who is not a member.

mod sockets;
mod table;

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode, header::CONTENT_TYPE, multipart};
use serde_json::{Value, json};

use crate::{
    support::{ADMIN, Answer, BOB, Client, JANE, JOHN, PASSWORD, Route, Server, until},
    with_every_backend,
};
use table::{Door, Entry, Outcome, Scene, table};

/// Marker in every text, name and file that outsiders must not see.
const SECRET: &str = "hush";

/// The table's entries with their routes. Fails unless table and server have the same routes.
async fn entries(server: &Server) -> Vec<(Route, Entry)> {
    let routes = server.routes().await;
    let table = table();
    let (have, know): (BTreeSet<_>, BTreeSet<_>) =
        (routes.iter().map(Route::to_string).collect(), table.iter().map(|entry| entry.route.to_owned()).collect());
    assert_eq!(have, know, "every route has an entry here, and no other");
    let find = |name: &str| routes.iter().find(|route| route.to_string() == name).expect("compared above").clone();
    table.into_iter().map(|entry| (find(entry.route), entry)).collect()
}

impl Scene {
    /// Creates a conversation of the admin and John. Bob is not a member.
    async fn set(server: &Server) -> Self {
        let (admin, bob) = (server.log_in(ADMIN).await, server.log_in(BOB).await);
        let id = |of: &Value, key: &str| of[key].as_i64().unwrap_or_else(|| panic!("no {key} in {of}"));
        let made = admin.messaging("thread/create", json!({"name": "hush thread", "partner_ids": [4]})).await;
        let thread = id(&made, "thread_id");
        let file = id(&upload(&admin, thread).await.json(), "attachment_id");
        let draft = json!({"thread_id": thread, "body": "hush body", "attachment_ids": [file]});
        let message = id(&admin.messaging("message/send", draft).await, "message_id");
        let own = id(&bob.messaging("thread/create", json!({"name": "my own"})).await, "thread_id");
        let session = admin.result("/im_chat/api/get_or_create_session", json!({"user_to": 4})).await;
        let uuid = session["uuid"].as_str().expect("it has one").to_owned();
        let post = json!({"uuid": uuid, "message_type": "message", "message_content": "hush post"});
        assert!(admin.result("/im_chat/post", post).await.is_i64(), "it is stored");
        admin.messaging("message/send", json!({"thread_id": 2, "body": "to everybody"})).await;
        Self { thread, message, file, uuid, own }
    }

    /// Requests another user's object.
    async fn ask(&self, client: &Client, route: &Route, entry: &Entry) -> Answer {
        let object = if route.path.contains("attachment") { self.file } else { self.thread };
        let path = route.path_with(&object.to_string());
        match (&entry.door, route.method.as_str()) {
            (Door::SessionOverHttp, _) => upload(client, self.thread).await,
            (_, "GET") => Answer::of(client.request(Method::GET, &path)).await,
            (_, "PUT") => Answer::of(client.request(Method::PUT, &path).body("let me in")).await,
            (Door::Credentials(body), _) => client.post(&path, body).await,
            (Door::Revocation, _) => client.post(&path, &json!({"token": "0".repeat(40)})).await,
            (Door::Password(params), _) => client.post(&path, &json!({"id": 1, "params": params})).await,
            (_, _) => client.post(&path, &json!({"id": 1, "params": (entry.params)(self)})).await,
        }
    }

    /// State of the scene as John sees it.
    async fn seen(&self, john: &Client) -> Value {
        let mut seen = Vec::new();
        for (route, params) in [
            (format!("thread/participants/{}", self.thread), json!({})),
            ("messages".into(), json!({"thread_id": self.thread})),
            (format!("attachment/info/{}", self.file), json!({})),
            (format!("typing/status/{}", self.thread), json!({})),
            ("unread/count".into(), json!({})),
        ] {
            let answer = john.messaging(&route, params).await;
            assert!(answer.get("error").is_none(), "{answer}");
            seen.push(answer);
        }
        seen.push(john.result("/im_chat/history", json!({"uuid": self.uuid})).await);
        seen.push(john.result("/im_chat/api/user_chat_ab/get_users_from_book", json!({})).await);
        seen.into()
    }
}

async fn upload(client: &Client, thread: i64) -> Answer {
    let file = multipart::Part::bytes(b"hush bytes".to_vec()).file_name("hush.txt");
    let form = multipart::Form::new().part("file", file).text("thread_id", thread.to_string());
    Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await
}

/// Checks the answer of a route to a caller without a live session.
fn turned_away(who: &str, route: &Route, entry: &Entry, answer: &Answer) {
    let told = format!("{who} at {route}: {answer:?}");
    assert!(!answer.body.contains(SECRET), "{told}");
    match &entry.door {
        Door::Open => assert!(answer.status.is_success() || answer.status.is_redirection(), "{told}"),
        Door::Session => {
            let body = answer.json();
            assert_eq!(answer.status, StatusCode::OK, "{told}");
            assert_eq!(body["error"]["code"], 100, "{told}");
            assert_eq!(body["error"]["data"]["name"], "odoo.http.SessionExpiredException", "{told}");
            assert_eq!(body["error"]["data"]["message"], "Session expired", "{told}");
            assert!(body.get("result").is_none() && answer.session().is_none(), "{told}");
        }
        Door::SessionOverHttp => {
            assert_eq!((answer.status, answer.json()), (StatusCode::FORBIDDEN, json!({"error": "Session expired"})), "{told}");
        }
        Door::Password(_) => {
            let body = answer.json();
            assert_eq!(body["error"]["data"]["name"], "odoo.exceptions.AccessDenied", "{told}");
            assert!(body.get("result").is_none() && answer.session().is_none(), "{told}");
        }
        Door::Address(status, message) => {
            assert_eq!((answer.status, answer.json()), (*status, json!({"message": message})), "{told}");
        }
        Door::SessionOrToken | Door::Token | Door::Credentials(_) => {
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{told}");
            let members: Vec<_> = answer.json().as_object().expect("it is an object").keys().cloned().collect();
            let expected: &[&[&str]] = match route.path.as_str() {
                "/api/token" => &[&["detail"]],
                "/api/token/refresh" => &[&["code", "detail"]],
                _ => &[&["message"]],
            };
            assert_eq!([members], expected, "{told}");
            assert_eq!(answer.session(), None, "{told}");
        }
        Door::Revocation => assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, ""), "{told}"),
        Door::Bearer => {
            let refused =
                json!({"status": "failure", "entity": null, "message": "Not logged in, or no longer.", "success": false});
            assert_eq!((answer.status, answer.json()), (StatusCode::UNAUTHORIZED, refused), "{told}");
        }
        Door::File => {
            assert_eq!((answer.status, answer.json()), (StatusCode::FORBIDDEN, json!({"error": "Access denied"})), "{told}");
        }
    }
}

with_every_backend! {
    /// No credentials, invalid ones and revoked ones get the same answers.
    async fn without_a_live_session_nobody_gets_in(backend) {
        let mut server = Server::demo(backend.clone()).await;
        let scene = Scene::set(&server).await;
        let gone = server.log_in(JOHN).await;
        gone.call("/web/session/destroy", json!({})).await;
        let mut strangers = vec![
            ("nobody", server.client()),
            ("a guess", server.client().with_session(Some(&"0123456789".repeat(4)))),
            ("garbage", server.client().with_session(Some("%00'--"))),
            ("one who has logged out", gone),
        ];
        // A store in memory cannot be changed by the command line while its server runs.
        if backend.is_durable() {
            let jane = server.log_in(JANE).await;
            jane.messaging("threads", json!({})).await;
            backend.administer(&["user", "deactivate", JANE], "").await;
            until("the end of a deactivated user's session", async || {
                let answer = jane.call("/web/session/check", json!({})).await;
                (answer["error"]["code"] == 100).then_some(())
            })
            .await;
            let params = json!({"db": "odoo2", "login": JANE, "password": PASSWORD});
            let answer = jane.call("/web/session/authenticate", params).await;
            assert_eq!(answer["error"]["data"]["name"], "odoo.exceptions.AccessDenied", "{answer}");
            strangers.push(("one who was deactivated", jane));
        }
        for (route, entry) in entries(&server).await {
            for (who, client) in &strangers {
                turned_away(who, &route, &entry, &scene.ask(client, &route, &entry).await);
            }
        }
        server.stop().await;
    }

    /// Non-members of a conversation read nothing of it, change nothing in it, and learn nothing about it.
    async fn what_is_of_others_stays_theirs(backend) {
        let mut server = Server::demo(backend).await;
        let scene = Scene::set(&server).await;
        let (bob, john) = (server.log_in(BOB).await, server.log_in(JOHN).await);
        let before = scene.seen(&john).await;
        for (route, entry) in entries(&server).await {
            if matches!(entry.outsider, Outcome::Nothing) {
                continue;
            }
            let answer = scene.ask(&bob, &route, &entry).await;
            let told = format!("{route}: {answer:?}");
            assert!(!answer.body.contains(SECRET), "{told}");
            match (entry.outsider, &entry.door) {
                (Outcome::Nothing, _) => unreachable!("passed over above"),
                (Outcome::Refused(words), Door::File | Door::SessionOverHttp) => {
                    assert_eq!((answer.status, answer.json()), (StatusCode::FORBIDDEN, json!({"error": words})), "{told}");
                }
                (Outcome::Refused(words), _) => {
                    assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 1, "result": {"error": words}}), "{told}");
                }
                (Outcome::Result(result), _) => {
                    assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 1, "result": result()}), "{told}");
                }
                (Outcome::Silent, _) => assert!(answer.json().get("error").is_none(), "{told}"),
            }
        }
        let lent = json!({"thread_id": scene.own, "body": "look", "attachment_ids": [scene.file]});
        assert_eq!(bob.messaging("message/send", lent).await, json!({"error": "Access denied"}));
        let token = Answer::of(bob.request(Method::GET, &format!("/api/messaging/attachment/{}?access_token=x", scene.file)));
        assert_eq!(token.await.status, StatusCode::FORBIDDEN);
        assert_eq!(scene.seen(&john).await, before, "nothing has changed for those who are in");
        server.stop().await;
    }

    /// Missing objects are answered as not found, for every caller.
    async fn what_is_not_there_is_not_found(backend) {
        let mut server = Server::demo(backend).await;
        let bob = server.log_in(BOB).await;
        let missing = Scene { thread: 987_654, message: 987_654, file: 987_654, uuid: String::new(), own: 987_654 };
        for (route, entry) in entries(&server).await {
            if !matches!(entry.outsider, Outcome::Refused(_)) {
                continue;
            }
            let is_about = |things: &[&str]| things.iter().any(|thing| route.path.contains(thing));
            let words = if is_about(&["attachment/"]) && !is_about(&["upload"]) {
                "Attachment not found"
            } else if is_about(&["message/edit", "message/delete", "message/reaction"]) {
                "Message not found"
            } else {
                "Thread not found"
            };
            let answer = missing.ask(&bob, &route, &entry).await;
            match entry.door {
                Door::File | Door::SessionOverHttp => {
                    assert_eq!((answer.status, answer.json()), (StatusCode::NOT_FOUND, json!({"error": words})), "{route}");
                }
                _ => assert_eq!(answer.json()["result"], json!({"error": words}), "{route}"),
            }
        }
        server.stop().await;
    }

    /// CSRF: a form that a foreign page posts with the browser's cookie changes nothing.
    async fn a_foreign_page_changes_nothing(backend) {
        let mut server = Server::demo(backend).await;
        let scene = Scene::set(&server).await;
        let john = server.log_in(JOHN).await;
        let before = scene.seen(&john).await;
        for (route, entry) in entries(&server).await.into_iter().filter(|(route, _)| route.method == "POST") {
            let path = route.path_with(&scene.thread.to_string());
            if matches!(entry.door, Door::SessionOverHttp) {
                let form = multipart::Form::new().part("file", multipart::Part::bytes(b"x".to_vec()).file_name("x"));
                let request = john.request(Method::POST, &path).header("Origin", "https://evil.example").multipart(form);
                assert_eq!(Answer::of(request).await.status, StatusCode::FORBIDDEN, "{route}");
                continue;
            }
            // These routes take no cookie, and a foreign page can send no other credential.
            if matches!(entry.door, Door::Bearer | Door::Token) {
                let request = john.request(Method::POST, &path).header("Origin", "https://evil.example").body("");
                assert_eq!(Answer::of(request).await.status, StatusCode::UNAUTHORIZED, "{route}");
                continue;
            }
            // These routes take a form but no cookie.
            if route.path.starts_with("/api/token") || matches!(entry.door, Door::Revocation) {
                let form = john.request(Method::POST, &path).header("Origin", "https://evil.example");
                let form = form.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body("a=b");
                assert_eq!(Answer::of(form).await.status, StatusCode::BAD_REQUEST, "{route}");
                continue;
            }
            for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
                let body = json!({"params": (entry.params)(&scene)}).to_string();
                let request = john.request(Method::POST, &path).header(CONTENT_TYPE, kind).body(body);
                assert_eq!(Answer::of(request).await.status, StatusCode::BAD_REQUEST, "{route} as {kind}");
            }
        }
        assert_eq!(scene.seen(&john).await, before);
        server.stop().await;
    }
}
