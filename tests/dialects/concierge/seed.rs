//! Tests of every example of the dialect's documentation, with exactly its keys, and its values unless generated.

use serde_json::{Value, json};

use super::{CONCIERGE, Client, DEEPAK, address, shape, start, token};
use crate::with_every_backend;

fn session(closed: bool, joined: bool) -> Value {
    json!({
        "id": "3",
        "orgId": "367",
        "chatSessionId": "4482e256-da14-47cc-b119-9575bbb3b6d3",
        "chatInitiatedByEntityType": "TENANT",
        "chatInitiatedByEntityId": "34",
        "lastPingedByChatInitiator": "1727939180543",
        "chatJoinedByEntityType": if joined { json!("BACKEND_USER") } else { Value::Null },
        "chatJoinedByEntityId": if joined { json!("32314") } else { Value::Null },
        "lastPingedByChatJoiner": if joined { json!("1727940474801") } else { Value::Null },
        "isSessionClosed": closed,
    })
}

fn connection() -> Value {
    json!({
        "id": "2260",
        "connectionId": "fD9QxcHGSQ0CF1w=",
        "entityType": "TENANT",
        "entityId": "34",
        "deviceId": "123-postman-321",
        "expiredAt": "1727942779137",
        "createdAt": "1727938788101",
        "updatedAt": "1727939179137",
        "orgId": "367",
    })
}

fn tenant() -> Value {
    json!({"id": "34", "email": "deepak@tis.co.th", "countryId": "99", "code": "+66", "phoneNumber": "09928640281"})
}

/// The demo tenant, as the documentation shows it.
fn whole_tenant() -> Value {
    let profile: Value = serde_json::from_str(include_str!("../../../src/demo_tenant.json")).expect("it is JSON");
    let mut whole = tenant();
    for key in ["residentProfile", "propertyOwnerProfile", "properties"] {
        assert!(!profile[key].is_null());
        whole[key] = profile[key].clone();
    }
    whole
}

fn message(by: i64, content: &str) -> Value {
    json!({
        "id": "1",
        "orgId": "367",
        "chatSessionId": "2d58d310-4614-4a0d-b84e-fc0a371ce647",
        "senderEntityType": if by == DEEPAK { "TENANT" } else { "BACKEND_USER" },
        "senderEntityId": by.to_string(),
        "messageContent": content,
        "sentAt": "1727359984643",
        "status": 3,
        "seenAt": null,
        "deliveredAt": "1727359984643",
        "contentType": "TEXT",
        "metadata": null,
    })
}

/// Asserts that an answer equals the example, except for the values under `new`.
#[track_caller]
fn is_like(actual: &Value, example: &Value, new: &[&str]) {
    assert_eq!(shape(actual), shape(example), "{actual}");
    same_values(actual, example, new);
}

#[track_caller]
fn same_values(actual: &Value, example: &Value, new: &[&str]) {
    match (actual, example) {
        (Value::Object(actual), Value::Object(example)) => {
            for (key, value) in actual.iter().filter(|(key, _)| !new.contains(&key.as_str())) {
                same_values(value, &example[key], new);
            }
        }
        (Value::Array(actual), Value::Array(example)) => {
            actual.iter().zip(example).for_each(|(actual, example)| same_values(actual, example, new));
        }
        (actual, example) => assert_eq!(actual, example),
    }
}

const SESSION_NEW: &[&str] = &[
    "chatSessionId",
    "lastPingedByChatInitiator",
    "lastPingedByChatJoiner",
    "connectionId",
    "expiredAt",
    "createdAt",
    "updatedAt",
];
const MESSAGE_NEW: &[&str] = &["id", "chatSessionId", "sentAt", "deliveredAt", "seenAt"];

