//! Tests of size limits in bytes for answers and lists, whatever their messages hold.

use std::collections::BTreeSet;

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::{
    across::people::{ADMIN, JOHN},
    support::{Answer, Client, JANE, Server, Socket, token},
    with_tokens_on_every_backend,
};

/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;
const LONG: usize = 60_000;
const MIB: usize = 1024 * 1024;
/// Upper bound of a page in bytes: its texts and everything around them.
const PAGE: usize = MIB + 65_536 + 32 * 1024;
const UID_OF_JANE: i64 = 6;

async fn say(client: &Client, thread: i64, texts: usize) -> Vec<i64> {
    let mut said = Vec::new();
    for _ in 0..texts {
        let sent = client.messaging("message/send", json!({"thread_id": thread, "body": "x".repeat(LONG)})).await;
        said.push(sent["message_id"].as_i64().unwrap_or_else(|| panic!("{sent}")));
    }
    said
}

fn ids(messages: &Value) -> Vec<i64> {
    let id = |message: &Value| message["id"].as_i64().or_else(|| message["id"].as_str()?.parse().ok()).expect("it has an id");
    messages.as_array().unwrap_or_else(|| panic!("{messages}")).iter().map(id).collect()
}

async fn room(server: &Server, uid: i64, path: &str) -> Value {
    let answer = Answer::of(server.client().request(Method::GET, path).bearer_auth(token(uid))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["data"].take()
}

/// Keyset pagination: reads all pages by id as John in every dialect. Expects exactly these messages, newest first, in
/// answers of a bounded size. The newest `told` of them follow this position of the event log.
async fn is_bounded_and_complete(server: &Server, expected: &[i64], position: i64, told: usize) {
    let john = server.log_in(JOHN.login).await;
    let (mut found, mut last) = (Vec::new(), i64::MAX);
    loop {
        let page = john.messaging("messages", json!({"thread_id": PAIR, "limit": 200, "before_id": last})).await;
        assert!(page.to_string().len() < PAGE);
        let Some(oldest) = ids(&page["messages"]).last().copied() else { break };
        found.extend(ids(&page["messages"]));
        last = oldest;
    }
    assert_eq!(found, expected, "messages");
    let whole = john.messaging("messages", json!({"thread_id": PAIR, "limit": 200})).await;
    assert_eq!(ids(&whole["messages"]), expected, "by offset it is whole");

    let (mut found, mut last) = (Vec::new(), 0);
    loop {
        let poll = json!({"thread_id": PAIR, "last_message_id": last, "timeout": 0});
        let page = john.messaging("poll/messages", poll).await;
        assert!(page.to_string().len() < PAGE);
        assert_eq!(page["count"].as_u64(), page["messages"].as_array().map(|messages| messages.len() as u64));
        let Some(newest) = ids(&page["messages"]).last().copied() else { break };
        found.extend(ids(&page["messages"]));
        last = newest;
    }
    assert!(found.iter().rev().eq(expected), "poll/messages");

    let path = format!("/chat/messages/{}/", ADMIN.uuid);
    let (mut found, mut before) = (Vec::new(), String::new());
    loop {
        let page = room(server, JOHN.uid, &format!("{path}?limit=200{before}")).await;
        // The answer holds each text twice, and the whole list under two names.
        assert!(2 * page.to_string().len() < PAGE);
        let Some(oldest) = ids(&page["messages"]).last().copied() else { break };
        found.extend(ids(&page["messages"]));
        before = format!("&before={oldest}");
    }
    assert_eq!(found, expected, "room");

    let path = format!("/conversations/{PAIR}/?token={}", token(JOHN.uid));
    let mut socket = Socket::open(server.socket_url(&path)).await;
    let (mut found, mut fetch) = (Vec::new(), json!({"action": "fetch_messages", "limit": 100}));
    loop {
        socket.say(fetch.clone()).await;
        let page = socket.hear_until(|told| told["type"] == "messages_fetched").await;
        assert!(page.to_string().len() < PAGE);
        let Some(oldest) = ids(&page["messages"]).last().copied() else { break };
        found.extend(ids(&page["messages"]));
        fetch["before_id"] = oldest.into();
    }
    assert_eq!(found, expected, "conversations");

    // The bus, from before the first of them, whether the ring in memory or the event log holds the events.
    let (mut found, mut last) = (BTreeSet::new(), position << 20);
    let newest = expected[0];
    while !found.contains(&newest) {
        let told = john.result("/longpolling/poll", json!({"channels": [], "last": last})).await;
        assert!(told.to_string().len() < PAGE);
        let told = told.as_array().unwrap();
        let messages = told.iter().map(|told| &told["message"]).filter(|message| message["create_date"].is_string());
        found.extend(messages.filter_map(|message| message["id"].as_i64()));
        last = told.iter().filter_map(|told| told["id"].as_i64()).max().expect("there is more");
    }
    assert!(found.iter().rev().eq(&expected[..told]), "the bus");
}

/// Fifty files of one owner, with names of the greatest length.
async fn long_named_files(client: &Client) -> Vec<Value> {
    let name = format!("{}.pdf", "日".repeat(251));
    let mut files = Vec::new();
    for _ in 0..50 {
        let form = Form::new().part("file", Part::bytes(b"x".to_vec()).file_name(name.clone()));
        let uploaded = Answer::of(client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form)).await.json();
        assert_eq!(uploaded["name"], name);
        files.push(uploaded["attachment_id"].clone());
    }
    files
}

