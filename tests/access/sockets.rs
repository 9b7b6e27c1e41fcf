//! Tests of access control on sockets: an action on another user's object is answered as not found, and no socket opens
//! without a valid token.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::{SECRET, table::Scene};
use crate::{
    support::{BOB, JOHN, Server, Socket, token, token_until, unsigned_token},
    with_every_backend, with_tokens_on_every_backend,
};

/// Uids of Bob and John.
const UIDS: (i64, i64) = (8, 4);

/// A dialect's socket.
struct Door {
    dialect: &'static str,
    /// Paths of the scene's conversation and of one that Bob is a member of.
    path: fn(&Scene) -> String,
    own: fn(&Scene) -> String,
    /// Close codes: for a connection without a valid token, and for a user who is not a member; `None` if the path names no
    /// conversation.
    stranger: u16,
    outsider: Option<u16>,
    /// Actions that name another user's object, with the expected answers.
    actions: fn(&Scene) -> Vec<(Value, Value)>,
}

fn doors() -> Vec<Door> {
    let one = Door {
        dialect: "conversations",
        path: |scene| format!("/conversations/{}", scene.thread),
        own: |scene| format!("/conversations/{}", scene.own),
        stranger: 4003,
        outsider: Some(4004),
        actions: |scene| {
            let not_found = |action| json!({"type": "error", "action": action, "error": "Message not found"});
            let not_own = "conversation_id must be this socket's own";
            let elsewhere = |action| json!({"type": "error", "action": action, "error": not_own});
            let failed = json!({"type": "message.failed", "local_id": null, "error": not_own});
            let (thread, message) = (scene.thread, scene.message);
            let there = |action| json!({"action": action, "conversation_id": thread, "content": "x", "is_typing": true, "message_ids": [message]});
            vec![
                (json!({"action": "edit_message", "message_id": message, "content": "x"}), not_found("edit_message")),
                (json!({"action": "delete_message", "message_id": message}), not_found("delete_message")),
                (json!({"action": "read", "message_ids": [message]}), not_found("read")),
                (json!({"action": "reaction", "message_id": message, "content": "x"}), not_found("reaction")),
                (there("send_message"), failed),
                (there("typing"), elsewhere("typing")),
                (there("read"), elsewhere("read")),
                (there("fetch_messages"), elsewhere("fetch_messages")),
            ]
        },
    };
    vec![one, all_conversations()]
}

/// The socket of all conversations: frames name the conversation, and another user's is answered like a missing one.
fn all_conversations() -> Door {
    Door {
        dialect: "conversations, all",
        path: |_| "/conversations/".into(),
        own: |_| "/conversations/".into(),
        stranger: 4003,
        outsider: None,
        actions: |scene| {
            const ACTIONS: [&str; 7] =
                ["send_message", "typing", "read", "fetch_messages", "edit_message", "delete_message", "reaction"];
            let error = "Conversation not found";
            let (message, mut asked) = (scene.message, Vec::new());
            let named = [json!(scene.thread.to_string()), json!(scene.uuid), json!("987654"), json!("nothing")];
            for (conversation, action) in named.iter().flat_map(|named| ACTIONS.map(|action| (named, action))) {
                let frame = json!({"action": action, "conversation_id": conversation, "content": "x", "is_typing": true,
                    "message_ids": [message], "message_id": message, "after_id": message});
                let expected = match action {
                    "send_message" => {
                        json!({"type": "message.failed", "conversation_id": conversation, "local_id": null, "error": error})
                    }
                    _ => json!({"type": "error", "conversation_id": conversation, "action": action, "error": error}),
                };
                asked.push((frame, expected));
            }
            // In one's own conversation, another's message is answered as missing.
            for action in ["read", "edit_message", "delete_message", "reaction"] {
                let own = scene.own.to_string();
                let frame = json!({"action": action, "conversation_id": own, "content": "x", "message_ids": [message], "message_id": message});
                asked.push((
                    frame,
                    json!({"type": "error", "conversation_id": own, "action": action, "error": "Message not found"}),
                ));
            }
            asked
        },
    }
}

with_tokens_on_every_backend! {
    async fn without_a_token_that_counts_nobody_has_a_socket(server) {
        let scene = Scene::set(server).await;
        let cookie = format!("session_id={}", server.log_in(JOHN).await.session().expect("he is logged in"));
        for door in doors() {
            let url = server.socket_url(&(door.path)(&scene));
            let john = UIDS.1;
            for (who, token) in [
                ("nobody", String::new()),
                ("a guess", token(john).replace('a', "b")),
                ("one whose token has run out", token_until(john, -31)),
                ("one who signs nothing", unsigned_token(john)),
                ("a user who is not there", token(987_654)),
            ] {
                let socket = Socket::open(format!("{url}?token={token}")).await;
                assert_eq!(socket.closed().await, door.stranger, "{who} at {}", door.dialect);
            }
            let mut foreign = url.into_client_request().expect("it is an address");
            foreign.headers_mut().insert("cookie", cookie.parse().expect("it is a header"));
            foreign.headers_mut().insert("origin", "https://evil.example".parse().expect("it is a header"));
            assert_eq!(Socket::open(foreign).await.closed().await, door.stranger, "a foreign page at {}", door.dialect);
        }
    }

    async fn on_sockets_what_is_of_others_stays_theirs(server) {
        let scene = Scene::set(server).await;
        let (bob, john) = (UIDS.0, server.log_in(JOHN).await);
        let before = scene.seen(&john).await;
        for door in doors() {
            let at = |path: &str| server.socket_url(&format!("{path}?token={}", token(bob)));
            if let Some(outsider) = door.outsider {
                assert_eq!(Socket::open(at(&(door.path)(&scene))).await.closed().await, outsider, "{}", door.dialect);
            }
            let mut own = Socket::open(at(&(door.own)(&scene))).await;
            own.heard_so_far().await;
            for (number, (frame, expected)) in (door.actions)(&scene).into_iter().enumerate() {
                if number % 30 == 29 {
                    // A new socket, because of the rate limit on frames.
                    own = Socket::open(at(&(door.own)(&scene))).await;
                    own.heard_so_far().await;
                }
                own.say(frame.clone()).await;
                let mut told = own.heard_so_far().await;
                told.retain(|told| told["type"] != "user_status");
                assert!(!Value::from(told.clone()).to_string().contains(SECRET), "{frame}: {told:?}");
                assert_eq!(told, [expected], "{}: {frame}", door.dialect);
            }
        }
        assert_eq!(scene.seen(&john).await, before, "nothing has changed for those who are in");
    }
}

with_every_backend! {
    async fn one_who_is_deactivated_loses_every_socket(backend) {
        // A store in memory cannot be changed by the command line while its server runs.
        if !backend.is_durable() {
            return;
        }
        let mut server = Server::with_tokens(backend.clone()).await;
        let scene = Scene::set(&server).await;
        let mut open = Vec::new();
        for door in doors() {
            let address = server.socket_url(&format!("{}?token={}", (door.own)(&scene), token(UIDS.0)));
            let mut socket = Socket::open(address.as_str()).await;
            socket.heard_so_far().await;
            open.push((door, address, socket));
        }
        backend.administer(&["user", "deactivate", BOB], "").await;
        for (door, address, socket) in open {
            assert_eq!(socket.closed().await, door.stranger, "{}", door.dialect);
            assert_eq!(Socket::open(address).await.closed().await, door.stranger, "{}", door.dialect);
        }
        server.stop().await;
    }
}
