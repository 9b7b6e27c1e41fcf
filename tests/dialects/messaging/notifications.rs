//! Tests of unread counts.

use serde_json::json;

use super::{refusal, send, unread};
use crate::{
    on_every_backend,
    support::{ADMIN, Backend, JANE, JOHN, Server},
};

on_every_backend! {
    /// Unread threads, most recent first; threads without unread messages are left out.
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

    /// Own messages: not unread.
    async fn own_messages_are_not_unread(server) {
        let john = server.log_in(JOHN).await;
        send(&john, 1, "x").await;
        assert_eq!(unread(&john).await, 0);
    }

    /// Cache coherence: an answered action shows in the next count, despite concurrent counts.
    async fn what_is_counted_is_never_old(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let ask = || {
            let (admin, stopped) = (admin.clone(), stopped.clone());
            tokio::spawn(async move {
                while !*stopped.borrow() {
                    unread(&admin).await;
                }
            })
        };
        let asking: Vec<_> = (0..4).map(|_| ask()).collect();
        for _ in 0..30 {
            for sent in 1..=3 {
                send(&john, 1, "x").await;
                assert_eq!(unread(&admin).await, sent);
            }
            let marked = admin.messaging("notifications/mark_all_read", json!({"thread_id": 1})).await;
            assert_eq!((&marked["marked_count"], unread(&admin).await), (&json!(3), 0));
        }
        stop.send(true).expect("they ask");
        for asked in asking {
            asked.await.expect("it ends");
        }
    }

    /// Read mark of one thread: others keep their counts.
    async fn marking_one_thread_leaves_the_rest(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        send(&john, 1, "x").await;
        send(&john, 2, "x").await;
        assert_eq!(admin.messaging("notifications/mark_all_read", json!({"thread_id": "1"})).await["marked_count"], 1);
        assert_eq!((unread(&admin).await, unread(&jane).await), (1, 1));
    }

    /// Repeated read mark: no change.
    async fn what_is_read_is_marked_once(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        send(&john, 1, "x").await;
        for expected in [1, 0] {
            let marked = admin.messaging("notifications/mark_all_read", json!({})).await;
            assert_eq!(marked, json!({"success": true, "marked_count": expected}));
        }
    }

    /// Threads of other users: refused, unlike the addon, which marks any.
    async fn a_strange_thread_cannot_be_marked(server) {
        let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
        send(&john, 1, "x").await;
        assert_eq!(refusal(&jane, "notifications/mark_all_read", json!({"thread_id": 1})).await, "Access denied");
        assert_eq!(unread(&server.log_in(ADMIN).await).await, 1);
    }
}

/// Cached counts: no query to the store while nothing has changed.
#[tokio::test]
async fn what_is_known_is_not_counted_again() {
    let mut server = Server::demo(Backend::postgres().await).await;
    let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
    let counted = async || server.metric("dragoman_store_seconds_count{operation=\"select participants\"}").await;
    for times in 1_u32..=3 {
        send(&john, 1, "x").await;
        let before = counted().await;
        assert_eq!(unread(&admin).await, i64::from(times));
        let first = counted().await;
        assert!(first > before);
        for _ in 0..50 {
            assert_eq!(unread(&admin).await, i64::from(times));
        }
        // Margin for the server's timers, which query the table now and then.
        assert!(counted().await - first < 25.0);
    }
    server.stop().await;
}
