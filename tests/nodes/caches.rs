//! Tests of cache invalidation: after changes of the store without detailed events, and after the erasure of a user.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{ADMIN, JOHN, PAIR, enter, enter_room, hear, send};
use crate::support::{self, Backend, Bus, Server, Socket, two_nodes, until};

/// Changes the store as an import does, and appends an event. The head of the event log is locked last, as the storage does.
async fn change(backend: &Backend, change: &'static str, fact: Value) {
    const APPEND: &str = "WITH head AS (UPDATE log_head SET position = position + 1 RETURNING position)
        INSERT INTO events (position, partner_id, fact, at, mark)
        SELECT position, 0, $1::text::json, now(), gen_random_uuid() FROM head";
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let mut tx = database.begin().await.unwrap();
    sqlx::raw_sql(change).execute(&mut *tx).await.unwrap();
    sqlx::query(APPEND).bind(fact.to_string()).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

/// Returns the name of a typing user, as a conversation's socket shows it.
async fn typist(server: &Server, watching: &mut Socket) -> String {
    let john = server.log_in(support::JOHN).await;
    john.messaging("typing/stop", json!({"thread_id": PAIR})).await;
    john.messaging("typing/start", json!({"thread_id": PAIR})).await;
    let told = watching.hear_until(|told| told["type"] == "typing" && told["is_typing"] == true).await;
    told["username"].as_str().unwrap().to_owned()
}

/// Changed names: both nodes show them, also of users with a session; sessions and sockets stay.
#[tokio::test]
async fn a_store_that_was_changed_is_read_anew() {
    let backend = Backend::postgres().await;
    let [mut here, mut there] = two_nodes(&backend, &Bus::postgres()).await;
    let (admin, john) = (here.log_in(support::ADMIN).await, here.log_in(support::JOHN).await);
    let [access, _] = here.tokens(support::JOHN).await;
    let mut watching = enter(&here, ADMIN, PAIR).await;
    let mut room = enter_room(&there, JOHN).await;
    send(&john, "before").await;
    assert_eq!(typist(&here, &mut watching).await, "john");
    let told = admin.result("/longpolling/poll", json!({"channels": [], "last": 1})).await.to_string();
    assert!(told.contains("before"), "{told}");
    let names = "UPDATE partners SET name = 'Johannes' WHERE id = 5;
        UPDATE users SET profile = '{\"username\": \"hans\"}' WHERE id = 4;
        UPDATE messages SET body = 'as it was imported' WHERE body = 'before'";
    change(&backend, names, json!({"fact": "store_changed"})).await;
    for node in [&here, &there] {
        let same = node.client().with_session(john.session());
        until("the new name", async || {
            let info = same.result("/web/session/get_session_info", json!({})).await;
            (info["name"] == "Johannes").then_some(())
        })
        .await;
        send(&same, "after").await;
        let page = admin.messaging("messages", json!({"thread_id": PAIR, "limit": 1})).await;
        assert_eq!(page["messages"][0]["author_name"], "Johannes");
        let bearer = node.client().request(reqwest::Method::GET, "/auth/token").bearer_auth(&access);
        let bearer = support::Answer::of(bearer).await;
        assert!(bearer.body.contains("Johannes"), "{bearer:?}");
    }
    assert_eq!(typist(&here, &mut watching).await, "hans");
    let mut again = Socket::open(here.socket_url(&format!("/conversations/{PAIR}/?token={access}"))).await;
    again.heard_so_far().await;
    again.say(json!({"action": "fetch_messages"})).await;
    let fetched = hear(&mut again, "messages_fetched").await.to_string();
    assert!(fetched.contains("as it was imported"), "{fetched}");
    for socket in [&mut room, &mut watching] {
        socket.heard_so_far().await;
    }
    for node in [&mut here, &mut there] {
        node.stop().await;
    }
}

/// Changed event log: bus polls read it again, not the ring.
#[tokio::test]
async fn a_log_that_was_changed_is_read_anew() {
    let backend = Backend::postgres().await;
    let mut server = Server::with_tokens(backend.clone()).await;
    let (admin, john) = (server.log_in(support::ADMIN).await, server.log_in(support::JOHN).await);
    send(&john, "the old words").await;
    let told = async || admin.result("/longpolling/poll", json!({"channels": [], "last": 1})).await.to_string();
    assert!(told().await.contains("the old words"));
    let words = "UPDATE events SET fact = replace(fact::text, 'the old words', 'the new words')::json";
    change(&backend, words, json!({"fact": "store_changed"})).await;
    until("the new words", async || told().await.contains("the new words").then_some(())).await;
    assert!(!told().await.contains("the old words"));
    server.stop().await;
}

/// Gap in the positions after a restart of the event log: nodes and subscribers continue.
#[tokio::test]
async fn a_log_that_was_restarted_goes_on_after_the_gap() {
    let backend = Backend::postgres().await;
    let [mut here, mut there] = two_nodes(&backend, &Bus::postgres()).await;
    let (admin, john) = (here.log_in(support::ADMIN).await, there.log_in(support::JOHN).await);
    send(&john, "before the gap").await;
    let head = "UPDATE log_head SET position = position + 1000000";
    let restarted = json!({"fact": "log_restarted", "of": {"epoch": 1, "from": 1, "to": 1000000}});
    change(&backend, head, restarted).await;
    for node in [&here, &there] {
        until("the other side of the gap", async || (node.metric("dragoman_log_position").await > 1_000_000.0).then_some(()))
            .await;
    }
    let mut watching = enter(&here, ADMIN, PAIR).await;
    send(&john, "after the gap").await;
    assert_eq!(hear(&mut watching, "chat_message").await["message"]["content"], "after the gap");
    let told = admin.result("/longpolling/poll", json!({"channels": [], "last": 1})).await.to_string();
    assert!(told.contains("before the gap") && told.contains("after the gap"), "{told}");
    watching.close().await;
    for node in [&mut here, &mut there] {
        assert!(!node.log().contains("panicked"), "{}", node.log());
        node.stop().await;
    }
}

/// Erased user: sockets and sessions end at every node once the user is read again.
#[tokio::test]
async fn whoever_was_erased_is_sent_away() {
    let backend = Backend::postgres().await;
    let [mut here, mut there] = two_nodes(&backend, &Bus::postgres()).await;
    let john = here.log_in(support::JOHN).await;
    let (socket, room) = (enter(&here, JOHN, PAIR).await, enter_room(&there, JOHN).await);
    let stays = enter(&there, ADMIN, PAIR).await;
    let gone = "UPDATE users SET active = false, erased_at = now() WHERE id = 4";
    change(&backend, gone, json!({"fact": "user_erased", "of": {"user": JOHN, "partner": 5}})).await;
    for socket in [socket, room] {
        assert_eq!(socket.closed().await, 4003);
    }
    let refused = john.call("/api/messaging/threads", json!({})).await;
    assert_eq!(refused["error"]["code"], 100, "{refused}");
    stays.close().await;
    for node in [&mut here, &mut there] {
        node.stop().await;
    }
}
