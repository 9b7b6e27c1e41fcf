//! Tests of messages and read marks.

use serde_json::{Value, json};

use super::{bodies, is_time, refusal, send, texts, thread_with, unread};
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, Client, JANE, JOHN, Server},
};

async fn read(client: &Client, params: Value) -> i64 {
    let read = client.messaging("message/read", params).await;
    assert_eq!(read["success"], true, "{read}");
    read["marked_count"].as_i64().unwrap()
}

/// True if this client sees the newest message of a thread as read.
async fn is_read(client: &Client, thread: i64) -> bool {
    client.messaging("messages", json!({"thread_id": thread, "limit": 1})).await["messages"][0]["is_read"].as_bool().unwrap()
}

/// Sends five messages as John; returns his client and their ids.
async fn five(server: &Server) -> (Client, Vec<i64>) {
    let john = server.log_in(JOHN).await;
    let mut ids = Vec::new();
    for body in ["1", "2", "3", "4", "5"] {
        ids.push(send(&john, 1, body).await);
    }
    (john, ids)
}

on_every_backend! {
    /// Sent message: the answer, and the history of the sender.
    async fn a_sent_message_is_there_with_all_about_it(server) {
        let john = server.log_in(JOHN).await;
        let sent = john.messaging("message/send", json!({"thread_id": 1, "body": "Hello"})).await;
        assert_eq!(sent.as_object().unwrap().len(), 3, "{sent}");
        assert!(is_time(&sent["created_date"]), "{sent}");
        let expected = json!({
            "messages": [{
                "id": sent["message_id"], "author_id": 5, "author_partner_id": 5, "author_user_id": 4, "author_name": "John Doe",
                "body": "Hello", "message_type": "text", "is_read": false, "created_date": sent["created_date"], "attachments": [],
                "reactions": [], "reply_to": null,
            }],
            "thread_id": 1, "thread_name": "Chat with John",
        });
        assert_eq!(john.messaging("messages", json!({"thread_id": 1})).await, expected);
    }

    /// Texts unchanged: clients escape them.
    async fn texts_come_back_exactly_as_sent(server) {
        let john = server.log_in(JOHN).await;
        let sent = ["<b>bold</b> & <script>alert(1)</script>", "&lt;", "  leading, trailing  ", "wörld 😀 مرحبا", "a\r\nb\tc", "'; DROP--"];
        for body in sent {
            send(&john, 1, body).await;
            assert_eq!(bodies(&john, 1).await[0], body);
            let listed = john.messaging("threads", json!({"thread_type": "chat"})).await;
            assert_eq!(listed["threads"][0]["last_message"], body);
        }
    }

    /// Whole floats accepted as integers: some clients have no integers.
    async fn a_whole_float_is_the_number_it_stands_for(server) {
        let (john, _) = five(server).await;
        let page = john.messaging("messages", json!({"thread_id": 1.0, "limit": 2.0, "offset": 1.0})).await;
        let read: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| message["body"].clone()).collect();
        assert_eq!(read, ["4", "3"]);
        let half = john.messaging("messages", json!({"thread_id": 1.5})).await;
        assert_eq!(half, json!({"error": "thread_id must be a whole number"}));
    }

    /// Join: earlier messages stay unread.
    async fn joining_reads_nothing(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&admin, 1, "Hello").await;
        let is_read = async || admin.messaging("messages", json!({"thread_id": 1})).await["messages"][0]["is_read"].clone();
        admin.messaging("thread/add_participant", json!({"thread_id": 1, "partner_id": 6})).await;
        assert_eq!(is_read().await, false);
        john.messaging("notifications/mark_all_read", json!({"thread_id": 1})).await;
        assert_eq!(is_read().await, true);
    }

    /// Number as a text, accepted as the addon does.
    async fn a_number_as_a_body_is_its_text(server) {
        let john = server.log_in(JOHN).await;
        john.messaging("message/send", json!({"thread_id": 1, "body": 42})).await;
        assert_eq!(bodies(&john, 1).await, ["42"]);
    }

    /// History order: newest first, with rising ids.
    async fn messages_come_newest_first(server) {
        let (john, ids) = five(server).await;
        assert_eq!(bodies(&john, 1).await, ["5", "4", "3", "2", "1"]);
        assert!(ids.is_sorted(), "{ids:?}");
    }

    /// Pagination of the history, by offset or by keyset.
    async fn history_comes_in_pages(server) {
        let (john, ids) = five(server).await;
        let page = async |params: Value| {
            let mut params = params;
            params["thread_id"] = json!(1);
            texts(&john.messaging("messages", params).await)
        };
        assert_eq!(page(json!({"limit": 2})).await, ["5", "4"]);
        assert_eq!(page(json!({"limit": 2, "offset": 2})).await, ["3", "2"]);
        assert_eq!(page(json!({"offset": 4})).await, ["1"]);
        assert_eq!(page(json!({"offset": 1000})).await, [""; 0]);
        assert_eq!(page(json!({"limit": 2, "before_id": ids[3]})).await, ["3", "2"]);
        assert_eq!(page(json!({"before_id": ids[0]})).await, [""; 0]);
    }

    /// Default page size: 50, also for 0.
    async fn a_page_holds_fifty_by_default(server) {
        let john = server.log_in(JOHN).await;
        for number in 0..51 {
            send(&john, 1, &number.to_string()).await;
        }
        for params in [json!({"thread_id": 1}), json!({"thread_id": 1, "limit": 0}), json!({"thread_id": 1, "limit": null})] {
            let page = texts(&john.messaging("messages", params).await);
            assert_eq!((page.len(), page[0].as_str(), page[49].as_str()), (50, "50", "1"));
        }
    }

    /// Count of newly marked messages only.
    async fn marked_count_counts_what_changed(server) {
        let (_, ids) = five(server).await;
        let admin = server.log_in(ADMIN).await;
        assert_eq!(read(&admin, json!({"message_id": ids[0]})).await, 1);
        assert_eq!(read(&admin, json!({"message_id": ids[0]})).await, 0);
        assert_eq!(read(&admin, json!({"message_ids": [ids[0], ids[1].to_string(), ids[1]]})).await, 1);
        assert_eq!(read(&admin, json!({"message_ids": ids})).await, 3);
        assert_eq!(unread(&admin).await, 0);
    }

    /// Unknown ids: not counted, unlike in the addon.
    async fn nothing_changes_by_ids_that_do_not_exist(server) {
        let (_, ids) = five(server).await;
        let admin = server.log_in(ADMIN).await;
        assert_eq!(read(&admin, json!({"message_ids": [999_999, 0, -1, ids[4] + 1]})).await, 0);
        assert_eq!(unread(&admin).await, 5);
    }

    /// Messages of other users' threads: not marked, unlike the addon.
    async fn messages_of_strange_threads_cannot_be_marked(server) {
        let (john, ids) = five(server).await;
        let bob = server.log_in(BOB).await;
        assert_eq!(read(&bob, json!({"message_ids": ids})).await, 0);
        assert!(!is_read(&john, 1).await);
        assert_eq!(unread(&server.log_in(ADMIN).await).await, 5);
    }

    /// Own messages: no read mark.
    async fn own_messages_cannot_be_marked(server) {
        let (john, ids) = five(server).await;
        assert_eq!(read(&john, json!({"message_ids": ids})).await, 0);
        assert!(!is_read(&john, 1).await);
    }

    /// Read marks by user: the addon has one for all.
    async fn everybody_reads_for_themselves(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        let id = send(&john, 2, "To all").await;
        assert_eq!((unread(&admin).await, unread(&jane).await), (1, 1));
        assert_eq!(read(&admin, json!({"message_id": id})).await, 1);
        assert_eq!((unread(&admin).await, unread(&jane).await), (0, 1));
        assert!(is_read(&admin, 2).await);
        assert!(!is_read(&jane, 2).await);
    }

    /// Read flag of own messages: true if another user has read them.
    async fn an_author_sees_that_somebody_has_read(server) {
        let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
        let id = send(&john, 2, "To all").await;
        assert!(!is_read(&john, 2).await);
        read(&jane, json!({"message_id": id})).await;
        assert!(is_read(&john, 2).await);
    }

    /// History: no read marks by a fetch.
    async fn looking_at_history_marks_nothing(server) {
        five(server).await;
        let admin = server.log_in(ADMIN).await;
        bodies(&admin, 1).await;
        admin.messaging("poll/messages", json!({"thread_id": 1, "last_message_id": 0, "timeout": 0})).await;
        assert_eq!(unread(&admin).await, 5);
        assert!(!is_read(&admin, 1).await);
    }

    /// Refused message: not stored.
    async fn a_refused_message_is_not_stored(server) {
        let john = server.log_in(JOHN).await;
        refusal(&john, "message/send", json!({"thread_id": 1, "body": "x", "attachment_ids": [999_999]})).await;
        assert_eq!(bodies(&john, 1).await, [""; 0]);
        let alone = thread_with(&john, json!([])).await;
        assert_eq!(bodies(&john, alone).await, [""; 0]);
    }
}
