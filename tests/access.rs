//! Nobody gets in where they don't belong: every route that the server has, tried by everybody who must not.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode, header::CONTENT_TYPE, multipart};
use serde_json::{Value, json};

use crate::{
    support::{ADMIN, Answer, Backend, Client, JANE, JOHN, PASSWORD, Route, Server, until},
    with_every_backend,
};

/// Is in all that outsiders must not learn.
const SECRET: &str = "hush";

/// Logs in, and is in no conversation, in no group and in nobody's address book.
const OUTSIDER: &str = "deepak@tis.co.th";

/// What is shown of people who have no picture, or show it to others only.
const PIXEL: &[u8] = include_bytes!("../src/dialects/im_chat/pixel.png");

/// What a route asks of its callers.
enum Door {
    /// Nothing.
    Open,
    /// A session: else it answers "Session expired", and nothing more.
    Session,
    /// The same, outside the envelope.
    SessionOverHttp,
    /// A login and a password, which the call holds.
    Password(Value),
    /// A session that the file is open to, or the file's token.
    File,
    /// A session of somebody who meets the person in it: else there is a picture of nothing.
    Picture,
}

/// What comes of asking for something of others.
#[derive(Clone, Copy)]
enum Outcome {
    /// The route is not about anything of others.
    Nothing,
    /// Refused in these words, and nothing more said.
    Refused(&'static str),
    /// An error of the envelope that is of this class.
    Fault(&'static str),
    /// This, which is also said of what is not there.
    Result(fn() -> Value),
    /// A proper answer without anything secret.
    Silent,
}

struct Entry {
    route: &'static str,
    door: Door,
    /// What to ask for, of others.
    params: fn(&Scene) -> Value,
    outsider: Outcome,
}

/// What there is to be kept from others.
struct Scene {
    thread: i64,
    message: i64,
    file: i64,
    /// Of im_chat's session, of which the next is the id.
    uuid: String,
    session: i64,
    /// A thread of the outsider's own.
    own: i64,
}

const DENIED: Outcome = Outcome::Refused("Access denied");

fn entry(route: &'static str, door: Door, params: fn(&Scene) -> Value, outsider: Outcome) -> Entry {
    Entry { route, door, params, outsider }
}

fn nothing(_: &Scene) -> Value {
    json!({})
}

fn thread(scene: &Scene) -> Value {
    json!({"thread_id": scene.thread, "timeout": 0})
}

fn session(scene: &Scene) -> Value {
    json!({"uuid": scene.uuid, "new_status": "archive", "message_type": "message", "message_content": "let me in"})
}

fn read_users(_: &Scene) -> Value {
    json!({"model": "res.users", "method": "search_read", "args": [[]], "kwargs": {}})
}

fn table() -> Vec<Entry> {
    use Door::{File, Open, Password, Picture, Session, SessionOverHttp};
    use Outcome::{Fault, Nothing, Result, Silent};
    let execute = json!({"service": "object", "method": "execute_kw",
        "args": ["odoo2", 6, "wrong", "res.users", "search_read", [[]], {}]});
    vec![
        entry("GET /healthz", Open, nothing, Nothing),
        entry("GET /readyz", Open, nothing, Nothing),
        entry("GET /metrics", Open, nothing, Nothing),
        entry("GET /web/version", Open, nothing, Nothing),
        entry("GET /web/health", Open, nothing, Nothing),
        entry("GET /websocket/health", Open, nothing, Nothing),
        entry("GET /longpolling/health", Open, nothing, Nothing),
        entry("POST /web/database/list", Open, nothing, Nothing),
        entry("POST /web/webclient/version_info", Open, nothing, Nothing),
        entry("POST /web/session/get_lang_list", Open, nothing, Nothing),
        entry("GET /web/session/logout", Open, nothing, Nothing),
        entry(
            "POST /web/session/authenticate",
            Password(json!({"db": "odoo2", "login": JANE, "password": "wrong"})),
            nothing,
            Nothing,
        ),
        entry("POST /jsonrpc", Password(execute), nothing, Nothing),
        entry("POST /web/session/get_session_info", Session, nothing, Silent),
        entry("POST /web/session/check", Session, nothing, Silent),
        entry("POST /web/session/modules", Session, nothing, Silent),
        entry("POST /web/session/destroy", Session, nothing, Nothing),
        entry("POST /web/dataset/call", Session, read_users, Silent),
        entry("POST /web/dataset/call_kw", Session, read_users, Silent),
        entry("POST /web/dataset/call_kw/{model}/{method}", Session, read_users, Silent),
        entry("POST /api/messaging/threads", Session, nothing, Silent),
        entry("POST /api/messaging/thread/create", Session, |_| json!({"name": "mine"}), Silent),
        entry("POST /api/messaging/thread/participants/{id}", Session, nothing, DENIED),
        entry(
            "POST /api/messaging/thread/add_participant",
            Session,
            |scene| json!({"thread_id": scene.thread, "partner_id": 8}),
            DENIED,
        ),
        entry("POST /api/messaging/messages", Session, thread, DENIED),
        entry(
            "POST /api/messaging/message/send",
            Session,
            |scene| json!({"thread_id": scene.thread, "body": "let me in"}),
            DENIED,
        ),
        entry(
            "POST /api/messaging/message/read",
            Session,
            |scene| json!({"message_id": scene.message}),
            Result(|| json!({"success": true, "marked_count": 0})),
        ),
        entry("POST /api/messaging/unread/count", Session, nothing, Silent),
        entry("POST /api/messaging/partners/search", Session, |_| json!({"query": SECRET}), Silent),
        entry("POST /api/messaging/attachment/upload", SessionOverHttp, nothing, DENIED),
        entry("GET /api/messaging/attachment/{id}", File, nothing, DENIED),
        entry("POST /api/messaging/attachment/info/{id}", Session, nothing, DENIED),
        entry("POST /api/messaging/attachment/delete/{id}", Session, nothing, DENIED),
        entry(
            "POST /api/messaging/poll/messages",
            Session,
            |scene| json!({"thread_id": scene.thread, "last_message_id": 0, "timeout": 0}),
            DENIED,
        ),
        entry(
            "POST /api/messaging/poll/updates",
            Session,
            |_| json!({"timeout": 0, "last_check": "2001-01-01T00:00:00"}),
            Silent,
        ),
        entry("POST /api/messaging/notifications/count", Session, nothing, Silent),
        entry("POST /api/messaging/notifications/mark_all_read", Session, thread, DENIED),
        entry("POST /api/messaging/typing/start", Session, thread, DENIED),
        entry("POST /api/messaging/typing/stop", Session, thread, DENIED),
        entry("POST /api/messaging/typing/status/{id}", Session, nothing, DENIED),
        entry("POST /api/messaging/presence/update", Session, |_| json!({"status": "online"}), Silent),
        entry("POST /api/messaging/presence/status", Session, |_| json!({"partner_ids": [2, 4]}), Silent),
        entry("POST /im_chat/api/get_or_create_session", Session, |_| json!({"user_to": 2}), Silent),
        entry(
            "POST /im_chat/api/get_or_create_session_group",
            Session,
            |_| json!({"group": 3}),
            Fault("odoo.exceptions.AccessError"),
        ),
        entry("POST /im_chat/api/get_sessions", Session, |_| json!({"doc_id": 25}), Result(|| json!([]))),
        entry("POST /im_chat/api/get_sessions_group", Session, |_| json!({"group": 3}), Result(|| json!([]))),
        entry("POST /im_chat/api/change_session_status", Session, session, Result(no_session)),
        entry("POST /im_chat/api/history", Session, session, Result(|| json!([]))),
        entry("POST /im_chat/api/init", Session, |_| json!({"name": ""}), Silent),
        entry("POST /im_chat/api/user_chat_ab/get_all_users", Session, nothing, Silent),
        entry("POST /im_chat/api/user_chat_ab/get_users_from_book", Session, nothing, Result(|| json!([]))),
        entry("POST /im_chat/api/user_chat_ab/add_users", Session, |_| json!({"user_ids": [2]}), Silent),
        entry("POST /im_chat/api/user_chat_ab/remove_users", Session, |_| json!({"user_ids": [2, 8]}), Silent),
        entry(
            "POST /im_chat/api/user_chat_ab/add_partner",
            Session,
            |_| json!({"parent_partner_id": 5, "child_partner_id": 35}),
            Result(|| json!({"status": "error", "message": "input parameters are not valid"})),
        ),
        entry("POST /im_chat/post", Session, session, Result(|| json!(false))),
        entry("POST /im_chat/init", Session, nothing, Silent),
        entry("POST /im_chat/history", Session, session, Result(|| json!(false))),
        entry("GET /im_chat/image/{uuid}/{uid}", Picture, nothing, Silent),
        // Beginning with the first thing that ever happened.
        entry("POST /longpolling/poll", Session, |scene| json!({"channels": [scene.uuid], "last": 1}), Silent),
        entry("POST /longpolling/im_status", Session, |_| json!({"partner_ids": [3, 5]}), Silent),
    ]
}

fn no_session() -> Value {
    json!({"status": "error", "field": "uuid", "message": "Session does not exist"})
}

/// What Odoo 8's web client calls as methods of objects, and what comes of it for a session of others.
fn methods(scene: &Scene) -> Vec<(&'static str, Value, Outcome)> {
    use Outcome::{Fault, Result, Silent};
    vec![
        ("session_get", json!([2]), Silent),
        ("session_info", json!([[scene.session]]), Fault("odoo.exceptions.MissingError")),
        ("update_state", json!([scene.uuid, "closed"]), Result(|| Value::Null)),
        ("update_state", json!([scene.uuid]), Result(|| Value::Null)),
        ("add_user", json!([scene.uuid, 34]), Result(|| Value::Null)),
        ("quit_user", json!([scene.uuid]), Result(|| json!(false))),
    ]
}

/// A server whose polls are soon over.
async fn quick(backend: Backend) -> Server {
    Server::builder(backend).set("IM_CHAT__POLL_SECONDS", 1).start().await
}

/// The table, if it is one of the routes that the server has, all of them.
async fn entries(server: &Server) -> Vec<(Route, Entry)> {
    let mut routes = server.routes().await;
    let table = table();
    let (have, know): (BTreeSet<_>, BTreeSet<_>) =
        (routes.iter().map(Route::to_string).collect(), table.iter().map(|entry| entry.route.to_owned()).collect());
    assert_eq!(have, know, "every route has an entry here, and no other");
    let mut take = |name: &str| {
        let at = routes.iter().position(|route| route.to_string() == name).expect("compared above");
        routes.swap_remove(at)
    };
    table.into_iter().map(|entry| (take(entry.route), entry)).collect()
}

impl Scene {
    /// What the admin and John have between them, into which the outsider must not look.
    async fn set(server: &Server) -> Self {
        let (admin, outsider) = (server.log_in(ADMIN).await, server.log_in(OUTSIDER).await);
        let id = |of: &Value, key: &str| of[key].as_i64().unwrap_or_else(|| panic!("no {key} in {of}"));
        let made = admin.messaging("thread/create", json!({"name": "hush thread", "partner_ids": [4]})).await;
        let thread = id(&made, "thread_id");
        let file = id(&upload(&admin, thread).await.json(), "attachment_id");
        let draft = json!({"thread_id": thread, "body": "hush body", "attachment_ids": [file]});
        let message = id(&admin.messaging("message/send", draft).await, "message_id");
        let own = id(&outsider.messaging("thread/create", json!({"name": "my own"})).await, "thread_id");

        let about = json!({"user_to": 4, "doc_id": 25, "doc_model": "hush.model"});
        let begun = admin.result("/im_chat/api/get_or_create_session", about).await;
        let uuid = begun["uuid"].as_str().expect("a session has a uuid").to_owned();
        let session = begun["docs"][0]["id"].as_i64().expect("its document has the session's id");
        let post = json!({"uuid": uuid, "message_type": "message", "message_content": "hush words"});
        assert!(admin.result("/im_chat/post", post).await.is_i64());
        let group = admin.result("/im_chat/api/get_or_create_session_group", json!({"group": 3})).await;
        let post = json!({"uuid": group["uuid"], "message_type": "message", "message_content": "hush news"});
        assert!(admin.result("/im_chat/post", post).await.is_i64());
        let book = json!({"parent_partner_id": 5, "child_partner_id": 9});
        let put = admin.result("/im_chat/api/user_chat_ab/add_partner", book).await;
        assert_eq!(put, json!({"status": "success"}), "an admin may put people into anybody's address book");
        Self { thread, message, file, uuid, session, own }
    }

    /// Asks for what is of others.
    async fn ask(&self, client: &Client, route: &Route, entry: &Entry) -> Answer {
        let object = if route.path.contains("attachment") { self.file } else { self.thread };
        let path = match entry.door {
            Door::Picture => format!("/im_chat/image/{}/4", self.uuid),
            _ => route.path_with(&object.to_string()),
        };
        match (&entry.door, route.method.as_str()) {
            (Door::SessionOverHttp, _) => upload(client, self.thread).await,
            (_, "GET") => Answer::of(client.request(Method::GET, &path)).await,
            (Door::Password(params), _) => client.post(&path, &json!({"id": 1, "params": params})).await,
            (_, _) => client.post(&path, &json!({"id": 1, "params": (entry.params)(self)})).await,
        }
    }

    /// All of it as John sees it.
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
        for (route, params) in [
            ("/im_chat/api/get_sessions", json!({})),
            ("/im_chat/api/get_sessions_group", json!({})),
            ("/im_chat/api/user_chat_ab/get_users_from_book", json!({})),
            ("/im_chat/history", json!({"uuid": self.uuid})),
        ] {
            let answer = john.result(route, params).await;
            assert!(answer.as_array().is_some_and(|answer| !answer.is_empty()), "John has something at {route}");
            seen.push(answer);
        }
        seen.into()
    }
}

async fn upload(client: &Client, thread: i64) -> Answer {
    let file = multipart::Part::bytes(b"hush bytes".to_vec()).file_name("hush.txt");
    let form = multipart::Form::new().part("file", file).text("thread_id", thread.to_string());
    Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await
}

/// What somebody without a live session gets at this door.
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
        Door::File => {
            assert_eq!((answer.status, answer.json()), (StatusCode::FORBIDDEN, json!({"error": "Access denied"})), "{told}");
        }
        Door::Picture => assert_nothing_to_see(answer),
    }
}

