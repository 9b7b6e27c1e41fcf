//! Tests of details that published client libraries rely on, in every dialect.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Method, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::{
    support::{self, Answer, JOHN, PASSWORD, Server, Socket, token},
    with_tokens_on_every_backend,
};

const UID_OF_JOHN: i64 = 4;
const UUID_OF_ADMIN: &str = "75140d72-8b20-4549-885c-20599badb486";

/// A dialect's socket, a request frame, and a check of the answer frame.
struct Asked {
    path: &'static str,
    frame: String,
    done: fn(&Value) -> bool,
}

fn asked() -> [Asked; 3] {
    let room = json!({"action": "text_message", "message_body": "hello", "receiver_id": UUID_OF_ADMIN});
    let concierge = json!({"action": "api", "data": {"route": "client/get-unread-msg-count", "body": {}}});
    [
        Asked {
            path: "/conversations/1/?token=",
            frame: json!({"action": "send_message", "content": "hello", "local_id": 1}).to_string(),
            done: |told| told["type"] == "chat_message" && told["message"]["local_id"] == 1,
        },
        Asked { path: "/ws/chat/room/?token=", frame: room.to_string(), done: |told| told["action"] == "conf_message" },
        Asked {
            path: "/concierge?deviceId=a&Auth=",
            frame: concierge.to_string(),
            done: |told| told["body"]["unreadMsgCount"] == "0",
        },
    ]
}

async fn is_done(server: &Server, of: &Asked, frame: &str) {
    let mut socket = Socket::open(server.socket_url(&format!("{}{}", of.path, token(UID_OF_JOHN)))).await;
    socket.heard_so_far().await;
    socket.say_text(frame).await;
    let told = socket.heard_so_far().await;
    assert!(told.iter().any(of.done), "{frame} at {}: {told:?}", of.path);
}

/// The next frame with this word, as raw text.
async fn hear_text(socket: &mut Socket, word: &str) -> String {
    loop {
        let told = socket.hear_text().await;
        if told.contains(word) {
            return told;
        }
    }
}

async fn post(server: &Server, by: Option<&str>, path: &str, body: &str) -> Answer {
    let request = server.client().request(Method::POST, path).header(CONTENT_TYPE, "application/json").body(body.to_owned());
    Answer::of(match by {
        Some(token) => request.bearer_auth(token),
        None => request,
    })
    .await
}

