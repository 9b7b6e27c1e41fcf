//! AsyncAPI document of the dialect's socket. Its examples are those that clients were written against.

use serde_json::{Value, json};

use super::{handler::RoomClientFrame, server_frame::RoomServerFrame};
use crate::web::asyncapi::{Document, DocumentInfo};

const ABOUT: DocumentInfo = DocumentInfo {
    dialect: "room",
    title: "Room: one socket per user",
    description: "The socket of a chat made with Django Channels. Users are known by their uuids. All sockets of a user hear \
                  what is said to them, and what they have said themselves on any of them. A file is uploaded with \
                  `POST /chat/attachment/` first, which is in the OpenAPI document, as is the history at \
                  `/chat/messages/<uuid>/`: whoever comes back reads there what was missed. Names of an older revision work, too: \
                  a client that has used `chat_message` or `chat_message_file` on a socket is told there, beside what others \
                  are, what it knew then. Texts may come in binary frames.",
    address: "/ws/chat/room/",
    parameters: &[],
    query: &[("token", "An access token")],
    closes: &[],
};

pub fn asyncapi() -> Value {
    let mut document = Document::new(ABOUT);
    document.received::<RoomClientFrame>("action", &asked_examples());
    document.sent::<RoomServerFrame>("action", &said_examples());
    for message in ["text_message", "file_message", "user_profile_message", "chat_message", "chat_message_file"] {
        document.receive_operation(message, &["conf_message", "error"]);
    }
    document.receive_operation("ping", &["pong"]);
    document.send_operation("tell", &["re_message", "re_message_file", "conf_message"]);
    document.send_operation("refuse", &["error"]);
    document.finish()
}

const RECEIVER: &str = "75140d72-8b20-4549-885c-20599badb486";
const SENDER: &str = "302e305b-6e73-4f9c-bac7-551a92b106b0";

fn asked_examples() -> [Value; 6] {
    [
        json!({"action": "text_message", "message_body": "hello there", "receiver_id": RECEIVER}),
        json!({"action": "file_message", "chat_id": 5}),
        json!({"attached_profile_id": RECEIVER, "receiver_id": RECEIVER, "action": "user_profile_message"}),
        json!({"action": "chat_message", "message_body": "hello there", "receiver_id": RECEIVER}),
        json!({"action": "chat_message_file", "chat_id": "5"}),
        json!({"action": "ping"}),
    ]
}

fn said_examples() -> Vec<Value> {
    let told = |action: &str| {
        [
            json!({"sender_id": SENDER, "receiver_id": RECEIVER, "message": "hello there",
                "timestamp": "2025-03-14T10:36:22.680911+00:00", "created_msg_id": 4, "message_type": "text", "action": action}),
            json!({"message_body": "this is the file", "attached_file_name": "Screenshot 2025-03-14 100311.png",
                "attached_file_size": "194.75KB", "sender_id": SENDER, "receiver_id": RECEIVER,
                "timestamp": "2025-03-14T10:45:51.147140+00:00", "created_msg_id": 5, "action": action, "message_type": "file"}),
            json!({"sender_id": SENDER, "receiver_id": RECEIVER, "message": null,
                "timestamp": "2025-03-14T10:52:54.603043+00:00", "created_msg_id": 6, "message_type": "user_profile", "action": action,
                "attached_profile": {"id": RECEIVER, "fullname": "Admin user", "phone_number": "admin"}}),
        ]
    };
    let refused = json!({"action": "error", "message": "Invalid receipient", "code": "not_found", "request": "text_message"});
    let address = "/api/messaging/attachment/26/5-9f2b1c/Screenshot%202025-03-14%20100311.png";
    let older = json!({"message_body": "this is the file", "message": "this is the file",
        "attached_file_name": "Screenshot 2025-03-14 100311.png", "attached_file_size": "194.75KB", "attached_file": address,
        "attached_file_url": format!("https://chat.example.com{address}"), "sender_id": SENDER, "receiver_id": RECEIVER,
        "timestamp": "2025-03-14T10:45:51.147140+00:00", "created_msg_id": 5, "action": "re_message_file", "message_type": "file"});
    let pong = json!({"action": "pong"});
    told("re_message").into_iter().chain(told("conf_message")).chain([refused, older, pong]).collect()
}
