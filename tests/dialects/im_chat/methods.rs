//! Tests of the model methods that Odoo 8's web client calls.

use serde_json::{Value, json};

use super::Person;
use crate::{
    on_every_backend,
    support::{ADMIN, BOB, JANE, JOHN},
};

on_every_backend! {
    async fn a_session_is_got_shown_folded_and_left(server) {
        let (jane, bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let (mut john, admin) = (Person::log_in(server, JOHN).await, Person::log_in(server, ADMIN).await);
        let got = jane.call_kw("im_chat.session", "session_get", json!([8])).await["result"].clone();
        let uuid = got["uuid"].as_str().unwrap();
        assert_eq!(got["state"], "open");
        assert_eq!(bob.call_kw("im_chat.session", "session_get", json!([6])).await["result"]["uuid"], uuid);

        for (asked, state) in [(json!([uuid]), "folded"), (json!([uuid]), "open"), (json!([uuid, "closed"]), "closed"), (json!([uuid, null]), "open")] {
            jane.call_kw("im_chat.session", "update_state", asked).await;
            assert_eq!(jane.call_kw("im_chat.session", "session_get", json!([8])).await["result"]["state"], state);
        }

        assert_eq!(bob.call_kw("im_chat.session", "quit_user", json!([uuid])).await["result"], false, "of two nobody leaves");
        jane.call_kw("im_chat.session", "add_user", json!([uuid, john.uid])).await;
        jane.call_kw("im_chat.session", "add_user", json!([uuid, john.uid])).await;
        let own = john.channel();
        let heard = john.hear("being brought in", |told| told["channel"] == own && told["message"]["uuid"] == uuid).await;
        assert_eq!(heard["message"]["users"].as_array().unwrap().len(), 3);
        let joined = john.hear_message("meta", "John Doe joined the conversation.").await;
        let id = &joined["to_id"][0];
        let shown = john.call_kw("im_chat.session", "session_info", json!([[id]])).await;
        assert_eq!(shown["result"]["uuid"], uuid);

        let strange = admin.call_kw("im_chat.session", "session_info", json!([[id]])).await;
        assert!(strange.get("result").is_none(), "{strange}");
        assert_eq!(john.call_kw("im_chat.session", "quit_user", json!([uuid])).await["result"], true);
        let own = john.channel();
        john.hear("having left", |told| told["channel"] == own && told["message"]["uuid"] == uuid && told["message"]["state"] == "closed").await;
        assert_eq!(john.post(uuid, "Let me in").await, false);
        assert_eq!(john.history(uuid).await, false);
        assert_eq!(
            bob.history(uuid).await,
            json!(["John Doe left the conversation.", "John Doe joined the conversation."])
        );
    }

    async fn users_are_found_by_name(server) {
        let (jane, _bob) = (Person::log_in(server, JANE).await, Person::log_in(server, BOB).await);
        let find = async |args: Value| {
            let answer = jane.call_kw("res.users", "im_search", args).await;
            answer["result"].as_array().unwrap_or_else(|| panic!("{answer}")).clone()
        };
        let all = find(json!(["", 20])).await;
        assert_eq!(all[0], json!({"id": 8, "name": "Bob Wilson", "im_status": "online"}), "who is there first: {all:?}");
        assert!(all.iter().all(|user| user["id"] != jane.uid));
        assert_eq!(find(json!(["JOHN"])).await, [json!({"id": 4, "name": "John Doe", "im_status": "offline"})]);
        assert_eq!(find(json!(["", 1])).await.len(), 1);
        let read = jane.call_kw("res.users", "read", json!([[6], ["name"]])).await;
        assert_eq!(read["result"][0]["name"], "Jane Smith", "what every Odoo has is still there");
    }

    async fn what_a_model_has_not_is_told_as_odoo_tells_it(server) {
        let jane = Person::log_in(server, JANE).await;
        for (model, method, name) in [
            ("im_chat.session", "unlink", "builtins.AttributeError"),
            ("im_chat.session", "_secret", "odoo.exceptions.AccessError"),
            ("im_chat.message", "read", "builtins.KeyError"),
        ] {
            let answer = jane.call_kw(model, method, json!([[1]])).await;
            assert_eq!(answer["error"]["data"]["name"], name, "{model}.{method}: {answer}");
        }
        let answer = jane.call_kw("im_chat.session", "add_user", json!(["x"])).await;
        assert_eq!(answer["error"]["data"]["name"], "builtins.TypeError");
    }
}
