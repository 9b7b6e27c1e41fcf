//! Tests of the members of a session and their sides, in every dialect.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{ADMIN, CONCIERGE, Client, DEEPAK, JOHN, address, start, token};
use crate::{
    support::{self, Server, Socket, until},
    with_every_backend,
};

/// Partner id of John in the demo data, whom other dialects try to add.
const JOHNS_PARTNER: i64 = 5;
const FIXED: &str = "The people in a support session change only through the support chat";

/// A session that an agent has joined: its `chatSessionId`, and its number.
async fn joined(tenant: &mut Client, agent: &mut Client) -> (Value, i64) {
    let chat = tenant.init().await;
    let joined = agent.join(&chat).await;
    tenant.event().await;
    let id = joined["chatSession"]["id"].as_str().and_then(|id| id.parse().ok()).expect("a number");
    (chat, id)
}

/// Opens a socket of the `conversations` dialect.
async fn enter(server: &Server, uid: i64, conversation: i64) -> Socket {
    let mut socket = Socket::open(address(server, &format!("/conversations/{conversation}/?token={}", token(uid)))).await;
    socket.heard_so_far().await;
    socket
}

async fn participants(client: &support::Client, id: i64) -> usize {
    let answer = client.messaging(&format!("thread/participants/{id}"), json!({})).await;
    answer["participants"].as_array().unwrap_or_else(|| panic!("{answer}")).len()
}

