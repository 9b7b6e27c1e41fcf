//! Tests of reactions to messages.

use serde_json::{Value, json};

use super::{refusal, send, thread_with};
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, Client, JANE, JOHN},
};

async fn react(client: &Client, id: i64, content: &str, action: &str) -> Value {
    let reacted = client.messaging("message/reaction", json!({"message_id": id, "content": content, "action": action})).await;
    assert_eq!(reacted["success"], true, "{reacted}");
    reacted
}

/// Returns the reactions to the newest message of a thread.
async fn reactions(client: &Client, thread: i64) -> Value {
    client.messaging("messages", json!({"thread_id": thread, "limit": 1})).await["messages"][0]["reactions"].clone()
}

on_every_backend! {
    /// Toggle: the answer names the result with the same words as the explicit actions.
    async fn a_toggle_adds_a_reaction_or_takes_it_back(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = send(&john, 1, "Hello").await;
        let toggle = async || admin.messaging("message/reaction", json!({"message_id": id, "content": "👍"})).await;
        let there = json!([{"content": "👍", "count": 1, "user_reacted": true}]);
        let added = json!({"success": true, "message_id": id, "content": "👍", "action": "add", "reactions": there});
        assert_eq!(toggle().await, added);
        assert_eq!(reactions(&admin, 1).await, there);
        assert_eq!(reactions(&john, 1).await, json!([{"content": "👍", "count": 1, "user_reacted": false}]));
        let removed = json!({"success": true, "message_id": id, "content": "👍", "action": "remove", "reactions": []});
        assert_eq!(toggle().await, removed);
        assert_eq!(reactions(&john, 1).await, json!([]));
        assert_eq!(toggle().await, added);
    }

    /// Idempotent actions: the same answer, and no change.
    async fn what_is_done_already_succeeds_and_changes_nothing(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = send(&john, 1, "Hello").await;
        let nothing = react(&john, id, "🎉", "remove").await;
        assert_eq!((&nothing["action"], &nothing["reactions"]), (&json!("remove"), &json!([])));
        let first = react(&john, id, "🎉", "add").await;
        assert_eq!((&first["action"], &first["reactions"][0]["count"]), (&json!("add"), &json!(1)));
        assert_eq!(react(&john, id, "🎉", "add").await, first);
        react(&admin, id, "🎉", "add").await;
        let left = react(&john, id, "🎉", "remove").await;
        assert_eq!(left["reactions"], json!([{"content": "🎉", "count": 1, "user_reacted": false}]));
        assert_eq!(react(&john, id, "🎉", "remove").await, left);
    }

    /// Counts by content, in order of first use.
    async fn everybody_reacts_for_themselves(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        let id = send(&john, 2, "To all").await;
        for (who, content) in [(&jane, "b"), (&admin, "a"), (&jane, "a"), (&john, "b"), (&admin, "B")] {
            react(who, id, content, "toggle").await;
        }
        let expected = |a, b, capital| json!([
            {"content": "b", "count": 2, "user_reacted": b},
            {"content": "a", "count": 2, "user_reacted": a},
            {"content": "B", "count": 1, "user_reacted": capital},
        ]);
        assert_eq!(reactions(&jane, 2).await, expected(true, true, false));
        assert_eq!(reactions(&admin, 2).await, expected(true, false, true));
        assert_eq!(reactions(&server.log_in(BOB).await, 2).await, expected(false, false, false));
    }

    /// Reactions in every message: without them a client would need another request.
    async fn messages_come_with_their_reactions_wherever_they_come(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = send(&john, 1, "a needle").await;
        react(&admin, id, "👍", "add").await;
        let there = json!([{"content": "👍", "count": 1, "user_reacted": true}]);
        for (route, params) in [
            ("messages", json!({"thread_id": 1})),
            ("poll/messages", json!({"thread_id": 1, "last_message_id": 0, "timeout": 0})),
            ("messages/search", json!({"query": "needle"})),
        ] {
            assert_eq!(admin.messaging(route, params).await["messages"][0]["reactions"], there, "{route}");
        }
    }

    /// Refusals: the addon's texts.
    async fn refusals_have_their_fixed_texts(server) {
        let (john, bob) = (server.log_in(JOHN).await, server.log_in(BOB).await);
        let id = send(&john, 1, "Hello").await;
        let missing = "message_id and content are required";
        for (params, text) in [
            (json!({}), missing),
            (json!({"message_id": id}), missing),
            (json!({"message_id": id, "content": ""}), missing),
            (json!({"message_id": id, "content": null}), missing),
            (json!({"content": "👍"}), missing),
            (json!({"message_id": 0, "content": "👍"}), "Message not found"),
            (json!({"message_id": -1, "content": "👍"}), "Message not found"),
            (json!({"message_id": id + 1000, "content": "👍"}), "Message not found"),
            (json!({"message_id": "99999999999999999999", "content": "👍"}), "Message not found"),
            (json!({"message_id": id, "content": "👍", "action": "like"}), "Invalid action"),
            (json!({"message_id": id, "content": "👍", "action": "Add"}), "Invalid action"),
            (json!({"message_id": id, "content": "👍", "action": 1}), "Invalid action"),
            (json!({"message_id": id, "content": "👍", "action": ["add"]}), "Invalid action"),
            (json!({"message_id": "x", "content": "👍"}), "message_id must be a whole number"),
            (json!({"message_id": id, "content": ["👍"]}), "content must be a text"),
        ] {
            assert_eq!(refusal(&john, "message/reaction", params.clone()).await, text, "{params}");
        }
        let params = json!({"message_id": id, "content": "👍"});
        assert_eq!(refusal(&bob, "message/reaction", params).await, "Access denied");
        assert_eq!(reactions(&john, 1).await, json!([]));
        for action in [json!(null), json!(false), json!("")] {
            let params = json!({"message_id": id.to_string(), "content": 1, "action": action});
            let reacted = john.messaging("message/reaction", params).await;
            assert_eq!((&reacted["success"], &reacted["content"]), (&json!(true), &json!("1")), "a toggle, and a text");
        }
    }

    /// Limits of the size of a reaction, and of their number.
    async fn reactions_are_bounded(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = send(&john, 1, "Hello").await;
        for content in ["x".repeat(65), "👍".repeat(17), "a\nb".into(), "nul \u{0}".into(), " ".into()] {
            let params = json!({"message_id": id, "content": content, "action": "add"});
            let text = refusal(&john, "message/reaction", params).await;
            assert!(text.starts_with("content must"), "{text}");
        }
        react(&john, id, &"👍".repeat(16), "add").await;
        for number in 1..20 {
            react(&john, id, &number.to_string(), "add").await;
        }
        let twenty_first = json!({"message_id": id, "content": "one more"});
        assert_eq!(refusal(&john, "message/reaction", twenty_first).await, "Too many kinds of reactions");
        assert_eq!(react(&admin, id, "7", "toggle").await["action"], "add", "one that is there already");
        react(&john, id, "1", "remove").await;
        assert_eq!(react(&john, id, "one more", "toggle").await["action"], "add");
    }

    /// Deleted message: no text and no reactions.
    async fn a_deleted_message_has_no_reactions(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = send(&john, 1, "Hello").await;
        react(&admin, id, "👍", "add").await;
        john.messaging("message/delete", json!({"message_id": id})).await;
        assert_eq!(reactions(&john, 1).await, json!([]));
        for action in ["add", "toggle", "remove"] {
            let params = json!({"message_id": id, "content": "👍", "action": action});
            assert_eq!(refusal(&admin, "message/reaction", params).await, "The message was deleted");
        }
    }

    /// Messages hidden from a newcomer: no reaction possible.
    async fn a_newcomer_reacts_to_nothing_that_is_hidden(server) {
        let (admin, jane) = (server.log_in(ADMIN).await, server.log_in(JANE).await);
        let thread = thread_with(&admin, json!([4])).await;
        let before = send(&admin, thread, "Between us").await;
        admin.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": 6})).await;
        let after = send(&admin, thread, "Welcome").await;
        let params = json!({"message_id": before, "content": "👍"});
        assert_eq!(refusal(&jane, "message/reaction", params).await, "Message not found");
        react(&jane, after, "👍", "toggle").await;
    }

    /// Polls and reactions: no unread count changes, and Odoo 8's bus has no such notification.
    async fn nobody_who_waits_is_woken_by_a_reaction(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let id = send(&john, 1, "Hello").await;
        let updates = async || admin.messaging("poll/updates", json!({"timeout": 0})).await["has_updates"].clone();
        let bus = async |last: &Value| admin.result("/longpolling/poll", json!({"channels": [], "last": last})).await;
        updates().await;
        let told = bus(&json!(0)).await;
        let last = told.as_array().unwrap().last().unwrap()["id"].clone();
        react(&john, id, "👍", "add").await;
        assert_eq!(updates().await, false);
        send(&john, 1, "And more").await;
        assert_eq!(updates().await, true);
        let told = bus(&last).await;
        let texts: Vec<_> = told.as_array().unwrap().iter().map(|told| &told["message"]["message"]).collect();
        assert_eq!(texts, ["And more"], "{told}");
    }
}