with_tokens_on_every_backend! {
    /// Paging by id returns everything, in answers of a bounded size.
    async fn pages_that_go_on_by_id_are_bounded_and_complete(server) {
        let (admin, john) = (server.log_in(ADMIN.login).await, server.log_in(JOHN.login).await);
        let before = john.messaging("messages", json!({"thread_id": PAIR, "limit": 200})).await;
        let mut expected = ids(&before["messages"]);
        let position = server.metric("dragoman_log_position").await as i64;
        for id in say(&admin, PAIR, 50).await {
            expected.insert(0, id);
        }
        is_bounded_and_complete(server, &expected, position, 50).await;
    }

    /// The limit counts file names like texts, and characters by the length of their JSON escapes.
    async fn pages_of_files_are_bounded_and_complete(server) {
        let (admin, john) = (server.log_in(ADMIN.login).await, server.log_in(JOHN.login).await);
        let before = john.messaging("messages", json!({"thread_id": PAIR, "limit": 200})).await;
        let mut expected = ids(&before["messages"]);
        let position = server.metric("dragoman_log_position").await as i64;
        let files = long_named_files(&admin).await;
        for _ in 0..30 {
            let message = json!({"thread_id": PAIR, "body": "", "attachment_ids": files});
            let sent = admin.messaging("message/send", message).await;
            expected.insert(0, sent["message_id"].as_i64().unwrap_or_else(|| panic!("{sent}")));
        }
        // Each character takes six bytes in JSON.
        let message = json!({"thread_id": PAIR, "body": format!("x{}", "\u{1}".repeat(20_000))});
        for _ in 0..5 {
            let sent = admin.messaging("message/send", message.clone()).await;
            expected.insert(0, sent["message_id"].as_i64().unwrap_or_else(|| panic!("{sent}")));
        }
        is_bounded_and_complete(server, &expected, position, 35).await;
        let start = john.result("/im_chat/init", json!({})).await;
        assert!(start.to_string().len() < PAGE + 6 * 20_000, "{}", start.to_string().len());
    }

    /// Lists show only the beginning and the first file of a last message. Texts name at most a handful of files.
    async fn lists_and_texts_name_few_files(server) {
        let (admin, john) = (server.log_in(ADMIN.login).await, server.log_in(JOHN.login).await);
        let message = json!({"thread_id": PAIR, "body": "look", "attachment_ids": long_named_files(&admin).await});
        let sent = admin.messaging("message/send", message).await["message_id"].take();
        let threads = john.messaging("threads", json!({})).await;
        let sessions = john.result("/im_chat/api/get_sessions", json!({})).await;
        let rooms = room(server, JOHN.uid, "/chat/user/threads/").await;
        for answer in [&threads, &sessions, &rooms] {
            assert!(answer.to_string().len() < 16 * 1024, "{answer}");
        }
        let last = rooms.as_array().unwrap().iter().map(|room| &room["last_message"]).find(|last| last["id"] == sent);
        let last = last.unwrap_or_else(|| panic!("{rooms}"));
        assert_eq!((&last["message_type"], &last["message"]), (&json!("file"), &json!("look")));

        let whole = john.messaging("messages", json!({"thread_id": PAIR, "limit": 1})).await["messages"][0].take();
        assert_eq!(whole["attachments"].as_array().map(Vec::len), Some(50));
        let shown = room(server, JOHN.uid, &format!("/chat/messages/{}/?limit=1", ADMIN.uuid)).await["messages"][0].take();
        let lines: Vec<_> = shown["message"].as_str().unwrap().lines().collect();
        assert_eq!((lines.len(), lines[0], lines[11]), (12, "look", "and 39 more"));
        let uuid = john.result("/im_chat/api/get_or_create_session", json!({"user_to": ADMIN.uid})).await["uuid"].take();
        let page = john.result("/im_chat/history", json!({"uuid": uuid, "limit": 1})).await;
        let named: Value = serde_json::from_str(page[0]["message"].as_str().unwrap()).unwrap();
        assert_eq!((named["attachments"].as_array().map(Vec::len), &named["more"]), (Some(10), &json!(40)));
    }

    /// Odoo 8 takes a page that is shorter than its own page size for the last one.
    async fn a_page_of_an_odoo_client_is_whole(server) {
        let (admin, john) = (server.log_in(ADMIN.login).await, server.log_in(JOHN.login).await);
        let said = say(&admin, PAIR, 45).await;
        let uuid = john.result("/im_chat/api/get_or_create_session", json!({"user_to": ADMIN.uid})).await["uuid"].take();
        let history = async |more: Value| {
            let mut params = json!({"uuid": uuid});
            params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ids(&john.result("/im_chat/history", params).await)
        };
        let newest: Vec<_> = said.iter().rev().copied().collect();
        assert_eq!(history(json!({})).await, newest[..20]);
        assert_eq!(history(json!({"last_id": newest[19]})).await, newest[20..40]);
        assert_eq!(history(json!({"limit": 200})).await, newest[..20], "beyond that it is bounded");
        assert_eq!(history(json!({"limit": 3})).await, newest[..3]);
    }

    /// `/im_chat/init` lists every session and limits the messages by their size.
    async fn what_a_client_needs_to_start_is_bounded(server) {
        let (john, jane) = (server.log_in(JOHN.login).await, server.log_in(JANE).await);
        for document in 1..=4 {
            let about = json!({"user_to": UID_OF_JANE, "doc_id": document, "doc_model": "x"});
            let session = john.result("/im_chat/api/get_or_create_session", about).await;
            let thread = session["docs"][0]["id"].as_i64().unwrap();
            say(&john, thread, 20).await;
        }
        let start = jane.result("/im_chat/init", json!({})).await;
        assert!(start.to_string().len() < PAGE + 32 * 1024, "{}", start.to_string().len());
        let told = start.as_array().unwrap();
        assert!(told.iter().filter(|told| told[1]["users"].is_array()).count() >= 4, "every session is there");
        let texts: Vec<_> = told.iter().filter(|told| told[1]["message"] == "x".repeat(LONG)).collect();
        assert_eq!(texts.len(), 18);
        let thread = jane.messaging("threads", json!({})).await["threads"][0]["id"].take();
        let newest = jane.messaging("messages", json!({"thread_id": thread, "limit": 1})).await;
        assert_eq!(texts[17][1]["id"], newest["messages"][0]["id"], "the most recent are told");
    }

    /// Lists show the beginning of a last message, and the store reads no more of it.
    async fn lists_show_the_beginning_of_a_last_message(server) {
        let (john, jane) = (server.log_in(JOHN.login).await, server.log_in(JANE).await);
        let body = "…".repeat(20_000);
        let shown = "…".repeat(341);
        for number in 0..20 {
            let new = json!({"name": format!("thread {number}"), "partner_ids": [UID_OF_JANE]});
            let thread = john.messaging("thread/create", new).await["thread_id"].take();
            john.messaging("message/send", json!({"thread_id": thread, "body": body})).await;
        }
        let threads = jane.messaging("threads", json!({})).await;
        let updates = jane.messaging("poll/updates", json!({"timeout": 0, "last_check": "2001-01-01"})).await;
        let sessions = jane.result("/im_chat/api/get_sessions", json!({})).await;
        let unread = jane.messaging("unread/count", json!({})).await;
        let rooms = room(server, UID_OF_JANE, "/chat/user/threads/").await;
        for answer in [&threads, &updates, &sessions, &unread, &rooms] {
            assert!(answer.to_string().len() < 100_000, "{}", answer.to_string().len());
        }
        assert_eq!(threads["threads"][0]["last_message"], shown);
        assert_eq!(updates["threads_with_updates"][0]["last_message"], shown);
        assert!(sessions.to_string().contains(&format!("\"{shown}\"")));
        assert_eq!(rooms[0]["last_message"]["message"], shown);
        let thread = threads["threads"][0]["id"].clone();
        let messages = jane.messaging("messages", json!({"thread_id": thread})).await;
        assert_eq!(messages["messages"][0]["body"], body, "the message itself is whole");
    }
}
