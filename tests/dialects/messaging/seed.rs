//! Tests of the quick reference that clients were written against, request by request.

use serde_json::{Value, json};

use super::{LONG, bodies, is_time, send, shape, texts, thread_with, while_waiting};
use crate::{
    on_every_backend,
    support::{ADMIN, Client, JANE, JOHN, Server},
};

/// Sends a request as the reference prints it: no method, no id.
async fn ask(client: &Client, route: &str, params: Value) -> Value {
    let answer = client.post(&format!("/api/messaging/{route}"), &json!({"jsonrpc": "2.0", "params": params})).await;
    assert_eq!(answer.status, 200, "{route}");
    let answer = answer.json();
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(null)), "{route}: {answer}");
    answer["result"].clone()
}

/// Asserts that an answer has at least the printed keys, with values of the printed types. Later editions of the reference
/// print more keys.
fn has_shape(answer: &Value, printed: &Value) {
    match (answer, printed) {
        (Value::Object(answer), Value::Object(printed)) => {
            for (key, value) in printed {
                has_shape(answer.get(key).unwrap_or_else(|| panic!("{key} is missing in {answer:?}")), value);
            }
        }
        (Value::Array(answer), Value::Array(printed)) => {
            assert!(printed.is_empty() || !answer.is_empty(), "{printed:?} was to be filled");
            if let Some(printed) = printed.first() {
                answer.iter().for_each(|item| has_shape(item, printed));
            }
        }
        (answer, printed) => assert_eq!(shape(answer), shape(printed), "{answer} is not of the type of {printed}"),
    }
}

/// The printed message.
fn message() -> Value {
    json!({
        "id": 6, "author_id": 5, "author_name": "John Doe", "body": "New message!", "message_type": "text", "is_read": false,
        "created_date": "2025-12-03 10:30:15", "attachments": [],
    })
}

