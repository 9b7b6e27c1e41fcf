//! Tests of fan-out and order on sockets.

use futures_util::future::join_all;
use serde_json::json;

use super::{ADMIN, JANE, JOHN, show, text};
use crate::{
    support::{Server, Socket, token},
    with_every_backend,
};

/// Opens a socket of another dialect: John's conversation with the admin.
async fn conversation(server: &Server) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("/conversations/1/?token={}", token(JOHN.uid)))).await;
    assert_eq!(socket.hear().await["type"], "user_status");
    socket
}

with_every_backend! {
    /// Fan-out to all sockets of both users; the sender's other devices receive the confirmation.
    async fn all_sockets_of_a_user_are_told(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut phone, mut laptop) = (JOHN.socket(&server).await, JOHN.socket(&server).await);
        let (mut one, mut other) = (ADMIN.socket(&server).await, ADMIN.socket(&server).await);
        let mut jane = JANE.socket(&server).await;
        phone.say(text(&ADMIN, "hello")).await;
        let confirmed = phone.hear().await;
        assert_eq!(confirmed["action"], "conf_message");
        assert_eq!(laptop.hear().await, confirmed);
        let heard = one.hear().await;
        assert_eq!(heard["action"], "re_message");
        assert_eq!(other.hear().await, heard);
        // Message to a third user: not sent to these sockets.
        phone.say(text(&JANE, "only you")).await;
        assert_eq!(jane.hear().await["message"], "only you");
        server.stop().await;
    }

    /// No gap after the handshake: a client that reads the history after it receives every later message.
    async fn nothing_is_missed_after_the_handshake(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 1_000).start().await;
        let mut john = JOHN.socket(&server).await;
        let address = server.socket_url(&format!("/ws/chat/room/?token={}", token(ADMIN.uid)));
        for number in 0..40 {
            let opened = join_all((0..10).map(|_| Socket::open(address.as_str()))).await;
            let body = number.to_string();
            john.say(text(&ADMIN, &body)).await;
            for mut socket in opened {
                assert_eq!(socket.hear().await["message"], body);
            }
            assert_eq!(john.hear().await["message"], body);
        }
        server.stop().await;
    }

    /// Order of answers: the protocol has no other correlation.
    async fn answers_come_in_the_order_of_what_was_asked(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 1_000).start().await;
        let mut john = JOHN.socket(&server).await;
        for _ in 0..50 {
            john.say(text(&ADMIN, "hello")).await;
            john.say(text(&ADMIN, "")).await;
            assert_eq!([john.hear().await["action"].take(), john.hear().await["action"].take()], ["conf_message", "error"]);
        }
        server.stop().await;
    }

    /// Message to oneself: one confirmation.
    async fn a_message_to_oneself_is_a_confirmation(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut john = JOHN.socket(&server).await;
        for body in ["note", "another"] {
            john.say(text(&JOHN, body)).await;
            let frame = john.hear().await;
            assert_eq!([&frame["action"], &frame["message"]], ["conf_message", body]);
            assert_eq!([&frame["sender_id"], &frame["receiver_id"]], [JOHN.uuid; 2]);
        }
        let history = JOHN.history(&server, &JOHN).await;
        assert_eq!(history.len(), 2);
        assert_eq!([&history[0]["sender"]["id"], &history[0]["receiver"]["id"]], [JOHN.uuid; 2]);
        let threads = JOHN.data(&server, "/chat/user/threads/").await;
        assert_eq!(threads[0]["other_user"]["id"], JOHN.uuid);
        server.stop().await;
    }

    /// File: one delivery, and a confirmation for each request.
    async fn a_file_is_delivered_once_and_confirmed_again(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        let file = JOHN.upload(&server, &ADMIN, "look", 10).await;
        john.say(show(&file["id"])).await;
        let confirmed = john.hear().await;
        // Id as a number or as a string.
        john.say(show(&file["id"].to_string().into())).await;
        assert_eq!(john.hear().await, confirmed);
        john.say(text(&ADMIN, "afterwards")).await;
        assert_eq!(john.hear().await["message"], "afterwards");
        assert_eq!(admin.hear().await["created_msg_id"], file["id"]);
        assert_eq!(admin.hear().await["message"], "afterwards");
        server.stop().await;
    }

    /// Sender without a socket: the file is delivered at once, since the sender cannot release it.
    async fn a_file_of_a_sender_without_a_socket_is_delivered_at_once(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut admin = ADMIN.socket(&server).await;
        let file = JOHN.upload(&server, &ADMIN, "look", 10).await;
        let heard = admin.hear().await;
        assert_eq!([&heard["created_msg_id"], &heard["message_body"]], [&file["id"], &json!("look")]);
        let mut john = JOHN.socket(&server).await;
        john.say(show(&file["id"])).await;
        assert_eq!(john.hear().await["action"], "conf_message");
        john.say(text(&ADMIN, "afterwards")).await;
        assert_eq!(admin.hear().await["message"], "afterwards", "it is not delivered again");
        server.stop().await;
    }

    /// Sender with a socket of another dialect only: the same.
    async fn a_socket_of_another_dialect_shows_no_file(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut elsewhere = conversation(&server).await;
        let mut admin = ADMIN.socket(&server).await;
        let file = JOHN.upload(&server, &ADMIN, "look", 10).await;
        assert_eq!(admin.hear().await["created_msg_id"], file["id"]);
        elsewhere.hear_until(|told| told["type"] == "chat_message").await;
        server.stop().await;
    }

    /// Last socket of the sender closed: held files are delivered.
    async fn what_waits_is_shown_when_the_last_socket_goes(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (phone, laptop, mut admin) = (JOHN.socket(&server).await, JOHN.socket(&server).await, ADMIN.socket(&server).await);
        let file = JOHN.upload(&server, &ADMIN, "look", 10).await;
        phone.close().await;
        assert_eq!(admin.heard_so_far().await, [json!(null); 0]);
        laptop.close().await;
        assert_eq!(admin.hear().await["created_msg_id"], file["id"]);
        server.stop().await;
    }

    async fn what_was_taken_back_is_not_shown(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        let file = JOHN.upload(&server, &ADMIN, "hush", 10).await["id"].take();
        let mut elsewhere = conversation(&server).await;
        elsewhere.say(json!({"action": "delete_message", "message_id": file})).await;
        elsewhere.hear_until(|told| told["type"] == "message.deleted").await;
        john.say(show(&file)).await;
        let refused = john.hear().await;
        assert_eq!([&refused["code"], &refused["message"]], ["conflict", "This is not possible: the message was deleted"], "{refused}");
        john.say(text(&ADMIN, "never mind")).await;
        assert_eq!(admin.hear().await["message"], "never mind");
        server.stop().await;
    }

    /// Order by id: a later message delivers earlier files first, released or not.
    async fn a_later_message_brings_the_file_along(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        let file = JOHN.upload(&server, &ADMIN, "look", 10).await["id"].take();
        let mut late = ADMIN.socket(&server).await;
        john.say(text(&ADMIN, "and this")).await;
        for socket in [&mut john, &mut admin] {
            assert_eq!(socket.hear().await["created_msg_id"], file);
            assert_eq!(socket.hear().await["message"], "and this");
        }
        john.say(show(&file)).await;
        let confirmed = john.hear().await;
        assert_eq!([&confirmed["created_msg_id"], &confirmed["action"]], [&file, &json!("conf_message")]);
        john.say(text(&ADMIN, "the end")).await;
        assert_eq!(john.hear().await["message"], "the end");
        assert_eq!(admin.hear().await["message"], "the end", "the file was told");
        for body in ["and this", "the end"] {
            assert_eq!(late.hear().await["message"], body, "who came later goes on upwards");
        }
        server.stop().await;
    }

    /// Confirmation to a later socket of the sender.
    async fn a_socket_that_came_later_gets_its_confirmation(backend) {
        let mut server = Server::with_tokens(backend).await;
        let first = JOHN.socket(&server).await;
        let file = JOHN.upload(&server, &ADMIN, "look", 10).await["id"].take();
        let mut second = JOHN.socket(&server).await;
        second.say(text(&ADMIN, "and this")).await;
        assert_eq!(second.hear().await["message"], "and this");
        second.say(show(&file)).await;
        assert_eq!(second.hear().await["created_msg_id"], file);
        first.close().await;
        server.stop().await;
    }

    /// Concurrent messages in both directions: every socket has the order of the ids, own messages included.
    async fn everybody_sees_one_order(backend) {
        const EACH: usize = 15;

        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        for number in 0..EACH {
            john.say(text(&ADMIN, &format!("john {number}"))).await;
            admin.say(text(&JOHN, &format!("admin {number}"))).await;
        }
        let mut seen = Vec::new();
        for socket in [&mut john, &mut admin] {
            let mut told = Vec::new();
            for _ in 0..2 * EACH {
                let frame = socket.hear().await;
                told.push((frame["created_msg_id"].as_i64().unwrap(), frame["message"].clone()));
            }
            assert!(told.is_sorted_by_key(|(id, _)| *id), "{told:?}");
            seen.push(told);
        }
        assert_eq!(seen[0], seen[1]);
        server.stop().await;
    }
}
