//! Tests of migration from earlier releases: this program migrates their stores, and clients resume with the positions,
//! tokens and addresses that they kept. `tests/upgrade/make` has filled the stores with the programs of those releases.
//! The same holds for such a store once it is moved to a database file.

mod answers;
pub mod fixture;

use reqwest::{Method, StatusCode, header::AUTHORIZATION};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Backend, Client, PASSWORD, Server, Socket, http, until};
use fixture::{Desk, Fixture, items};

/// Releases with files in `tests/upgrade`.
const RELEASES: [&str; 1] = ["0.1.0"];

/// Tables that keep all their rows through a migration.
const TABLES: [&str; 22] = [
    "attachments",
    "book_entries",
    "conversation_documents",
    "conversations",
    "devices",
    "events",
    "group_members",
    "groups",
    "memberships",
    "message_attachments",
    "messages",
    "participants",
    "partners",
    "pictures",
    "presences",
    "refresh_tokens",
    "sessions",
    "support_seen",
    "support_sessions",
    "upload_mentions",
    "uploads",
    "users",
];

/// The stores of all releases, each as it was left, and moved to a file.
async fn stores() -> Vec<Fixture> {
    let mut stores = Vec::new();
    for release in RELEASES {
        stores.push(Fixture::of(release).await);
        stores.push(Fixture::of(release).await.moved_to(Backend::sqlite()).await);
    }
    stores
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().expect("it is an object").iter()
}

/// The history in every dialect, the unread counts, and the bytes of files at their earlier addresses.
#[tokio::test]
async fn everything_reads_as_before() {
    for fixture in stores().await {
        let mut server = fixture.server().start().await;
        for asked in items(&fixture.kept["reads"]) {
            fixture.check(&server, asked).await;
        }
        for file in items(&fixture.kept["files"]) {
            let address = file["address"].as_str().unwrap();
            let path = address.strip_prefix(fixture.kept["base_url"].as_str().unwrap()).unwrap_or(address);
            let client = file["by"].as_str().map_or_else(|| server.client(), |by| fixture.client(&server, by));
            let answer = client.request(Method::GET, path).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{file}");
            assert_eq!(hex::encode(Sha256::digest(answer.bytes().await.unwrap())), file["sha256"].as_str().unwrap(), "{file}");
        }
        server.stop().await;
    }
}

fn id(told: &Value) -> i64 {
    told["id"].as_i64().unwrap_or_else(|| panic!("it has an id: {told}"))
}

/// Events of the bus between two ids, read page by page.
async fn on_bus(fixture: &Fixture, server: &Server, poll: &Value, after: i64, until: i64) -> Vec<Value> {
    let (mut poll, mut all) = (poll.clone(), Vec::new());
    while all.last().is_none_or(|last| id(last) < until) {
        poll["ask"]["last"] = all.last().map_or(after, id).into();
        let told = fixture.ask(server, &poll).await;
        assert!(!items(&told).is_empty(), "nothing is told after {}", poll["ask"]);
        all.extend_from_slice(items(&told));
    }
    assert!(all.is_sorted_by(|one, next| id(one) < id(next)), "{all:?}");
    all
}

/// Polls from a kept position: the events after it in order, none twice, and then new ones.
#[tokio::test]
async fn who_kept_a_place_is_told_what_followed() {
    for fixture in stores().await {
        let mut server = fixture.server().start().await;
        let polls = &fixture.kept["polls"];
        let mut last = 0;
        for name in ["bus_of_who_left", "bus"] {
            let (poll, kept) = (&polls[name], polls[name]["ask"]["last"].as_i64().unwrap());
            last = items(&poll["answer"]).last().map(id).unwrap();
            let followed = on_bus(&fixture, &server, poll, kept, last).await;
            fixture.compare(poll, &followed.clone().into());
            let all = on_bus(&fixture, &server, poll, 1, last).await;
            assert!(all.len() > followed.len() && all.ends_with(&followed), "who has kept nothing is told the same in the end");
        }
        let poll = &polls["messages"];
        fixture.check(&server, poll).await;

        let (mut poll_bus, mut poll_messages, thread) = (polls["bus"].clone(), poll.clone(), &poll["ask"]["thread_id"]);
        poll_bus["ask"]["last"] = last.into();
        let last = items(&poll["answer"]["messages"]).last().map(id).unwrap();
        (poll_messages["ask"]["last_message_id"], poll_messages["ask"]["timeout"]) = (last.into(), json!(60));
        let polled = futures_util::future::join(fixture.ask(&server, &poll_bus), fixture.ask(&server, &poll_messages));
        let ((bus, messages), new) = futures_util::future::join(polled, async {
            server.polls_waiting(2).await;
            let admin = fixture.client(&server, "admin");
            admin.messaging("message/send", json!({"thread_id": thread, "body": "new"})).await["message_id"].take()
        })
        .await;
        assert!(new.as_i64().unwrap() > last, "{new} follows {last}");
        let told: Vec<_> = items(&bus).iter().map(|told| &told["message"]["id"]).collect();
        assert_eq!(told, [&new, &new], "on the session's channel and on the user's own: {bus}");
        assert_eq!((&messages["count"], &messages["messages"][0]["id"]), (&json!(1), &new), "{messages}");

        // `poll/updates` has a cursor of its own for each session. The updates may take several answers.
        let (phone, mut untold) = (fixture.client(&server, "phone"), items(&fixture.kept["news"]).to_vec());
        while !untold.is_empty() {
            let told = phone.messaging("poll/updates", json!({"timeout": 60})).await;
            assert_eq!(told["has_updates"], true, "still untold: {untold:?}");
            untold.retain(|thread| items(&told["threads_with_updates"]).iter().all(|update| update["thread_id"] != *thread));
        }
        server.stop().await;
    }
}

