//! Tests of the number of sessions of a tenant, and of requests for sessions that do not exist.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CONCIERGE, Client, DEEPAK, JOHN, SECRET, shape, start};
use crate::{
    support::{Backend, Bus, Node, Server},
    with_every_backend,
};

const INIT: &str = "client/init-chat-with-concierge";

/// Sends a request for a new session without waiting for the answer.
async fn ask_for_one(client: &mut Client) {
    client.socket.say(json!({"action": "api", "data": {"route": INIT, "body": {"newSession": true}}})).await;
}

async fn sessions(client: &mut Client, status: &str) -> usize {
    let listed = client.body("backend/list-chat-sessions", json!({"status": status})).await;
    listed["chatSessions"].as_array().expect("a list").len()
}

with_every_backend! {
    /// Idempotent session start: a double tap, a retry on another device, and a retry after an agent has joined.
    async fn whoever_has_said_nothing_yet_gets_the_same_session(backend) {
        let mut server = start(backend).await;
        let (mut phone, mut tablet) = (Client::connect(&server, DEEPAK, "phone").await, Client::connect(&server, DEEPAK, "tablet").await);
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        ask_for_one(&mut phone).await;
        let chat = phone.init().await;
        // Order of answers: the first of the two requests is answered before.
        assert_eq!(phone.pushed.len(), 0, "both were answers: {:?}", phone.pushed);
        let second = phone.socket.hear().await;
        assert_eq!((&second["status"], &second["body"]["chatSessionId"]), (&json!(200), &chat));
        assert_eq!(tablet.init().await, chat);
        agent.is_told_that_waits(&chat).await;
        agent.join(&chat).await;
        assert_eq!(phone.init().await, chat);
        assert_eq!(sessions(&mut agent, "joined").await, 1);
        assert_eq!(agent.events_so_far().await, [Value::Null; 0], "it began to wait once");

        phone.send("client", &chat, "hello").await;
        let other = phone.init().await;
        assert_ne!(other, chat);
        let mut john = Client::connect(&server, JOHN, "phone").await;
        assert_ne!(john.init().await, other, "everybody has sessions of their own");
        phone.body("client/end-chat-with-concierge", json!({"chatSessionId": other})).await;
        assert_ne!(phone.init().await, other, "that one is closed");
        drop((phone, tablet, agent, john));
        server.stop().await;
    }

    async fn a_tenant_has_only_so_many_open_sessions(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET);
        let mut server = builder.set("CONCIERGE__OPEN_SESSIONS_PER_TENANT", 2).start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let first = tenant.init_and_say("one").await;
        tenant.init_and_say("two").await;
        let refused = tenant.ask(INIT, json!({"newSession": true})).await;
        assert_eq!((&refused["status"], &refused["body"]["message"]), (&json!(429), &json!("Too many open sessions")));
        let continued = tenant.body(INIT, json!({"newSession": false, "chatSessionId": first})).await;
        assert_eq!(continued["chatSessionId"], first, "those that are open go on");
        Client::connect(&server, JOHN, "phone").await.init().await;
        tenant.body("client/end-chat-with-concierge", json!({"chatSessionId": first})).await;
        tenant.init_and_say("three").await;
        assert_eq!(tenant.refused(INIT, json!({"newSession": true})).await, 429);
        drop(tenant);
        server.stop().await;
    }

    /// Session limit switched off: a tenant begins any number of sessions.
    async fn the_limit_can_be_switched_off(backend) {
        let builder = Server::builder(backend).set("TOKENS__SECRET", SECRET);
        let mut server = builder.set("CONCIERGE__OPEN_SESSIONS_PER_TENANT", 0).start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut begun = BTreeSet::new();
        for number in 0..5 {
            begun.insert(tenant.init_and_say(&number.to_string()).await.to_string());
            // Session without messages: each further request gets the same one.
            assert_eq!(tenant.init().await, tenant.init().await);
        }
        assert_eq!(begun.len(), 5);
        drop(tenant);
        server.stop().await;
    }

    /// Unknown session: the published client takes it for closed, and reads that from a session in the answer.
    async fn a_session_that_is_not_there_reads_as_closed(backend) {
        let mut server = start(backend).await;
        let (mut tenant, mut john) = (Client::connect(&server, DEEPAK, "phone").await, Client::connect(&server, JOHN, "phone").await);
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let others = john.init().await;
        let own = tenant.init().await;
        let known = tenant.body("client/get-chat-session", json!({"chatSessionId": own})).await["chatSession"].take();
        for id in [json!("4482e256-da14-47cc-b119-9575bbb3b6d3"), json!("no uuid"), others] {
            let answer = tenant.ask("client/get-chat-session", json!({"chatSessionId": id})).await;
            assert_eq!((&answer["status"], &answer["body"]["message"]), (&json!(404), &json!("There is no such chat session")));
            let session = answer["body"]["chatSession"].as_object().expect("there is one");
            assert_eq!((&session["chatSessionId"], &session["isSessionClosed"]), (&id, &json!(true)));
            let keys = |of: &Value| of.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(keys(&answer["body"]["chatSession"]), keys(&known));
            let rest = session.iter().filter(|(key, _)| !["chatSessionId", "isSessionClosed"].contains(&key.as_str()));
            assert!(rest.clone().count() == 8 && rest.clone().all(|(_, value)| value.is_null()), "{answer}");
        }
        assert_eq!(tenant.refused("client/get-chat-session", json!({})).await, 400);
        let of_agent = agent.ask("backend/get-chat-session", json!({"chatSessionId": "no uuid"})).await;
        assert_eq!(shape(&of_agent["body"]), json!({"message": "text"}), "agents are told that there is none");
        drop((tenant, john, agent));
        server.stop().await;
    }
}

/// Simultaneous session starts at two nodes: the store serialises them.
#[tokio::test]
async fn whoever_asks_at_two_nodes_at_once_gets_one_session() {
    let (backend, bus) = (Backend::postgres().await, Bus::postgres());
    let start = || Server::builder(backend.clone()).node(&bus).set("TOKENS__SECRET", SECRET).start();
    let mut nodes = [start().await, start().await];
    let mut clients = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        node.ready().await;
        clients.push(Client::connect(node, DEEPAK, &format!("phone-{number}")).await);
    }
    let mut agent = Client::connect(&nodes[0], CONCIERGE, "desk").await;
    let [one, other] = &mut clients[..] else { unreachable!("there are two") };
    for round in 0..10 {
        let (here, there) = tokio::join!(one.init(), other.init());
        assert_eq!(here, there, "{round}");
        assert_eq!(sessions(&mut agent, "waiting").await, 1);
        one.send("client", &here, "enough").await;
        one.body("client/end-chat-with-concierge", json!({"chatSessionId": here})).await;
    }
    drop((clients, agent));
    for node in &mut nodes {
        node.stop().await;
    }
}
