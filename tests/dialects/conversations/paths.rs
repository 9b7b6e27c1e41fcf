//! Tests of alternative socket paths.

use serde_json::json;

use super::{ADMIN, JOHN, enter, hear, send};
use crate::{
    support::{self, Server, Socket, token},
    with_every_backend,
};

with_every_backend! {
    async fn all_paths_lead_to_the_same_sockets(backend) {
        let server = Server::builder(backend).with_tokens().set("CONVERSATIONS__PATHS", "/chat,/ws/chat,/talk/rooms");
        let mut server = server.start().await;
        let mut admin = enter(&server, ADMIN, 1).await;
        for path in ["/conversations", "/ws/conversations", "/chat", "/ws/chat", "/talk/rooms"] {
            for slash in ["", "/"] {
                let open = async |path: &str, token: &str| {
                    Socket::open(server.socket_url(&format!("{path}{slash}?token={token}"))).await
                };
                let (mut one, mut all) = (open(&format!("{path}/1"), &token(JOHN)).await, open(path, &token(JOHN)).await);
                for socket in [&mut one, &mut all] {
                    hear(socket, "user_status").await;
                }
                let message = send(&mut admin, path).await;
                assert_eq!(hear(&mut one, "chat_message").await, json!({"type": "chat_message", "message": message}), "{path}");
                let expected = json!({"type": "chat_message", "conversation_id": "1", "message": message});
                assert_eq!(hear(&mut all, "chat_message").await, expected, "{path}");
                for path in [path, &format!("{path}/1")] {
                    assert_eq!(open(path, "x").await.closed().await, 4003, "{path}");
                }
                for id in ["987654", "abc"] {
                    assert_eq!(open(&format!("{path}/{id}"), &token(JOHN)).await.closed().await, 4004, "{path}");
                }
            }
        }
        // HTTP routes below these paths, and the other dialect's socket, stay reachable.
        let john = server.log_in(support::JOHN).await;
        let threads = john.request(reqwest::Method::GET, "/chat/user/threads/").bearer_auth(token(JOHN));
        assert_eq!(support::Answer::of(threads).await.status, 200);
        let mut room = Socket::open(server.socket_url(&format!("/ws/chat/room/?token={}", token(JOHN)))).await;
        let message = send(&mut admin, "to the room").await;
        let told = room.hear_until(|told| told["action"] == "re_message").await;
        assert_eq!(told["message"], message["content"], "{told}");
        drop((admin, room));
        server.stop().await;
    }
}

#[tokio::test]
async fn paths_that_lead_elsewhere_are_refused() {
    for path in ["chat", "/", "/chat/", "/chat//x", "/ch at", "/chat/:id", "/chat/*", "/concierge", "/uat", "/ws/chat/room"] {
        let output = support::run(&["serve", "--listen", "127.0.0.1:0"], &[("DRAGOMAN__CONVERSATIONS__PATHS", path)], "").await;
        assert!(!output.status.success(), "{path}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("conversations.paths must hold paths such as /chat"), "{path}: {errors}");
    }
}

/// Paths of the other dialect: none of a page, nor of the sockets here.
#[tokio::test]
async fn paths_of_other_routes_are_refused() {
    for path in ["/asyncapi", "/conversations", "/docs"] {
        let output = support::run(&["serve", "--listen", "127.0.0.1:0"], &[("DRAGOMAN__CONCIERGE__PATHS", path)], "").await;
        assert!(!output.status.success(), "{path}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.contains("concierge.paths must hold paths such as /uat"), "{path}: {errors}");
    }
}