with_every_backend! {
    /// Membership changes through other dialects: refused to tenants and agents.
    async fn other_dialects_change_nobody(backend) {
        let mut server = start(backend).await;
        let (mut tenant, mut agent) =
            (Client::connect(&server, DEEPAK, "phone").await, Client::connect(&server, CONCIERGE, "desk").await);
        let (chat, id) = joined(&mut tenant, &mut agent).await;
        let [deepak, concierge, john] = [support::DEEPAK, "concierge@example.com", support::JOHN].map(|who| server.log_in(who));
        let (deepak, concierge, john) = (deepak.await, concierge.await, john.await);
        for client in [&deepak, &concierge] {
            let added = client.messaging("thread/add_participant", json!({"thread_id": id, "partner_id": JOHNS_PARTNER})).await;
            assert_eq!(added, json!({"error": FIXED}));
            let call = async |method: &str, args: Value| {
                let params = json!({"model": "im_chat.session", "method": method, "args": args, "kwargs": {}});
                client.call("/web/dataset/call_kw", params).await
            };
            let added = call("add_user", json!([chat, JOHN])).await;
            assert_eq!(added["error"]["data"]["name"], "odoo.exceptions.UserError", "{added}");
            assert_eq!(added["error"]["data"]["message"].as_str().map(str::to_lowercase), Some(FIXED.to_lowercase()));
            assert_eq!(call("quit_user", json!([chat])).await["result"], false);
            assert_eq!(participants(client, id).await, 2);
        }
        let sent = john.messaging("message/send", json!({"thread_id": id, "body": "We refund you 1000 EUR"})).await;
        assert_eq!(sent, json!({"error": "Access denied"}));
        assert_eq!(tenant.texts("client", &chat).await, [Value::Null; 0]);
        drop((tenant, agent));
        server.stop().await;
    }

    /// Closed session: no message, edit, typing or membership change in any dialect; an author can still delete its own
    /// messages.
    async fn a_closed_session_is_closed_in_every_dialect(backend) {
        let mut server = start(backend).await;
        let (mut tenant, mut agent) =
            (Client::connect(&server, DEEPAK, "phone").await, Client::connect(&server, CONCIERGE, "desk").await);
        let (chat, id) = joined(&mut tenant, &mut agent).await;
        let own = tenant.send("client", &chat, "as it was").await["id"].clone();
        let deepak = server.log_in(support::DEEPAK).await;
        let mut socket = enter(&server, DEEPAK, id).await;
        tenant.body("client/end-chat-with-concierge", json!({"chatSessionId": chat})).await;

        let closed = "The conversation is closed";
        for (route, params) in [
            ("typing/start", json!({"thread_id": id})),
            ("message/send", json!({"thread_id": id, "body": "too late"})),
        ] {
            assert_eq!(deepak.messaging(route, params).await, json!({"error": closed}), "{route}");
        }
        let add = json!({"thread_id": id, "partner_id": JOHNS_PARTNER});
        assert_eq!(deepak.messaging("thread/add_participant", add).await, json!({"error": FIXED}));
        for kind in ["message", "typing"] {
            let post = json!({"uuid": chat, "message_type": kind, "message_content": "too late"});
            let posted = deepak.call("/im_chat/post", post).await;
            assert_eq!(posted["error"]["data"]["name"], "odoo.exceptions.UserError", "{kind}: {posted}");
        }
        for (frame, action) in [
            (json!({"action": "typing", "is_typing": true}), "typing"),
            (json!({"action": "edit_message", "message_id": own, "content": "as it never was"}), "edit_message"),
        ] {
            socket.say(frame).await;
            let told = socket.hear_until(|told| told["type"] == "error").await;
            assert_eq!((&told["action"], &told["error"]), (&json!(action), &json!(closed)), "{told}");
        }
        socket.say(json!({"action": "send_message", "content": "too late", "local_id": "1"})).await;
        assert_eq!(socket.hear_until(|told| told["type"] == "message.failed").await["error"], closed);
        assert_eq!(agent.refused("backend/leave-chat-session", json!({"chatSessionId": chat})).await, 409);
        assert_eq!(tenant.texts("client", &chat).await, ["as it was"]);

        socket.say(json!({"action": "delete_message", "message_id": own})).await;
        socket.hear_until(|told| told["type"] == "message.deleted").await;
        assert_eq!(tenant.texts("client", &chat).await, [""]);
        drop((tenant, agent, socket));
        server.stop().await;
    }

    /// Side of a message: fixed when it is written. An agent whose session was taken over can no longer send there.
    async fn a_messages_side_is_that_of_its_author_when_it_was_written(backend) {
        let mut server = start(backend.clone()).await;
        let (mut tenant, mut agent) =
            (Client::connect(&server, DEEPAK, "phone").await, Client::connect(&server, CONCIERGE, "desk").await);
        let mut admin = Client::connect(&server, ADMIN, "desk").await;
        let (chat, id) = joined(&mut tenant, &mut agent).await;
        tenant.send("client", &chat, "question").await;
        agent.send("backend", &chat, "answer").await;
        admin.body("backend/join-chat-session", json!({"chatSessionId": chat, "takeOver": true})).await;
        let deepak = server.log_in(support::DEEPAK).await;
        deepak.messaging("message/send", json!({"thread_id": id, "body": "from elsewhere"})).await;
        let history = tenant.body("client/get-chat-messages", json!({"chatSessionId": chat})).await;
        let sides = history["messages"].as_array().expect("a list").iter().map(|message| message["senderEntityType"].clone());
        assert_eq!(sides.collect::<Vec<_>>(), ["TENANT", "BACKEND_USER", "TENANT"]);
        if backend.is_postgres() {
            let mut database = PgConnection::connect(backend.url()).await.expect("the database is there");
            let stored = sqlx::query_scalar("SELECT support_side FROM messages WHERE conversation_id = $1 ORDER BY id").bind(id);
            let stored: Vec<Option<String>> = stored.fetch_all(&mut database).await.expect("it can be read");
            assert_eq!(stored, ["initiator", "agent", "initiator"].map(|side| Some(side.to_owned())));
        }
        drop((tenant, agent, admin));
        server.stop().await;
    }

    /// Extra members of the first release: they may read, and their messages keep their side.
    async fn whoever_the_first_release_let_in_says_nothing_more(backend) {
        if !backend.is_postgres() {
            return;
        }
        let mut server = start(backend.clone()).await;
        let (mut tenant, mut agent) =
            (Client::connect(&server, DEEPAK, "phone").await, Client::connect(&server, CONCIERGE, "desk").await);
        let (chat, id) = joined(&mut tenant, &mut agent).await;
        let answer = agent.send("backend", &chat, "an answer").await["id"].as_str().and_then(|id| id.parse::<i64>().ok());
        let mut database = PgConnection::connect(backend.url()).await.expect("the database is there");
        // State of the first release: John has joined, and has written the answer.
        for statement in [
            "INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq) VALUES ($1, 5, now(), 0)",
            "INSERT INTO memberships (conversation_id, partner_id, from_position) VALUES ($1, 5, 0)",
            "UPDATE messages SET author_id = 5, support_side = NULL WHERE conversation_id = $1",
        ] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).bind(id).execute(&mut database).await.expect("it can be changed");
        }
        // Restart with an empty cache of members.
        let address = server.kill().await;
        server.start_again(address).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let history = tenant.body("client/get-chat-messages", json!({"chatSessionId": chat})).await;
        assert_eq!(history["messages"][0]["senderEntityType"], "BACKEND_USER", "{history}");

        let john = server.log_in(support::JOHN).await;
        assert!(john.messaging("messages", json!({"thread_id": id})).await.to_string().contains("an answer"));
        for (route, params) in [
            ("message/send", json!({"thread_id": id, "body": "We refund you 1000 EUR"})),
            ("typing/start", json!({"thread_id": id})),
        ] {
            assert_eq!(john.messaging(route, params).await, json!({"error": "Access denied"}), "{route}");
        }
        let mut socket = enter(&server, JOHN, id).await;
        let edit = json!({"action": "edit_message", "message_id": answer, "content": "We refund you 1000 EUR"});
        socket.say(edit).await;
        assert_eq!(socket.hear_until(|told| told["type"] == "error").await["error"], "Access denied");
        // Read marks: an extra member's do not count for a side.
        john.messaging("notifications/mark_all_read", json!({"thread_id": id})).await;
        tenant.send("client", &chat, "has anybody seen this?").await;
        john.messaging("notifications/mark_all_read", json!({"thread_id": id})).await;
        let last = async |tenant: &mut Client| {
            let mut history = tenant.body("client/get-chat-messages", json!({"chatSessionId": chat})).await;
            history["messages"].as_array_mut().and_then(Vec::pop).expect("there is one")
        };
        assert_eq!(last(&mut tenant).await["status"], 3);
        let concierge = server.log_in("concierge@example.com").await;
        concierge.messaging("notifications/mark_all_read", json!({"thread_id": id})).await;
        until("a message that was seen", async || (last(&mut tenant).await["status"] == 4).then_some(())).await;
        drop((tenant, agent, socket));
        server.stop().await;
    }
}
