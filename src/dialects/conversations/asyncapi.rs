//! AsyncAPI document of the dialect's sockets. Its examples are those that clients were written against.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{NO_SUCH_CONVERSATION, wire::ServerFrame};
use crate::web::{
    asyncapi::{Document, DocumentInfo},
    lenient::{Int, Ints, Text},
};

const ABOUT: DocumentInfo = DocumentInfo {
    dialect: "conversations",
    title: "Conversations: one socket per conversation, or one for all",
    description: "Everybody who is in a conversation hears on its socket what is said, read and typed there, by whichever \
                  dialect. All ids are strings. Whoever comes back fetches with `after_id` what was missed. \
                  `/conversations/` without an id is one socket for all conversations of the user: its frames have a \
                  `conversation_id`, and so must what clients say. It tells what the user joins and leaves, and stays open. \
                  Right after connecting it tells of at most 1,000 people whether they are there, those who were seen last. \
                  `/ws/conversations/` and the paths in `conversations.paths` lead to the same sockets.",
    address: "/conversations/{id}/",
    parameters: &[("id", "The conversation's integer id, or its uuid; `/conversations/` without it is the socket of all")],
    query: &[("token", "An access token")],
    closes: &[(
        &NO_SUCH_CONVERSATION,
        "there is no such conversation, or the user is not in it, or no longer; never for all conversations",
    )],
};

/// Client frames, for the document only: [`ClientFrame`](super::client_frame::ClientFrame) parses them field by field.
#[derive(JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
#[expect(dead_code, reason = "only its shape is told")]
enum ClientFrameSchema {
    /// Sends a message. A retry with the same `local_id` and content is idempotent: the message is stored once, and the answer is
    /// its current form. Other content makes another message.
    SendMessage {
        conversation_id: Option<Text>,
        content: Text,
        /// The client's own id of the message, returned exactly as sent.
        local_id: Option<Text>,
    },
    /// Tells the other participants that the user has started or stopped typing.
    Typing { conversation_id: Option<Text>, is_typing: bool },
    /// Marks messages as read, and all before them. Unknown ids are ignored, unless all are unknown.
    Read { conversation_id: Option<Text>, message_ids: Ints },
    /// Fetches messages before or after a given one, or the newest. A page after a message is preceded by `message.edited` and
    /// `message.deleted` for all messages up to that one that have changed since it was posted, in the order of the changes. A
    /// client that continues from its previous page gets only the changes since that page. The server reads no other frame until
    /// the page is complete.
    FetchMessages {
        conversation_id: Option<Text>,
        before_id: Option<Int>,
        after_id: Option<Int>,
        /// Page size: 20 by default, at most 100.
        limit: Option<Int>,
    },
    /// Changes the content of one of the user's messages.
    EditMessage { conversation_id: Option<Text>, message_id: Int, content: Text },
    /// Deletes one of the user's messages.
    DeleteMessage { conversation_id: Option<Text>, message_id: Int },
    /// Adds or removes a reaction to a message, for example an emoji.
    Reaction {
        conversation_id: Option<Text>,
        message_id: Int,
        /// At most 64 bytes.
        content: Text,
        remove: Option<bool>,
    },
    /// Heartbeat of the client.
    Heartbeat,
    /// Answer to a heartbeat of the server.
    HeartbeatAck,
}

pub fn asyncapi() -> Value {
    let mut document = Document::new(ABOUT);
    document.received::<ClientFrameSchema>("action", &asked());
    document.sent::<ServerFrame>("type", &said());
    document.receive_operation("send_message", &["chat_message", "message.failed"]);
    document.receive_operation("typing", &["error"]);
    document.receive_operation("read", &["read", "error"]);
    document.receive_operation("fetch_messages", &["messages_fetched", "message.edited", "message.deleted", "error"]);
    document.receive_operation("edit_message", &["message.edited", "error"]);
    document.receive_operation("delete_message", &["message.deleted", "error"]);
    document.receive_operation("reaction", &["reaction", "error"]);
    document.receive_operation("heartbeat", &[]);
    document.receive_operation("heartbeat_ack", &[]);
    let told = ["chat_message", "message.edited", "message.deleted", "message.status", "reaction", "read", "typing"];
    let told = told.into_iter().chain(["user_status", "conversation.joined", "conversation.left"]);
    document.send_operation("tell", &told.collect::<Vec<_>>());
    document.send_operation("beat", &["heartbeat"]);
    document.send_operation("refuse", &["error"]);
    document.finish()
}

