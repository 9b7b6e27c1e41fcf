//! Tests of newcomers: to a conversation of two, they read nothing from before their membership; to a group, everything.

use reqwest::Method;
use serde_json::json;

use super::taken_back::{PAIR, UID_OF_ADMIN, UID_OF_JANE, UID_OF_JOHN, UUID_OF_JOHN, delete, edit, enter, room, send, upload};
use crate::{
    support::{ADMIN, Answer, Client, JANE, JOHN, Server, Socket, token},
    with_tokens_on_every_backend,
};

/// Receiver of a conversation's events for one user: the bus and two sockets.
struct Ears {
    client: Client,
    conversing: Socket,
    room: Socket,
    last: i64,
}

impl Ears {
    async fn open(server: &Server, login: &str, uid: i64, thread: i64) -> Self {
        let client = server.log_in(login).await;
        let conversing = enter(server, uid, thread).await;
        let mut room = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={}", token(uid)))).await;
        room.heard_so_far().await;
        let last = (server.metric("dragoman_log_position").await as i64) << 20;
        Self { client, conversing, room, last }
    }

    /// Collects the events of every receiver up to the one with this text.
    async fn told_until(&mut self, text: &str) -> Vec<String> {
        let mut told = Vec::new();
        for socket in [&mut self.conversing, &mut self.room] {
            loop {
                let frame = socket.hear_text().await;
                let is_last = frame.contains(text);
                told.push(frame);
                if is_last {
                    break;
                }
            }
        }
        loop {
            let some = self.client.result("/longpolling/poll", json!({"channels": [], "last": self.last})).await;
            self.last = some.as_array().unwrap().iter().filter_map(|told| told["id"].as_i64()).max().unwrap_or(self.last);
            told.push(some.to_string());
            if some.to_string().contains(text) {
                return told;
            }
        }
    }
}

/// Answers of every route that can show a conversation to a user, in every dialect.
async fn read_everywhere(server: &Server, login: &str, uid: i64, thread: i64, uuid: &str) -> Vec<String> {
    let client = server.log_in(login).await;
    let mut read = Vec::new();
    for (path, params) in [
        ("/api/messaging/messages", json!({"thread_id": thread})),
        ("/api/messaging/messages", json!({"thread_id": thread, "before_id": i64::MAX})),
        ("/api/messaging/threads", json!({})),
        ("/api/messaging/unread/count", json!({})),
        ("/api/messaging/messages/search", json!({"query": "words"})),
        ("/api/messaging/messages/search", json!({"query": "answer", "thread_id": thread})),
        ("/api/messaging/poll/messages", json!({"thread_id": thread, "last_message_id": 0, "timeout": 0})),
        ("/im_chat/init", json!({})),
        ("/im_chat/api/init", json!({})),
        ("/im_chat/api/get_sessions", json!({})),
        ("/im_chat/api/get_sessions_group", json!({})),
        ("/im_chat/history", json!({"uuid": uuid, "limit": 100})),
        ("/im_chat/api/history", json!({"uuid": uuid, "limit": 100})),
        ("/longpolling/poll", json!({"channels": [uuid], "last": 0})),
        ("/longpolling/poll", json!({"channels": [uuid], "last": 1})),
    ] {
        read.push(format!("{path} {params}: {}", client.result(path, params.clone()).await));
    }
    for path in [format!("/chat/thread/files/{thread}/"), "/chat/user/threads/".into(), format!("/chat/messages/{UUID_OF_JOHN}/")]
    {
        read.push(format!("{path}: {}", room(server, uid, &path).await));
    }
    let mut socket = enter(server, uid, thread).await;
    for page in [json!({"action": "fetch_messages"}), json!({"action": "fetch_messages", "after_id": 0})] {
        socket.say(page).await;
        read.push(socket.hear_until(|told| told["type"] == "messages_fetched").await.to_string());
    }
    socket.close().await;
    read
}

