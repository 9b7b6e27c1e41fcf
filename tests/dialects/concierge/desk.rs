//! Tests of the desk, the queue of support sessions: a session waits again once its agent leaves it, loses the role, or is
//! absent.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::{ADMIN, CONCIERGE, Client, DEEPAK, SECRET, address, start, token};
use crate::{
    nodes::with_every_bus,
    support::{Backend, Bus, Node, Server, ServerBuilder, Socket, until},
    with_every_backend,
};

const LEAVE: &str = "backend/leave-chat-session";
/// Partner id of the agent in the event log.
const CONCIERGES_PARTNER: i64 = 32_315;

/// A server with an absence limit of one second, whose presence is up to date within a few.
fn impatient(backend: Backend) -> ServerBuilder {
    let server = Server::builder(backend).set("TOKENS__SECRET", SECRET).set("DESK__ABSENCE_SECONDS", 1);
    let server = server.set("PRESENCE__POLL_SECONDS", 2).set("IM_CHAT__POLL_SECONDS", 1).set("PRESENCE__ONLINE_SECONDS", 1);
    // Frame rate for tests that poll a list.
    server.set("SOCKETS__FRAMES_PER_SECOND", 1_000)
}

async fn listed(client: &mut Client, status: &str) -> Vec<Value> {
    let mut listed = client.body("backend/list-chat-sessions", json!({"status": status})).await;
    let sessions = listed["chatSessions"].as_array_mut().expect("a list");
    sessions.iter_mut().map(|session| session["chatSessionId"].take()).collect()
}

