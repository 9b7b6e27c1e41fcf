//! Tests of a tenant's requests in its sessions.

use serde_json::{Value, json};

use super::{ADMIN, CONCIERGE, Client, DEEPAK, start};
use crate::{support::until, with_every_backend};

with_every_backend! {
    async fn page_1_is_the_newest_and_a_page_ascends(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let chat = tenant.init().await;
        for number in 1..=5 {
            tenant.send("client", &chat, &number.to_string()).await;
        }
        for (page, expected, offset) in [(1, vec!["4", "5"], 0), (2, vec!["2", "3"], 2), (3, vec!["1"], 4), (4, vec![], 6)] {
            let route = format!("client/get-chat-messages?page={page}&limit=2");
            let history = tenant.body(&route, json!({"chatSessionId": chat})).await;
            let texts: Vec<_> = history["messages"].as_array().expect("a list").iter().map(|m| &m["messageContent"]).collect();
            assert_eq!(texts, expected, "page {page}");
            assert_eq!(history["paginate"], json!({"per_page": 2, "offset": offset, "page": page}));
        }
        drop(tenant);
        server.stop().await;
    }

    /// A page of more than the store reads at once.
    async fn a_page_is_whole_however_large(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let chat = tenant.init().await;
        let texts: Vec<_> = (0..40).map(|number| format!("{number} {}", "x".repeat(60_000))).collect();
        for text in &texts {
            tenant.send("client", &chat, text).await;
        }
        let route = "client/get-chat-messages?page=1&limit=100";
        let history = tenant.body(route, json!({"chatSessionId": chat})).await;
        let shown = history["messages"].as_array().expect("a list").iter().map(|message| &message["messageContent"]);
        assert!(shown.eq(&texts));
        drop(tenant);
        server.stop().await;
    }

    /// Depth limit of metadata: the event log stores it inside further levels.
    async fn metadata_is_nested_only_so_deep(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let chat = tenant.init().await;
        let nested = |depth| (0..depth).fold(json!("deep"), |inner, _| json!([inner]));
        let message = |depth| {
            json!({"chatSessionId": chat, "contentType": "TEXT", "messageContent": "hello", "metadata": nested(depth)})
        };
        let sent = tenant.body("client/send-message", message(64)).await;
        assert_eq!(sent["chatMessage"]["metadata"], nested(64));
        assert_eq!(tenant.refused("client/send-message", message(65)).await, 400);
        assert_eq!(tenant.refused("client/send-message", message(110)).await, 400);
        server.stop().await;
    }

    /// Metadata returned unchanged, key for key and digit for digit: in the answer, in events, in the history, and after a
    /// restart.
    async fn metadata_comes_back_to_the_letter(backend) {
        let mut server = start(backend).await;
        let (mut tenant, mut agent) =
            (Client::connect(&server, DEEPAK, "phone").await, Client::connect(&server, CONCIERGE, "desk").await);
        let chat = tenant.init().await;
        agent.join(&chat).await;
        tenant.event().await;
        let kept = [
            r#"{"z":1.0,"a":{"y":[123456789012345678901234567890, 1e400,-0],"b":"\u00e4\u0000/\/"},"z":0.10}"#,
            "1e400",
            r#"[ ]"#,
            r#"{"messageUid":12345678901234567890123456789}"#,
        ];
        let said = |name: &str, metadata: &str| {
            format!(
                r#"{{"action":"api","data":{{"route":"client/send-message","body":
                    {{"chatSessionId":{chat},"messageContent":"x","{name}":{metadata}}}}}}}"#
            )
        };
        for metadata in kept {
            let told = format!(r#""metadata":{metadata}"#);
            tenant.socket.say_text(&said("metadata", metadata)).await;
            let answer = tenant.socket.hear_text().await;
            assert!(answer.contains(&told), "{metadata}: {answer}");
            let pushed = agent.socket.hear_text().await;
            assert!(pushed.starts_with(r#"{"channel":"chat-message-"#) && pushed.contains(&told), "{metadata}: {pushed}");
        }
        tenant.socket.say_text(&said("metdata", kept[3])).await;
        let again = tenant.socket.hear_text().await;
        assert!(again.contains(&format!(r#""metadata":{0},"metdata":{0}"#, kept[3])), "{again}");
        for refused in [r#""\ud800""#, r#"{"a":["\udc00"]}"#, r#"{"messageUid":"\u0000"}"#] {
            tenant.socket.say_text(&said("metadata", refused)).await;
            let answer = tenant.socket.hear().await;
            assert_eq!(answer["status"], 400, "{refused}: {answer}");
        }
        let durable = server.backend().is_durable();
        for _ in 0..=usize::from(durable) {
            tenant.socket.say(json!({"action": "api", "data":
                {"route": "client/get-chat-messages", "body": {"chatSessionId": chat}}})).await;
            let history = tenant.socket.hear_text().await;
            let places = kept.map(|metadata| history.find(&format!(r#""metadata":{metadata}"#)));
            assert!(places.is_sorted() && places[0].is_some(), "{history}");
            assert_eq!(history.matches(r#""metadata":"#).count(), kept.len(), "{history}");
            if durable {
                let address = server.kill().await;
                server.start_again(address).await;
                tenant = Client::connect(&server, DEEPAK, "phone").await;
            }
        }
        drop((tenant, agent));
        server.stop().await;
    }

    /// Idempotent retry, also on another connection and after the session was closed.
    async fn a_retry_gets_the_first_answer(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let chat = tenant.init().await;
        let metadata = json!({"messageUid": "a-1", "reply": {"to": [1, null, "ä"]}});
        let draft = json!({"chatSessionId": chat, "messageContent": "once", "contentType": "TEXT", "metadata": metadata});
        let first = tenant.body("client/send-message", draft.clone()).await;
        assert_eq!(first["chatMessage"]["metadata"], metadata);
        assert!(first["chatMessage"].get("metdata").is_none());
        assert_eq!(tenant.body("client/send-message", draft.clone()).await, first);
        let mut tablet = Client::connect(&server, DEEPAK, "tablet").await;
        assert_eq!(tablet.body("client/send-message", draft.clone()).await, first);
        tablet.body("client/end-chat-with-concierge", json!({"chatSessionId": chat})).await;
        assert_eq!(tablet.body("client/send-message", draft).await, first);
        assert_eq!(tablet.texts("client", &chat).await, ["once"]);
        drop((tenant, tablet));
        server.stop().await;
    }

    async fn what_was_seen_stays_seen_when_it_is_sent_again(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        agent.join(&chat).await;
        let send = json!({"chatSessionId": chat, "messageContent": "once", "metadata": {"messageUid": "1"}});
        let sent = tenant.body("client/send-message", send.clone()).await["chatMessage"].take();
        assert_eq!((&sent["status"], &sent["seenAt"]), (&json!(3), &Value::Null));
        let see = json!({"chatSessionId": chat, "messageId": sent["id"]});
        let seen = agent.body("backend/update-message-seen-at", see).await["chatMessage"].take();
        assert_eq!(seen["status"], 4);
        let again = tenant.body("client/send-message", send).await["chatMessage"].take();
        assert_eq!(again, seen);
        drop((tenant, agent));
        server.stop().await;
    }

    /// Simultaneous retries on two connections: each gets one answer, and no event for the same message.
    async fn a_retry_on_two_connections_at_once_is_answered_once_each(backend) {
        let mut server = start(backend).await;
        let mut phone = Client::connect(&server, DEEPAK, "phone").await;
        let mut tablet = Client::connect(&server, DEEPAK, "tablet").await;
        let chat = phone.init().await;
        for round in 0..10 {
            let draft = json!({"chatSessionId": chat, "messageContent": "once", "metadata": {"messageUid": round.to_string()}});
            tablet.socket.heard_so_far().await;
            let (one, other) =
                tokio::join!(phone.body("client/send-message", draft.clone()), tablet.body("client/send-message", draft));
            assert_eq!(one, other);
            for client in [&mut phone, &mut tablet] {
                assert_eq!(client.socket.heard_so_far().await, [Value::Null; 0], "{round}");
            }
        }
        drop((phone, tablet));
        server.stop().await;
    }

    async fn a_closed_session_takes_nothing_more(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        agent.join(&chat).await;
        let own = tenant.send("client", &chat, "to be unsent later").await;
        let ended = tenant.body("client/end-chat-with-concierge", json!({"chatSessionId": chat})).await;
        let that = json!({"chatSessionId": chat, "messageContent": "x", "newSession": false});
        for route in ["client/send-message", "client/ping-on-chat-session", "client/init-chat-with-concierge"] {
            assert_eq!(tenant.refused(route, that.clone()).await, 409, "{route}");
        }
        for route in ["backend/send-message", "backend/ping-on-chat-session", "backend/join-chat-session"] {
            assert_eq!(agent.refused(route, that.clone()).await, 409, "{route}");
        }
        assert_eq!(tenant.body("client/end-chat-with-concierge", that.clone()).await, ended, "ending again changes nothing");
        let got = tenant.body("client/get-chat-session", that).await;
        assert_eq!(got["chatSession"]["isSessionClosed"], true);
        tenant.body("client/delete-message", json!({"chatSessionId": chat, "messageId": own["id"]})).await;
        assert_eq!(tenant.texts("client", &chat).await, [""]);
        drop((tenant, agent));
        server.stop().await;
    }

    async fn unsent_messages_stay_without_what_they_said(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        agent.join(&chat).await;
        let own = tenant.send("client", &chat, "oops").await;
        let other = tenant.init().await;
        let others = agent.send("backend", &chat, "well").await;
        let unsend = async |client: &mut Client, session: &Value, id: &Value| {
            client.ask("client/delete-message", json!({"chatSessionId": session, "messageId": id})).await["status"].clone()
        };
        assert_eq!(unsend(&mut tenant, &chat, &others["id"]).await, 403);
        assert_eq!(unsend(&mut tenant, &other, &own["id"]).await, 404);
        assert_eq!(unsend(&mut tenant, &chat, &json!(987_654)).await, 404);
        for _ in 0..2 {
            assert_eq!(unsend(&mut tenant, &chat, &own["id"]).await, 200);
        }
        let history = agent.body("backend/get-chat-messages", json!({"chatSessionId": chat})).await;
        let unsent = &history["messages"][0];
        assert_eq!((&unsent["id"], &unsent["status"], &unsent["messageContent"]), (&own["id"], &json!(0), &json!("")));
        // Unsent picture: nothing of it is left to show.
        let picture = json!({"chatSessionId": chat, "contentType": "IMAGE", "messageContent": "https://cdn.example/x.png"});
        let picture = tenant.body("client/send-message", picture).await["chatMessage"]["id"].take();
        assert_eq!(unsend(&mut tenant, &chat, &picture).await, 200);
        let history = agent.body("backend/get-chat-messages", json!({"chatSessionId": chat})).await;
        let unsent = history["messages"].as_array().and_then(|messages| messages.last()).expect("there are messages");
        let shown = ["id", "contentType", "messageContent", "metadata"].map(|key| unsent[key].clone());
        assert_eq!(shown, [picture, json!("TEXT"), json!(""), Value::Null]);
        drop((tenant, agent));
        server.stop().await;
    }

    async fn what_was_seen_is_known_with_its_time(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        let early = tenant.send("client", &chat, "before anybody has joined").await;
        agent.join(&chat).await;
        let texts: Vec<_> = [agent.send("backend", &chat, "one").await, agent.send("backend", &chat, "two").await,
            agent.send("backend", &chat, "three").await].into();
        let count = async |tenant: &mut Client| tenant.body("client/get-unread-msg-count", json!({})).await["unreadMsgCount"].clone();
        assert_eq!(count(&mut tenant).await, "3");
        let see = |id: &Value| json!({"chatSessionId": chat, "messageId": id});
        let second = tenant.body("client/update-message-seen-at", see(&texts[1]["id"])).await;
        assert_eq!((&second["chatMessage"]["status"], &second["chatMessage"]["id"]), (&json!(4), &texts[1]["id"]));
        assert_eq!(count(&mut tenant).await, "1");
        // Repeated read mark: the first time stays.
        let first = tenant.body("client/update-message-seen-at", see(&texts[0]["id"])).await;
        assert_eq!(first["chatMessage"]["seenAt"], second["chatMessage"]["seenAt"]);
        let statuses = async |client: &mut Client, route: &str| {
            let history = client.body(route, json!({"chatSessionId": chat})).await;
            history["messages"].as_array().expect("a list").iter().map(|m| m["status"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(statuses(&mut agent, "backend/get-chat-messages").await, [3, 4, 4, 3]);
        let seen = agent.body("backend/update-message-seen-at", see(&early["id"])).await;
        assert_eq!((&seen["chatMessage"]["status"], &seen["chatMessage"]["senderEntityType"]), (&json!(4), &json!("TENANT")));
        assert_eq!(statuses(&mut tenant, "client/get-chat-messages").await, [4, 4, 4, 3]);
        // Read mark on an own message: refused.
        assert_eq!(tenant.refused("client/update-message-seen-at", see(&early["id"])).await, 400);
        assert_eq!(agent.refused("backend/update-message-seen-at", see(&texts[0]["id"])).await, 400);
        assert_eq!(tenant.refused("client/update-message-seen-at", see(&json!("987654"))).await, 404);
        // Unread count: unsent messages do not count.
        agent.body("backend/delete-message", see(&texts[2]["id"])).await;
        assert_eq!(count(&mut tenant).await, "0");
        drop((tenant, agent));
        server.stop().await;
    }

    /// Ping times: each request counts for its side, and each side has its own time.
    async fn any_request_of_a_side_is_its_ping(backend) {
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let mut admin = Client::connect(&server, ADMIN, "desk").await;
        let chat = tenant.init().await;
        let pings = |body: &Value| {
            let of = |key: &str| body["chatSession"][key].as_str().map(|text| text.parse::<i64>().expect("a time"));
            (of("lastPingedByChatInitiator"), of("lastPingedByChatJoiner"))
        };
        let (begun, _) = pings(&agent.body("backend/get-chat-session", json!({"chatSessionId": chat})).await);
        let (kept, joined) = pings(&agent.join(&chat).await);
        assert_eq!(kept, begun, "looking at it is no ping of others");
        assert!(joined >= begun);
        let last = until("a later ping by a message", async || {
            tenant.send("client", &chat, "hi").await;
            let (sent, _) = pings(&admin.body("backend/get-chat-session", json!({"chatSessionId": chat})).await);
            (sent > begun).then_some(sent)
        })
        .await;
        until("a later ping of the joiner", async || {
            let (kept, pinged) = pings(&agent.body("backend/ping-on-chat-session", json!({"chatSessionId": chat})).await);
            assert_eq!(kept, last, "each side has its own");
            (pinged > joined).then_some(())
        })
        .await;
        drop((tenant, agent, admin));
        server.stop().await;
    }

    async fn sessions_outlive_the_server(backend) {
        let durable = backend.is_durable();
        let mut server = start(backend).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        let mut agent = Client::connect(&server, CONCIERGE, "desk").await;
        let chat = tenant.init().await;
        agent.join(&chat).await;
        tenant.send("client", &chat, "still here").await;
        let (id, created) = (tenant.connection["id"].clone(), tenant.connection["createdAt"].clone());
        let former = tenant.connection["connectionId"].clone();
        let address = server.kill().await;
        if !durable {
            return;
        }
        server.start_again(address).await;
        let mut tenant = Client::connect(&server, DEEPAK, "phone").await;
        assert_eq!((&tenant.connection["id"], &tenant.connection["createdAt"]), (&id, &created));
        assert_ne!(tenant.connection["connectionId"], former);
        let got = tenant.body("client/get-chat-session", json!({"chatSessionId": chat})).await;
        assert_eq!(got["chatSession"]["chatJoinedByEntityId"], CONCIERGE.to_string());
        assert_eq!(tenant.texts("client", &chat).await, ["still here"]);
        drop((tenant, agent));
        server.stop().await;
    }
}
