//! Tests of reactions to messages.

use serde_json::{Value, json};

use super::{ADMIN, BOB, JANE, JOHN, complaint, enter, enter_all, hear, said, send};
use crate::{support, with_tokens_on_every_backend};

fn reacting(message: &Value, content: &str) -> Value {
    json!({"action": "reaction", "message_id": message["id"], "content": content})
}

fn removing(message: &Value, content: &str) -> Value {
    json!({"action": "reaction", "message_id": message["id"], "content": content, "remove": true})
}

with_tokens_on_every_backend! {
    async fn a_reaction_is_told_to_everybody(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let (mut again, mut all) = (enter(server, JOHN, 1).await, enter_all(server, ADMIN).await);
        let message = send(&mut admin, "Good news").await;
        for (frame, removed) in [(reacting(&message, "👍"), false), (removing(&message, "👍"), true)] {
            john.say(frame.clone()).await;
            let mut expected =
                json!({"type": "reaction", "message_id": message["id"], "user_id": "4", "content": "👍", "removed": removed});
            for socket in [&mut john, &mut admin, &mut again] {
                assert_eq!(hear(socket, "reaction").await, expected);
            }
            john.say(frame).await;
            assert_eq!(hear(&mut john, "reaction").await, expected, "answered, though nothing has changed");
            expected["conversation_id"] = "1".into();
            assert_eq!(hear(&mut all, "reaction").await, expected);
            assert!(said(&mut admin).await.iter().all(|told| told["type"] != "reaction"), "others are told once");
        }
        admin.say(reacting(&message, "👍")).await;
        assert_eq!(hear(&mut john, "reaction").await["user_id"], "2", "to one's own, too");
        assert_eq!(hear(&mut admin, "reaction").await["user_id"], "2");
        for (content, remove) in [("👎", json!(null)), ("🎉", json!(false))] {
            john.say(json!({"action": "reaction", "message_id": message["id"], "content": content, "remove": remove})).await;
            assert_eq!(hear(&mut admin, "reaction").await["content"], content);
        }
    }

    async fn what_cannot_be_reacted_to_is_said(server) {
        let (mut john, mut admin) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 2).await);
        let own = send(&mut john, "soon gone").await;
        let elsewhere = send(&mut admin, "elsewhere").await;
        let mut refused = async |message: &Value, content: &str| {
            let error = complaint(&mut john, &reacting(message, content).to_string()).await;
            assert_eq!((&error["type"], &error["action"]), (&json!("error"), &json!("reaction")));
            error["error"].as_str().unwrap().to_owned()
        };
        let rule = "content must have between 1 and 64 bytes, none of them a control character";
        assert_eq!(refused(&elsewhere, "👍").await, "Message not found");
        assert_eq!(refused(&json!({"id": "987654"}), "👍").await, "Message not found");
        assert_eq!(refused(&own, &"x".repeat(65)).await, rule);
        assert_eq!(refused(&own, "").await, rule);
        let mut again = enter(server, JOHN, 1).await;
        for number in 0..20 {
            again.say(reacting(&own, &number.to_string())).await;
            hear(&mut again, "reaction").await;
        }
        assert_eq!(refused(&own, "one more").await, "Too many kinds of reactions");
        again.say(json!({"action": "delete_message", "message_id": own["id"]})).await;
        hear(&mut again, "message.deleted").await;
        assert_eq!(refused(&own, "👍").await, "The message was deleted");
    }

    /// Reactions to messages hidden from a newcomer: not sent to the newcomer.
    async fn what_is_hidden_from_a_newcomer_stays_hidden(server) {
        let (mut john, mut before) = (enter(server, JOHN, 1).await, enter(server, ADMIN, 1).await);
        let hidden = send(&mut before, "between us").await;
        let admin = server.log_in(support::ADMIN).await;
        let added = admin.messaging("thread/add_participant", json!({"thread_id": 1, "partner_id": 9})).await;
        assert!(added.get("error").is_none(), "{added}");
        let (mut bob, mut all) = (enter(server, BOB, 1).await, enter_all(server, BOB).await);
        let shown = send(&mut before, "welcome").await;
        john.say(reacting(&hidden, "🤫")).await;
        john.say(json!({"action": "edit_message", "message_id": hidden["id"], "content": "x"})).await;
        assert_eq!(complaint(&mut john, "[]").await["error"], "Access denied");
        before.say(json!({"action": "edit_message", "message_id": hidden["id"], "content": "between the two of us"})).await;
        hear(&mut before, "message.edited").await;
        john.say(reacting(&shown, "👋")).await;
        for socket in [&mut bob, &mut all] {
            let told = socket.hear_until(|told| told["type"] == "reaction" || told["type"] == "message.edited").await;
            assert_eq!((&told["message_id"], &told["content"]), (&shown["id"], &json!("👋")));
        }
        for frame in [reacting(&hidden, "👍"), removing(&hidden, "🤫"), json!({"action": "read", "message_ids": [hidden["id"]]})] {
            assert_eq!(complaint(&mut bob, &frame.to_string()).await["error"], "Message not found");
        }
        bob.say(json!({"action": "read", "message_ids": [hidden["id"], shown["id"]]})).await;
        assert_eq!(hear(&mut bob, "read").await["message_ids"], json!([shown["id"]]));
        bob.say(json!({"action": "fetch_messages", "after_id": shown["id"]})).await;
        let told = said(&mut bob).await;
        assert!(told.iter().all(|told| told["type"] != "message.edited"), "{told:?}");
        bob.say(json!({"action": "fetch_messages"})).await;
        assert_eq!(hear(&mut bob, "messages_fetched").await["messages"].as_array().unwrap().len(), 1);
    }

    /// Fan-out of reactions in a group, including those from another dialect.
    async fn reactions_of_a_conversation_of_several_go_to_all_of_them(server) {
        let (mut jane, mut bob) = (enter(server, JANE, 2).await, enter_all(server, BOB).await);
        let message = send(&mut jane, "Lunch?").await;
        jane.say(reacting(&message, "🍕")).await;
        let told = hear(&mut bob, "reaction").await;
        let expected = json!({"type": "reaction", "conversation_id": "2", "message_id": message["id"], "user_id": "6",
            "content": "🍕", "removed": false});
        assert_eq!(told, expected);
        let mut john = enter_all(server, JOHN).await;
        john.say(json!({"action": "reaction", "conversation_id": "2", "message_id": message["id"], "content": "🍕"})).await;
        for socket in [&mut jane, &mut bob, &mut john] {
            socket.hear_until(|told| told["type"] == "reaction" && told["user_id"] == "4").await;
        }
    }
}