with_every_backend! {
    async fn an_agent_who_leaves_gives_it_back(backend) {
        let mut server = start(backend).await;
        let (mut tenant, mut admin) = (Client::connect(&server, DEEPAK, "phone").await, Client::connect(&server, ADMIN, "desk").await);
        let (mut agent, mut tablet) = (Client::connect(&server, CONCIERGE, "desk").await, Client::connect(&server, CONCIERGE, "tablet").await);
        let chat = tenant.init().await;
        let that = json!({"chatSessionId": chat});
        for client in [&mut agent, &mut tablet, &mut admin] {
            client.is_told_that_waits(&chat).await;
        }
        assert_eq!(agent.refused(LEAVE, that.clone()).await, 403, "it has not joined");
        agent.join(&chat).await;
        for client in [&mut tablet, &mut admin, &mut tenant] {
            assert_eq!(client.update(&chat).await["chatJoinedByEntityId"], CONCIERGE);
        }
        let mut elsewhere = Socket::open(address(&server, &format!("/conversations/{}/?token={}", chat.as_str().unwrap(), token(CONCIERGE)))).await;
        elsewhere.heard_so_far().await;
        assert_eq!(admin.refused(LEAVE, that.clone()).await, 403, "it is another's");

        let left = agent.body(LEAVE, that.clone()).await;
        assert_eq!((&left["chatSessionId"], &left["chatSession"]["chatJoinedByEntityId"]), (&chat, &Value::Null));
        for client in [&mut tablet, &mut admin, &mut tenant] {
            let update = client.update(&chat).await;
            for key in ["chatJoinedByEntityId", "chatJoinedByEntityType", "lastPingedByChatJoiner"] {
                assert_eq!(update[key], Value::Null, "{update}");
            }
            assert_eq!(update["isSessionClosed"], false);
        }
        for client in [&mut tablet, &mut admin] {
            client.is_told_that_waits(&chat).await;
        }
        assert_eq!(elsewhere.closed().await, 4004, "it is in there no longer");
        assert_eq!(listed(&mut agent, "waiting").await, std::slice::from_ref(&chat));
        assert_eq!(agent.refused(LEAVE, that.clone()).await, 403);
        assert_eq!(agent.refused("backend/send-message", json!({"chatSessionId": chat, "messageContent": "x"})).await, 403);
        // Deduplication: each client received each event once, the acting one only its answer.
        for client in [&mut agent, &mut tablet, &mut admin, &mut tenant] {
            assert_eq!(client.events_so_far().await, [Value::Null; 0]);
        }

        // Second assignment: the session continues with another agent, and can be given back again.
        tenant.send("client", &chat, "is anybody there?").await;
        assert_eq!(admin.join(&chat).await["chatSession"]["chatJoinedByEntityId"], ADMIN.to_string());
        admin.send("backend", &chat, "now there is").await;
        assert_eq!(tenant.update(&chat).await["chatJoinedByEntityId"], ADMIN);
        assert_eq!(tenant.event().await["payload"]["chatMessage"]["messageContent"], "now there is");
        admin.body(LEAVE, that.clone()).await;
        for client in [&mut agent, &mut tablet] {
            assert_eq!(client.update(&chat).await["chatJoinedByEntityId"], ADMIN);
            assert_eq!(client.update(&chat).await["chatJoinedByEntityId"], Value::Null);
            client.is_told_that_waits(&chat).await;
        }
        tenant.body("client/end-chat-with-concierge", that).await;
        for client in [&mut agent, &mut tablet, &mut admin] {
            assert_eq!(client.update(&chat).await["isSessionClosed"], true, "whoever was told that it waits");
        }
        drop((tenant, admin, agent, tablet));
        server.stop().await;
    }

    /// Agents as tenants: an agent's own session waits for other agents.
    async fn an_agents_own_session_waits_for_others(backend) {
        let mut server = start(backend).await;
        let (mut admin, mut tablet) = (Client::connect(&server, ADMIN, "desk").await, Client::connect(&server, ADMIN, "tablet").await);
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = admin.init().await;
        agent.is_told_that_waits(&chat).await;
        agent.join(&chat).await;
        agent.body(LEAVE, json!({"chatSessionId": chat})).await;
        for client in [&mut admin, &mut tablet] {
            assert_eq!(client.update(&chat).await["chatJoinedByEntityId"], CONCIERGE);
            assert_eq!(client.update(&chat).await["chatJoinedByEntityId"], Value::Null);
            assert_eq!(client.events_so_far().await, [Value::Null; 0]);
        }
        drop((admin, tablet, agent));
        server.stop().await;
    }

    /// Presence of an agent: an open socket in any dialect counts, however long it is silent.
    async fn who_has_gone_gives_it_back_and_who_is_silent_keeps_it(backend) {
        let mut server = impatient(backend).start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut silent = Client::connect(&server, CONCIERGE, "desk").await;
        let kept = tenant.init_and_say("one").await;
        silent.join(&kept).await;
        assert_eq!(tenant.update(&kept).await["chatJoinedByEntityId"], CONCIERGE);
        let elsewhere = Socket::open(address(&server, &format!("/ws/chat/room/?token={}", token(CONCIERGE)))).await;
        silent.socket.close().await;
        let mut admin = Client::connect(&server, ADMIN, "desk").await;
        let given_back = tenant.init_and_say("two").await;
        admin.join(&given_back).await;
        assert_eq!(tenant.update(&given_back).await["chatJoinedByEntityId"], ADMIN);
        admin.socket.close().await;
        // Order of presence: the server heard of this agent later than of the silent one.
        assert_eq!(tenant.update(&given_back).await["chatJoinedByEntityId"], Value::Null);
        let mut silent = Client::connect(&server, CONCIERGE, "desk").await;
        assert_eq!(listed(&mut silent, "waiting").await, std::slice::from_ref(&given_back));
        assert_eq!(listed(&mut silent, "joined").await, std::slice::from_ref(&kept));
        elsewhere.close().await;
        let mut admin = Client::connect(&server, ADMIN, "desk").await;
        let said = json!({"chatSessionId": given_back, "messageContent": "back again"});
        assert_eq!(admin.refused("backend/send-message", said.clone()).await, 403);
        admin.join(&given_back).await;
        admin.body("backend/send-message", said).await;
        drop((tenant, silent, admin));
        server.stop().await;
    }

    async fn who_may_no_longer_answer_gives_it_back(backend) {
        if !backend.is_postgres() {
            return;
        }
        let mut server = start(backend.clone()).await;
        let (mut tenant, mut admin) = (Client::connect(&server, DEEPAK, "phone").await, Client::connect(&server, ADMIN, "desk").await);
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let (one, two) = (tenant.init_and_say("one").await, tenant.init_and_say("two").await);
        for chat in [&one, &two] {
            admin.is_told_that_waits(chat).await;
        }
        for chat in [&one, &two] {
            agent.join(chat).await;
            for client in [&mut tenant, &mut admin] {
                assert_eq!(client.update(chat).await["chatJoinedByEntityId"], CONCIERGE);
            }
        }
        backend.administer(&["user", "deactivate", "concierge@example.com"], "").await;
        for chat in [&one, &two] {
            for client in [&mut tenant, &mut admin] {
                assert_eq!(client.update(chat).await["chatJoinedByEntityId"], Value::Null);
            }
            admin.is_told_that_waits(chat).await;
        }
        assert_eq!(agent.socket.closed().await, 4003);
        assert_eq!(listed(&mut admin, "waiting").await, [two.clone(), one.clone()]);

        // Role change: a former administrator loses the desk.
        admin.join(&one).await;
        assert_eq!(tenant.update(&one).await["chatJoinedByEntityId"], ADMIN);
        let mut database = PgConnection::connect(backend.url()).await.expect("the database is there");
        for statement in [
            format!("UPDATE users SET role = 'user' WHERE id = {ADMIN}"),
            format!(
                "WITH head AS (UPDATE log_head SET position = position + 1 RETURNING position)
                INSERT INTO events (position, partner_id, fact, at)
                SELECT position, 3, '{{\"fact\": \"user_changed\", \"of\": {{\"user\": {ADMIN}}}}}'::json, now() FROM head"
            ),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut database).await.expect("it can be changed");
        }
        assert_eq!(tenant.update(&one).await["chatJoinedByEntityId"], Value::Null);
        drop((tenant, admin));
        server.stop().await;
    }

    /// Role changes made while no server ran: the start gives such sessions back to the queue.
    async fn a_server_that_starts_finds_who_may_no_longer_answer(backend) {
        if !backend.is_durable() {
            return;
        }
        let mut server = impatient(backend.clone()).start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        agent.join(&chat).await;
        let address = server.kill().await;
        drop((tenant, agent));
        backend.administer(&["user", "deactivate", "concierge@example.com"], "").await;
        server.start_again(address).await;
        let mut admin = Client::connect(&server, ADMIN, "desk").await;
        until("a session that waits", async || (listed(&mut admin, "waiting").await == [chat.clone()]).then_some(())).await;
        drop(admin);
        server.stop().await;
    }
}

