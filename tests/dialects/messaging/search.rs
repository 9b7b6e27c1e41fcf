//! Tests of message search.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};

use super::{refusal, send, texts, thread_with};
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, Backend, Client, JANE, JOHN, Server},
};

async fn search(client: &Client, params: Value) -> Value {
    let found = client.messaging("messages/search", params).await;
    assert!(found.get("error").is_none(), "{found}");
    found
}

/// Searches all threads, and returns the texts found.
async fn found(client: &Client, query: &str) -> Vec<String> {
    texts(&search(client, json!({"query": query})).await)
}

/// Ids of the messages in an answer.
fn ids(answer: &Value) -> Vec<i64> {
    answer["messages"].as_array().unwrap().iter().map(|message| message["id"].as_i64().unwrap()).collect()
}

/// Fetches all pages of a search, and returns their ids.
async fn pages(client: &Client, params: Value) -> Vec<Vec<i64>> {
    let (mut pages, mut params) = (Vec::new(), params);
    loop {
        let page = search(client, params.clone()).await;
        assert_eq!(page["complete"], true, "{page}");
        let Some(last) = ids(&page).last().copied() else { return pages };
        params["before_id"] = last.into();
        pages.push(ids(&page));
    }
}

on_every_backend! {
    /// Search results: newest first, case-insensitive, in the format of the history.
    async fn messages_of_all_threads_are_found(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&john, 1, "The NEEDLE is here").await;
        send(&john, 1, "Nothing").await;
        send(&admin, 2, "a needle, too").await;
        let newest = send(&john, 1, "needles").await;
        assert_eq!(found(&admin, "Needle").await, ["needles", "a needle, too", "The NEEDLE is here"]);
        let one = search(&admin, json!({"query": "needles"})).await;
        let history = admin.messaging("messages", json!({"thread_id": 1, "limit": 1})).await;
        assert_eq!(one, json!({"messages": history["messages"], "complete": true}));
        assert_eq!(ids(&one), [newest]);
        assert_eq!(search(&admin, json!({"query": "elsewhere"})).await, json!({"messages": [], "complete": true}));
    }

    /// Search in one thread of the caller.
    async fn one_thread_can_be_searched(server) {
        let (john, bob) = (server.log_in(JOHN).await, server.log_in(BOB).await);
        send(&john, 1, "needle one").await;
        send(&john, 2, "needle two").await;
        assert_eq!(texts(&search(&john, json!({"query": "needle", "thread_id": 1})).await), ["needle one"]);
        assert_eq!(texts(&search(&bob, json!({"query": "needle", "thread_id": "2"})).await), ["needle two"]);
        let empty = thread_with(&john, json!([])).await;
        assert_eq!(search(&john, json!({"query": "needle", "thread_id": empty})).await["messages"], json!([]));
        assert_eq!(refusal(&bob, "messages/search", json!({"query": "needle", "thread_id": 1})).await, "Access denied");
        assert_eq!(refusal(&bob, "messages/search", json!({"query": "needle", "thread_id": 999})).await, "Thread not found");
    }

    /// Threads of other users: never searched, not even for admins.
    async fn threads_of_others_are_never_found(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        let thread = thread_with(&john, json!([6])).await;
        send(&john, thread, "a needle between us").await;
        assert_eq!(found(&jane, "needle").await, ["a needle between us"]);
        assert_eq!(found(&admin, "needle").await, [""; 0]);
        assert_eq!(found(&server.log_in(BOB).await, "needle").await, [""; 0]);
    }

    /// Messages hidden from a newcomer: neither in search results nor in a poll from the first message.
    async fn a_newcomer_finds_what_was_said_since(server) {
        let (admin, jane) = (server.log_in(ADMIN).await, server.log_in(JANE).await);
        let thread = thread_with(&admin, json!([4])).await;
        for number in 1..=101 {
            send(&admin, thread, &format!("needle {number}")).await;
        }
        admin.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": 6})).await;
        assert_eq!(found(&jane, "needle").await, [""; 0]);
        let last = send(&admin, thread, "needle for all").await;
        let all = json!({"query": "needle", "thread_id": thread});
        assert_eq!(pages(&jane, all.clone()).await, [[last]]);
        assert_eq!(pages(&jane, json!({"query": "needle"})).await, [[last]]);
        assert_eq!(pages(&admin, all).await.concat().len(), 102);
        let poll = json!({"thread_id": thread, "last_message_id": 0, "timeout": 0});
        assert_eq!(texts(&jane.messaging("poll/messages", poll).await), ["needle for all"]);
        assert_eq!(search(&jane, json!({"query": "needle", "before_id": last})).await["messages"], json!([]));
    }

    /// Edited and deleted messages: searched in their current state.
    async fn what_was_edited_or_deleted_is_not_found(server) {
        let john = server.log_in(JOHN).await;
        let (edited, deleted) = (send(&john, 1, "a needle").await, send(&john, 1, "another needle").await);
        john.messaging("message/edit", json!({"message_id": edited, "body": "a thread"})).await;
        john.messaging("message/delete", json!({"message_id": deleted})).await;
        assert_eq!(found(&john, "needle").await, [""; 0]);
        assert_eq!(found(&john, "thread").await, ["a thread"]);
    }

    /// Pagination: each result once, across threads.
    async fn results_come_in_pages(server) {
        let john = server.log_in(JOHN).await;
        let threads = [1, 2, thread_with(&john, json!([6])).await, thread_with(&john, json!([6, 8])).await];
        let (mut expected, mut of_two) = (Vec::new(), Vec::new());
        for number in 0..60_usize {
            let thread = threads[number * number % 7 % 4];
            let is_match = number % 3 != 1;
            let id = send(&john, thread, if is_match { "a needle" } else { "hay" }).await;
            if is_match {
                expected.push(id);
            }
            if is_match && thread == 2 {
                of_two.push(id);
            }
        }
        expected.reverse();
        of_two.reverse();
        for limit in [1, 7, 39, 40, 41, 100] {
            let pages = pages(&john, json!({"query": "needle", "limit": limit})).await;
            assert!(pages[..pages.len() - 1].iter().all(|page| page.len() == limit), "{limit}: {pages:?}");
            assert_eq!(pages.concat(), expected, "{limit}");
        }
        assert_eq!(pages(&john, json!({"query": "needle", "limit": 3, "thread_id": 2})).await.concat(), of_two);
        let default = ids(&search(&john, json!({"query": "needle"})).await);
        assert_eq!(default, expected[..20]);
        assert_eq!(ids(&search(&john, json!({"query": "needle", "limit": 0})).await), default);
        assert_eq!(ids(&search(&john, json!({"query": "needle", "limit": 1_000_000})).await), expected);
        for before in [json!(expected[5] + 1), json!(expected[5].to_string())] {
            let page = ids(&search(&john, json!({"query": "needle", "before_id": before, "limit": 100})).await);
            assert_eq!(page.len(), expected[5..].len() - usize::from(before.is_string()));
        }
        for before in [json!(0), json!(-5), json!("-99999999999999999999")] {
            assert_eq!(search(&john, json!({"query": "needle", "before_id": before})).await["messages"], json!([]));
            assert_eq!(search(&john, json!({"query": "needle", "before_id": before, "thread_id": 1})).await["messages"], json!([]));
        }
    }

    /// Size limit of an answer: 1 MiB as sent, JSON escapes included.
    async fn an_answer_is_bounded(server) {
        let john = server.log_in(JOHN).await;
        let mut expected = BTreeSet::new();
        for text in ["x", "\u{1}", "ö"] {
            let body = format!("needle {}", text.repeat(60_000 / text.len()));
            for _ in 0..8 {
                expected.insert(send(&john, 1, &body).await);
            }
        }
        let (mut found, mut params) = (Vec::new(), json!({"query": "NEEDLE", "limit": 100}));
        loop {
            let answer = john.post("/api/messaging/messages/search", &json!({"params": params})).await;
            assert!(answer.body.len() < 1024 * 1024 + 512, "{}", answer.body.len());
            let page = ids(&answer.json()["result"]);
            let Some(last) = page.last() else { break };
            params["before_id"] = json!(last);
            found.extend(page);
        }
        assert!(found.iter().rev().eq(&expected), "{found:?}");
    }

    /// Length limits of a query.
    async fn a_query_has_its_limits(server) {
        let john = server.log_in(JOHN).await;
        send(&john, 1, "日本語 100%").await;
        for (params, text) in [
            (json!({}), "query parameter is required"),
            (json!({"query": ""}), "query parameter is required"),
            (json!({"query": null, "thread_id": 1}), "query parameter is required"),
            (json!({"query": "ab"}), "query must have 3 characters or more"),
            (json!({"query": "日本"}), "query must have 3 characters or more"),
            (json!({"query": "x".repeat(257)}), "query must not be longer than 256 bytes"),
            (json!({"query": "a\u{0}b"}), "query must not contain the NUL character"),
            (json!({"query": ["abc"]}), "query must be a text"),
            (json!({"query": "abc", "limit": -1}), "limit must not be negative"),
            (json!({"query": "abc", "thread_id": "x"}), "thread_id must be a whole number"),
            (json!({"query": "abc", "before_id": {}}), "before_id must be a whole number"),
        ] {
            assert_eq!(refusal(&john, "messages/search", params.clone()).await, text, "{params}");
        }
        assert_eq!(found(&john, &"x".repeat(256)).await, [""; 0]);
        for query in ["日本語", "00%", " 10"] {
            assert_eq!(found(&john, query).await, ["日本語 100%"], "{query}");
        }
        assert_eq!(found(&john, "%%%").await, [""; 0]);
        assert_eq!(texts(&search(&john, json!({"query": 100})).await), ["日本語 100%"], "a number is its text");
    }
}

