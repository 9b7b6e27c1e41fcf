//! Tests of the message history and its keyset pagination.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::{ADMIN, JOHN, complaint, enter, hear, said, send, url};
use crate::{
    support::{self, Server, Socket, token},
    with_every_backend, with_tokens_on_every_backend,
};

/// Fetches a page, and returns its texts.
async fn page(socket: &mut Socket, mut asked: Value) -> Vec<String> {
    asked["action"] = "fetch_messages".into();
    socket.say(asked).await;
    let fetched = hear(socket, "messages_fetched").await;
    let contents = fetched["messages"].as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap().to_owned());
    contents.collect()
}

/// Fetches the page after a message: returns the ids of changed messages that come before the page, and the page.
async fn catch_up(socket: &mut Socket, after: &Value, limit: usize) -> (Vec<Value>, Vec<Value>) {
    socket.say(json!({"action": "fetch_messages", "after_id": after, "limit": limit})).await;
    let mut changed = Vec::new();
    loop {
        let mut told = socket.hear().await;
        match told["type"].as_str() {
            Some("message.edited" | "message.deleted") => changed.push(told["message_id"].take()),
            Some("messages_fetched") => return (changed, told["messages"].as_array().unwrap().clone()),
            _ => {}
        }
    }
}

fn numbers(numbers: impl Iterator<Item = usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

with_tokens_on_every_backend! {
    async fn history_comes_by_pages_in_either_direction(server) {
        let admin = server.log_in(support::ADMIN).await;
        let mut ids = Vec::new();
        for number in 0..130 {
            let sent = admin.messaging("message/send", json!({"thread_id": 1, "body": number.to_string()})).await;
            ids.push(sent["message_id"].as_i64().unwrap());
        }
        let mut john = enter(server, JOHN, 1).await;
        assert_eq!(page(&mut john, json!({})).await, numbers((110..130).rev()), "twenty, if it does not say");
        assert_eq!(page(&mut john, json!({"limit": 1_000})).await, numbers((30..130).rev()), "and a hundred at most");
        for before in [json!(ids[110]), json!(ids[110].to_string())] {
            assert_eq!(page(&mut john, json!({"before_id": before, "limit": "3"})).await, numbers((107..110).rev()));
        }
        assert_eq!(page(&mut john, json!({"before_id": ids[0]})).await, [""; 0]);
        assert_eq!(page(&mut john, json!({"after_id": ids[9], "limit": 2})).await, numbers(10..12), "oldest first");
        assert_eq!(page(&mut john, json!({"after_id": "0", "limit": 100})).await, numbers(0..100));
        assert_eq!(page(&mut john, json!({"after_id": ids[129]})).await, [""; 0]);
        let error = complaint(&mut john, r#"{"action": "fetch_messages", "before_id": 9, "after_id": 1}"#).await;
        assert_eq!(error["error"], "before_id and after_id cannot both be given");
        let error = complaint(&mut john, r#"{"action": "fetch_messages", "limit": 0}"#).await;
        assert_eq!(error["error"], "limit must be greater than 0");
    }

    /// Catch-up after a reconnect: the client fetches the messages sent meanwhile.
    async fn nothing_is_missed_between_two_connections(server) {
        let mut john = enter(server, JOHN, 1).await;
        let seen = send(&mut john, "seen").await;
        john.close().await;
        let admin = server.log_in(support::ADMIN).await;
        for body in ["missed", "missed as well"] {
            admin.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
        }
        let mut john = enter(server, JOHN, 1).await;
        assert_eq!(page(&mut john, json!({"after_id": seen["id"]})).await, ["missed", "missed as well"]);
    }

    /// Catch-up after a reconnect: changes of earlier messages come before new messages.
    async fn what_changed_meanwhile_is_told_before_what_was_said(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let mut ids = Vec::new();
        for text in ["changed before", "changed", "gone", "stays", "last"] {
            ids.push(send(&mut admin, text).await["id"].clone());
        }
        let mut change = async |action: &str, id: &Value, content: &str| {
            let told = if action == "edit_message" { "message.edited" } else { "message.deleted" };
            admin.say(json!({"action": action, "message_id": id, "content": content})).await;
            hear(&mut admin, told).await
        };
        change("edit_message", &ids[0], "before").await;
        let seen = send(&mut john, "seen").await["id"].clone();
        john.close().await;
        change("edit_message", &ids[1], "once").await;
        let gone = change("delete_message", &ids[2], "").await;
        let changed = change("edit_message", &ids[1], "twice").await;
        let missed = send(&mut admin, "missed").await["id"].clone();
        let edited_at_once = json!({"action": "edit_message", "message_id": missed, "content": "Missed"});
        admin.say(edited_at_once).await;
        hear(&mut admin, "message.edited").await;

        let mut john = enter(server, JOHN, 1).await;
        said(&mut john).await;
        john.say(json!({"action": "fetch_messages", "after_id": seen})).await;
        let told = said(&mut john).await;
        assert_eq!(told[..2], [gone.clone(), changed.clone()], "in the order of their last change, as they read now");
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[2]["messages"][0]["content"], "Missed");
        assert_eq!(told[2]["messages"].as_array().unwrap().len(), 1);
        john.say(json!({"action": "fetch_messages", "after_id": ids[1]})).await;
        assert_eq!(said(&mut john).await.len(), 3, "of those up to there: what was said later is in the page");
        john.say(json!({"action": "fetch_messages", "after_id": missed})).await;
        assert_eq!(said(&mut john).await.len(), 1, "whoever goes on from a page knows all that was changed before it");
        admin.say(json!({"action": "edit_message", "message_id": ids[3], "content": "changed at last"})).await;
        hear(&mut john, "message.edited").await;
        assert_eq!(catch_up(&mut john, &missed, 20).await.0, [ids[3].clone()], "what has happened since");
        let mut john = enter(server, JOHN, 1).await;
        assert_eq!(catch_up(&mut john, &missed, 20).await.0, [missed.clone(), ids[3].clone()], "its own change, and the last one");
        john.say(json!({"action": "fetch_messages", "before_id": missed})).await;
        assert_eq!(said(&mut john).await.len(), 1, "whoever goes back reads what there is");
    }

    /// Deduplication of changes over several pages: each change is sent once.
    async fn each_change_is_told_once(server) {
        let mut admin = enter(server, ADMIN, 1).await;
        let mut ids = Vec::new();
        for number in 0..40 {
            ids.push(send(&mut admin, &number.to_string()).await["id"].clone());
        }
        for id in &ids {
            admin.say(json!({"action": "edit_message", "message_id": id, "content": "changed"})).await;
            hear(&mut admin, "message.edited").await;
        }
        let mut john = enter(server, JOHN, 1).await;
        let (mut after, mut edited, mut fetched) = (ids[9].clone(), Vec::new(), Vec::new());
        loop {
            let (changed, page) = catch_up(&mut john, &after, 5).await;
            edited.extend(changed);
            assert!(page.iter().all(|message| message["content"] == "changed"));
            let Some(last) = page.last() else { break };
            after = last["id"].clone();
            fetched.extend(page.iter().map(|message| message["id"].clone()));
        }
        assert_eq!((edited.as_slice(), fetched.as_slice()), (&ids[..10], &ids[10..]));
    }

    /// Files of other dialects: named in the text, with a URL.
    async fn files_are_shown_as_text(server) {
        let mut john = enter(server, JOHN, 1).await;
        let admin = server.log_in(support::ADMIN).await;
        let file = reqwest::multipart::Part::bytes(b"some notes".to_vec()).file_name("notes.txt");
        let form = reqwest::multipart::Form::new().part("file", file).text("thread_id", "1");
        let upload = admin.request(reqwest::Method::POST, "/api/messaging/attachment/upload").multipart(form);
        let uploaded = support::Answer::of(upload).await.json();
        let files = [uploaded["attachment_id"].clone()];
        admin.messaging("message/send", json!({"thread_id": 1, "body": "look", "attachment_ids": files})).await;
        let told = hear(&mut john, "chat_message").await;
        let content = told["message"]["content"].as_str().unwrap();
        let address = content.strip_prefix("look\nnotes.txt ").unwrap_or_else(|| panic!("{content}"));
        let path = address.strip_prefix(&server.url("")).unwrap_or_else(|| panic!("{address}"));
        assert_eq!(server.get(path).await.text().await.unwrap(), "some notes");
    }
}

with_every_backend! {
    /// Back-pressure on changes: they are sent in batches as the client reads them, without another answer in between.
    async fn all_changes_are_told(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 10_000).start().await;
        let admin = server.log_in(support::ADMIN).await;
        let mut sent = Vec::new();
        for number in 0..253 {
            let sent_now = admin.messaging("message/send", json!({"thread_id": 1, "body": number.to_string()})).await;
            sent.push(sent_now["message_id"].to_string());
        }
        let mut again = enter(&server, ADMIN, 1).await;
        // Batch size: a few of these texts fill a batch.
        let long = "x".repeat(60_000);
        for (number, id) in sent.iter().enumerate() {
            let content = if number < 40 { long.as_str() } else { "changed" };
            again.say(json!({"action": "edit_message", "message_id": id, "content": content})).await;
            hear(&mut again, "message.edited").await;
        }
        let mut john = enter(&server, JOHN, 1).await;
        said(&mut john).await;
        john.say(json!({"action": "fetch_messages", "after_id": sent[252]})).await;
        john.say(json!({"action": "delete_message", "message_id": sent[0]})).await;
        // Pings answered between the batches.
        let mut told = Vec::new();
        while told.last().is_none_or(|last: &Value| last["type"] != "error") {
            told.push(john.hear().await);
        }
        told.retain(|told| told["type"] != "user_status");
        let kinds: Vec<_> = told.iter().map(|told| told["type"].as_str().unwrap()).collect();
        assert_eq!(kinds[sent.len()..], ["messages_fetched", "error"]);
        let changed: Vec<_> = told[..sent.len()].iter().map(|told| told["message_id"].as_str().unwrap()).collect();
        assert_eq!(changed, sent);
        assert_eq!(told[0]["content"], long);
        drop((john, again));
        server.stop().await;
    }

    /// No gap after the handshake: a client that reads the history in any dialect after it receives every later message.
    async fn nothing_is_missed_after_the_handshake(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 1_000).start().await;
        let client = server.log_in(support::JOHN).await;
        let session = client.result("/im_chat/api/get_or_create_session", json!({"user_to": ADMIN})).await;
        let uuid = session["uuid"].as_str().unwrap();
        let mut admin = enter(&server, ADMIN, 1).await;
        // A uuid, whose look-up takes longest.
        let address = url(&server, uuid, &token(JOHN));
        for number in 0..40 {
            let opened = join_all((0..10).map(|_| Socket::open(address.as_str()))).await;
            let text = number.to_string();
            send(&mut admin, &text).await;
            for mut socket in opened {
                // Order: earlier events come before this answer.
                socket.say(json!({"action": "fetch_messages", "limit": 1})).await;
                let told = socket.hear_until(|told| ["chat_message", "messages_fetched"].map(Some).contains(&told["type"].as_str())).await;
                assert_eq!(told["message"]["content"], text, "{told}");
            }
        }
        drop(admin);
        server.stop().await;
    }

    /// Pages do not count towards the slow-reader limit.
    async fn long_pages_are_no_slowness(backend) {
        const MESSAGES: usize = 100;
        const ASKED: usize = 20;

        let server = Server::builder(backend).with_tokens().set("SOCKETS__QUEUED_FRAMES", 2);
        let mut server = server.set("SOCKETS__QUEUED_BYTES", 65_536).start().await;
        let admin = server.log_in(support::ADMIN).await;
        for _ in 0..MESSAGES {
            admin.messaging("message/send", json!({"thread_id": 1, "body": "x".repeat(60_000)})).await;
        }
        let mut john = enter(&server, JOHN, 1).await;
        for _ in 0..ASKED / 2 {
            for limit in [MESSAGES, 1] {
                john.say(json!({"action": "fetch_messages", "limit": limit})).await;
            }
        }
        admin.messaging("message/send", json!({"thread_id": 1, "body": "the end"})).await;
        let (mut pages, mut told) = (0, false);
        while pages < ASKED || !told {
            let heard = john.hear().await;
            pages += usize::from(heard["type"] == "messages_fetched");
            told |= heard["message"]["content"] == "the end";
        }
        drop(john);
        server.stop().await;
    }
}
