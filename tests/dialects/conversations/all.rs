//! Tests of the socket for all conversations of a user.

use futures_util::{SinkExt, StreamExt, future::join_all};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_tungstenite::{client_async, tungstenite::Message};

use super::{ADMIN, BOB, JANE, JOHN, complaint, enter, enter_all, hear, is_time, keys, said, send};
use crate::{
    support::{self, Client, Server, Socket, token, unsigned_token, until},
    with_every_backend, with_tokens_on_every_backend,
};

/// User id and partner id of a user without conversations.
const DEEPAK: (i64, i64) = (34, 35);

/// Sends a text to a conversation, and returns the message as the sender receives it.
async fn send_to(socket: &mut Socket, conversation: impl Into<Value>, text: &str) -> Value {
    let conversation: Value = conversation.into();
    socket.say(json!({"action": "send_message", "conversation_id": conversation, "content": text})).await;
    let mut told = socket.hear_until(|told| told["message"]["content"] == text || told["type"] == "message.failed").await;
    assert_eq!(told["type"], "chat_message", "{told}");
    told["message"].take()
}

/// Creates a conversation with these partners, and returns its id.
async fn begin(client: &Client, name: &str, partners: &[i64]) -> String {
    let made = client.messaging("thread/create", json!({"name": name, "partner_ids": partners})).await;
    made["thread_id"].as_i64().unwrap_or_else(|| panic!("{made}")).to_string()
}

async fn add(client: &Client, conversation: &str, partner: i64) {
    let params = json!({"thread_id": conversation.parse::<i64>().unwrap(), "partner_id": partner});
    let added = client.messaging("thread/add_participant", params).await;
    assert!(added.get("error").is_none(), "{added}");
}

/// Removes a user from a conversation.
async fn leave(client: &Client, uuid: &Value) {
    let params = json!({"model": "im_chat.session", "method": "quit_user", "args": [uuid], "kwargs": {}});
    let left = client.call("/web/dataset/call_kw", params).await;
    assert_eq!(left["result"], true, "{left}");
}

