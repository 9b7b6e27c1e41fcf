//! Examples of the AsyncAPI document: those of the published description, and our own in the same style for the rest.

use serde_json::{Value, json};

const SESSION: &str = "4482e256-da14-47cc-b119-9575bbb3b6d3";

/// Examples of a route's requests.
pub(super) fn requests(route: &str) -> Vec<Value> {
    let session = || json!({"chatSessionId": SESSION});
    let bodies = match route {
        "client/init-chat-with-concierge" => {
            vec![json!({"newSession": true}), json!({"newSession": false, "chatSessionId": SESSION})]
        }
        "client/send-message" => vec![json!({"chatSessionId": SESSION, "contentType": "TEXT",
            "messageContent": "whatever messages needs to be sent", "metdata": {"any_non_mandatory_key": "any_value"}})],
        "backend/send-message" => vec![json!({"chatSessionId": SESSION, "contentType": "TEXT", "messageContent": "hello",
            "metadata": {"messageUid": "a key of the client's"}})],
        "client/delete-message"
        | "backend/delete-message"
        | "client/update-message-seen-at"
        | "backend/update-message-seen-at" => {
            vec![json!({"chatSessionId": SESSION, "messageId": 133})]
        }
        "client/get-unread-msg-count" => vec![json!({})],
        "backend/list-chat-sessions" => vec![json!({"status": "waiting", "page": 1, "limit": 50})],
        "backend/join-chat-session" => vec![session(), json!({"chatSessionId": SESSION, "takeOver": true})],
        _ => vec![session()],
    };
    let request = |body| json!({"action": "api", "data": {"route": spelled(route), "body": body}});
    bodies.into_iter().map(request).collect()
}

/// Examples of a route's answers.
pub(super) fn answers(route: &str) -> Vec<Value> {
    let whole =
        |tenant| json!({"chatSessionId": SESSION, "chatSession": session(), "connection": connection(), "tenant": tenant});
    let body = match route.split_once('/').map(|(_, action)| action) {
        Some("init-chat-with-concierge") => {
            let mut tenant = tenant();
            tenant["residentProfile"] = json!({"firstName": "Deepak", "lastName": "Pandey", "gender": "M"});
            tenant["propertyOwnerProfile"] = json!({"firstName": "Deepak", "lastName": "Pandey", "isActive": true});
            tenant["properties"] = json!([{"propertyUnitId": "5", "unitNumber": "3/0008"}]);
            whole(tenant)
        }
        Some("get-chat-session" | "ping-on-chat-session" | "join-chat-session") => whole(tenant()),
        Some("get-chat-messages") => {
            json!({"messages": [message()], "paginate": {"per_page": 50, "offset": 0, "page": 1}})
        }
        Some("send-message" | "update-message-seen-at") => json!({"chatSessionId": SESSION, "chatMessage": message()}),
        Some("delete-message") => json!({"messageId": 133}),
        Some("get-unread-msg-count") => json!({"unreadMsgCount": "0"}),
        Some("end-chat-with-concierge" | "end-chat-session" | "leave-chat-session") => {
            json!({"chatSessionId": SESSION, "chatSession": session()})
        }
        Some("list-chat-sessions") => {
            json!({"chatSessions": [session()], "paginate": {"per_page": 50, "offset": 0, "page": 1}})
        }
        _ => return Vec::new(),
    };
    vec![json!({"channel": spelled(route), "status": 200, "body": body})]
}

/// Examples of events, errors and frames about the connection.
pub(super) fn said(name: &str) -> Vec<Value> {
    let refused =
        |channel: &str, status: u16, message: &str| json!({"channel": channel, "status": status, "body": {"message": message}});
    let pushed = |channel: String, payload: Value| {
        json!({"channel": channel, "payload": payload, "actions": [], "senderType": "TENANT", "senderId": 34,
            "receiverType": "BACKEND_USER", "receiverId": 32314, "socketMessageId": "0b7cf7a4-93b6-4c1e-8ad6-4b1c2f9f4a5d"})
    };
    vec![match name {
        "connection" => json!({"channel": "connection", "status": 200, "body": {"connection": connection()}}),
        "connection.refused" => refused("connection", 400, "deviceId must have 1 to 256 bytes"),
        "error" => refused("error", 400, "A frame must be a JSON object with action and data"),
        "missing" => json!({"channel": "client/get-chat-session", "status": 404, "body": {
            "message": "There is no such chat session", "chatSession": {"id": null, "orgId": null, "chatSessionId": SESSION,
                "chatInitiatedByEntityType": null, "chatInitiatedByEntityId": null, "lastPingedByChatInitiator": null,
                "chatJoinedByEntityType": null, "chatJoinedByEntityId": null, "lastPingedByChatJoiner": null,
                "isSessionClosed": true}}}),
        "refused" => refused("client/send-message", 409, "The session is closed"),
        "chat-session-new" => pushed(name.into(), json!({"chatSession": in_numbers(session())})),
        "chat-session-update" => pushed(format!("{name}-{SESSION}"), json!({"chatSession": in_numbers(session())})),
        "chat-message" => {
            let mut message = in_numbers(message());
            message["type"] = 1.into();
            pushed(format!("{name}-{SESSION}"), json!({"chatSessionId": SESSION, "chatMessage": message}))
        }
        "chat-message-delete" => pushed(name.into(), json!({"messageId": 133})),
        _ => return Vec::new(),
    }]
}

fn spelled(route: &str) -> String {
    if route.ends_with("get-chat-messages") { format!("{route}?page=1&limit=50") } else { route.to_owned() }
}

fn session() -> Value {
    json!({"id": "100", "orgId": "367", "chatSessionId": SESSION, "chatInitiatedByEntityType": "TENANT",
        "chatInitiatedByEntityId": "34", "lastPingedByChatInitiator": "1727940144304",
        "chatJoinedByEntityType": "BACKEND_USER", "chatJoinedByEntityId": "32314",
        "lastPingedByChatJoiner": "1727940474801", "isSessionClosed": false})
}

fn connection() -> Value {
    json!({"id": "2262", "connectionId": "fEBAifRtyQ0CEMg=", "entityType": "TENANT", "entityId": "34",
        "deviceId": "123-postman-321", "expiredAt": "1727944313567", "createdAt": "1727940141791",
        "updatedAt": "1727940713567", "orgId": "367"})
}

fn tenant() -> Value {
    json!({"id": "34", "email": "deepak@tis.co.th", "countryId": "99", "code": "+66", "phoneNumber": "09928640281"})
}

fn message() -> Value {
    json!({"id": "133", "orgId": "367", "chatSessionId": SESSION, "senderEntityType": "TENANT", "senderEntityId": "34",
        "messageContent": "whatever messages needs to be sent", "sentAt": "1727942303646", "status": 3, "seenAt": null,
        "deliveredAt": "1727942303646", "contentType": "TEXT", "metadata": null})
}

/// Converts ids and times to numbers, as in events.
fn in_numbers(mut thing: Value) -> Value {
    for value in thing.as_object_mut().into_iter().flat_map(|members| members.values_mut()) {
        if let Some(number) = value.as_str().and_then(|text| text.parse::<i64>().ok()) {
            *value = number.into();
        }
    }
    thing
}
