//! Tests of delivery and read status sent to authors.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio_tungstenite::{client_async, tungstenite::Message};

use super::{ADMIN, BOB, JANE, JOHN, enter, enter_all, hear, said, send, url};
use crate::{
    support::{self, Server, Socket, token},
    with_every_backend, with_tokens_on_every_backend,
};

/// Returns the next message status, and the message id.
async fn status(socket: &mut Socket) -> (Value, Value) {
    let mut told = hear(socket, "message.status").await;
    (told["status"].take(), told["message_id"].take())
}

/// Returns all message statuses received so far.
async fn statuses(socket: &mut Socket) -> Vec<Value> {
    let mut told = said(socket).await;
    // Second round trip: an event that the first answer overtook arrives before the second.
    told.extend(said(socket).await);
    told.retain(|told| told["type"] == "message.status");
    told
}

/// Returns the id of the next message reported as read.
async fn is_read(socket: &mut Socket) -> Value {
    loop {
        let (status, id) = status(socket).await;
        if status == "read" {
            return id;
        }
    }
}

async fn read(socket: &mut Socket, id: &Value) {
    socket.say(json!({"action": "read", "message_ids": [id]})).await;
}

with_tokens_on_every_backend! {
    /// Status by the first of several readers, sent once.
    async fn each_message_is_delivered_and_read_once(server) {
        let mut admin = enter(server, ADMIN, 2).await;
        let first = send(&mut admin, "first").await["id"].clone();
        let second = send(&mut admin, "second").await["id"].clone();
        assert_eq!(said(&mut admin).await, [json!(null); 0], "nobody is there");
        let (mut jane, mut bob) = (enter(server, JANE, 2).await, enter(server, BOB, 2).await);
        let third = send(&mut admin, "third").await["id"].clone();
        assert_eq!(status(&mut admin).await, (json!("delivered"), third.clone()));
        read(&mut jane, &second).await;
        for id in [&first, &second] {
            assert_eq!(status(&mut admin).await, (json!("read"), id.clone()), "all up to there");
        }
        read(&mut bob, &third).await;
        assert_eq!(status(&mut admin).await, (json!("read"), third.clone()));
        read(&mut jane, &third).await;
        hear(&mut jane, "read").await;
        let statuses: Vec<_> = said(&mut admin).await.into_iter().filter(|told| told["type"] == "message.status").collect();
        assert_eq!(statuses, [json!(null); 0], "Jane was not the first");
    }

    /// Messages hidden from a newcomer: the newcomer's read mark does not cover them.
    async fn what_is_hidden_from_a_reader_is_not_read(server) {
        let mut admin = enter(server, ADMIN, 1).await;
        let before = [send(&mut admin, "between us").await["id"].clone(), send(&mut admin, "the two").await["id"].clone()];
        let client = server.log_in(support::ADMIN).await;
        client.messaging("thread/add_participant", json!({"thread_id": 1, "partner_id": 7})).await;
        let since = send(&mut admin, "welcome").await["id"].clone();
        let mut jane = enter(server, JANE, 1).await;
        said(&mut admin).await;
        read(&mut jane, &since).await;
        assert_eq!(is_read(&mut admin).await, since);
        assert_eq!(statuses(&mut admin).await, [json!(null); 0], "of the others nothing was read");
        // Read status in the history and after a reconnect: the same.
        let marks = async || {
            let messages = client.messaging("messages", json!({"thread_id": 1})).await["messages"].take();
            messages.as_array().unwrap().iter().rev().map(|message| message["is_read"] == true).collect::<Vec<_>>()
        };
        assert_eq!(marks().await, [false, false, true]);
        let (mut again, mut all) = (enter(server, ADMIN, 1).await, enter_all(server, ADMIN).await);
        let mut john = enter(server, JOHN, 1).await;
        read(&mut john, &since).await;
        for socket in [&mut admin, &mut again, &mut all] {
            for id in &before {
                assert_eq!(is_read(socket).await, *id);
            }
            assert_eq!(statuses(socket).await, [json!(null); 0]);
        }
        assert_eq!(marks().await, [true; 3]);
        // Leave: a participant's departure marks nothing as read.
        let mut admin_again = enter(server, ADMIN, 1).await;
        drop((admin, again, all, jane));
        let own = send(&mut admin_again, "once more").await["id"].clone();
        read(&mut john, &own).await;
        assert_eq!(is_read(&mut admin_again).await, own);
    }

    /// Delivery by a history fetch.
    async fn what_is_fetched_is_delivered(server) {
        let mut admin = enter(server, ADMIN, 1).await;
        let id = send(&mut admin, "are you there?").await["id"].clone();
        let mut john = enter(server, JOHN, 1).await;
        john.say(json!({"action": "fetch_messages"})).await;
        assert_eq!(status(&mut admin).await, (json!("delivered"), id.clone()));
        john.say(json!({"action": "fetch_messages"})).await;
        hear(&mut john, "messages_fetched").await;
        assert_eq!(said(&mut admin).await, [json!(null); 0], "once");
    }

    /// Read marks from another dialect: for messages from before the socket as well, and only to their author.
    async fn reading_in_another_dialect_counts(server) {
        let (admin, john) = (server.log_in(support::ADMIN).await, server.log_in(support::JOHN).await);
        let mut own = Vec::new();
        for number in 0..3 {
            let body = number.to_string();
            let sent = admin.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
            own.push(json!(sent["message_id"].to_string()));
            john.messaging("message/send", json!({"thread_id": 1, "body": body})).await;
        }
        let mut admin = enter(server, ADMIN, 1).await;
        let newest = send(&mut admin, "newest").await["id"].clone();
        john.messaging("notifications/mark_all_read", json!({})).await;
        assert_eq!(hear(&mut admin, "read").await, json!({"type": "read", "user_id": "4", "message_ids": [newest]}));
        own.push(newest);
        for id in own {
            assert_eq!(status(&mut admin).await, (json!("read"), id));
        }
    }

    /// Read without a delivery, in any dialect: the status goes straight to `read`.
    async fn what_was_read_is_not_delivered_afterwards(server) {
        let jane = server.log_in(support::JANE).await;
        let mut admin = enter(server, ADMIN, 2).await;
        let id = send(&mut admin, "first").await["id"].clone();
        jane.messaging("notifications/mark_all_read", json!({})).await;
        assert_eq!(status(&mut admin).await, (json!("read"), id));
        let mut again = enter(server, ADMIN, 2).await;
        let mut bob = enter(server, BOB, 2).await;
        bob.say(json!({"action": "fetch_messages"})).await;
        hear(&mut bob, "messages_fetched").await;
        assert_eq!(statuses(&mut admin).await, [json!(null); 0]);
        assert_eq!(statuses(&mut again).await, [json!(null); 0], "nor where it is known from before");
    }

    /// Join: earlier messages stay unread, for present participants and for newcomers.
    async fn whoever_joins_has_read_nothing(server) {
        let admin = server.log_in(support::ADMIN).await;
        let mut before = enter(server, ADMIN, 2).await;
        let first = send(&mut before, "first").await["id"].clone();
        let mut john = enter(server, JOHN, 2).await;
        read(&mut john, &first).await;
        assert_eq!(status(&mut before).await, (json!("read"), first));
        let second = send(&mut before, "second").await["id"].clone();
        assert_eq!(status(&mut before).await, (json!("delivered"), second.clone()));
        admin.messaging("thread/add_participant", json!({"thread_id": 2, "partner_id": 35})).await;
        let mut after = enter(server, ADMIN, 2).await;
        read(&mut john, &second).await;
        for socket in [&mut before, &mut after] {
            assert_eq!(status(socket).await, (json!("read"), second.clone()));
        }
    }

    /// Read marks of a newcomer, for earlier messages as well; each message is reported once.
    async fn what_a_joiner_reads_is_told_to_all(server) {
        let admin = server.log_in(support::ADMIN).await;
        let mut author = enter(server, ADMIN, 2).await;
        let (first, second) = (send(&mut author, "first").await, send(&mut author, "second").await);
        admin.messaging("thread/add_participant", json!({"thread_id": 2, "partner_id": 35})).await;
        let (mut john, mut joiner) = (enter(server, JOHN, 2).await, enter(server, 34, 2).await);
        read(&mut joiner, &first["id"]).await;
        let expected = json!({"type": "read", "user_id": "34", "message_ids": [first["id"]]});
        for socket in [&mut joiner, &mut john, &mut author] {
            assert_eq!(hear(socket, "read").await, expected);
        }
        assert_eq!(status(&mut author).await, (json!("read"), first["id"].clone()));
        let page = admin.messaging("messages", json!({"thread_id": 2})).await;
        let is_read: Vec<_> = page["messages"].as_array().unwrap().iter().map(|message| &message["is_read"]).collect();
        assert_eq!(is_read, [false, true], "newest first: {page}");
        read(&mut joiner, &first["id"]).await;
        assert_eq!(hear(&mut joiner, "read").await, expected, "answered, and nobody else is told again");
        read(&mut joiner, &second["id"]).await;
        let expected = json!({"type": "read", "user_id": "34", "message_ids": [second["id"]]});
        for socket in [&mut joiner, &mut john, &mut author] {
            assert_eq!(hear(socket, "read").await, expected);
        }
        let deepak = server.log_in("deepak@tis.co.th").await;
        assert_eq!(deepak.messaging("unread/count", json!({})).await["unread_count"], 0, "nothing was unread");
    }

    /// Read marks for more messages than one batch, with and without ids.
    async fn however_many_are_read_all_are(server) {
        const MANY: usize = 230;

        let (admin, john) = (server.log_in(support::ADMIN).await, server.log_in(support::JOHN).await);
        let mut author = enter(server, ADMIN, 1).await;
        let post = async || {
            let mut ids = Vec::new();
            for _ in 0..MANY {
                let sent = admin.messaging("message/send", json!({"thread_id": 1, "body": "x"})).await;
                ids.push(json!(sent["message_id"].to_string()));
            }
            ids
        };
        let ids = post().await;
        let mut reader = enter(server, JOHN, 1).await;
        reader.say(json!({"action": "read", "message_ids": ids})).await;
        let mut named = Vec::new();
        while named.len() < MANY {
            named.append(hear(&mut reader, "read").await["message_ids"].as_array_mut().unwrap());
        }
        assert_eq!(named, ids);
        let (mut named, mut statuses) = (Vec::new(), Vec::new());
        while named.len() < MANY || statuses.len() < MANY {
            let mut told = author.hear().await;
            match told["type"].as_str().unwrap() {
                "read" => named.append(told["message_ids"].as_array_mut().unwrap()),
                "message.status" if told["status"] == "read" => statuses.push(told["message_id"].take()),
                _ => {}
            }
        }
        assert_eq!(named, ids);
        assert_eq!(statuses, ids);
        reader.close().await;
        let ids = post().await;
        john.messaging("notifications/mark_all_read", json!({})).await;
        for id in ids {
            assert_eq!(status(&mut author).await, (json!("read"), id));
        }
    }
}

