//! Tests of held messages across nodes: a file uploaded at one node waits for the sender's socket at the other.

use reqwest::{Method, multipart};
use serde_json::{Value, json};

use super::{ADMIN, JANE, JOHN, enter_room, on_every_bus, short_lives, with_every_bus};
use crate::support::{Answer, Bus, Server, Socket, token};

const ADMIN_UUID: &str = "75140d72-8b20-4549-885c-20599badb486";
/// TTL of a node's lease, in seconds.
const SECONDS: u64 = 4;

/// Uploads a file of John's for the admin, and returns its message id.
async fn upload(server: &Server, name: &str) -> Value {
    let file = multipart::Part::bytes(b"x".to_vec()).file_name(name.to_owned());
    let form = multipart::Form::new().text("receiver", ADMIN_UUID).text("message", "").part("attached_file", file);
    let request = server.client().request(Method::POST, "/chat/attachment/").bearer_auth(token(JOHN)).multipart(form);
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["entity"]["message"]["id"].take()
}

/// Asserts that the admin receives nothing before a message that Jane sends now.
async fn tells_nothing(admin: &mut Socket, jane: &mut Socket) {
    jane.say(json!({"action": "text_message", "receiver_id": ADMIN_UUID, "message_body": "meanwhile"})).await;
    assert_eq!(jane.hear().await["action"], "conf_message");
    assert_eq!(admin.hear().await["message"], "meanwhile");
}

async fn hears_file(socket: &mut Socket, action: &str, id: &Value, name: &str) {
    let told = socket.hear().await;
    let expected = (&json!(action), &json!("file"), id, &json!(name));
    assert_eq!(
        (&told["action"], &told["message_type"], &told["created_msg_id"], &told["attached_file_name"]),
        expected,
        "{told}"
    );
}

on_every_bus! {
    async fn an_upload_waits_for_the_socket_at_the_other_node(here, there) {
        let (mut john, mut admin) = (enter_room(here, JOHN).await, enter_room(there, ADMIN).await);
        let mut jane = enter_room(there, JANE).await;
        let id = upload(there, "a").await;
        tells_nothing(&mut admin, &mut jane).await;
        john.say(json!({"action": "file_message", "chat_id": id})).await;
        hears_file(&mut john, "conf_message", &id, "a").await;
        hears_file(&mut admin, "re_message", &id, "a").await;
    }

    async fn with_the_last_socket_of_all_nodes_it_is_shown(here, there) {
        let (john, mut admin) = (enter_room(here, JOHN).await, enter_room(there, ADMIN).await);
        let mut jane = enter_room(there, JANE).await;
        let (first, second) = (upload(there, "a").await, upload(here, "b").await);
        let other = enter_room(there, JOHN).await;
        other.close().await;
        tells_nothing(&mut admin, &mut jane).await;
        john.close().await;
        hears_file(&mut admin, "re_message", &first, "a").await;
        hears_file(&mut admin, "re_message", &second, "b").await;
        let third = upload(there, "c").await;
        hears_file(&mut admin, "re_message", &third, "c").await;
    }
}

async fn what_waits_for_a_dead_node_is_shown(bus: Bus) {
    let [mut here, mut there] = short_lives(&bus, SECONDS).await;
    let (_john, mut admin) = (enter_room(&here, JOHN).await, enter_room(&there, ADMIN).await);
    let mut jane = enter_room(&there, JANE).await;
    let first = upload(&there, "a").await;
    // Lease renewal: the node counts as alive for as long as it runs.
    tokio::time::sleep(std::time::Duration::from_secs(2 * SECONDS)).await;
    tells_nothing(&mut admin, &mut jane).await;
    here.kill().await;
    hears_file(&mut admin, "re_message", &first, "a").await;
    let second = upload(&there, "b").await;
    hears_file(&mut admin, "re_message", &second, "b").await;
    there.stop().await;
}

with_every_bus! {
    what_waits_for_a_dead_node_is_shown
}
