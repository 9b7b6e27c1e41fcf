//! Tests of access control: users outside of a session receive nothing of it, by uuid or by number.

use serde_json::json;

use super::Person;
use crate::{
    support::{BOB, JANE, JOHN, Server},
    with_every_backend,
};

with_every_backend! {
    async fn a_uuid_opens_nothing(backend) {
        let mut server = Server::builder(backend).set("IM_CHAT__POLL_SECONDS", 1).start().await;
        let (jane, bob) = (Person::log_in(&server, JANE).await, Person::log_in(&server, BOB).await);
        let mut john = Person::log_in(&server, JOHN).await;
        let uuid = jane.session_with(&bob).await;
        jane.post(&uuid, "hush").await;
        john.channels = vec![json!(uuid), json!(["odoo2", "im_chat.session", jane.uid]), json!(["odoo2", "im_chat.session", bob.uid])];
        assert_eq!(john.post(&uuid, "Let me in").await, false);
        assert_eq!(john.post_as(&uuid, "typing", "...").await, false);
        assert_eq!(john.history(&uuid).await, false);
        assert_eq!(john.im_chat("api/history", json!({"uuid": uuid})).await, json!([]));
        assert_eq!(
            john.im_chat("api/change_session_status", json!({"uuid": uuid, "new_status": "archive"})).await,
            json!({"status": "error", "field": "uuid", "message": "Session does not exist"})
        );
        for (method, args) in [
            ("update_state", json!([uuid, "closed"])),
            ("add_user", json!([uuid, john.uid])),
            ("quit_user", json!([uuid])),
        ] {
            let answer = john.call_kw("im_chat.session", method, args).await;
            assert!(answer["result"].is_null() || answer["result"] == false, "{method}: {answer}");
        }
        let (told, _) = tokio::join!(john.poll(), jane.post(&uuid, "hush, too"));
        assert_eq!(told, [json!(null); 0], "neither what was nor what comes");
        assert_eq!(bob.history(&uuid).await, json!(["hush, too", "hush"]));
        assert_eq!(jane.im_chat("api/get_sessions", json!({})).await[0]["users"].as_array().unwrap().len(), 2);

        let deepak = {
            let mut client = server.client();
            client.log_in("deepak@tis.co.th", crate::support::PASSWORD).await;
            client
        };
        let group = deepak.call("/im_chat/api/get_or_create_session_group", json!({"group": 3})).await;
        assert_eq!(group["error"]["data"]["name"], "odoo.exceptions.AccessError", "it is not a member: {group}");
        server.stop().await;
    }

    /// Poll time-out: a setting. The stop of the server ends polls as well.
    async fn a_poll_ends(backend) {
        let mut server = Server::builder(backend.clone()).set("IM_CHAT__POLL_SECONDS", 1).start().await;
        let mut jane = Person::log_in(&server, JANE).await;
        assert_eq!(jane.poll().await, [json!(null); 0]);
        server.stop().await;
        let mut server = Server::demo(backend).await;
        let mut jane = Person::log_in(&server, JANE).await;
        let ((), told) = tokio::join!(
            async {
                server.polls_waiting(1).await;
                server.terminate();
            },
            jane.poll()
        );
        assert_eq!(told, [json!(null); 0]);
        server.ended().await;
    }

    async fn nobody_polls_too_often_at_a_time(backend) {
        let mut server = Server::builder(backend).set("LIMITS__WAITING_POLLS_PER_USER", 1).start().await;
        let (mut jane, bob) = (Person::log_in(&server, JANE).await, Person::log_in(&server, BOB).await);
        let uuid = bob.session_with(&jane).await;
        let client = jane.client.clone();
        let (told, ()) = tokio::join!(jane.poll(), async {
            server.polls_waiting(1).await;
            let answer = client.call("/longpolling/poll", json!({"channels": [], "last": 0})).await;
            assert_eq!(answer["error"]["data"]["name"], "odoo.exceptions.UserError", "{answer}");
            bob.post(&uuid, "Hello").await;
        });
        assert_eq!(told.len(), 1);
        server.stop().await;
    }
}