/// Number of events of this fact under a topic of the event log. One topic covers all agents.
async fn facts(backend: &Backend, fact: &str, topic: &str) -> i64 {
    let mut database = PgConnection::connect(backend.url()).await.expect("the database is there");
    let count = format!("SELECT count(*) FROM events WHERE fact ->> 'fact' = '{fact}' AND {topic}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut database).await.expect("it can be read")
}

/// Desk across nodes: every node shows it, and the event log has each change once.
async fn the_desk_is_at_every_node(bus: Bus) {
    let backend = Backend::postgres().await;
    let start = || impatient(backend.clone()).node(&bus).set("TOKENS__SECRET", SECRET).start();
    let [mut here, mut there] = [start().await, start().await];
    for node in [&here, &there] {
        node.ready().await;
    }
    let (mut tenant, mut agent) =
        (Client::connect(&here, DEEPAK, "phone").await, Client::connect(&here, CONCIERGE, "desk").await);
    let mut admin = Client::connect(&there, ADMIN, "desk").await;
    let chat = tenant.init().await;
    agent.is_told_that_waits(&chat).await;
    admin.is_told_that_waits(&chat).await;
    agent.join(&chat).await;
    assert_eq!(admin.update(&chat).await["chatJoinedByEntityId"], CONCIERGE);
    // Leave at one node, visible at the other.
    agent.body(LEAVE, json!({"chatSessionId": chat})).await;
    assert_eq!(admin.update(&chat).await["chatJoinedByEntityId"], Value::Null);
    admin.is_told_that_waits(&chat).await;
    agent.join(&chat).await;
    assert_eq!(admin.update(&chat).await["chatJoinedByEntityId"], CONCIERGE);
    let desk = "partner_id = -1";
    assert_eq!(facts(&backend, "support_waits", desk).await, 2);

    // Death of the agent's node, without a reconnect: the other node gives the session back, alone and once.
    here.kill().await;
    assert_eq!(admin.update(&chat).await["chatJoinedByEntityId"], Value::Null);
    admin.is_told_that_waits(&chat).await;
    assert_eq!(listed(&mut admin, "waiting").await, std::slice::from_ref(&chat));
    assert_eq!(facts(&backend, "support_waits", desk).await, 3);
    // Agents at nodes of the first release listen on topics of their own.
    assert_eq!(facts(&backend, "support_waits", &format!("partner_id = {CONCIERGES_PARTNER}")).await, 3);
    drop((tenant, agent, admin));
    there.stop().await;
}

/// Deactivated agent: all nodes learn of it, and exactly one gives the session back.
async fn who_is_deactivated_gives_it_back_once(bus: Bus) {
    let backend = Backend::postgres().await;
    let start = || Server::builder(backend.clone()).node(&bus).set("TOKENS__SECRET", SECRET).start();
    let mut nodes = [start().await, start().await];
    for node in &nodes {
        node.ready().await;
    }
    let (mut tenant, mut agent) =
        (Client::connect(&nodes[0], DEEPAK, "phone").await, Client::connect(&nodes[0], CONCIERGE, "desk").await);
    let mut admin = Client::connect(&nodes[1], ADMIN, "desk").await;
    let chat = tenant.init().await;
    agent.join(&chat).await;
    backend.administer(&["user", "deactivate", "concierge@example.com"], "").await;
    admin.is_told_that_waits(&chat).await;
    assert_eq!(admin.update(&chat).await["chatJoinedByEntityId"], CONCIERGE);
    assert_eq!(admin.update(&chat).await["chatJoinedByEntityId"], Value::Null);
    admin.is_told_that_waits(&chat).await;
    admin.join(&chat).await;
    assert_eq!(tenant.update(&chat).await["chatJoinedByEntityId"], CONCIERGE);
    assert_eq!(tenant.update(&chat).await["chatJoinedByEntityId"], Value::Null);
    assert_eq!(tenant.update(&chat).await["chatJoinedByEntityId"], ADMIN);
    drop((tenant, agent, admin));
    // Stopped nodes: both have processed the deactivation by now.
    for node in &mut nodes {
        node.stop().await;
    }
    assert_eq!(facts(&backend, "support_waits", "partner_id = -1").await, 2);
}

with_every_bus! {
    the_desk_is_at_every_node
    who_is_deactivated_gives_it_back_once
}
