//! Tests of pages of messages at once: their memory is reserved by what they hold, not by the largest messages.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::{io::AsyncWriteExt, net::TcpSocket};

use super::crowds::{FIRST, add_people};
use crate::{
    support::{ADMIN, Backend, Client, JANE, Server, token, until},
    with_every_backend,
};

const LIMIT: usize = 200;
/// The demo data's conversation of the admin and John.
const PAIR: i64 = 1;

async fn refused(server: &Server) -> f64 {
    server.metric("dragoman_refused_total{limit=\"answers_bytes\"}").await
}

async fn say(client: &Client, thread: &Value, messages: usize, bytes: usize) -> Vec<Value> {
    let mut said = Vec::new();
    for _ in 0..messages {
        let sent = client.messaging("message/send", json!({"thread_id": thread, "body": "x".repeat(bytes)})).await;
        assert_eq!(sent["success"], true, "{sent}");
        said.insert(0, sent["message_id"].clone());
    }
    said
}

fn ids(page: &Value) -> Vec<Value> {
    page["messages"].as_array().unwrap_or_else(|| panic!("{page}")).iter().map(|message| message["id"].clone()).collect()
}

/// Requests of eight users are in the store at once, with their memory, and so is the ninth. Nobody reads the eight answers.
#[tokio::test]
async fn pages_of_many_users_leave_room_for_another() {
    const READERS: i64 = 8;
    let server = Server::builder(Backend::postgres().await).with_tokens().set("LIMITS__USER__WRITES_PER_SECOND", 0);
    let server = server.set("TOKENS__USER_CLAIM_NAMES", "uid").set("POSTGRES__STATEMENT_MILLISECONDS", 600_000).start().await;
    add_people(&server, READERS).await;
    let jane = server.log_in(JANE).await;
    let people: Vec<_> = (FIRST..FIRST + READERS).collect();
    let created = jane.messaging("thread/create", json!({"name": "x", "thread_type": "group", "partner_ids": people})).await;
    let thread = created["thread_id"].clone();
    let said = say(&jane, &thread, LIMIT, 1_000).await;

    let mut database = PgConnection::connect(server.backend().url()).await.expect("the database is up");
    let mut watcher = PgConnection::connect(server.backend().url()).await.expect("the database is up");
    let mut lock = database.begin().await.expect("the database is up");
    sqlx::query("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await.expect("it can be locked");
    let mut are_reading = async |pages: i64| {
        until("all pages are being read", async || {
            let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'messages'::regclass";
            let reading: i64 = sqlx::query_scalar(waits).fetch_one(&mut watcher).await.expect("the database is up");
            (reading >= pages).then_some(())
        })
        .await;
    };
    let page = json!({"thread_id": thread, "limit": LIMIT});
    let body = json!({"params": page}).to_string();
    let mut slow = Vec::new();
    for reader in 0..READERS {
        let socket = TcpSocket::new_v4().expect("there is room for a socket");
        socket.set_recv_buffer_size(4_096).expect("it can be small");
        let mut socket = socket.connect(server.address()).await.expect("the server listens");
        let request = format!(
            "POST /api/messaging/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            token(2 * FIRST + reader),
            body.len()
        );
        socket.write_all(request.as_bytes()).await.expect("the server reads");
        slow.push(socket);
    }
    are_reading(READERS).await;
    let asking = tokio::spawn(async move { jane.messaging("messages", page).await });
    are_reading(READERS + 1).await;
    lock.rollback().await.expect("the database is up");
    assert_eq!(ids(&asking.await.expect("it ends")), said);
    for socket in &slow {
        socket.readable().await.expect("it is answered");
    }
    assert_eq!(refused(&server).await, 0.0);
}

with_every_backend! {
    async fn a_page_of_the_largest_messages_is_whole(backend) {
        let server = Server::builder(backend).set("LIMITS__USER__WRITES_PER_SECOND", 0).start().await;
        let admin = server.log_in(ADMIN).await;
        let said = say(&admin, &json!(PAIR), LIMIT, 65_536).await;
        for offset in [0, 10] {
            let page = admin.messaging("messages", json!({"thread_id": PAIR, "limit": LIMIT, "offset": offset})).await;
            assert_eq!(ids(&page)[..LIMIT - offset], said[offset..]);
        }
        assert_eq!(refused(&server).await, 0.0);
    }
}
