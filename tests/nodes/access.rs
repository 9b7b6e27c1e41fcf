//! Tests of revocation across nodes: sessions, tokens and memberships.

use serde_json::json;

use super::{ADMIN, JOHN, PAIR, enter, enter_room, on_every_bus, poll};
use crate::support::{self, Socket};

/// Error code of a poll with an expired session.
const EXPIRED: i64 = 100;

on_every_bus! {
    async fn a_session_that_ends_ends_its_polls_at_both_nodes(here, there) {
        let john = here.log_in(support::JOHN).await;
        let same = there.client().with_session(john.session());
        let other = there.log_in(support::JOHN).await;
        let waiting = tokio::spawn(async move {
            same.call("/api/messaging/poll/messages", json!({"thread_id": PAIR, "timeout": 60})).await
        });
        let staying = poll(&other, "/api/messaging/poll/messages", json!({"thread_id": PAIR, "timeout": 60}));
        there.polls_waiting(2).await;
        john.call("/web/session/destroy", json!({})).await;
        let answer = waiting.await.unwrap();
        assert_eq!(answer["error"]["code"], EXPIRED, "{answer}");
        let refused = there.client().with_session(john.session()).call("/api/messaging/threads", json!({})).await;
        assert_eq!(refused["error"]["code"], EXPIRED, "what the node remembered of the session counts no more");
        there.polls_waiting(1).await;
        assert!(!staying.is_finished(), "another session of the same user goes on");
        staying.abort();
    }

    async fn a_user_who_is_deactivated_is_sent_away_from_both_nodes(here, there) {
        let mut waiting = Vec::new();
        let mut sockets = Vec::new();
        for node in [&*here, &*there] {
            let john = node.log_in(support::JOHN).await;
            waiting.push(tokio::spawn(async move {
                john.call("/api/messaging/poll/messages", json!({"thread_id": PAIR, "timeout": 60})).await
            }));
            node.polls_waiting(1).await;
            sockets.push(enter(node, JOHN, PAIR).await);
            sockets.push(enter_room(node, JOHN).await);
        }
        let stays = enter(there, ADMIN, PAIR).await;
        here.backend().administer(&["user", "deactivate", support::JOHN], "").await;
        for answer in waiting {
            let answer = answer.await.unwrap();
            assert_eq!(answer["error"]["code"], EXPIRED, "{answer}");
        }
        for socket in sockets {
            assert_eq!(socket.closed().await, 4003);
        }
        stays.close().await;
    }

    async fn a_family_of_tokens_that_is_revoked_ends_its_sockets_at_both_nodes(here, there) {
        let [access, refresh] = here.tokens(support::JOHN).await;
        let [other, _] = there.tokens(support::JOHN).await;
        let open = async |token: &str| {
            let mut socket = Socket::open(there.socket_url(&format!("/conversations/{PAIR}/?token={token}"))).await;
            socket.hear_until(|told| told["type"] == "user_status").await;
            socket
        };
        let (socket, stays) = (open(&access).await, open(&other).await);
        // Grace of a refresh token: three retries at any node.
        for (node, status) in [(&*here, 200), (&*there, 200), (&*here, 200), (&*there, 200), (&*here, 401)] {
            let answer = node.client().post("/auth/token/refresh", &json!({"refresh": refresh})).await;
            assert_eq!(answer.status, status, "{answer:?}");
        }
        let revoked = here.client().post("/auth/token/revoke", &json!({"token": refresh})).await;
        assert_eq!(revoked.status, 200, "{revoked:?}");
        assert_eq!(socket.closed().await, 4003);
        stays.close().await;
    }
}
