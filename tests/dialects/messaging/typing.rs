//! Tests of typing indicators.

use serde_json::{Value, json};

use super::send;
use crate::{
    on_every_backend,
    support::{ADMIN, Client, JANE, JOHN, until},
};

async fn start(client: &Client, thread: i64) {
    assert_eq!(client.messaging("typing/start", json!({"thread_id": thread})).await["success"], true);
}

async fn typing(client: &Client, thread: i64) -> Value {
    client.messaging(&format!("typing/status/{thread}"), json!({})).await["typing_users"].take()
}

on_every_backend! {
    /// Own typing: shown only to others.
    async fn nobody_sees_themselves_typing(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        start(&john, 1).await;
        assert_eq!(typing(&john, 1).await, json!([]));
        assert_eq!(typing(&admin, 1).await, json!([{"partner_id": 5, "user_id": 4, "name": "John Doe"}]));
    }

    /// Several typing users in a group.
    async fn several_may_type(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        start(&john, 2).await;
        start(&jane, 2).await;
        assert_eq!(typing(&admin, 2).await.as_array().unwrap().len(), 2);
        assert_eq!(typing(&john, 2).await[0]["name"], "Jane Smith");
    }

    /// Typing by thread.
    async fn typing_belongs_to_a_thread(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        start(&john, 1).await;
        assert_eq!(typing(&admin, 2).await, json!([]));
    }

    /// Message sent: ends typing.
    async fn sending_ends_typing(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        start(&john, 1).await;
        send(&john, 1, "Done").await;
        assert_eq!(typing(&admin, 1).await, json!([]));
    }

    /// Message in another thread: typing goes on.
    async fn sending_elsewhere_does_not_end_typing(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        start(&john, 1).await;
        send(&john, 2, "Elsewhere").await;
        assert_eq!(typing(&admin, 1).await[0]["name"], "John Doe");
    }

    /// TTL of typing.
    async fn typing_runs_out_by_itself(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        start(&john, 1).await;
        let begun = std::time::Instant::now();
        assert_eq!(typing(&admin, 1).await[0]["name"], "John Doe");
        until("the end of typing", async || (typing(&admin, 1).await == json!([])).then_some(())).await;
        assert!(begun.elapsed() >= std::time::Duration::from_secs(9), "too early: {:?}", begun.elapsed());
    }

    /// Thread id in the path: takes precedence over the parameters.
    async fn a_thread_id_in_params_changes_nothing(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        start(&john, 1).await;
        let status = admin.messaging("typing/status/1", json!({"thread_id": 2})).await;
        assert_eq!((&status["thread_id"], &status["typing_users"][0]["name"]), (&json!(1), &json!("John Doe")));
    }
}
