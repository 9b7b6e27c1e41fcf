//! Tests of a published client: `/im_chat/init`, then polls in a loop, and posts with up to three tries.

use serde_json::json;

use super::Person;
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, JANE},
};

on_every_backend! {
    async fn init_tells_sessions_and_then_messages(server) {
        let (jane, bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        let first = bob.post(&uuid, "one").await;
        let second = bob.post(&uuid, "two").await;
        let told = jane.im_chat("init", json!({})).await;
        let told = told.as_array().unwrap();
        assert!(told.iter().all(|pair| pair[0] == jane.channel()), "{told:?}");
        let infos: Vec<_> = told.iter().map(|pair| &pair[1]).take_while(|message| message["uuid"].is_string()).collect();
        assert_eq!(infos.len(), 2, "with the group thread of the demo data: {told:?}");
        let info = infos.iter().find(|info| info["uuid"] == *uuid).unwrap();
        assert_eq!((&info["state"], &info["is_read"]), (&json!("open"), &json!(false)));
        let users: Vec<_> = info["users"].as_array().unwrap().iter().map(|user| (&user["id"], &user["name"])).collect();
        assert_eq!(users, [(&json!(6), &json!("Jane Smith")), (&json!(8), &json!("Bob Wilson"))]);
        let messages: Vec<_> = told[2..].iter().map(|pair| &pair[1]["id"]).collect();
        assert_eq!(messages, [&first, &second], "by rising id");
    }

    /// Unread messages at the start: all of them, with own messages in between.
    async fn init_leaves_out_nothing_unread(server) {
        const UNREAD: usize = 230;
        let (jane, bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        let mut ids = Vec::new();
        for number in 0..UNREAD {
            let person = if number == UNREAD / 2 { &jane } else { &bob };
            ids.push(person.post(&uuid, "Hello").await);
        }
        let told = jane.im_chat("init", json!({})).await;
        let found: Vec<_> = told.as_array().unwrap().iter().filter(|pair| pair[1]["type"] == "message").collect();
        assert_eq!(found.iter().map(|pair| &pair[1]["id"]).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
        assert_eq!(found[0][1]["from_partner_id"], json!([9, "Bob Wilson"]));
    }

    async fn a_closed_session_with_news_comes_back_folded(server) {
        let (jane, bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        jane.call_kw("im_chat.session", "update_state", json!([uuid, "closed"])).await;
        let state = async || {
            let told = jane.im_chat("init", json!({})).await;
            let info = told.as_array().unwrap().iter().find(|pair| pair[1]["uuid"] == *uuid);
            info.map(|pair| pair[1]["state"].clone())
        };
        assert_eq!(state().await, None, "closed, and nothing new");
        bob.post(&uuid, "Hello").await;
        assert_eq!(state().await, Some(json!("folded")));
        assert_eq!(jane.im_chat("api/get_or_create_session", json!({"user_to": 8})).await["state"], "folded", "it stays so");
    }

    /// Retried post: no idempotency key, so both are stored.
    async fn a_repeated_post_is_stored_twice(server) {
        let (jane, bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        let mut listening = Person::log_in(server, BOB).await;
        listening.client.result("/im_chat/init", json!({})).await;
        let ids = [jane.post(&uuid, "Hello").await, jane.post(&uuid, "Hello").await];
        assert_ne!(ids[0], ids[1]);
        assert_eq!(bob.history(&uuid).await, json!(["Hello", "Hello"]));
        for id in ids {
            assert_eq!(listening.hear_message("message", "Hello").await["id"], id);
        }
    }

    async fn what_cannot_be_posted_is_refused(server) {
        let (jane, bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let uuid = jane.session_with(&bob).await;
        let post = async |params| jane.client.call("/im_chat/post", params).await;
        let name = |answer: &serde_json::Value| answer["error"]["data"]["name"].clone();
        let odd = post(json!({"uuid": uuid, "message_type": "shout", "message_content": "!"})).await;
        assert_eq!((&odd["error"]["code"], name(&odd)), (&json!(200), json!("builtins.ValueError")));
        for unnamed in ["!", "", "null", "7", "\"a.png\"", "[]", "{}", "[{}]", "{\"id\": 0}", "{\"name\": \" \"}", "{\"size\": 7}", "{\"id\": 7"] {
            let params = json!({"uuid": uuid, "message_type": "money4_chat_attach_msg", "message_content": unnamed});
            let answer = post(params).await;
            assert_eq!((&answer["error"]["code"], name(&answer)), (&json!(200), json!("builtins.ValueError")), "{unnamed}");
        }
        let none = post(json!({"uuid": uuid, "message_content": "!"})).await;
        assert_eq!(name(&none), "builtins.TypeError");
        let empty = post(json!({"uuid": uuid, "message_type": "message", "message_content": "  "})).await;
        assert_eq!(name(&empty), "odoo.exceptions.ValidationError");
        for unknown in [json!("91e03d34-1929-4a02-9486-4c3e708686b3"), json!("x"), json!(null), json!(1)] {
            let answer = post(json!({"uuid": unknown, "message_type": "message", "message_content": "!"})).await;
            assert_eq!(answer["result"], false, "{answer}");
        }
        assert_eq!(bob.history(&uuid).await, json!([]));
        let html = "<b>&amp; '\u{1f642}\n";
        jane.post_as(&uuid, "meta", html).await;
        assert_eq!(bob.history(&uuid).await, json!([html]), "to the letter");
    }

    /// Pictures: a user's own, and those of users in the same session; otherwise a pixel.
    async fn without_a_picture_there_is_a_pixel(server) {
        let (admin, jane) = (Person::log_in(server, ADMIN).await, Person::log_in(server, JANE).await);
        let uuid = admin.session_with(&jane).await;
        for path in [format!("/im_chat/image/{uuid}/6"), format!("/im_chat/image/{uuid}/8"), "/im_chat/image/x/6".into()] {
            let response = admin.client.request(reqwest::Method::GET, &path).send().await.unwrap();
            assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (200, &"image/png".parse().unwrap()));
            let png = response.bytes().await.unwrap();
            assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() < 100, "{path}");
        }
    }
}