fn asked() -> [Value; 11] {
    [
        json!({"action": "send_message", "conversation_id": "123", "content": "Hello!", "local_id": "temp_123"}),
        json!({"action": "typing", "conversation_id": "123", "is_typing": true}),
        json!({"action": "read", "conversation_id": "123", "message_ids": ["456", "457"]}),
        json!({"action": "fetch_messages", "conversation_id": "123", "before_id": "456", "limit": 20}),
        json!({"action": "fetch_messages", "after_id": "456"}),
        json!({"action": "edit_message", "message_id": "456", "content": "Hello, everybody!"}),
        json!({"action": "delete_message", "message_id": "456"}),
        json!({"action": "reaction", "message_id": "456", "content": "👍"}),
        json!({"action": "reaction", "conversation_id": "123", "message_id": "456", "content": "👍", "remove": true}),
        json!({"action": "heartbeat"}),
        json!({"action": "heartbeat_ack"}),
    ]
}

fn said() -> [Value; 15] {
    let (at, message_id) = ("2023-12-01T12:00:01Z", "456");
    [
        json!({"type": "chat_message", "message": {"id": message_id, "local_id": "temp_123", "sender_id": "789",
            "content": "Hello!", "timestamp": "2023-12-01T12:00:00Z", "status": "sent"}}),
        json!({"type": "chat_message", "conversation_id": "123", "message": {"id": message_id, "local_id": null, "sender_id": "789",
            "content": "Hello!", "timestamp": "2023-12-01T12:00:00Z", "status": "sent"}}),
        json!({"type": "message.failed", "local_id": "temp_123", "error": "content must not be empty"}),
        json!({"type": "message.edited", "message_id": message_id, "content": "Hello, everybody!", "timestamp": at}),
        json!({"type": "message.deleted", "message_id": message_id, "timestamp": at}),
        json!({"type": "message.status", "message_id": message_id, "status": "delivered", "timestamp": at}),
        json!({"type": "reaction", "message_id": message_id, "user_id": "789", "content": "👍", "removed": false}),
        json!({"type": "typing", "user_id": "789", "username": "john_doe", "is_typing": true}),
        json!({"type": "read", "user_id": "789", "message_ids": [message_id, "457"]}),
        json!({"type": "messages_fetched", "conversation_id": "123", "messages": [{"id": "455", "sender_id": "789",
            "content": "Previous message", "sent_at": "2023-12-01T11:59:00Z", "is_edited": false, "is_deleted": false}]}),
        json!({"type": "conversation.joined", "conversation_id": "123", "uuid": "302e305b-6e73-4f9c-bac7-551a92b106b0",
            "kind": "group", "name": "The team", "participants": [{"user_id": "789", "username": "john_doe", "name": "John Doe",
            "status": "offline", "timestamp": null}], "participant_count": 1}),
        json!({"type": "conversation.left", "conversation_id": "123"}),
        json!({"type": "user_status", "user_id": "789", "status": "online", "timestamp": at}),
        json!({"type": "heartbeat", "timestamp": at}),
        json!({"type": "error", "action": "read", "error": "Message not found"}),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::client_frame::ClientFrame, *};

    /// Every documented example parses.
    #[test]
    fn every_example_is_an_action() {
        for example in asked() {
            let text = example.to_string();
            let read = ClientFrame::read(&text).and_then(|asking| asking.action());
            assert!(read.is_ok(), "{example}: {read:?}");
        }
    }
}