fn assert_nothing_to_see(answer: &Answer) {
    assert_eq!((answer.status, &*answer.body), (StatusCode::OK, &*String::from_utf8_lossy(PIXEL)), "a picture of nothing");
    assert_eq!(answer.headers[CONTENT_TYPE], "image/png");
}

/// That somebody who must not learn anything does not.
fn kept_from_outsider(told: &str, outcome: Outcome, answer: &Answer) {
    assert!(!answer.body.contains(SECRET), "{told}");
    let result = |result: Value| json!({"jsonrpc": "2.0", "id": 1, "result": result});
    match outcome {
        Outcome::Nothing => unreachable!("it is not asked for"),
        Outcome::Refused(words) => assert_eq!(answer.json(), result(json!({"error": words})), "{told}"),
        Outcome::Result(wanted) => assert_eq!(answer.json(), result(wanted()), "{told}"),
        Outcome::Fault(class) => {
            let body = answer.json();
            assert_eq!(body["error"]["data"]["name"], class, "{told}");
            assert!(body.get("result").is_none(), "{told}");
        }
        Outcome::Silent => assert!(answer.json().get("error").is_none(), "{told}"),
    }
}

with_every_backend! {
    /// No credentials, some that never were any, and some that are so no longer: all the same.
    async fn without_a_live_session_nobody_gets_in(backend) {
        let mut server = quick(backend.clone()).await;
        let scene = Scene::set(&server).await;
        let gone = server.log_in(JOHN).await;
        gone.call("/web/session/destroy", json!({})).await;
        let mut strangers = vec![
            ("nobody", server.client()),
            ("a guess", server.client().with_session(Some(&"0123456789".repeat(4)))),
            ("garbage", server.client().with_session(Some("%00'--"))),
            ("one who has logged out", gone),
        ];
        // A store in memory has no command line beside its server.
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

    /// A user who is not in a conversation gets nothing of it, changes nothing in it, and learns nothing about it.
    async fn what_is_of_others_stays_theirs(backend) {
        let mut server = quick(backend.clone()).await;
        let scene = Scene::set(&server).await;
        let (outsider, john) = (server.log_in(OUTSIDER).await, server.log_in(JOHN).await);
        // A store in memory has no command line beside its server.
        if backend.is_durable() {
            let directory = tempfile::tempdir().expect("a directory can be made");
            let picture = directory.path().join("john.png");
            std::fs::write(&picture, b"\x89PNG\r\n\x1a\nhush").expect("a file can be written");
            backend.administer(&["user", "picture", JOHN, picture.to_str().expect("its path is plain")], "").await;
            let shown = Answer::of(john.request(Method::GET, &format!("/im_chat/image/{}/4", scene.uuid))).await;
            assert!(shown.body.contains(SECRET), "those who are in see it: {shown:?}");
        }
        let before = scene.seen(&john).await;
        for (route, entry) in entries(&server).await {
            if matches!(entry.outsider, Outcome::Nothing) {
                continue;
            }
            let answer = scene.ask(&outsider, &route, &entry).await;
            let told = format!("{route}: {answer:?}");
            match (entry.outsider, &entry.door) {
                (Outcome::Refused(words), Door::File | Door::SessionOverHttp) => {
                    assert_eq!((answer.status, answer.json()), (StatusCode::FORBIDDEN, json!({"error": words})), "{told}");
                }
                (_, Door::Picture) => assert_nothing_to_see(&answer),
                (outcome, _) => kept_from_outsider(&told, outcome, &answer),
            }
        }
        for (method, args, outcome) in methods(&scene) {
            let params = json!({"model": "im_chat.session", "method": method, "args": args, "kwargs": {}});
            for route in ["/web/dataset/call_kw", "/web/dataset/call", "/web/dataset/call_kw/im_chat.session/method"] {
                let answer = outsider.post(&route.replace("/method", &format!("/{method}")), &json!({"id": 1, "params": params})).await;
                kept_from_outsider(&format!("{method} at {route}: {answer:?}"), outcome, &answer);
            }
        }
        let lent = json!({"thread_id": scene.own, "body": "look", "attachment_ids": [scene.file]});
        assert_eq!(outsider.messaging("message/send", lent).await, json!({"error": "Access denied"}));
        let token = Answer::of(outsider.request(Method::GET, &format!("/api/messaging/attachment/{}?access_token=x", scene.file)));
        assert_eq!(token.await.status, StatusCode::FORBIDDEN);
        assert_eq!(scene.seen(&john).await, before, "nothing has changed for those who are in");
        server.stop().await;
    }

    /// What is not there is not found, for everybody.
    async fn what_is_not_there_is_not_found(backend) {
        let mut server = quick(backend).await;
        let outsider = server.log_in(OUTSIDER).await;
        let uuid = "00000000-0000-4000-8000-000000000000".into();
        let missing = Scene { thread: 987_654, message: 987_654, file: 987_654, uuid, session: 987_654, own: 987_654 };
        for (route, entry) in entries(&server).await {
            match entry.outsider {
                Outcome::Refused(_) => {}
                Outcome::Result(result) => {
                    assert_eq!(missing.ask(&outsider, &route, &entry).await.json()["result"], result(), "{route}");
                    continue;
                }
                _ => continue,
            }
            let words = if route.path.contains("attachment/") && !route.path.contains("upload") {
                "Attachment not found"
            } else {
                "Thread not found"
            };
            let answer = missing.ask(&outsider, &route, &entry).await;
            match entry.door {
                Door::File | Door::SessionOverHttp => {
                    assert_eq!((answer.status, answer.json()), (StatusCode::NOT_FOUND, json!({"error": words})), "{route}");
                }
                _ => assert_eq!(answer.json()["result"], json!({"error": words}), "{route}"),
            }
        }
        for (method, args, outcome) in methods(&missing) {
            let params = json!({"model": "im_chat.session", "method": method, "args": args, "kwargs": {}});
            let answer = outsider.post("/web/dataset/call_kw", &json!({"id": 1, "params": params})).await;
            kept_from_outsider(&format!("{method}: {answer:?}"), outcome, &answer);
        }
        server.stop().await;
    }

    /// A form that any page of the web can post changes nothing, though the browser sends the cookie along.
    async fn a_foreign_page_changes_nothing(backend) {
        let mut server = quick(backend).await;
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
