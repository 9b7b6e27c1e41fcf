//! Tests of the agents of the support chat: sessions that they list, join and answer.

use serde_json::{Value, json};

use super::{ADMIN, CONCIERGE, Client, DEEPAK, JOHN, SECRET, start};
use crate::{support::Server, with_every_backend};

with_every_backend! {
    async fn one_answers_until_another_takes_over(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let mut admin = Client::connect(&server, ADMIN, "desk").await;
        let chat = tenant.init().await;
        for client in [&mut agent, &mut admin] {
            assert_eq!(client.event().await["channel"], "chat-session-new");
        }
        let that = json!({"chatSessionId": chat});
        let write = json!({"chatSessionId": chat, "messageContent": "hello"});
        // Access before the join: an agent reads the session and sends nothing.
        assert_eq!(agent.refused("backend/send-message", write.clone()).await, 403);
        assert_eq!(agent.body("backend/get-chat-session", that.clone()).await["tenant"]["id"], "34");

        let joined = agent.join(&chat).await;
        assert_eq!(joined["chatSession"]["chatJoinedByEntityId"], CONCIERGE.to_string());
        let again = agent.join(&chat).await;
        assert_eq!(again["chatSession"]["chatJoinedByEntityId"], CONCIERGE.to_string());
        for client in [&mut tenant, &mut admin] {
            assert_eq!(client.update(&chat).await["chatJoinedByEntityId"], CONCIERGE);
        }
        agent.send("backend", &chat, "hello").await;
        assert_eq!(tenant.event().await["payload"]["chatMessage"]["messageContent"], "hello", "joining again changed nothing");

        assert_eq!(admin.refused("backend/join-chat-session", that.clone()).await, 409);
        let taken = admin.body("backend/join-chat-session", json!({"chatSessionId": chat, "takeOver": true})).await;
        assert_eq!(taken["chatSession"]["chatJoinedByEntityId"], ADMIN.to_string());
        for client in [&mut tenant, &mut agent] {
            let update = client.event().await;
            assert_eq!(update["payload"]["chatSession"]["chatJoinedByEntityId"], ADMIN);
            assert_eq!((&update["senderId"], &update["receiverId"]), (&json!(ADMIN), &json!(DEEPAK)));
        }
        assert_eq!(agent.refused("backend/send-message", write).await, 403);
        assert_eq!(agent.refused("backend/end-chat-session", that.clone()).await, 403);
        tenant.send("client", &chat, "who are you?").await;
        assert_eq!(admin.event().await["payload"]["chatMessage"]["messageContent"], "who are you?");
        assert_eq!(agent.texts("backend", &chat).await, ["hello", "who are you?"]);
        assert!(agent.pushed.is_empty(), "{:?}", agent.pushed);

        let ended = admin.body("backend/end-chat-session", that).await;
        assert_eq!(ended["chatSession"]["isSessionClosed"], true);
        for client in [&mut tenant, &mut agent] {
            let update = client.event().await;
            assert_eq!((&update["senderType"], &update["payload"]["chatSession"]["isSessionClosed"]), (&json!("BACKEND_USER"), &json!(true)));
        }
        drop((tenant, agent, admin));
        server.stop().await;
    }

    async fn sessions_are_listed_by_their_status(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let (waiting, joined, closed) =
            (tenant.init_and_say("one").await, tenant.init_and_say("two").await, tenant.init_and_say("three").await);
        agent.join(&joined).await;
        agent.join(&closed).await;
        agent.body("backend/end-chat-session", json!({"chatSessionId": closed})).await;
        let list = async |agent: &mut Client, body: Value| {
            let listed = agent.body("backend/list-chat-sessions", body).await;
            let sessions = listed["chatSessions"].as_array().expect("a list").iter();
            (sessions.map(|session| session["chatSessionId"].clone()).collect::<Vec<_>>(), listed["paginate"].clone())
        };
        for (status, session) in [("waiting", &waiting), ("joined", &joined), ("closed", &closed)] {
            let (listed, paginate) = list(&mut agent, json!({"status": status})).await;
            assert_eq!(listed, std::slice::from_ref(session), "{status}");
            assert_eq!(paginate, json!({"per_page": 50, "offset": 0, "page": 1}));
        }
        assert_eq!(list(&mut agent, json!({})).await.0, [closed.clone(), joined.clone(), waiting.clone()]);
        assert_eq!(list(&mut agent, json!({"page": 2, "limit": "2"})).await.0, [waiting]);
        let (beyond, paginate) = list(&mut agent, json!({"page": i64::MAX})).await;
        assert_eq!((beyond, paginate["offset"].as_i64()), (Vec::new(), Some(i64::MAX)), "it stays a number that clients have");
        assert_eq!(agent.refused("backend/list-chat-sessions", json!({"status": "lost"})).await, 400);
        assert_eq!(agent.refused("backend/list-chat-sessions", json!({"page": 0})).await, 400);
        drop((tenant, agent));
        server.stop().await;
    }

    /// Role changes on a running server: a new agent receives the next session; the connection of a deactivated one is closed.
    async fn agents_come_and_go(backend) {
        if !backend.is_durable() {
            return;
        }
        let server = Server::builder(backend.clone()).set("TOKENS__SECRET", SECRET).set("TOKENS__USER_CLAIM_NAMES", "uid");
        let mut server = server.start().await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let agent = Client::connect(&server, CONCIERGE, "desk").await;
        let added = backend.administer(&["user", "add", "mia@example.com", "--name", "Mia", "--role", "agent"], "a long password").await;
        let uid = added.split_whitespace().find_map(|word| word.trim_matches(|c: char| !c.is_ascii_digit()).parse::<i64>().ok());
        let mut mia = Client::connect(&server, uid.expect("it says whom it added"), "desk").await;
        tenant.init_and_say("hello").await;
        assert_eq!(mia.event().await["channel"], "chat-session-new");
        backend.administer(&["user", "deactivate", "concierge@example.com"], "").await;
        assert_eq!(agent.socket.closed().await, 4003);
        tenant.init().await;
        assert_eq!(mia.event().await["channel"], "chat-session-new");
        drop((tenant, mia));
        server.stop().await;
    }

    /// Agent routes refused to plain users.
    async fn a_user_is_no_agent(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut john = Client::connect(&server, JOHN, "phone").await;
        let mut admin = Client::connect(&server, ADMIN, "desk").await;
        let chat = tenant.init().await;
        for client in [&mut tenant, &mut john] {
            assert_eq!(client.refused("backend/join-chat-session", json!({"chatSessionId": chat})).await, 403);
        }
        let own = admin.init().await;
        assert_eq!(admin.refused("backend/join-chat-session", json!({"chatSessionId": own})).await, 409);
        drop((tenant, john, admin));
        server.stop().await;
    }
}