with_every_backend! {
    /// Read mark of a member who has left: a slow author's client gets it later.
    async fn a_newcomer_who_has_gone_has_read_what_it_could(backend) {
        let server = Server::builder(backend).with_tokens().set("SOCKETS__QUEUED_BYTES", 65_536);
        let mut server = server.set("LIMITS__WRITE_SECONDS", 3_600).start().await;
        let (admin, john) = (server.log_in(support::ADMIN).await, server.log_in(support::JOHN).await);
        let jane = server.log_in(support::JANE).await;
        let uuid = john.result("/im_chat/api/get_or_create_session", json!({"user_to": ADMIN})).await["uuid"].take();
        for _ in 0..17 {
            john.messaging("message/send", json!({"thread_id": 1, "body": "x".repeat(60_000)})).await;
        }
        let say = async |text: &str| {
            let sent = admin.messaging("message/send", json!({"thread_id": 1, "body": text})).await;
            sent["message_id"].to_string()
        };
        say("between us").await;
        let slow = TcpSocket::new_v4().expect("there is room for a socket");
        slow.set_recv_buffer_size(4_096).expect("it can be small");
        let slow = slow.connect(server.address()).await.expect("the server listens");
        let (mut slow, _) = client_async(url(&server, 1, &token(ADMIN)), slow).await.expect("the server gives a socket");
        // More data than the kernel buffers for a client that does not read.
        for _ in 0..10 {
            let asked = json!({"action": "fetch_messages", "limit": 18});
            slow.send(Message::text(asked.to_string())).await.expect("the server reads");
        }
        admin.messaging("thread/add_participant", json!({"thread_id": 1, "partner_id": 7})).await;
        let since = say("welcome").await;
        assert_eq!(jane.messaging("message/read", json!({"message_id": since})).await["marked_count"], 1);
        let leave = json!({"model": "im_chat.session", "method": "quit_user", "args": [uuid], "kwargs": {}});
        assert_eq!(jane.result("/web/dataset/call_kw", leave).await, true);
        let end = say("the end").await;
        let mut read = Vec::new();
        loop {
            let Message::Text(told) = slow.next().await.expect("the socket is open").expect("the socket works") else { continue };
            let mut told: Value = serde_json::from_str(&told).expect("frames are JSON");
            if told["message"]["id"] == end {
                break;
            }
            if told["status"] == "read" {
                read.push(told["message_id"].take());
            }
        }
        assert_eq!(read, [since]);
        drop(slow);
        server.stop().await;
    }
}
