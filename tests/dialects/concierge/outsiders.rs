//! Tests of access control: no route leads into a session of others.

use serde_json::{Value, json};

use super::{ADMIN, CONCIERGE, Client, DEEPAK, JOHN, start};
use crate::with_every_backend;

/// Every route that names a session, and the status for an agent who has not joined it.
const ROUTES: [(&str, u64); 17] = [
    ("client/init-chat-with-concierge", 404),
    ("client/get-chat-session", 404),
    ("client/get-chat-messages?page=1&limit=50", 404),
    ("client/ping-on-chat-session", 404),
    ("client/send-message", 404),
    ("client/delete-message", 404),
    ("client/update-message-seen-at", 404),
    ("client/end-chat-with-concierge", 404),
    ("backend/join-chat-session", 409),
    ("backend/get-chat-session", 200),
    ("backend/get-chat-messages?page=1&limit=50", 200),
    ("backend/send-message", 403),
    ("backend/delete-message", 403),
    ("backend/update-message-seen-at", 403),
    ("backend/ping-on-chat-session", 403),
    ("backend/leave-chat-session", 403),
    ("backend/end-chat-session", 403),
];

with_every_backend! {
    async fn what_is_of_others_stays_theirs(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let mut admin = Client::connect(&server, ADMIN, "desk").await;
        let mut john = Client::connect(&server, JOHN, "phone").await;
        let chat = tenant.init().await;
        agent.join(&chat).await;
        let hush = tenant.send("client", &chat, "hush").await;
        let history = async |tenant: &mut Client| tenant.body("client/get-chat-messages", json!({"chatSessionId": chat})).await;
        let before = history(&mut tenant).await;
        let body = |session: &Value| {
            json!({"newSession": false, "chatSessionId": session, "messageId": hush["id"], "messageContent": "let me in"})
        };
        for (route, of_agents) in ROUTES {
            let answer = john.ask(route, body(&chat)).await;
            assert_eq!(answer["status"], if route.starts_with("client/") { 404 } else { 403 }, "{route}: {answer}");
            assert!(!answer.to_string().contains("hush"));
            // Unknown session: the same answer.
            let unknown = json!("4482e256-da14-47cc-b119-9575bbb3b6d3");
            let missing = john.ask(route, body(&unknown)).await;
            let [unknown, known] = [&unknown, &chat].map(|id| id.as_str().expect("a text"));
            assert_eq!(missing.to_string().replace(unknown, known), answer.to_string(), "{route}");
            assert_eq!(admin.ask(route, body(&chat)).await["status"], of_agents, "{route}");
        }
        for route in ["backend/list-chat-sessions", "backend/no-such-route", "client/no-such-route", "x"] {
            let expected = if route == "backend/list-chat-sessions" { 403 } else { 404 };
            assert_eq!(john.refused(route, json!({})).await, expected, "{route}");
        }
        // Conversation id that is no session.
        let messaging = server.log_in("john@example.com").await;
        let session = messaging.result("/im_chat/api/get_or_create_session", json!({"user_to": 2})).await;
        for route in ["client/get-chat-session", "client/send-message"] {
            assert_eq!(john.refused(route, body(&session["uuid"])).await, 404, "{route}");
        }
        assert_eq!(admin.refused("backend/join-chat-session", body(&session["uuid"])).await, 404);
        assert_eq!(history(&mut tenant).await, before, "nothing has changed for those who are in");
        drop((tenant, agent, admin, john));
        server.stop().await;
    }
}