/// A store with a long thread: 50,100 messages of the admin to John in thread 1, and matching messages in thread 2, one before
/// them and one in the middle.
async fn long() -> (Backend, [i64; 2]) {
    let backend = Backend::postgres().await;
    let mut server = Server::demo(backend.clone()).await;
    let john = server.log_in(JOHN).await;
    let old = send(&john, 2, "the old needle").await;
    fill(&backend, 50_000).await;
    let middle = send(&john, 2, "the needle in the middle").await;
    fill(&backend, 100).await;
    server.stop().await;
    (backend, [old, middle])
}

/// Adds messages without a match to thread 1.
async fn fill(backend: &Backend, messages: i64) {
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let insert = format!(
        "WITH new AS (
            INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, created_at)
            SELECT nextval('messages_id'), 1, c.last_seq + n, 3, 'text', 'hay', false, now()
            FROM conversations c, generate_series(1, {messages}) n WHERE c.id = 1 ORDER BY n RETURNING id
        )
        UPDATE conversations SET last_seq = last_seq + {messages}, last_message_id = (SELECT max(id) FROM new) WHERE id = 1"
    );
    database.execute(sqlx::AssertSqlSafe(insert)).await.unwrap();
}

/// Bound of a search: it stops after so many messages, and reports it; the cursor continues from there.
#[tokio::test]
async fn a_search_looks_at_fifty_thousand_messages() {
    let (backend, [old, middle]) = long().await;
    let mut server = Server::demo(backend).await;
    let john = server.log_in(JOHN).await;
    let newest = search(&john, json!({"query": "needle"})).await;
    assert_eq!((ids(&newest), &newest["complete"]), (vec![middle], &json!(false)));
    let rest = search(&john, json!({"query": "needle", "before_id": middle})).await;
    assert_eq!((ids(&rest), &rest["complete"]), (vec![], &json!(false)), "50,000 are not all, though the next is it");
    let rest = search(&john, json!({"query": "needle", "before_id": middle - 10})).await;
    assert_eq!((ids(&rest), &rest["complete"]), (vec![old], &json!(true)));
    let page = search(&john, json!({"query": "needle", "limit": 1})).await;
    assert_eq!((ids(&page), &page["complete"]), (vec![middle], &json!(true)), "the page was full before");
    let hay = search(&john, json!({"query": "hay", "limit": 100})).await;
    assert_eq!((ids(&hay).len(), &hay["complete"]), (100, &json!(true)));
    let thread = search(&john, json!({"query": "needle", "thread_id": 1})).await;
    assert_eq!((ids(&thread), &thread["complete"]), (vec![], &json!(false)));
    let thread = search(&john, json!({"query": "needle", "thread_id": 2})).await;
    assert_eq!((ids(&thread), &thread["complete"]), (vec![middle, old], &json!(true)));
    server.stop().await;
}