async fn uid(client: &Client) -> Value {
    client.call("/web/session/get_session_info", json!({})).await["result"]["uid"].take()
}

async fn uid_of_token(server: &Server, access: &str) -> Value {
    let answer = http().get(server.url("/auth/token")).header(AUTHORIZATION, format!("Bearer {access}")).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["uid"].take()
}

async fn renewed(server: &Server, refresh: &str) -> (StatusCode, Value) {
    let answer = server.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await;
    (answer.status, answer.json())
}

/// Cookies, tokens and passwords stay valid. Revoked and expired ones stay invalid.
#[tokio::test]
async fn whoever_was_let_in_still_is() {
    for fixture in stores().await {
        let mut server = fixture.server().start().await;
        for (name, person) in members(&fixture.kept["people"]) {
            let kept = |what| fixture.of_person(name, what);
            assert_eq!(uid(&fixture.client(&server, name)).await, person["uid"], "{name}'s cookie");
            assert_eq!(uid_of_token(&server, kept("access")).await, person["uid"], "{name}'s token");
            let (status, pair) = renewed(&server, kept("refresh")).await;
            assert_eq!(status, StatusCode::OK, "{name}: {pair}");
            let renewed = pair["access"].as_str().unwrap();
            assert_eq!(uid_of_token(&server, renewed).await, person["uid"], "{name}'s new token");
            assert_eq!(uid(&server.log_in(kept("login")).await).await, person["uid"], "{name}'s password");
            for access in [kept("access"), renewed] {
                let mut room = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={access}"))).await;
                room.heard_so_far().await;
                room.close().await;
            }
            fixture.desk(&server, name).await.0.close().await;
        }
        let mut socket = fixture.conversation(&server, "john", &json!(1)).await;
        socket.hear_until(|told| told["type"] == "user_status").await;
        socket.close().await;
        assert_eq!(uid_of_token(&server, fixture.kept["issued"].as_str().unwrap()).await, fixture.kept["people"]["bob"]["uid"]);

        let ended = |what: &str| fixture.kept["ended"][what].as_str().unwrap();
        let client = server.client().with_session(Some(ended("cookie")));
        assert_eq!(client.call("/web/session/get_session_info", json!({})).await["error"]["code"], 100);
        assert_eq!(renewed(&server, ended("refresh")).await.0, StatusCode::UNAUTHORIZED);
        let params = json!({"db": "odoo2", "login": "gone@example.com", "password": PASSWORD});
        let refused = server.client().call("/web/session/authenticate", params).await;
        assert_eq!(refused["error"]["data"]["name"], "odoo.exceptions.AccessDenied", "{refused}");
        server.stop().await;
    }
}

/// Idempotent retry: a client resends a message with the key that it kept.
#[tokio::test]
async fn a_retry_is_the_message_that_was_stored() {
    for fixture in stores().await {
        let mut server = fixture.server().start().await;
        let before = fixture.count_rows(&["messages"]).await;
        for retry in items(&fixture.kept["retries"]) {
            let mut socket = fixture.conversation(&server, retry["by"].as_str().unwrap(), &retry["thread"]).await;
            let [content, local_id] = [&retry["content"], &retry["local_id"]];
            socket.say(json!({"action": "send_message", "content": content, "local_id": local_id})).await;
            let told = socket.hear_until(|told| told["type"] == "chat_message").await;
            assert_eq!((&told["message"]["id"], &told["message"]["local_id"]), (&retry["id"], local_id), "{told}");
            socket.close().await;
        }
        let retry = &fixture.kept["retry_at_desk"];
        let mut desk = fixture.desk(&server, retry["by"].as_str().unwrap()).await;
        let stored = desk.ask("client/send-message", retry["body"].clone()).await;
        assert_eq!(stored["chatMessage"]["id"], retry["id"], "{stored}");
        desk.0.close().await;
        assert_eq!(fixture.count_rows(&["messages"]).await, before);
        server.stop().await;
    }
}

