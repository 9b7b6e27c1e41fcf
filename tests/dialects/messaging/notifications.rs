//! How much is unread.

use serde_json::json;

use super::{refusal, send, unread};
use crate::{
    on_every_backend,
    support::{ADMIN, JANE, JOHN},
};

on_every_backend! {
    /// Most recent first, and only where there is something.
    async fn unread_messages_are_counted_by_thread(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        assert_eq!(admin.messaging("unread/count", json!({})).await, json!({"unread_count": 0, "unread_by_thread": []}));
        send(&john, 2, "x").await;
        send(&john, 2, "x").await;
        send(&john, 1, "x").await;
        let expected = json!({
            "unread_count": 3,
            "unread_by_thread": [
                {"thread_id": 1, "thread_name": "Chat with John", "unread_count": 1},
                {"thread_id": 2, "thread_name": "Team Group", "unread_count": 2},
            ],
        });
        assert_eq!(admin.messaging("unread/count", json!({})).await, expected);
    }

    /// Nobody notifies themselves.
    async fn own_messages_are_not_unread(server) {
        let john = server.log_in(JOHN).await;
        send(&john, 1, "x").await;
        assert_eq!(unread(&john).await, 0);
    }

    /// Others still have theirs.
    async fn marking_one_thread_leaves_the_rest(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        send(&john, 1, "x").await;
        send(&john, 2, "x").await;
        assert_eq!(admin.messaging("notifications/mark_all_read", json!({"thread_id": "1"})).await["marked_count"], 1);
        assert_eq!((unread(&admin).await, unread(&jane).await), (1, 1));
    }

    /// Marking twice changes nothing.
    async fn what_is_read_is_marked_once(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&john, 1, "x").await;
        for expected in [1, 0] {
            let marked = admin.messaging("notifications/mark_all_read", json!({})).await;
            assert_eq!(marked, json!({"success": true, "marked_count": expected}));
        }
    }

    /// The addon marks any thread for anybody.
    async fn a_strange_thread_cannot_be_marked(server) {
        let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
        send(&john, 1, "x").await;
        assert_eq!(refusal(&jane, "notifications/mark_all_read", json!({"thread_id": 1})).await, "Access denied");
        assert_eq!(unread(&server.log_in(ADMIN).await).await, 1);
    }
}
