//! Tests of the examples of the clients' documentation, one by one: each answer has the same keys and types.

use serde_json::{Value, json};

use super::Person;
use crate::{
    on_every_backend,
    support::{ADMIN, JANE, JOHN},
};

/// Asserts that `actual` has the keys and types of `example`, plus any of `more`. The first element of a list is the example of
/// all.
fn same_shape(at: &str, example: &Value, actual: &Value, more: &[&str]) {
    match (example, actual) {
        (Value::Object(example), Value::Object(actual)) => {
            for (key, value) in example {
                let found = actual.get(key).unwrap_or_else(|| panic!("{at} has no {key}: {actual:?}"));
                same_shape(&format!("{at}.{key}"), value, found, more);
            }
            for key in actual.keys() {
                assert!(example.contains_key(key) || more.contains(&key.as_str()), "{at} has {key}: {actual:?}");
            }
        }
        (Value::Array(example), Value::Array(actual)) => {
            if let [Value::Number(_), Value::String(_)] = example.as_slice() {
                assert_eq!(actual.len(), 2, "{at} is a pair: {actual:?}");
                assert!(actual[0].is_i64() && actual[1].is_string(), "{at}: {actual:?}");
                return;
            }
            assert!(example.is_empty() || !actual.is_empty(), "{at} is empty");
            for (index, actual) in actual.iter().enumerate() {
                same_shape(&format!("{at}[{index}]"), &example[0], actual, more);
            }
        }
        (Value::Number(_), Value::Number(number)) => assert!(number.is_i64(), "{at}: {number}"),
        (example, actual) => {
            assert_eq!(std::mem::discriminant(example), std::mem::discriminant(actual), "{at}: {actual} for {example}");
        }
    }
    if at.ends_with("_date") {
        let text = actual.as_str().unwrap();
        assert!(chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").is_ok(), "{at}: {text}");
    }
}

/// Both spellings of two keys, which the documentation spells inconsistently.
const SPELLINGS: &[&str] = &["docs", "docs:", "with_documents", "with_documents:"];

fn example_user(id: i64, name: &str) -> Value {
    json!({
        "im_status": "away",
        "id": id,
        "name": name,
        "partner_id": [id + 1, name],
        "last_message": {"type": "message", "message": "222", "create_date": "2017-04-10 07:46:21", "id": 191}
    })
}

fn example_session(documents: &str) -> Value {
    let mut example = json!({
        "create_date": "2017-02-02 07:56:00",
        "uuid": "91e03d34-1929-4a02-9486-4c3e708686b3",
        "status": "active",
        "state": "open",
        "is_group": false,
        "is_read": true,
        "groups": [],
        "docs:": [{"doc_model": "res.partner", "doc_id": 25, "id": 9}],
        "users": [example_user(5, "Lucid Lynx"), example_user(6, "Oneiric Ocelot")]
    });
    example[documents] = json!(true);
    example
}

fn example_group_session() -> Value {
    let mut example = example_session("with_documents");
    example["is_group"] = json!(true);
    example["groups"] = json!([{"id": 3, "name": "News"}]);
    example
}

fn spelt_twice(session: &Value) {
    assert_eq!(session["docs"], session["docs:"]);
    assert_eq!(session["with_documents"], session["with_documents:"]);
}

on_every_backend! {
    async fn get_or_create_session(server) {
        let (admin, john) = (Person::log_in(server, ADMIN).await, Person::log_in(server, JOHN).await);
        let params = json!({"user_to": 4, "doc_id": "25", "doc_model": "res.partner"});
        let begun = admin.im_chat("api/get_or_create_session", params.clone()).await;
        let uuid = begun["uuid"].as_str().unwrap();
        assert_eq!(begun["users"][0]["last_message"], false, "nobody has written yet");
        for (person, text) in [(&admin, "222"), (&john, "444")] {
            assert!(person.post(uuid, text).await.is_i64());
        }
        let body = json!({"jsonrpc": "2.0", "params": params});
        let answer = admin.client.post("/im_chat/api/get_or_create_session", &body).await.json();
        let example = json!({"jsonrpc": "2.0", "id": null, "result": example_session("with_documents:")});
        same_shape("answer", &example, &answer, SPELLINGS);
        let session = &answer["result"];
        spelt_twice(session);
        assert_eq!(session["uuid"], uuid, "it is got this time");
        assert_eq!((&session["docs"][0]["doc_model"], &session["docs"][0]["doc_id"]), (&json!("res.partner"), &json!(25)));
        assert_eq!((&session["status"], &session["state"], &session["is_group"]), (&json!("active"), &json!("open"), &json!(false)));
        assert_eq!((&session["groups"], &session["with_documents"]), (&json!([]), &json!(true)));
        let users = session["users"].as_array().unwrap();
        let people: Vec<_> = users.iter().map(|user| (&user["id"], &user["name"], &user["partner_id"])).collect();
        let (admin, john) = (json!([3, "Admin user"]), json!([5, "John Doe"]));
        assert_eq!(people, [(&json!(2), &admin[1], &admin), (&json!(4), &john[1], &john)]);
        let last: Vec<_> = users.iter().map(|user| user["last_message"]["message"].as_str().unwrap()).collect();
        assert_eq!(last, ["222", "444"]);
    }

    async fn get_or_create_session_group(server) {
        let admin = Person::log_in(server, ADMIN).await;
        let params = json!({"group": 3, "doc_id": 25, "doc_model": "res.partner"});
        let begun = admin.im_chat("api/get_or_create_session_group", params.clone()).await;
        for login in [ADMIN, JOHN, JANE, crate::support::BOB] {
            let person = Person::log_in(server, login).await;
            person.post(begun["uuid"].as_str().unwrap(), "here").await;
        }
        let session = admin.im_chat("api/get_or_create_session_group", params).await;
        same_shape("result", &example_group_session(), &session, SPELLINGS);
        spelt_twice(&session);
        assert_eq!(session["uuid"], begun["uuid"]);
        assert_eq!((&session["is_group"], &session["groups"]), (&json!(true), &json!([{"id": 3, "name": "News"}])));
        let users: Vec<_> = session["users"].as_array().unwrap().iter().map(|user| user["id"].as_i64().unwrap()).collect();
        assert_eq!(users, [2, 4, 6, 8]);
    }

    async fn get_sessions(server) {
        let (admin, john) = (Person::log_in(server, ADMIN).await, Person::log_in(server, JOHN).await);
        let params = json!({"user_to": 4, "doc_id": 25, "doc_model": "res.partner"});
        let uuid = admin.im_chat("api/get_or_create_session", params.clone()).await["uuid"].clone();
        for person in [&admin, &john] {
            person.post(uuid.as_str().unwrap(), "here").await;
        }
        let found = admin.im_chat("api/get_sessions", json!({"user_to": 4, "doc_id": "25", "state": "open"})).await;
        same_shape("result", &json!([example_session("with_documents")]), &found, SPELLINGS);
        assert_eq!(found.as_array().unwrap().iter().map(|session| &session["uuid"]).collect::<Vec<_>>(), [&uuid]);
        let all = admin.im_chat("api/get_sessions", json!({})).await;
        assert_eq!(all.as_array().unwrap().len(), 2, "with the thread that the demo data has: {all}");
    }

    async fn get_sessions_group(server) {
        let admin = Person::log_in(server, ADMIN).await;
        let params = json!({"group": 3, "doc_id": 25, "doc_model": "res.partner"});
        let uuid = admin.im_chat("api/get_or_create_session_group", params).await["uuid"].clone();
        for login in [ADMIN, JOHN, JANE, crate::support::BOB] {
            Person::log_in(server, login).await.post(uuid.as_str().unwrap(), "here").await;
        }
        let found = admin.im_chat("api/get_sessions_group", json!({"group": 3, "state": "open"})).await;
        same_shape("result", &json!([example_group_session()]), &found, SPELLINGS);
        assert_eq!(found[0]["uuid"], uuid);
        assert_eq!(admin.im_chat("api/get_sessions_group", json!({"group": 4})).await, json!([]));
    }

    async fn the_address_book(server) {
        let admin = Person::log_in(server, ADMIN).await;
        let example = json!([{"im_status": "offline", "id": 5, "name": "odoo"}]);
        let all = async || admin.im_chat("api/user_chat_ab/get_all_users", json!({})).await;
        let book = async || admin.im_chat("api/user_chat_ab/get_users_from_book", json!({})).await;
        let ids = |users: &Value| users.as_array().unwrap().iter().map(|user| user["id"].as_i64().unwrap()).collect::<Vec<_>>();
        let others = all().await;
        same_shape("result", &example, &others, &[]);
        assert_eq!(ids(&others), [4, 6, 8, 34, 32314]);
        assert_eq!(book().await, json!([]));

        let call = async |verb: &str, ids: Value| {
            let params = json!({"params": {"user_ids": ids}});
            admin.client.post(&format!("/im_chat/api/user_chat_ab/{verb}"), &params).await.json()
        };
        let success = json!({"jsonrpc": "2.0", "id": null, "result": {"status": "success"}});
        let no_list = json!({"jsonrpc": "2.0", "id": null, "result": {"status": "error", "message": "user_ids is not list"}});
        assert_eq!(call("add_users", json!([4, "6", 2, 999])).await, success);
        same_shape("result", &example, &book().await, &[]);
        assert_eq!((ids(&book().await), ids(&all().await)), (vec![4, 6], vec![8, 34, 32314]));
        assert_eq!(call("remove_users", json!([4, 999])).await, success);
        assert_eq!((ids(&book().await), ids(&all().await)), (vec![6], vec![4, 8, 34, 32314]));
        for verb in ["add_users", "remove_users"] {
            for no in [json!(4), json!("4"), json!({"id": 4}), json!(null), json!([[4]])] {
                assert_eq!(call(verb, no.clone()).await, no_list, "{verb} {no}");
            }
        }
        assert_eq!(ids(&book().await), [6]);
    }

    async fn add_partner(server) {
        let (admin, john) = (Person::log_in(server, ADMIN).await, Person::log_in(server, JOHN).await);
        let add = async |person: &Person, params: Value| {
            let body = json!({"params": params});
            person.client.post("/im_chat/api/user_chat_ab/add_partner", &body).await.json()
        };
        let success = json!({"jsonrpc": "2.0", "id": null, "result": {"status": "success"}});
        let not_valid = json!({"jsonrpc": "2.0", "id": null,
            "result": {"status": "error", "message": "input parameters are not valid"}});
        assert_eq!(add(&john, json!({"parent_partner_id": 5, "child_partner_id": 7})).await, success);
        assert_eq!(add(&admin, json!({"parent_partner_id": "5", "child_partner_id": 9})).await, success, "as an administrator");
        for bad in [
            json!({"parent_partner_id": 3, "child_partner_id": 7}),
            json!({"parent_partner_id": 5, "child_partner_id": 999}),
            json!({"parent_partner_id": 5}),
            json!({"parent_partner_id": "five", "child_partner_id": 7}),
            json!({}),
        ] {
            assert_eq!(add(&john, bad.clone()).await, not_valid, "{bad}");
        }
        let book = john.im_chat("api/user_chat_ab/get_users_from_book", json!({})).await;
        assert_eq!(book.as_array().unwrap().iter().map(|user| &user["id"]).collect::<Vec<_>>(), [6, 8]);
        assert_eq!(admin.im_chat("api/user_chat_ab/get_users_from_book", json!({})).await, json!([]));
    }

    async fn post_message(server) {
        let (admin, john) = (Person::log_in(server, ADMIN).await, Person::log_in(server, JOHN).await);
        let uuid = admin.session_with(&john).await;
        let body = json!({"params": {"uuid": uuid, "message_type": "message", "message_content": "Hello"}});
        let answer = admin.client.post("/im_chat/post", &body).await.json();
        same_shape("answer", &json!({"jsonrpc": "2.0", "id": null, "result": 118}), &answer, &[]);
        let file = "{\"id\": 7,  \"name\": \"ü.png\"}";
        assert!(admin.post_as(&uuid, "money4_chat_attach_msg", file).await.is_i64());
        let page = admin.im_chat("history", json!({"uuid": uuid})).await;
        assert_eq!(page[0]["type"], "money4_chat_attach_msg");
        assert_eq!(page[0]["message"], file, "to the letter");
    }

    async fn init(server) {
        let (admin, jane) = (Person::log_in(server, ADMIN).await, Person::log_in(server, JANE).await);
        let uuid = jane.session_with(&admin).await;
        let sent = jane.post(&uuid, "Hello").await;
        let found = admin.im_chat("api/init", json!({"name": "JANE", "limit": 5})).await;
        let example = json!([{
            "last_message": {"type": "message", "create_date": "2017-03-30 09:15:07", "id": 118},
            "im_status": "away",
            "id": 8,
            "name": "Russian Support",
            "email": "russian@support.ru",
            "partner_id": 9
        }]);
        same_shape("result", &example, &found, &[]);
        assert_eq!(found.as_array().unwrap().len(), 1);
        assert_eq!((&found[0]["id"], &found[0]["partner_id"], &found[0]["email"]), (&json!(6), &json!(7), &json!(JANE)));
        assert_eq!(found[0]["last_message"]["id"], sent);

        admin.im_chat("api/user_chat_ab/add_users", json!({"user_ids": [34]})).await;
        let all = admin.im_chat("api/init", json!({"name": ""})).await;
        let ids: Vec<_> = all.as_array().unwrap().iter().map(|contact| contact["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, [6, 4, 8, 34], "who is online first; then those with whom there is a session, and the book");
        assert_eq!(all[3]["last_message"], false);
        assert_eq!(admin.im_chat("api/init", json!({"name": "", "limit": 2})).await.as_array().unwrap().len(), 2);
    }

    async fn history(server) {
        let (admin, jane) = (Person::log_in(server, ADMIN).await, Person::log_in(server, JANE).await);
        let uuid = admin.session_with(&jane).await;
        let mut ids = Vec::new();
        for (person, text) in [(&admin, "111"), (&admin, "555"), (&admin, "999"), (&jane, "888")] {
            ids.push(person.post(&uuid, text).await);
        }
        let unread = jane.im_chat("api/get_sessions", json!({})).await;
        assert_eq!(unread[0]["is_read"], false);
        let page = jane.im_chat("api/history", json!({"uuid": uuid})).await;
        let example = json!([{
            "create_date": "2017-03-30 09:15:07",
            "to_id": [15, "37474642-60c7-4315-8575-0497ad23ac12"],
            "message": "888",
            "type": "message",
            "id": 118,
            "from_id": [8, "Russian Support"],
            "from_partner_id": [9, "Russian Support"]
        }]);
        same_shape("result", &example, &page, &[]);
        let texts: Vec<_> = page.as_array().unwrap().iter().map(|message| message["message"].as_str().unwrap()).collect();
        assert_eq!(texts, ["888", "999", "555", "111"], "newest first");
        assert_eq!(page[0]["from_id"], json!([6, "Jane Smith"]));
        assert_eq!(page[0]["from_partner_id"], json!([7, "Jane Smith"]));
        assert_eq!(page[1]["to_id"][1], json!(uuid));
        assert_eq!(jane.im_chat("api/get_sessions", json!({})).await[0]["is_read"], true);
        for key in ["last_ID", "last_id"] {
            let older = jane.im_chat("api/history", json!({"uuid": uuid, key: ids[2], "limit": 1})).await;
            assert_eq!(older.as_array().unwrap().iter().map(|message| &message["id"]).collect::<Vec<_>>(), [&ids[1]], "{key}");
        }
    }

    async fn change_session_status(server) {
        let (admin, john) = (Person::log_in(server, ADMIN).await, Person::log_in(server, JOHN).await);
        let uuid = admin.session_with(&john).await;
        let change = async |params: Value| {
            admin.client.post("/im_chat/api/change_session_status", &json!({"params": params})).await.json()
        };
        let success = json!({"jsonrpc": "2.0", "id": null, "result": {"status": "success"}});
        let absent = json!({"jsonrpc": "2.0", "id": null,
            "result": {"status": "error", "field": "uuid", "message": "Session does not exist"}});
        for status in ["favorite", "archive", "active", "favorite"] {
            assert_eq!(change(json!({"uuid": uuid, "new_status": status})).await, success);
            let session = admin.im_chat("api/get_or_create_session", json!({"user_to": 4})).await;
            assert_eq!(session["status"], status);
        }
        let his = john.im_chat("api/get_or_create_session", json!({"user_to": 2})).await;
        assert_eq!(his["status"], "active", "a shelf is one's own");
        for unknown in [json!("37474642-60c7-4315-8575-0497ad23ac12"), json!("nothing"), json!(null), json!(7), json!([])] {
            assert_eq!(change(json!({"uuid": unknown, "new_status": "active"})).await, absent, "{unknown}");
        }
        for status in [json!("best"), json!(""), json!(null), json!(["active"])] {
            let answer = change(json!({"uuid": uuid, "new_status": status})).await;
            assert_eq!((&answer["result"]["status"], &answer["result"]["field"]), (&json!("error"), &json!("new_status")));
        }
    }
}