on_every_backend! {
    /// Request 1, with new messages.
    async fn request_1_gives_what_is_new(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let first = send(&john, 1, "Before").await;
        send(&john, 1, "New message!").await;
        send(&john, 1, "Another").await;
        let result = ask(&admin, "poll/messages", json!({"thread_id": 1, "last_message_id": first, "timeout": 30})).await;
        has_shape(&result, &json!({"has_new": true, "count": 2, "messages": [message()]}));
        assert_eq!((&result["has_new"], &result["count"]), (&json!(true), &json!(2)));
        let got = &result["messages"][0];
        for key in ["author_id", "author_name", "body", "message_type", "is_read", "attachments"] {
            assert_eq!(got[key], message()[key], "{key}");
        }
        assert!(is_time(&got["created_date"]), "{got}");
    }

    /// Request 1, after the time-out.
    async fn request_1_gives_nothing_when_nothing_came(server) {
        let admin = server.log_in(ADMIN).await;
        let result = ask(&admin, "poll/messages", json!({"thread_id": 1, "last_message_id": 5, "timeout": 0})).await;
        assert_eq!(result, json!({"has_new": false, "count": 0, "messages": []}));
    }

    /// Request 2.
    async fn request_2_gives_updates_of_all_threads(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let result = while_waiting(server, &admin, "poll/updates", json!({"timeout": 30}), async {
            send(&john, 1, "Hey there!").await;
        })
        .await;
        let printed = json!({
            "has_updates": true,
            "unread_count": 1,
            "threads_with_updates": [{
                "thread_id": 1, "thread_name": "Chat with John", "unread_count": 1, "last_message": "Hey there!",
                "last_message_date": result["threads_with_updates"][0]["last_message_date"],
            }],
        });
        assert_eq!(result, printed);
        assert!(is_time(&result["threads_with_updates"][0]["last_message_date"]), "{result}");
    }

    /// Request 3.
    async fn request_3_counts_by_type(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&john, 1, "chat").await;
        send(&john, 2, "group").await;
        send(&john, 2, "group").await;
        let sms = json!({"name": "Sms", "partner_ids": [2], "thread_type": "sms"});
        let sms = john.messaging("thread/create", sms).await["thread_id"].as_i64().unwrap();
        send(&john, sms, "sms").await;
        let result = ask(&admin, "notifications/count", json!({})).await;
        assert_eq!(result, json!({"total_count": 4, "by_type": {"chat": 1, "group": 2, "sms": 1}}));
    }

    /// Request 4, one thread.
    async fn request_4_marks_one_thread(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        for _ in 0..3 {
            send(&john, 1, "x").await;
        }
        send(&john, 2, "x").await;
        let result = ask(&admin, "notifications/mark_all_read", json!({"thread_id": 1})).await;
        assert_eq!(result, json!({"success": true, "marked_count": 3}));
    }

    /// Request 4, all threads.
    async fn request_4_marks_all_threads(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        for _ in 0..3 {
            send(&john, 1, "x").await;
        }
        send(&john, 2, "x").await;
        let result = ask(&admin, "notifications/mark_all_read", json!({})).await;
        assert_eq!(result, json!({"success": true, "marked_count": 4}));
    }

    /// Requests 5 and 6.
    async fn requests_5_and_6_start_and_stop_typing(server) {
        let admin = server.log_in(ADMIN).await;
        for route in ["typing/start", "typing/stop"] {
            let result = ask(&admin, route, json!({"thread_id": 1})).await;
            assert_eq!(result, json!({"success": true, "partner_id": 3, "user_id": 2}), "{route}");
        }
    }

    /// Request 7.
    async fn request_7_tells_who_is_typing(server) {
        let result = ask(&server.log_in(ADMIN).await, "typing/status/1", json!({})).await;
        assert_eq!(result, json!({"thread_id": 1, "typing_users": []}));
    }

    /// Request 8, with each status.
    async fn request_8_updates_the_presence(server) {
        let admin = server.log_in(ADMIN).await;
        for status in ["online", "away", "offline"] {
            let result = ask(&admin, "presence/update", json!({"status": status})).await;
            assert_eq!(result, json!({"success": true, "partner_id": 3, "user_id": 2, "status": status}));
        }
    }

    /// Request 9. Bob (9) was never online, and has no time.
    async fn request_9_tells_who_is_online(server) {
        let admin = server.log_in(ADMIN).await;
        server.log_in(JOHN).await.messaging("presence/update", json!({"status": "online"})).await;
        server.log_in(JANE).await.messaging("presence/update", json!({"status": "offline"})).await;
        let result = ask(&admin, "presence/status", json!({"partner_ids": [5, 7, 9]})).await;
        let printed = json!({"partner_id": 5, "name": "John Doe", "status": "online", "last_seen": "2025-12-03 10:35:22"});
        let seen = result["presence"].as_array().unwrap();
        has_shape(&seen[0], &printed);
        has_shape(&seen[1], &printed);
        let told = |at: usize| (seen[at]["partner_id"].as_i64(), seen[at]["name"].as_str(), seen[at]["status"].as_str());
        assert_eq!(told(0), (Some(5), Some("John Doe"), Some("online")));
        assert_eq!(told(1), (Some(7), Some("Jane Smith"), Some("offline")));
        assert_eq!(told(2), (Some(9), Some("Bob Wilson"), Some("offline")));
        assert_eq!((seen.len(), &seen[2]["last_seen"]), (3, &json!(null)));
    }

    /// Scenario 1: "Should return immediately with the new message!" The sender polls as well, as in the reference.
    async fn scenario_1_long_polling(server) {
        let admin = server.log_in(ADMIN).await;
        let poll = json!({"thread_id": 1, "last_message_id": 0, "timeout": 60});
        let result = while_waiting(server, &admin, "poll/messages", poll, async {
            ask(&admin, "message/send", json!({"thread_id": 1, "body": "Test message!"})).await;
        })
        .await;
        assert_eq!((&result["has_new"], texts(&result)), (&json!(true), vec!["Test message!".to_owned()]));
    }

    /// Scenario 2: 0, 1, 0.
    async fn scenario_2_notifications(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let count = async || ask(&admin, "notifications/count", json!({})).await["total_count"].clone();
        assert_eq!(count().await, 0);
        send(&john, 1, "x").await;
        assert_eq!(count().await, 1);
        ask(&admin, "notifications/mark_all_read", json!({})).await;
        assert_eq!(count().await, 0);
    }

    /// Scenario 3, as the other user sees it.
    async fn scenario_3_typing_indicators(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let status = async || ask(&admin, "typing/status/1", json!({})).await["typing_users"].clone();
        ask(&john, "typing/start", json!({"thread_id": 1})).await;
        assert_eq!(status().await, json!([{"partner_id": 5, "user_id": 4, "name": "John Doe"}]));
        ask(&john, "typing/stop", json!({"thread_id": 1})).await;
        assert_eq!(status().await, json!([]));
    }

    /// Scenario 4. The six minutes: `presence.rs`.
    async fn scenario_4_presence(server) {
        let admin = server.log_in(ADMIN).await;
        ask(&admin, "presence/update", json!({"status": "online"})).await;
        let result = ask(&admin, "presence/status", json!({"partner_ids": [3]})).await;
        assert_eq!(result["presence"][0]["status"], "online");
    }

    /// Two users: "Long poll immediately returns with new message!"
    async fn two_users_chat(server) {
        let (admin, jane) = (server.log_in(ADMIN).await, server.log_in(JANE).await);
        let thread = thread_with(&admin, json!([])).await;
        let result = while_waiting(server, &admin, "poll/messages", json!({"thread_id": thread, "timeout": LONG}), async {
            let join = json!({"thread_id": thread, "partner_id": 7});
            assert_eq!(admin.messaging("thread/add_participant", join).await["success"], true);
            send(&jane, thread, "Hello").await;
        })
        .await;
        assert_eq!(texts(&result), ["Hello"]);
    }

    /// "Test Long Poll Timeout": the request takes the whole time-out, and little more.
    async fn a_long_poll_times_out(server) {
        let admin = server.log_in(ADMIN).await;
        send(&admin, 1, "Old").await;
        let begun = std::time::Instant::now();
        let result = ask(&admin, "poll/messages", json!({"thread_id": 1, "timeout": 5})).await;
        assert_eq!(result, json!({"has_new": false, "count": 0, "messages": []}));
        assert!(begun.elapsed() >= std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    /// "All 3 tabs should return immediately with the message!" The tabs share one session.
    async fn three_tabs_poll_one_thread(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&john, 1, "Old").await;
        let poll = || admin.messaging("poll/messages", json!({"thread_id": 1, "timeout": 30}));
        let (one, two, three, ()) = tokio::join!(poll(), poll(), poll(), async {
            server.polls_waiting(3).await;
            send(&john, 1, "To all").await;
        });
        for tab in [one, two, three] {
            assert_eq!((&tab["has_new"], texts(&tab)), (&json!(true), vec!["To all".to_owned()]));
        }
        assert_eq!(bodies(&admin, 1).await, ["To all", "Old"]);
    }

    /// "All endpoints return valid JSON", with its content type.
    async fn every_real_time_endpoint_answers_json(server) {
        let admin = server.log_in(ADMIN).await;
        let endpoints = [
            ("poll/messages", json!({"thread_id": 1, "timeout": 0})),
            ("poll/updates", json!({"timeout": 0})),
            ("notifications/count", json!({})),
            ("notifications/mark_all_read", json!({})),
            ("typing/start", json!({"thread_id": 1})),
            ("typing/stop", json!({"thread_id": 1})),
            ("typing/status/1", json!({})),
            ("presence/update", json!({"status": "online"})),
            ("presence/status", json!({"partner_ids": [5]})),
        ];
        for (route, params) in endpoints {
            let answer = admin.post(&format!("/api/messaging/{route}"), &json!({"params": params})).await;
            assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8", "{route}");
            assert!(answer.json()["result"].is_object(), "{route}");
        }
    }

    /// "Don't forget to authenticate first!"
    async fn without_a_login_the_session_has_expired(server) {
        let all = [
            "threads", "thread/create", "thread/participants/1", "thread/add_participant", "messages", "message/send",
            "message/read", "unread/count", "partners/search", "attachment/info/1", "attachment/delete/1", "poll/messages",
            "poll/updates", "notifications/count", "notifications/mark_all_read", "typing/start", "typing/stop",
            "typing/status/1", "presence/update", "presence/status",
        ];
        for route in all {
            let answer = server.client().call(&format!("/api/messaging/{route}"), json!({})).await;
            assert_eq!(answer["error"]["code"], 100, "{route}: {answer}");
        }
    }
}

/// Credentials of the reference (login, password, database): the defaults of the server with demo data.
#[tokio::test]
async fn the_reference_logs_in_as_it_says() {
    let server = Server::demo(crate::support::Backend::memory()).await;
    assert_eq!(server.client().log_in("admin@gmail.com", "123456").await["db"], "odoo2");
}