with_tokens_on_every_backend! {
    async fn nobody_gets_in_without_a_token_that_counts(server) {
        for slash in ["", "/"] {
            let open = async |query: &str| Socket::open(server.socket_url(&format!("/conversations{slash}{query}"))).await;
            for bad in ["", "?token=", "?token=x", &format!("?token={}", unsigned_token(JOHN)), &format!("?token={}", token(987_654))] {
                assert_eq!(open(bad).await.closed().await, 4003, "{bad:?}");
            }
            let mut john = open(&format!("?token={}", token(JOHN))).await;
            assert_eq!(hear(&mut john, "user_status").await["user_id"], "4");
        }
    }

    /// Frames of all conversations: the same as on a socket of one conversation, plus the conversation id.
    async fn it_hears_what_happens_in_all_conversations(server) {
        let (mut john, mut bob) = (enter_all(server, JOHN).await, enter_all(server, BOB).await);
        let (mut admin, mut jane) = (enter(server, ADMIN, 1).await, enter(server, JANE, 2).await);
        for (speaker, conversation) in [(&mut admin, "1"), (&mut jane, "2")] {
            let message = send(speaker, "hello").await;
            let told = json!({"type": "chat_message", "conversation_id": conversation, "message": message});
            assert_eq!(hear(&mut john, "chat_message").await, told);
            let named = |action: &str| json!({"action": action, "message_id": message["id"], "content": "changed", "is_typing": true});
            for (action, kind) in [("typing", "typing"), ("edit_message", "message.edited"), ("delete_message", "message.deleted")] {
                speaker.say(named(action)).await;
                let told = hear(&mut john, kind).await;
                assert_eq!((&told["conversation_id"], told.get("message_id").unwrap_or(&message["id"])), (&json!(conversation), &message["id"]));
            }
        }
        assert_eq!(hear(&mut bob, "chat_message").await["conversation_id"], "2", "he is in no other");
        let told = said(&mut bob).await;
        assert!(told.iter().all(|told| told["conversation_id"] == "2"), "{told:?}");
    }

    /// Actions in any conversation: clients on sockets of that conversation receive the same frames as from each other.
    async fn everything_can_be_done_in_any_conversation(server) {
        let session = server.log_in(support::JOHN).await;
        let session = session.result("/im_chat/api/get_or_create_session", json!({"user_to": 2})).await;
        let (mut john, mut again) = (enter_all(server, JOHN).await, enter_all(server, JOHN).await);
        let (mut admin, mut bob) = (enter(server, ADMIN, 1).await, enter(server, BOB, 2).await);
        for name in [json!("1"), json!(1), session["uuid"].clone()] {
            let message = send_to(&mut john, name, "to the admin").await;
            assert_eq!(hear(&mut admin, "chat_message").await, json!({"type": "chat_message", "message": message}));
            assert_eq!(hear(&mut again, "chat_message").await["conversation_id"], "1", "on the author's other sockets, too");
        }
        let message = send_to(&mut john, "2", "to the team").await;
        let in_team = |mut frame: Value| {
            frame["conversation_id"] = "2".into();
            frame
        };
        john.say(in_team(json!({"action": "typing", "is_typing": true}))).await;
        assert_eq!(hear(&mut bob, "typing").await, json!({"type": "typing", "user_id": "4", "username": "john", "is_typing": true}));
        let others = send(&mut bob, "hello John").await;
        john.say(in_team(json!({"action": "read", "message_ids": [others["id"]]}))).await;
        let read = json!({"type": "read", "user_id": "4", "message_ids": [others["id"]]});
        assert_eq!(hear(&mut bob, "read").await, read);
        assert_eq!(hear(&mut john, "read").await, in_team(read.clone()));
        john.say(in_team(json!({"action": "read", "message_ids": [others["id"]]}))).await;
        assert_eq!(hear(&mut john, "read").await, in_team(read), "answered, though it was read");
        let edit = in_team(json!({"action": "edit_message", "message_id": message["id"], "content": "to all of you"}));
        john.say(edit.clone()).await;
        let edited = hear(&mut john, "message.edited").await;
        assert_eq!(in_team(hear(&mut bob, "message.edited").await), edited);
        john.say(edit).await;
        assert_eq!(hear(&mut john, "message.edited").await, edited, "answered, though nothing has changed");
        john.say(in_team(json!({"action": "reaction", "message_id": others["id"], "content": "👋"}))).await;
        assert_eq!(hear(&mut john, "reaction").await, in_team(hear(&mut bob, "reaction").await));
        john.say(in_team(json!({"action": "delete_message", "message_id": message["id"]}))).await;
        assert_eq!(hear(&mut john, "message.deleted").await, in_team(hear(&mut bob, "message.deleted").await));
        john.say(in_team(json!({"action": "fetch_messages"}))).await;
        let fetched = hear(&mut john, "messages_fetched").await;
        assert_eq!((&fetched["conversation_id"], &fetched["messages"][0]["id"]), (&json!("2"), &others["id"]));
        john.say(in_team(json!({"action": "fetch_messages", "after_id": message["id"]}))).await;
        assert_eq!(hear(&mut john, "message.deleted").await["conversation_id"], "2", "told again, as before the page");
        for heartbeat in [json!({"action": "heartbeat"}), json!({"action": "heartbeat_ack"}), in_team(json!({"action": "heartbeat"}))] {
            john.say(heartbeat).await;
        }
        let told = said(&mut john).await;
        assert_eq!(told.len(), 1, "the page: {told:?}");
    }

    async fn a_retry_is_answered_and_told_once(server) {
        let (mut john, mut admin) = (enter_all(server, JOHN).await, enter_all(server, ADMIN).await);
        let frame = json!({"action": "send_message", "conversation_id": "1", "content": "once", "local_id": 7});
        john.say(frame.clone()).await;
        john.say(frame.clone()).await;
        let first = hear(&mut john, "chat_message").await;
        assert_eq!((&first["conversation_id"], &first["message"]["local_id"]), (&json!("1"), &json!(7)));
        assert_eq!(hear(&mut john, "chat_message").await, first);
        let mut again = enter_all(server, JOHN).await;
        again.say(frame).await;
        assert_eq!(hear(&mut again, "chat_message").await, first, "from before it was opened");
        assert_eq!(said(&mut admin).await, [first]);
        john.say(json!({"action": "send_message", "conversation_id": "2", "content": "once", "local_id": 7})).await;
        assert_eq!(hear(&mut john, "chat_message").await["conversation_id"], "2", "another conversation's is another message");
    }

    /// Unknown and foreign conversations: the same error, so that ids cannot be probed.
    async fn a_conversation_must_be_named_and_be_the_users_own(server) {
        let own = send(&mut enter(server, ADMIN, 1).await, "between two").await;
        let john = server.log_in(support::JOHN).await;
        let uuid = john.result("/im_chat/api/get_or_create_session", json!({"user_to": 2})).await["uuid"].take();
        let mut bob = enter_all(server, BOB).await;
        let actions = |conversation: Option<&Value>| {
            let message = &own["id"];
            let frames = [
                json!({"action": "typing", "is_typing": true}),
                json!({"action": "typing", "is_typing": false}),
                json!({"action": "read", "message_ids": [message]}),
                json!({"action": "fetch_messages"}),
                json!({"action": "fetch_messages", "after_id": message}),
                json!({"action": "edit_message", "message_id": message, "content": "x"}),
                json!({"action": "delete_message", "message_id": message}),
                json!({"action": "reaction", "message_id": message, "content": "x"}),
                json!({"action": "send_message", "content": "x", "local_id": "a"}),
            ];
            frames.map(|mut frame| {
                if let Some(conversation) = conversation {
                    frame["conversation_id"] = conversation.clone();
                }
                frame
            })
        };
        let expected = |frame: &Value, error: &str| {
            let mut expected = match frame["action"] == "send_message" {
                true => json!({"type": "message.failed", "local_id": "a", "error": error}),
                false => json!({"type": "error", "action": frame["action"], "error": error}),
            };
            if let Some(conversation) = frame.get("conversation_id") {
                expected["conversation_id"] = conversation.as_str().map_or(conversation.to_string(), str::to_owned).into();
            }
            expected
        };
        for frame in actions(None) {
            assert_eq!(complaint(&mut bob, &frame.to_string()).await, expected(&frame, "conversation_id is missing"));
        }
        for name in [json!("1"), uuid, json!("987654"), json!("75140d72-8b20-4549-885c-20599badb486"), json!("abc"), json!(-1)] {
            // A new socket for each name, within the frame burst.
            let mut bob = enter_all(server, BOB).await;
            for frame in actions(Some(&name)) {
                assert_eq!(complaint(&mut bob, &frame.to_string()).await, expected(&frame, "Conversation not found"), "{frame}");
            }
        }
        let mut mine = enter_all(server, JOHN).await;
        let others = json!({"action": "delete_message", "conversation_id": "1", "message_id": own["id"]});
        assert_eq!(complaint(&mut mine, &others.to_string()).await["error"], "Access denied", "of one's own, it is told");
        let error = complaint(&mut mine, r#"{"action": "typing", "is_typing": true, "conversation_id": []}"#).await;
        assert_eq!(error["error"], "conversation_id must be a text");
        let unseen = said(&mut mine).await;
        assert!(unseen.iter().all(|told| told["type"] != "typing"), "{unseen:?}");
    }

    /// Presence after the handshake: each participant of any conversation once, the user included, and no other users.
    async fn everybody_is_told_of_right_after_connecting(server) {
        begin(&server.log_in(support::JOHN).await, "once more with Jane", &[7]).await;
        let mut john = Socket::open(server.socket_url(&format!("/conversations/?token={}", token(JOHN)))).await;
        let told = john.heard_so_far().await;
        let told: Vec<_> = told.iter().filter(|told| told["type"] == "user_status").collect();
        let who: Vec<_> = told.iter().map(|told| (told["user_id"].as_str().unwrap(), told["status"].as_str().unwrap())).collect();
        assert_eq!(who, [("4", "online"), ("2", "offline"), ("6", "offline"), ("8", "offline")]);
        assert!(is_time(&told[0]["timestamp"]), "{told:?}");
        for unseen in &told[1..] {
            assert_eq!(unseen["timestamp"], json!(null), "{unseen}");
            assert_eq!(keys(unseen), ["status", "timestamp", "type", "user_id"]);
        }
        let mut admin = enter_all(server, ADMIN).await;
        let told = john.hear_until(|told| told["user_id"] == "2").await;
        assert_eq!(told["status"], "online");
        admin.say(json!({"action": "typing", "conversation_id": "2", "is_typing": true})).await;
        hear(&mut john, "typing").await;
        let mut late = enter_all(server, JOHN).await;
        let typing = json!({"type": "typing", "conversation_id": "2", "user_id": "2", "username": "admin", "is_typing": true});
        assert_eq!(hear(&mut late, "typing").await, typing, "who types is told then, too");
    }

    /// Address book contacts without a shared conversation: presence is sent only in the dialect of the address book.
    async fn of_who_is_only_in_an_address_book_nothing_is_told(server) {
        let bob = server.log_in(support::BOB).await;
        bob.result("/im_chat/api/user_chat_ab/add_users", json!({"user_ids": [DEEPAK.0]})).await;
        let mut socket = enter_all(server, BOB).await;
        let deepak = server.log_in("deepak@tis.co.th").await;
        let (poll, online) = (bob.clone(), json!({"id": DEEPAK.0, "im_status": "online"}));
        let told = tokio::spawn(async move {
            let mut last = json!(i64::MAX);
            loop {
                let params = json!({"channels": [["odoo2", "im_chat.presence"]], "last": last});
                let told = poll.result("/longpolling/poll", params).await;
                let told = told.as_array().unwrap();
                if told.iter().any(|told| told["message"] == online) {
                    return;
                }
                last = told.last().map_or(last, |told| told["id"].clone());
            }
        });
        until("his coming is told in the other dialect", async || {
            for status in ["offline", "online"] {
                deepak.messaging("presence/update", json!({"status": status})).await;
            }
            told.is_finished().then_some(())
        })
        .await;
        let told = socket.heard_so_far().await;
        assert!(told.iter().all(|told| told["user_id"] != json!(DEEPAK.0.to_string())), "{told:?}");
        // Presence of a contact once both share a conversation.
        begin(&bob, "with Deepak", &[DEEPAK.1]).await;
        let joined = hear(&mut socket, "conversation.joined").await;
        assert_eq!(joined["participants"][1]["user_id"], DEEPAK.0.to_string(), "{joined}");
        deepak.messaging("presence/update", json!({"status": "offline"})).await;
        socket.hear_until(|told| told["user_id"] == json!(DEEPAK.0.to_string()) && told["status"] == "offline").await;
    }

    async fn what_begins_meanwhile_is_told_and_heard(server) {
        let (mut john, mut jane) = (enter_all(server, JOHN).await, enter_all(server, JANE).await);
        let (mut bob, client) = (enter_all(server, BOB).await, server.log_in(support::JOHN).await);
        let mut there = Vec::new();
        while there.len() < 2 {
            let told = john.hear_until(|told| told["status"] == "online" && told["user_id"] != "4").await;
            there.push(told["user_id"].clone());
        }
        let id = begin(&client, "Plans", &[7, DEEPAK.1]).await;
        let joined = hear(&mut john, "conversation.joined").await;
        let member = |uid: i64, username: &str, name: &str, status: &str, at: usize| {
            let timestamp = &joined["participants"][at]["timestamp"];
            assert_eq!(is_time(timestamp), status == "online", "{joined}");
            json!({"user_id": uid.to_string(), "username": username, "name": name, "status": status, "timestamp": timestamp})
        };
        let participants = [
            member(4, "john", "John Doe", "online", 0),
            member(6, "jane", "Jane Smith", "online", 1),
            member(DEEPAK.0, "deepak", "Deepak Pandey", "offline", 2),
        ];
        let uuid = &joined["uuid"];
        assert!(uuid.as_str().is_some_and(|uuid| uuid.len() == 36), "{joined}");
        let expected = json!({"type": "conversation.joined", "conversation_id": id, "uuid": uuid, "kind": "group",
            "name": "Plans", "participants": participants, "participant_count": 3});
        assert_eq!(joined, expected);
        assert_eq!(hear(&mut jane, "conversation.joined").await, expected, "the same for everybody");
        let message = send_to(&mut jane, uuid.clone(), "Shall we?").await;
        let told = json!({"type": "chat_message", "conversation_id": id, "message": message});
        assert_eq!(hear(&mut john, "chat_message").await, told);
        john.say(json!({"action": "read", "conversation_id": id, "message_ids": [message["id"]]})).await;
        assert_eq!(hear(&mut jane, "message.status").await["status"], "delivered");
        let status = hear(&mut jane, "message.status").await;
        assert_eq!((&status["status"], &status["conversation_id"]), (&json!("read"), &json!(id)));
        let told = said(&mut bob).await;
        assert_eq!(told, [json!(null); 0], "he is not in it");
        // Presence of a user who comes online later, and shares only the new conversation.
        server.log_in("deepak@tis.co.th").await.messaging("threads", json!({})).await;
        for socket in [&mut john, &mut jane] {
            socket.hear_until(|told| told["user_id"] == json!(DEEPAK.0.to_string()) && told["status"] == "online").await;
        }
    }

    /// Membership events on a socket that stays open.
    async fn who_is_brought_in_and_leaves_is_told_so(server) {
        let (admin, client) = (server.log_in(support::ADMIN).await, server.log_in(support::BOB).await);
        let mut before = enter(server, ADMIN, 1).await;
        send(&mut before, "between us").await;
        let (mut bob, mut john) = (enter_all(server, BOB).await, enter_all(server, JOHN).await);
        said(&mut john).await;
        add(&admin, "1", 9).await;
        let joined = hear(&mut bob, "conversation.joined").await;
        assert_eq!((&joined["conversation_id"], &joined["kind"], &joined["name"]), (&json!("1"), &json!("group"), &json!("Chat with John")));
        assert_eq!(joined["participant_count"], 3);
        let who: Vec<_> = joined["participants"].as_array().unwrap().iter().map(|member| member["user_id"].as_str().unwrap()).collect();
        assert_eq!(who, ["2", "4", "8"]);
        let told = john.hear_until(|told| told["user_id"] == "8").await;
        assert_eq!((&told["type"], &told["status"]), (&json!("user_status"), &json!("online")));
        let mut one = enter(server, BOB, 1).await;
        send_to(&mut bob, "1", "thank you").await;
        for socket in [&mut john, &mut one] {
            assert_eq!(hear(socket, "chat_message").await["message"]["content"], "thank you");
        }
        bob.say(json!({"action": "fetch_messages", "conversation_id": "1"})).await;
        assert_eq!(hear(&mut bob, "messages_fetched").await["messages"].as_array().unwrap().len(), 1, "what was before stays hidden");

        leave(&client, &joined["uuid"]).await;
        assert_eq!(hear(&mut bob, "conversation.left").await, json!({"type": "conversation.left", "conversation_id": "1"}));
        assert_eq!(one.closed().await, 4004);
        let left = complaint(&mut bob, r#"{"action": "send_message", "conversation_id": "1", "content": "and now?"}"#).await;
        assert_eq!(left["error"], "Conversation not found");
        send(&mut before, "without him").await;
        hear(&mut john, "chat_message").await;
        send(&mut enter(server, JANE, 2).await, "to the team").await;
        assert_eq!(hear(&mut bob, "chat_message").await["message"]["content"], "to the team");
        add(&admin, "1", 9).await;
        assert_eq!(hear(&mut bob, "conversation.joined").await["conversation_id"], "1");
        let again = send_to(&mut bob, "1", "back again").await;
        assert_eq!(hear(&mut john, "chat_message").await["conversation_id"], "1");
        john.hear_until(|told| told["message"]["id"] == again["id"]).await;
        let told = said(&mut john).await;
        assert!(told.iter().all(|told| told["type"] != "conversation.left" && told["type"] != "conversation.joined"), "{told:?}");
    }

    /// Delivery and read status of each conversation, including messages from before the socket was opened.
    async fn the_author_learns_what_was_delivered_and_read(server) {
        let mut before = enter_all(server, ADMIN).await;
        let mut sent = Vec::new();
        for (conversation, text) in [("1", "a"), ("2", "b"), ("1", "c")] {
            sent.push(send_to(&mut before, conversation, text).await["id"].clone());
        }
        before.close().await;
        let mut admin = enter_all(server, ADMIN).await;
        let latest = send_to(&mut admin, "2", "d").await["id"].clone();
        let status = |conversation: &str, id: &Value, status: &str| {
            (json!(conversation), id.clone(), json!(status))
        };
        let mut heard = async || {
            let mut told = hear(&mut admin, "message.status").await;
            assert!(is_time(&told["timestamp"]), "{told}");
            (told["conversation_id"].take(), told["message_id"].take(), told["status"].take())
        };
        let mut john = enter_all(server, JOHN).await;
        john.say(json!({"action": "fetch_messages", "conversation_id": "1"})).await;
        let mut delivered = [heard().await, heard().await];
        delivered.sort_by_key(|(_, id, _)| id.to_string());
        assert_eq!(delivered, [status("1", &sent[0], "delivered"), status("1", &sent[2], "delivered")]);
        john.say(json!({"action": "read", "conversation_id": "2", "message_ids": [latest]})).await;
        assert_eq!(heard().await, status("2", &sent[1], "read"), "all up to there");
        assert_eq!(heard().await, status("2", &latest, "read"));
        john.say(json!({"action": "read", "conversation_id": "1", "message_ids": [sent[0]]})).await;
        assert_eq!(heard().await, status("1", &sent[0], "read"));
        let mut jane = enter_all(server, JANE).await;
        jane.say(json!({"action": "read", "conversation_id": "2", "message_ids": [latest]})).await;
        hear(&mut jane, "read").await;
        john.say(json!({"action": "read", "conversation_id": "1", "message_ids": [sent[2]]})).await;
        assert_eq!(heard().await, status("1", &sent[2], "read"), "Jane was not the first");
        let next = send_to(&mut john, "1", "e").await;
        let told = hear(&mut john, "message.status").await;
        assert_eq!((&told["message_id"], &told["status"]), (&next["id"], &json!("delivered")), "by a socket of all conversations, too");
    }

    async fn what_is_said_elsewhere_is_heard(server) {
        let mut john = enter_all(server, JOHN).await;
        let admin = server.log_in(support::ADMIN).await;
        for thread in [1, 2] {
            let sent = admin.messaging("message/send", json!({"thread_id": thread, "body": "over HTTP"})).await;
            let told = hear(&mut john, "chat_message").await;
            assert_eq!(told["conversation_id"], thread.to_string());
            assert_eq!(told["message"]["id"], sent["message_id"].to_string());
        }
        let (one, two) = (send_to(&mut john, "1", "one").await, send_to(&mut john, "2", "two").await);
        admin.messaging("notifications/mark_all_read", json!({})).await;
        let mut read = [hear(&mut john, "read").await, hear(&mut john, "read").await];
        read.sort_by_key(|told| told["conversation_id"].to_string());
        for (told, (conversation, message)) in read.iter().zip([("1", one), ("2", two)]) {
            let expected = json!({"type": "read", "conversation_id": conversation, "user_id": "2", "message_ids": [message["id"]]});
            assert_eq!(*told, expected);
        }
    }
}

with_every_backend! {
    async fn who_is_deactivated_is_sent_away(backend) {
        // Durable stores only: a store in memory has no command line.
        if !backend.is_durable() {
            return;
        }
        let mut server = Server::with_tokens(backend.clone()).await;
        let (john, mut admin) = (enter_all(&server, JOHN).await, enter_all(&server, ADMIN).await);
        backend.administer(&["user", "deactivate", support::JOHN], "").await;
        assert_eq!(john.closed().await, 4003);
        let again = Socket::open(server.socket_url(&format!("/conversations/?token={}", token(JOHN)))).await;
        assert_eq!(again.closed().await, 4003, "and stays out");
        send_to(&mut admin, "1", "others stay").await;
        server.stop().await;
    }

    /// Slow readers: all other sockets receive everything in order meanwhile, and the slow one does so later.
    async fn who_does_not_read_holds_nobody_up(backend) {
        const READERS: usize = 20;
        const MESSAGES: usize = 100;
        let server = Server::builder(backend).with_tokens().set("SOCKETS__QUEUED_BYTES", 64 * 1024);
        let mut server = server.set("SOCKETS__PING_SECONDS", 3_600).start().await;
        let opening = (0..READERS).map(|_| enter_all(&server, JOHN));
        let readers = join_all(opening).await;
        let slow = TcpSocket::new_v4().expect("there is room for a socket");
        slow.set_recv_buffer_size(4_096).expect("it can be small");
        let slow = slow.connect(server.address()).await.expect("the server listens");
        let url = server.socket_url(&format!("/conversations/?token={}", token(BOB)));
        let (mut slow, _) = client_async(url, slow).await.expect("the server gives a socket");
        slow.send(Message::text(r#"{"action": "heartbeat"}"#)).await.expect("the server reads");
        let reading = readers.into_iter().map(|mut socket| async move {
            let mut ids = Vec::new();
            loop {
                let mut told = hear(&mut socket, "chat_message").await;
                let is_last = told["message"]["content"] == "the end";
                ids.push(told["message"]["id"].take());
                if is_last {
                    return ids;
                }
            }
        });
        let jane = server.log_in(support::JANE).await;
        let writing = async {
            let (mut sent, long) = (Vec::new(), "x".repeat(32 * 1024));
            while sent.len() < MESSAGES {
                let told = jane.messaging("message/send", json!({"thread_id": 2, "body": long})).await;
                sent.push(json!(told["message_id"].to_string()));
            }
            let told = jane.messaging("message/send", json!({"thread_id": 2, "body": "the end"})).await;
            sent.push(json!(told["message_id"].to_string()));
            sent
        };
        let (heard, sent) = tokio::join!(join_all(reading), writing);
        for ids in heard {
            assert_eq!(ids, sent);
        }
        let mut late = Vec::new();
        while late.last() != sent.last() {
            let frame = slow.next().await.expect("it was not cut off").expect("the socket works");
            let Message::Text(told) = frame else { continue };
            let mut told: Value = serde_json::from_str(&told).expect("frames are JSON");
            if told["type"] == "chat_message" {
                late.push(told["message"]["id"].take());
            }
        }
        assert_eq!(late, sent);
        server.stop().await;
    }
}
