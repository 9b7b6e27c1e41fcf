//! Tests of refusals that the addon detects itself: fixed texts in a successful result.

use serde_json::json;

use super::{refusal, send, thread_with};
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, JOHN},
};

on_every_backend! {
    /// Missing parameters: absent, null, false and empty are the same.
    async fn what_is_missing_is_named(server) {
        let john = server.log_in(JOHN).await;
        let cases = [
            ("messages", json!({}), "thread_id is required"),
            ("messages", json!({"thread_id": null}), "thread_id is required"),
            ("messages", json!({"thread_id": false}), "thread_id is required"),
            ("messages", json!({"thread_id": ""}), "thread_id is required"),
            ("poll/messages", json!({"timeout": 0}), "thread_id is required"),
            ("typing/start", json!({}), "thread_id is required"),
            ("typing/stop", json!({}), "thread_id is required"),
            ("message/send", json!({}), "thread_id and body are required"),
            ("message/send", json!({"thread_id": 1}), "thread_id and body are required"),
            ("message/send", json!({"thread_id": 1, "body": ""}), "thread_id and body are required"),
            ("message/send", json!({"thread_id": 1, "body": " \t\n "}), "thread_id and body are required"),
            ("message/send", json!({"body": "x"}), "thread_id and body are required"),
            ("thread/create", json!({}), "name is required"),
            ("thread/create", json!({"name": ""}), "name is required"),
            ("thread/create", json!({"partner_ids": [7]}), "name is required"),
            ("message/read", json!({}), "message_id or message_ids required"),
            ("message/read", json!({"message_ids": []}), "message_id or message_ids required"),
            ("partners/search", json!({}), "query parameter is required"),
            ("partners/search", json!({"query": ""}), "query parameter is required"),
            ("thread/add_participant", json!({}), "thread_id and partner_id are required"),
            ("thread/add_participant", json!({"thread_id": 1}), "thread_id and partner_id are required"),
            ("thread/add_participant", json!({"partner_id": 7}), "thread_id and partner_id are required"),
            ("presence/status", json!({}), "partner_ids required"),
            ("presence/status", json!({"partner_ids": []}), "partner_ids required"),
        ];
        for (route, params, text) in cases {
            assert_eq!(refusal(&john, route, params.clone()).await, text, "{route} {params}");
        }
    }

    /// Unknown threads, partners and files; ids that cannot exist included.
    async fn what_is_not_there_is_not_found(server) {
        let john = server.log_in(JOHN).await;
        for id in ["999999", "0", "-1", "99999999999999999999"] {
            let number: serde_json::Value = serde_json::from_str(id).unwrap();
            let cases = [
                ("messages".to_owned(), json!({"thread_id": number}), "Thread not found"),
                ("message/send".to_owned(), json!({"thread_id": number, "body": "x"}), "Thread not found"),
                ("poll/messages".to_owned(), json!({"thread_id": number, "timeout": 0}), "Thread not found"),
                ("notifications/mark_all_read".to_owned(), json!({"thread_id": number}), "Thread not found"),
                ("typing/start".to_owned(), json!({"thread_id": number}), "Thread not found"),
                ("typing/stop".to_owned(), json!({"thread_id": number}), "Thread not found"),
                ("thread/add_participant".to_owned(), json!({"thread_id": number, "partner_id": 7}), "Thread not found"),
                ("thread/add_participant".to_owned(), json!({"thread_id": 1, "partner_id": number}), "Participant not found"),
                (format!("typing/status/{id}"), json!({}), "Thread not found"),
                (format!("thread/participants/{id}"), json!({}), "Thread not found"),
                (format!("attachment/info/{id}"), json!({}), "Attachment not found"),
                (format!("attachment/delete/{id}"), json!({}), "Attachment not found"),
                ("presence/status".to_owned(), json!({"partner_ids": [number]}), "No valid partners found"),
            ];
            for (route, params, text) in cases {
                assert_eq!(refusal(&john, &route, params.clone()).await, text, "{route} {params}");
            }
        }
    }

    /// User outside of a thread: Bob, thread 1.
    async fn whoever_is_not_in_a_thread_is_denied(server) {
        let bob = server.log_in(BOB).await;
        let cases = [
            ("messages", json!({"thread_id": 1})),
            ("message/send", json!({"thread_id": 1, "body": "x"})),
            ("poll/messages", json!({"thread_id": 1, "timeout": 0})),
            ("poll/messages", json!({"thread_id": 1, "last_message_id": 0, "timeout": 0})),
            ("notifications/mark_all_read", json!({"thread_id": 1})),
            ("typing/start", json!({"thread_id": 1})),
            ("typing/stop", json!({"thread_id": 1})),
            ("typing/status/1", json!({})),
            ("thread/participants/1", json!({})),
            ("thread/add_participant", json!({"thread_id": 1, "partner_id": 8})),
        ];
        for (route, params) in cases {
            assert_eq!(refusal(&bob, route, params.clone()).await, "Access denied", "{route} {params}");
        }
    }

    /// Administrators: no access to the threads of others.
    async fn an_administrator_is_no_exception(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let thread = thread_with(&john, json!([6])).await;
        send(&john, thread, "Between us").await;
        assert_eq!(refusal(&admin, "messages", json!({"thread_id": thread})).await, "Access denied");
    }

    /// Invalid type of a parameter: one sentence names it, without Python's traceback.
    async fn a_value_of_the_wrong_kind_is_explained(server) {
        let john = server.log_in(JOHN).await;
        let cases = [
            ("messages", json!({"thread_id": "abc"}), "thread_id"),
            ("messages", json!({"thread_id": 1.5}), "thread_id"),
            ("messages", json!({"thread_id": [1]}), "thread_id"),
            ("messages", json!({"thread_id": 1, "limit": "x"}), "limit"),
            ("messages", json!({"thread_id": 1, "limit": -1}), "limit"),
            ("messages", json!({"thread_id": 1, "offset": -1}), "offset"),
            ("messages", json!({"thread_id": 1, "before_id": "x"}), "before_id"),
            ("message/send", json!({"thread_id": "abc", "body": "x"}), "thread_id"),
            ("message/send", json!({"thread_id": 1, "body": ["a", 1]}), "body"),
            ("message/send", json!({"thread_id": 1, "body": {"a": 1}}), "body"),
            ("message/send", json!({"thread_id": 1, "body": "nul \u{0}"}), "body"),
            ("message/send", json!({"thread_id": 1, "body": "x", "attachment_ids": "zz"}), "attachment_ids"),
            ("message/send", json!({"thread_id": 1, "body": "x", "attachment_ids": ["zz"]}), "attachment_ids"),
            ("message/read", json!({"message_ids": ["x"]}), "message_ids"),
            ("message/read", json!({"message_id": "x"}), "message_id"),
            ("thread/create", json!({"name": ["a"]}), "name"),
            ("thread/create", json!({"name": {"a": 1}}), "name"),
            ("thread/create", json!({"name": "x", "thread_type": "nope"}), "thread_type"),
            ("partners/search", json!({"query": ["a"]}), "query"),
            ("partners/search", json!({"query": "a", "limit": -1}), "limit"),
            ("poll/messages", json!({"thread_id": 1, "timeout": "x"}), "timeout"),
            ("poll/messages", json!({"thread_id": 1, "last_message_id": "x", "timeout": 0}), "last_message_id"),
            ("poll/updates", json!({"timeout": "x"}), "timeout"),
            ("poll/updates", json!({"timeout": 0, "last_check": "yesterday"}), "last_check"),
            ("typing/stop", json!({"thread_id": "x"}), "thread_id"),
            ("presence/update", json!({"status": "banana"}), "status"),
        ];
        for (route, params, name) in cases {
            let text = refusal(&john, route, params.clone()).await;
            assert!(text.contains(name), "{route} {params}: {text}");
            assert!(!text.contains("int()") && !text.contains("SELECT") && !text.contains('\n'), "{text}");
        }
    }

    /// Numbers as strings, as Odoo's own clients send them.
    async fn numbers_may_be_words(server) {
        let john = server.log_in(JOHN).await;
        let sent = john.messaging("message/send", json!({"thread_id": "1", "body": "x"})).await;
        assert_eq!(sent["success"], true);
        let page = john.messaging("messages", json!({"thread_id": " 1 ", "limit": "1", "offset": "0"})).await;
        assert_eq!((&page["thread_id"], page["messages"].as_array().unwrap().len()), (&json!(1), 1));
        let read = john.messaging("message/read", json!({"message_ids": [sent["message_id"].to_string()]})).await;
        assert_eq!(read["success"], true);
        let poll = json!({"thread_id": "1", "last_message_id": "0", "timeout": "0"});
        assert_eq!(john.messaging("poll/messages", poll).await["count"], 1);
    }

    /// Unknown parameters, as of a later client: ignored.
    async fn unknown_parameters_are_ignored(server) {
        let john = server.log_in(JOHN).await;
        let params = json!({"thread_id": 1, "colour": "red", "context": {"lang": "de_DE"}});
        assert_eq!(john.messaging("messages", params).await["thread_id"], 1);
    }
}