with_tokens_on_every_backend! {
    /// Membership interval in a conversation of two: a newcomer reads, counts and receives only messages from after the join,
    /// in every dialect.
    async fn a_newcomer_to_what_two_have_said_knows_what_follows(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        let about = json!({"user_to": UID_OF_JOHN, "doc_id": 1, "doc_model": "sale.order"});
        let session = admin.result("/im_chat/api/get_or_create_session", about).await;
        let (uuid, thread) = (session["uuid"].as_str().unwrap(), session["docs"][0]["id"].as_i64().unwrap());
        let file = upload(&john, "old.txt", "between two").await;
        let spoken = send(&john, thread, "the old words", &[]).await;
        let shown = send(&john, thread, "the old file", &[&file]).await;
        let kept = send(&admin, thread, "the old answer", &[]).await;
        admin.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": UID_OF_JANE})).await;
        let counted = async || jane.messaging("notifications/count", json!({})).await["total_count"].take();
        assert_eq!(counted().await, 0);
        let lines = jane.messaging("threads", json!({})).await;
        let line = lines["threads"].as_array().unwrap().iter().find(|line| line["id"] == thread).unwrap();
        assert_eq!((&line["last_message"], &line["unread_count"]), (&json!(""), &json!(0)), "{line}");

        let mut newcomer = Ears::open(server, JANE, UID_OF_JANE, thread).await;
        let mut old = Ears::open(server, ADMIN, UID_OF_ADMIN, thread).await;
        // Events of older messages do not reach the newcomer either.
        edit(server, UID_OF_JOHN, thread, spoken, "the old words, edited").await;
        delete(server, UID_OF_JOHN, thread, shown).await;
        let reaction = json!({"message_id": kept, "content": "agreed", "action": "add"});
        assert_eq!(john.messaging("message/reaction", reaction.clone()).await["success"], true);
        assert_eq!(jane.messaging("message/reaction", reaction).await, json!({"error": "Message not found"}));
        let new_file = upload(&john, "new.txt", "for three").await;
        let said = send(&john, thread, "the new words", &[&new_file]).await;
        let told = newcomer.told_until("the new words").await;
        for (id, told) in told.iter().flat_map(|told| [spoken, shown, kept].map(|id| (id, told))) {
            let named = format!("\"message_id\":\"{id}\"");
            assert!(!told.contains("old") && !told.contains("agreed") && !told.contains(&named), "{told}");
        }
        assert!(old.told_until("the new words").await.concat().contains("the old words, edited"), "the others are told");

        for read in read_everywhere(server, JANE, UID_OF_JANE, thread, uuid).await {
            assert!(!read.contains("the old") && !read.contains("old.txt"), "{read}");
        }
        let history = jane.messaging("messages", json!({"thread_id": thread})).await;
        let bodies: Vec<_> = history["messages"].as_array().unwrap().iter().map(|message| &message["id"]).collect();
        assert_eq!(bodies, [&json!(said)]);
        assert_eq!(counted().await, 0, "she has just read it all");
        send(&john, thread, "and more", &[]).await;
        assert_eq!(counted().await, 1);
        // The same holds for files.
        let again = upload(&john, "older.txt", "between two").await;
        let refused = jane.messaging(&format!("attachment/info/{again}"), json!({})).await;
        assert_eq!(refused, json!({"error": "Access denied"}));
        assert_eq!(server.get(&jane.address_of(&new_file).await).await.text().await.unwrap(), "for three");
        let files = room(server, UID_OF_JANE, &format!("/chat/thread/files/{thread}/")).await;
        assert_eq!(files.as_array().unwrap().len(), 1, "{files}");
        // The earlier members read everything.
        let history = admin.messaging("messages", json!({"thread_id": thread})).await.to_string();
        assert!(history.contains("the old words, edited") && history.contains("the old answer"), "{history}");
    }

    /// Files of messages from before the join stay unreadable to a newcomer, by any address.
    async fn a_newcomer_reads_no_file_of_before(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        let file = upload(&john, "old.txt", "between two").await;
        send(&john, PAIR, "look", &[&file]).await;
        admin.messaging("thread/add_participant", json!({"thread_id": PAIR, "partner_id": UID_OF_JANE})).await;
        let bare = format!("/api/messaging/attachment/{file}");
        assert_eq!(Answer::of(jane.request(Method::GET, &bare)).await.status, 403);
        assert_eq!(jane.messaging(&format!("attachment/info/{file}"), json!({})).await, json!({"error": "Access denied"}));
        assert_eq!(Answer::of(admin.request(Method::GET, &bare)).await.body, "between two");
        // A new message with the same file makes it readable.
        send(&john, PAIR, "look again", &[&file]).await;
        assert_eq!(Answer::of(jane.request(Method::GET, &bare)).await.body, "between two");
    }

    /// Groups have no such interval: a new member reads the whole history.
    async fn a_newcomer_to_a_group_reads_what_was_said(server) {
        let (admin, jane) = (server.log_in(ADMIN).await, server.log_in(JANE).await);
        let params = json!({"name": "two at first", "partner_ids": [UID_OF_JOHN], "thread_type": "group"});
        let thread = admin.messaging("thread/create", params).await["thread_id"].as_i64().unwrap();
        let file = upload(&admin, "a.txt", "for all").await;
        send(&admin, thread, "the old words", &[&file]).await;
        admin.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": UID_OF_JANE})).await;
        let history = jane.messaging("messages", json!({"thread_id": thread})).await;
        assert_eq!(history["messages"][0]["body"], "the old words");
        assert_eq!(server.get(&jane.address_of(&file).await).await.text().await.unwrap(), "for all");
    }
}
