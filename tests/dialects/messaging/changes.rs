//! Tests of edits and deletions of messages.

use serde_json::{Value, json};

use super::{bodies, refusal, send, thread_with, unread};
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, Client, JANE, JOHN, until},
};

async fn edit(client: &Client, id: i64, body: &str) -> Value {
    client.messaging("message/edit", json!({"message_id": id, "body": body})).await
}

async fn delete(client: &Client, id: i64) -> Value {
    client.messaging("message/delete", json!({"message_id": id})).await
}

fn done(id: i64) -> Value {
    json!({"success": true, "message_id": id})
}

on_every_backend! {
    /// Edit by the author: every reader gets the new text, and nothing becomes unread.
    async fn an_author_edits_its_message(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = send(&john, 1, "Helo").await;
        send(&john, 1, "And more").await;
        assert_eq!(edit(&john, id, " Hello\n").await, done(id));
        assert_eq!(edit(&john, id, " Hello\n").await, done(id), "it reads so already");
        assert_eq!(bodies(&admin, 1).await, ["And more", " Hello\n"]);
        assert_eq!(unread(&admin).await, 2);
    }

    /// Deletion by the author: only an empty message is left in the history.
    async fn an_author_deletes_its_message(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = send(&john, 1, "Never mind").await;
        send(&john, 1, "And more").await;
        assert_eq!(delete(&john, id).await, done(id));
        assert_eq!(delete(&john, id).await, done(id), "it is deleted already");
        assert_eq!(bodies(&admin, 1).await, ["And more", ""]);
        assert_eq!(unread(&admin).await, 1);
        assert_eq!(refusal(&john, "message/edit", json!({"message_id": id, "body": "x"})).await, "The message was deleted");
    }

    /// Edits by other users: refused, inside the thread and outside of it.
    async fn others_change_nothing(server) {
        let (john, jane, bob) = (server.log_in(JOHN).await, server.log_in(JANE).await, server.log_in(BOB).await);
        let thread = thread_with(&john, json!([6])).await;
        let id = send(&john, thread, "Mine").await;
        for client in [&jane, &bob] {
            assert_eq!(refusal(client, "message/edit", json!({"message_id": id, "body": "Yours"})).await, "Access denied");
            assert_eq!(refusal(client, "message/delete", json!({"message_id": id})).await, "Access denied");
        }
        assert_eq!(bodies(&john, thread).await, ["Mine"]);
    }

    /// Moderators: every admin may edit any message, without read access.
    async fn a_moderator_changes_anybodys_message(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        let thread = thread_with(&john, json!([6])).await;
        let (first, second) = (send(&john, thread, "Rude").await, send(&jane, thread, "Ruder").await);
        assert_eq!(edit(&admin, first, "Kind").await, done(first));
        assert_eq!(delete(&admin, second).await, done(second));
        assert_eq!(bodies(&john, thread).await, ["", "Kind"]);
        assert_eq!(refusal(&admin, "messages", json!({"thread_id": thread})).await, "Access denied");
    }

    /// Moderator role by command line, beside the running server and within a session. Durable stores only: a store in memory
    /// has no command line.
    async fn a_user_is_made_a_moderator(server) {
        if !server.backend().is_durable() {
            return;
        }
        let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
        let id = send(&john, 1, "Rude").await;
        let listed = format!("6\t{JANE}\tuser\tJane Smith\tmoderator\n");
        assert_eq!(edit(&jane, id, "Kind").await, json!({"error": "Access denied"}));
        let moderator = async |word| server.backend().administer(&["user", "edit", JANE, "--moderator", word], "").await;
        let list = async || server.backend().administer(&["user", "list"], "").await;
        assert!(!list().await.contains(&listed));
        moderator("true").await;
        until("the right of a moderator", async || (edit(&jane, id, "Kind").await == done(id)).then_some(())).await;
        assert_eq!(bodies(&john, 1).await, ["Kind"]);
        assert!(list().await.contains(&listed));
        moderator("false").await;
        let denied = json!({"error": "Access denied"});
        until("the end of the right", async || (edit(&jane, id, "Rude").await == denied).then_some(())).await;
        let unknown = server.backend().run(&["user", "edit", "nobody", "--moderator", "true"], "").await;
        assert!(!unknown.status.success() && String::from_utf8_lossy(&unknown.stderr).contains("nobody"), "{unknown:?}");
    }

    /// Refusals: the fixed texts of the documentation where it has any.
    async fn refusals_are_clear(server) {
        let john = server.log_in(JOHN).await;
        let id = send(&john, 1, "Hello").await;
        let missing = "message_id and body are required";
        for (route, params, text) in [
            ("message/edit", json!({}), missing),
            ("message/edit", json!({"message_id": id}), missing),
            ("message/edit", json!({"body": "x"}), missing),
            ("message/edit", json!({"message_id": id, "body": ""}), missing),
            ("message/edit", json!({"message_id": id, "body": " \t\n "}), missing),
            ("message/edit", json!({"message_id": id, "body": ["x"]}), "body must be a text"),
            ("message/edit", json!({"message_id": id, "body": "nul \u{0}"}), "body must not contain the NUL character"),
            ("message/edit", json!({"message_id": [id], "body": "x"}), "message_id must be a whole number"),
            ("message/edit", json!({"message_id": id + 1000, "body": "x"}), "Message not found"),
            ("message/edit", json!({"message_id": -1, "body": "x"}), "Message not found"),
            ("message/delete", json!({}), "message_id is required"),
            ("message/delete", json!({"message_id": false}), "message_id is required"),
            ("message/delete", json!({"message_id": "x"}), "message_id must be a whole number"),
            ("message/delete", json!({"message_id": id + 1000}), "Message not found"),
        ] {
            assert_eq!(refusal(&john, route, params.clone()).await, text, "{route} {params}");
        }
        assert_eq!(bodies(&john, 1).await, ["Hello"]);
    }
}