with_every_backend! {
    async fn every_request_is_answered_as_documented(backend) {
        let mut server = start(backend).await;
        let uat = address(&server, &format!("/uat?Auth={}&deviceId=123-postman-321", token(DEEPAK)));
        let mut client = Client::at(&uat).await;
        let id = client.connection["id"].clone();
        let with_id = |mut example: Value| {
            example["connection"]["id"] = id.clone();
            example
        };
        assert_eq!(shape(&client.connection), shape(&connection()));

        // Example 1.
        let begun = client.ask("client/init-chat-with-concierge", json!({"newSession": true})).await;
        let chat = begun["body"]["chatSessionId"].clone();
        let example = with_id(json!({
            "chatSessionId": "4482e256-da14-47cc-b119-9575bbb3b6d3",
            "chatSession": session(false, false),
            "connection": connection(),
            "tenant": whole_tenant(),
        }));
        assert_eq!((&begun["channel"], &begun["status"]), (&json!("client/init-chat-with-concierge"), &json!(200)));
        assert_eq!(begun.as_object().map(serde_json::Map::len), Some(3));
        is_like(&begun["body"], &example, SESSION_NEW);
        assert_eq!(begun["body"]["chatSession"]["chatSessionId"], chat);
        let millis = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok()).expect("a time");
        let link = &begun["body"]["connection"];
        assert_eq!(millis(&link["expiredAt"]) - millis(&link["updatedAt"]), 3_600_000);

        // Example 2, both steps.
        let whole = |joined| with_id(json!({
            "chatSessionId": "4482e256-da14-47cc-b119-9575bbb3b6d3",
            "chatSession": session(false, joined),
            "connection": connection(),
            "tenant": tenant(),
        }));
        let got = client.body("client/get-chat-session", json!({"chatSessionId": chat})).await;
        is_like(&got, &whole(false), SESSION_NEW);
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        agent.join(&chat).await;
        let update = client.event().await;
        assert_eq!(update["channel"], format!("chat-session-update-{}", chat.as_str().expect("a text")));
        let continued =
            client.body("client/init-chat-with-concierge", json!({"newSession": false, "chatSessionId": chat})).await;
        is_like(&continued, &whole(true), SESSION_NEW);
        assert_eq!(continued["chatSessionId"], chat);

        // Example 3.
        agent.send("backend", &chat, "hello").await;
        client.event().await;
        client.send("client", &chat, "hi there").await;
        let route = "client/get-chat-messages?page=1&limit=20";
        let answer = client.ask(route, json!({"chatSessionId": chat})).await;
        let example = json!({
            "messages": [message(CONCIERGE, "hello"), message(DEEPAK, "hi there")],
            "paginate": {"per_page": 20, "offset": 0, "page": 1},
        });
        assert_eq!((&answer["channel"], &answer["status"]), (&json!(route), &json!(200)));
        is_like(&answer["body"], &example, MESSAGE_NEW);

        // Example 4.
        let pinged = client.body("client/ping-on-chat-session", json!({"chatSessionId": chat})).await;
        is_like(&pinged, &whole(true), SESSION_NEW);

        // Example 5.
        let sent = client.body("client/send-message", json!({
            "chatSessionId": chat,
            "contentType": "TEXT",
            "messageContent": "whatever messages needs to be sent",
            "metdata": {"any_non_mandatory_key": "any_value"},
        })).await;
        let mut example = message(DEEPAK, "whatever messages needs to be sent");
        example["metadata"] = json!({"any_non_mandatory_key": "any_value"});
        example["metdata"] = json!({"any_non_mandatory_key": "any_value"});
        is_like(&sent, &json!({"chatSessionId": chat, "chatMessage": example}), MESSAGE_NEW);
        assert_eq!(sent["chatSessionId"], chat);

        // Example 6, with the id as a number, as the example has it, and as a string.
        for as_text in [false, true] {
            let id = client.send("client", &chat, "to be unsent").await["id"].clone();
            let number: i64 = id.as_str().and_then(|id| id.parse().ok()).expect("a number");
            let id = if as_text { id } else { json!(number) };
            let unsent = client.body("client/delete-message", json!({"chatSessionId": chat, "messageId": id})).await;
            assert_eq!(unsent, json!({"messageId": id}));
        }

        // Example 7.
        let shown = agent.send("backend", &chat, "zXzX").await;
        let seen = client.body("client/update-message-seen-at", json!({"messageId": shown["id"], "chatSessionId": chat})).await;
        let mut example = message(CONCIERGE, "zXzX");
        example["status"] = json!(4);
        example["seenAt"] = json!("1728290232663");
        is_like(&seen, &json!({"chatSessionId": chat, "chatMessage": example}), MESSAGE_NEW);

        // Example 8.
        assert_eq!(client.body("client/get-unread-msg-count", json!({})).await, json!({"unreadMsgCount": "0"}));

        // Example 9.
        let ended = client.body("client/end-chat-with-concierge", json!({"chatSessionId": chat})).await;
        is_like(&ended, &json!({"chatSessionId": chat, "chatSession": session(true, true)}), SESSION_NEW);
        drop((client, agent));
        server.stop().await;
    }
}
