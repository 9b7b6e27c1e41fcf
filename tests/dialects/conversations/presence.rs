//! Tests of presence and typing.

use serde_json::json;

use super::{ADMIN, BOB, JANE, JOHN, open, said, text};
use crate::{
    support::{self, Server, Socket, until},
    with_every_backend, with_tokens_on_every_backend,
};

/// Returns the next presence status of a user.
async fn status(socket: &mut Socket, uid: i64) -> String {
    let uid = uid.to_string();
    let told = socket.hear_until(|told| told["type"] == "user_status" && told["user_id"] == uid.as_str()).await;
    text(&told, "status").to_owned()
}

with_tokens_on_every_backend! {
    /// Status `away` counts as online.
    async fn who_is_away_is_online(server) {
        let mut john = open(server, JOHN, 1).await;
        assert_eq!(status(&mut john, ADMIN).await, "offline");
        let admin = server.log_in(support::ADMIN).await;
        admin.messaging("presence/update", json!({"status": "away"})).await;
        assert_eq!(status(&mut john, ADMIN).await, "online");
        admin.messaging("presence/update", json!({"status": "online"})).await;
        admin.messaging("presence/update", json!({"status": "offline"})).await;
        assert_eq!(status(&mut john, ADMIN).await, "offline", "what the user says of itself counts, and no change is told twice");
        assert_eq!(said(&mut john).await, [json!(null); 0]);
    }

    async fn who_is_brought_in_is_told_of(server) {
        let mut john = open(server, JOHN, 1).await;
        let admin = server.log_in(support::ADMIN).await;
        let added = admin.messaging("thread/add_participant", json!({"thread_id": 1, "partner_id": 7})).await;
        assert!(added.get("error").is_none(), "{added}");
        assert_eq!(status(&mut john, JANE).await, "offline");
        let _jane = open(server, JANE, 1).await;
        assert_eq!(status(&mut john, JANE).await, "online");
    }
}

with_every_backend! {
    /// Typing repeats: clients forget it after some seconds, so the server sends it again; a new socket receives the current
    /// state.
    async fn who_goes_on_typing_is_told_of_again(backend) {
        let mut server = Server::builder(backend).with_tokens().set("SOCKETS__FRAMES_BURST", 100_000).start().await;
        let (mut john, mut admin) = (open(&server, JOHN, 1).await, open(&server, ADMIN, 1).await);
        let typing = json!({"type": "typing", "user_id": "2", "username": "admin", "is_typing": true});
        let told = async |socket: &mut Socket| socket.hear_until(|told| told["type"] == "typing").await;
        admin.say(json!({"action": "typing", "is_typing": true})).await;
        assert_eq!(told(&mut john).await, typing);
        let mut late = open(&server, JOHN, 1).await;
        assert_eq!(told(&mut late).await, typing);
        until("typing is told again", async || {
            admin.say(json!({"action": "typing", "is_typing": true})).await;
            john.heard_so_far().await.contains(&typing).then_some(())
        })
        .await;
        server.stop().await;
    }

    async fn coming_and_going_is_told_to_participants(backend) {
        let server = Server::builder(backend).with_tokens().set("PRESENCE__ONLINE_SECONDS", 1);
        let mut server = server.set("PRESENCE__POLL_SECONDS", 2).set("IM_CHAT__POLL_SECONDS", 1).start().await;
        let (mut john, mut jane) = (open(&server, JOHN, 1).await, open(&server, JANE, 2).await);
        assert_eq!(status(&mut john, ADMIN).await, "offline");
        assert_eq!(status(&mut jane, BOB).await, "offline");
        let admin = open(&server, ADMIN, 2).await;
        assert_eq!(status(&mut john, ADMIN).await, "online", "wherever the other has come to");
        let bob = open(&server, BOB, 2).await;
        assert_eq!(status(&mut jane, BOB).await, "online");
        let mut late = open(&server, JOHN, 1).await;
        assert_eq!(status(&mut late, ADMIN).await, "online", "right after connecting");
        admin.close().await;
        assert_eq!(status(&mut john, ADMIN).await, "offline");
        bob.close().await;
        let heard: Vec<_> = john.heard_so_far().await.into_iter().filter(|told| told["user_id"] == "8").collect();
        assert_eq!(heard, [json!(null); 0], "Bob is in none of John's windows");
        server.stop().await;
    }
}