with_tokens_on_every_backend! {
    /// Some clients put the whole header's value into the query, or a file's content with its line end.
    async fn a_token_in_the_query_is_taken_as_in_the_header(server) {
        for of in asked() {
            let token = token(UID_OF_JOHN);
            for given in [
                format!("Bearer%20{token}"),
                format!("bearer+{token}"),
                format!("%20{token}%0A"),
                format!("BEARER%09%20{token}%0D%0A"),
            ] {
                let mut socket = Socket::open(server.socket_url(&format!("{}{given}", of.path))).await;
                socket.say_text(&of.frame).await;
                let told = socket.hear_until(of.done).await;
                assert!(told.is_object(), "{given} at {}", of.path);
            }
        }
    }

    /// .NET writes a byte order mark in front of a text.
    async fn a_byte_order_mark_is_passed_over(server) {
        for of in asked() {
            is_done(server, &of, &format!("\u{feff}{}", of.frame)).await;
        }
        let own = token(UID_OF_JOHN);
        let wish = json!({"filename": "a.png", "mimeType": "image/png", "type": "chat-images"});
        for (by, path, body) in [
            (None, "/auth/token", json!({"login": JOHN, "password": PASSWORD})),
            (Some(own.as_str()), "/file-new/get-upload-url", wish),
        ] {
            let answer = post(server, by, path, &format!("\u{feff}{body}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
            assert!(answer.json().get("error").is_none(), "{path}: {answer:?}");
        }
    }

    /// Duplicate keys: the last one counts, as in nearly all JSON parsers (RFC 8259, section 4).
    async fn of_a_doubled_key_the_last_counts(server) {
        for of in asked() {
            let doubled = of.frame.replacen("\"action\"", "\"action\":\"heartbeat\",\"action\"", 1);
            assert_ne!(doubled, of.frame);
            is_done(server, &of, &doubled).await;
        }
        let [conversation, room, concierge] = asked();
        for (of, first, last) in [
            (&conversation, r#""content":"#, r#""content":7,"content":"#),
            (&conversation, r#""local_id":"#, r#""local_id":2,"local_id":"#),
            (&room, r#""receiver_id":"#, r#""receiver_id":null,"receiver_id":"#),
            (&room, r#""message_body":"#, r#""message_body":[],"message_body":"#),
            (&concierge, r#""data":"#, r#""data":7,"data":"#),
            (&concierge, r#""route":"#, r#""route":"client/nothing","route":"#),
            (&concierge, r#""body":"#, r#""body":[],"body":"#),
        ] {
            assert!(of.frame.contains(first));
            is_done(server, of, &of.frame.replacen(first, last, 1)).await;
        }
        let own = token(UID_OF_JOHN);
        for (by, path, body) in [
            (None, "/auth/token", format!(r#"{{"login":"x","login":"{JOHN}","password":7,"password":"{PASSWORD}"}}"#)),
            (
                Some(own.as_str()),
                "/file-new/get-upload-url",
                r#"{"filename":7,"filename":"a","mimeType":"x","mimeType":"image/png","type":"","type":"chat-images"}"#.to_owned(),
            ),
            (
                None,
                "/web/session/authenticate",
                format!(r#"{{"params":[],"params":{{"db":"x","db":"odoo2","login":"{JOHN}","password":"","password":"{PASSWORD}"}}}}"#),
            ),
        ] {
            let answer = post(server, by, path, &body).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
            assert!(answer.json().get("error").is_none(), "{path}: {answer:?}");
        }
    }

    /// A client's own numbers, such as `local_id`, come back digit by digit.
    async fn numbers_beyond_64_bits_come_back_to_the_letter(server) {
        let big = "123456789012345678901234567890";
        let mut socket = Socket::open(server.socket_url(&format!("/conversations/1/?token={}", token(UID_OF_JOHN)))).await;
        for id in [big, "-123456789012345678901234567890", "1.0000000000000000000001", "1e400", "18446744073709551616"] {
            socket.say_text(&format!(r#"{{"action":"send_message","content":{id},"local_id":{id}}}"#)).await;
            let told = hear_text(&mut socket, "chat_message").await;
            assert!(told.contains(&format!(r#""local_id":{id},"#)) && told.contains(&format!(r#""content":"{id}""#)), "{told}");
            socket.say_text(r#"{"action":"fetch_messages","limit":1}"#).await;
            let fetched = hear_text(&mut socket, "messages_fetched").await;
            assert!(fetched.contains(&format!(r#""local_id":{id},"#)), "{fetched}");
            socket.say_text(&format!(r#"{{"action":"send_message","content":"","local_id":{id}}}"#)).await;
            let failed = hear_text(&mut socket, "message.failed").await;
            assert!(failed.contains(&format!(r#""local_id":{id},"#)), "{failed}");
        }
        // Ids outside the range of message ids are ignored like other unknown ones. The valid ids beside them still count.
        let admin = server.log_in(support::ADMIN).await;
        let sent = admin.messaging("message/send", json!({"thread_id": 1, "body": "read me"})).await;
        let read = format!(r#"{{"action":"read","message_ids":[{big},"{big}",{},0,null,"x"]}}"#, sent["message_id"]);
        socket.say_text(&read).await;
        let told = socket.hear_until(|told| told["type"] == "read" || told["type"] == "error").await;
        assert_eq!(told["message_ids"], json!([sent["message_id"].to_string()]), "{told}");
    }

    /// Numbers keep all their digits in a whole call or frame as well: keys that differ in the last digit are different keys.
    async fn a_number_is_the_text_that_it_is_written_as(server) {
        let john = server.log_in(JOHN).await;
        let send = async |key: &str, body: &str| {
            let call = format!(r#"{{"params":{{"thread_id":1,"client_key":{key},"body":{body}}}}}"#);
            let request = john.request(Method::POST, "/api/messaging/message/send").header(CONTENT_TYPE, "application/json");
            Answer::of(request.body(call)).await.json()["result"]["message_id"].take()
        };
        let mut socket = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={}", token(UID_OF_JOHN)))).await;
        let mut sent = Vec::new();
        for number in [
            "123456789012345678901234567890",
            "123456789012345678901234567891",
            "-0.12345678901234567890",
            "-0.12345678901234567891",
            "1e999",
        ] {
            let frame = format!(r#"{{"action":"text_message","message_body":{number},"receiver_id":"{UUID_OF_ADMIN}"}}"#);
            socket.say_text(&frame).await;
            let told = socket.hear_until(|told| told["action"] == "error" || told["message"] == number).await;
            assert_eq!(told["action"], "conf_message", "{told}");
            let id = send(number, "7").await;
            assert!(id.is_i64() && !sent.contains(&id), "{number}: {id}, {sent:?}");
            assert_eq!(send(number, "7").await, id, "{number} once more");
            sent.push(id);
            send("1", number).await;
            let page = john.messaging("messages", json!({"thread_id": 1, "limit": 1})).await;
            assert_eq!(page["messages"][0]["body"], number);
        }
    }

    /// Back-off: clients poll again at once after any answer, so a poll that fails waits before its answer.
    async fn a_poll_that_errs_waits_before_it_answers(server) {
        let john = server.log_in(JOHN).await;
        let failing = [
            ("/api/messaging/poll/messages", "application/json", r#"{"params": {"thread_id": 999}}"#),
            ("/api/messaging/poll/updates", "application/json", "{"),
            ("/longpolling/poll", "application/json", "{"),
            ("/longpolling/poll", "text/plain", "{}"),
            ("/longpolling/poll", "application/json", r#"{"params": {"channels": [], "last": "x"}}"#),
            ("/longpolling/poll", "application/json", r#"{"params": 1}"#),
        ];
        let ask = async |client: &support::Client, (path, kind, body): (&'static str, &'static str, &'static str)| {
            let begun = Instant::now();
            let answer = Answer::of(client.request(Method::POST, path).header(CONTENT_TYPE, kind).body(body)).await;
            assert!(begun.elapsed() >= Duration::from_secs(1), "{path}, {body}: {:?}, {answer:?}", begun.elapsed());
        };
        let nobody = server.client();
        let mut asked: Vec<_> = failing.into_iter().map(|failing| ask(&john, failing)).collect();
        asked.push(ask(&nobody, ("/longpolling/poll", "application/json", "{}")));
        join_all(asked).await;
        let begun = Instant::now();
        john.messaging("poll/messages", json!({"thread_id": 1, "timeout": 0})).await;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }

    /// `GET` and `HEAD` of a socket's path get the same status.
    async fn an_address_of_sockets_says_so(server) {
        for path in ["/concierge", "/ws/chat/room/", "/conversations/1/"] {
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(Answer::of(server.client().request(method, path)).await.status, StatusCode::UPGRADE_REQUIRED, "{path}");
            }
            let posted = Answer::of(server.client().request(Method::POST, path)).await;
            assert_eq!((posted.status, &posted.headers["allow"]), (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap()));
        }
    }
}