/// Support sessions: a waiting one can be joined, a joined one continues on both sides, and a closed one stays closed.
#[tokio::test]
async fn support_goes_on() {
    for fixture in stores().await {
        let mut server = fixture.server().start().await;
        let [waiting, joined, closed] = ["waiting", "joined", "closed"].map(|name| &fixture.kept["support"][name]);
        let (mut tenant, mut agent) = (fixture.desk(&server, "deepak").await, fixture.desk(&server, "agent").await);
        let body = |session: &Value| json!({"chatSessionId": session});
        let message =
            |session: &Value| json!({"chatSessionId": session, "contentType": "TEXT", "messageContent": "still there?"});

        let session = agent.ask("backend/join-chat-session", body(waiting)).await;
        assert_eq!(session["chatSession"]["chatJoinedByEntityId"], fixture.kept["people"]["agent"]["uid"].to_string());
        let update = format!("chat-session-update-{}", waiting.as_str().unwrap());
        tenant.0.hear_until(|told| told["channel"] == update).await;

        let continued = json!({"newSession": false, "chatSessionId": joined});
        tenant.ask("client/init-chat-with-concierge", continued).await;
        let sent = tenant.ask("client/send-message", message(joined)).await["chatMessage"]["id"].take();
        let pushed = format!("chat-message-{}", joined.as_str().unwrap());
        let heard = agent.0.hear_until(|told| told["channel"] == pushed).await["payload"]["chatMessage"]["id"].take();
        assert_eq!(heard.to_string(), sent.as_str().unwrap());
        let unread = async |tenant: &mut Desk| {
            let count = tenant.ask("client/get-unread-msg-count", json!({})).await["unreadMsgCount"].take();
            count.as_str().and_then(|count| count.parse::<u64>().ok()).unwrap()
        };
        let before = unread(&mut tenant).await;
        let answer = agent.ask("backend/send-message", message(joined)).await["chatMessage"]["id"].take();
        tenant.0.hear_until(|told| told["channel"] == pushed).await;
        assert_eq!(unread(&mut tenant).await, before + 1);
        let seen = json!({"chatSessionId": joined, "messageId": answer});
        assert_eq!(tenant.ask("client/update-message-seen-at", seen).await["chatMessage"]["status"], 4);
        assert_eq!(unread(&mut tenant).await, 0);

        for (desk, route) in [(&mut tenant, "client/send-message"), (&mut agent, "backend/join-chat-session")] {
            let refused = desk.answer(route, message(closed)).await;
            assert!([403, 409].contains(&refused["status"].as_u64().unwrap()), "{route}: {refused}");
        }
        tenant.ask("client/end-chat-with-concierge", body(waiting)).await;
        let list = agent.ask("backend/list-chat-sessions", json!({"status": "joined"})).await;
        assert_eq!(items(&list["chatSessions"]).len(), 1, "{list}");
        tenant.0.close().await;
        agent.0.close().await;
        server.stop().await;
    }
}

/// The migration deletes no rows or files, and neither do the retention sweeps after it.
#[tokio::test]
async fn migrating_takes_nothing_away() {
    for release in RELEASES {
        let fixture = Fixture::of(release).await;
        let (rows, files) = (fixture.count_rows(&TABLES).await, fixture.count_files());
        assert!(rows.values().all(|count| *count > 0), "there is something of everything: {rows:?}");
        for _ in 0..2 {
            fixture.backend.administer(&["migrate"], "").await;
            assert_eq!(fixture.count_rows(&TABLES).await, rows);
        }
        let mut server = fixture.server().set("RETENTION__EVERY_SECONDS", 1).start().await;
        // The last statement of a retention round.
        let last = "dragoman_store_seconds_count{operation=\"delete devices\"} ";
        until("two rounds", async || {
            let metrics = server.get("/metrics").await.text().await.unwrap();
            let rounds = metrics.lines().find_map(|line| line.strip_prefix(last)?.parse::<u64>().ok());
            rounds.filter(|rounds| *rounds >= 2)
        })
        .await;
        assert_eq!((fixture.count_rows(&TABLES).await, fixture.count_files()), (rows, files));
        server.stop().await;
    }
}
