//! Tests of the examples of the dialect's documentation, with exactly their keys.

use serde_json::{Value, json};

use super::{ADMIN, BOB, JANE, JOHN, Person, failure, form, is_time, show, text};
use crate::{support::Server, with_every_backend};

/// A user as the documentation shows it, except for the empty password.
fn user(person: &Person, created_at: &Value) -> Value {
    let is_admin = person.uid == ADMIN.uid;
    json!({
        "id": person.uuid,
        "password": "",
        "last_login": null,
        "gender": if is_admin { json!("male") } else { Value::Null },
        "email": person.email,
        "fullname": person.name,
        "country_code": "",
        "phone_number": if is_admin { "admin" } else { "" },
        "is_email_verified": is_admin,
        "is_phone_verified": is_admin,
        "is_active": true,
        "is_staff": is_admin,
        "is_admin": is_admin,
        "is_superuser": is_admin,
        "created_at": created_at,
        "updated_at": created_at,
        "account_type": "user",
        "date_of_birth": if is_admin { json!("2025-03-14") } else { Value::Null },
        "profile_photo": null,
        "is_profile_complete": false,
        "groups": [],
        "user_permissions": [],
    })
}

/// Checks the time and the id of a frame, and removes both.
fn without_place(mut frame: Value) -> Value {
    is_time(&frame["timestamp"], "+00:00");
    assert!(frame["created_msg_id"].is_i64(), "{frame}");
    for key in ["timestamp", "created_msg_id"] {
        frame.as_object_mut().unwrap().remove(key);
    }
    frame
}

with_every_backend! {
    async fn a_text_reaches_the_receiver_and_bounces_back(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        john.say(json!({"action": "text_message", "message_body": "hello there", "receiver_id": ADMIN.uuid})).await;
        let (heard, confirmed) = (admin.hear().await, john.hear().await);
        assert_eq!(heard["timestamp"], confirmed["timestamp"]);
        assert_eq!(heard["created_msg_id"], confirmed["created_msg_id"]);
        let expected = |action: &str| {
            json!({"sender_id": JOHN.uuid, "receiver_id": ADMIN.uuid, "message": "hello there", "message_type": "text", "action": action})
        };
        assert_eq!(without_place(heard), expected("re_message"));
        assert_eq!(without_place(confirmed), expected("conf_message"));
        server.stop().await;
    }

    async fn a_file_is_uploaded_and_then_sent(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        let sent = form(ADMIN.uuid, "this is the file", 199_424);
        let answer = JOHN.post_form(&server, sent).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let mut stored = answer.json();
        let message = &stored["entity"]["message"];
        let (id, created) = (message["id"].clone(), message["created"].clone());
        is_time(&created, "Z");
        let address = message["attached_file"].as_str().unwrap().to_owned();
        stored["entity"]["message"]["attached_file"].take();
        assert_eq!(stored, json!({
            "status": "success",
            "entity": {"message": {
                "id": id,
                "sender": {"id": JOHN.uuid, "email": JOHN.email, "profile": null},
                "receiver": {"id": ADMIN.uuid, "email": ADMIN.email, "profile": null},
                "attached_file_size": "194.75KB",
                "message": "this is the file",
                "updated": created,
                "created": created,
                "seen": false,
                "deleted": false,
                "attached_file": null,
                "attached_file_name": "Screenshot 2025-03-14 100311.png",
                "thread": 1,
            }},
            "message": "File uploaded and chat created successfully",
            "success": true,
        }));
        assert_eq!(server.get(&address).await.bytes().await.unwrap().len(), 199_424);

        john.say(json!({"action": "file_message", "chat_id": id})).await;
        let (heard, confirmed) = (admin.hear().await, john.hear().await);
        assert_eq!((&heard["created_msg_id"], &confirmed["created_msg_id"]), (&id, &id));
        let expected = |action: &str| json!({
            "message_body": "this is the file",
            "attached_file_name": "Screenshot 2025-03-14 100311.png",
            "attached_file_size": "194.75KB",
            "sender_id": JOHN.uuid,
            "receiver_id": ADMIN.uuid,
            "action": action,
            "message_type": "file",
        });
        assert_eq!(without_place(heard), expected("re_message"));
        assert_eq!(without_place(confirmed), expected("conf_message"));
        server.stop().await;
    }

    async fn a_profile_is_shown_to_another(backend) {
        let mut server = Server::with_tokens(backend).await;
        let (mut john, mut admin) = (JOHN.socket(&server).await, ADMIN.socket(&server).await);
        // Administrator's profile: the documentation's, word for word.
        for (shown, phone_number) in [(ADMIN, "admin"), (JANE, "")] {
            let message = json!({"attached_profile_id": shown.uuid, "receiver_id": ADMIN.uuid, "action": "user_profile_message"});
            john.say(message).await;
            let expected = |action: &str| json!({
                "sender_id": JOHN.uuid,
                "receiver_id": ADMIN.uuid,
                "message": null,
                "attached_profile": {"id": shown.uuid, "fullname": shown.name, "phone_number": phone_number},
                "message_type": "user_profile",
                "action": action,
            });
            assert_eq!(without_place(admin.hear().await), expected("re_message"));
            assert_eq!(without_place(john.hear().await), expected("conf_message"));
        }
        server.stop().await;
    }

    async fn the_messages_with_a_user(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut john = JOHN.socket(&server).await;
        john.say(json!({"attached_profile_id": ADMIN.uuid, "receiver_id": ADMIN.uuid, "action": "user_profile_message"})).await;
        let profile = john.hear().await["created_msg_id"].take();
        john.say(text(&ADMIN, "hello there")).await;
        let said = john.hear().await["created_msg_id"].take();
        let file = JOHN.upload(&server, &ADMIN, "", 199_424).await;
        john.say(show(&file["id"])).await;
        john.hear().await;

        for (reader, other) in [(ADMIN, JOHN), (JOHN, ADMIN)] {
            let answer = reader.get(&server, &format!("/chat/messages/{}/", other.uuid)).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let mut answer = answer.json();
            assert_eq!(answer["entity"], answer["data"], "as the older revision calls it");
            answer.as_object_mut().unwrap().remove("entity");
            let messages = answer["data"]["messages"].as_array_mut().unwrap();
            let created = messages[0]["sender"]["created_at"].clone();
            is_time(&created, "Z");
            let mut times = messages.iter_mut().map(|message| {
                let time = message["created_at"].take();
                is_time(&time, "Z");
                assert_eq!(message["updated_at"].take(), time);
                time
            });
            assert!(times.all(|time| time.is_string()));
            let message = |id: &Value, key: &str, value: Value| {
                let mut message = json!({
                    "id": id,
                    "sender": user(&JOHN, &created),
                    "receiver": user(&ADMIN, &created),
                    "attached_file_size": "0kb",
                    "message": null,
                    "message_body": null,
                    "updated_at": null,
                    "created_at": null,
                    "attached_file": null,
                    "attached_file_url": null,
                    "message_type": "text",
                    "attached_file_name": null,
                    "thread": 1,
                    "attached_profile": null,
                });
                message[key] = value;
                message
            };
            let mut with_file = message(&file["id"], "message_type", json!("file"));
            for key in ["attached_file_name", "attached_file_size", "message"] {
                with_file[key] = file[key].clone();
            }
            // Download URL for each client.
            let address = answer["data"]["messages"][0]["attached_file"].as_str().unwrap().to_owned();
            assert_eq!(server.get(&address).await.bytes().await.unwrap().len(), 199_424);
            assert_eq!(address == file["attached_file"], reader.uid == JOHN.uid, "{address}");
            with_file["message_body"] = file["message"].clone();
            with_file["attached_file_url"] = server.url(&address).into();
            with_file["attached_file"] = address.into();
            let mut with_profile = message(&profile, "message_type", json!("user_profile"));
            with_profile["attached_profile"] = ADMIN.uuid.into();
            let mut with_text = message(&said, "message", json!("hello there"));
            with_text["message_body"] = with_text["message"].clone();
            assert_eq!(answer, json!({
                "status": "success",
                "data": {"messages": [with_file, with_text, with_profile]},
                "message": "Messages retrieved successfully",
                "success": true,
            }));
        }
        server.stop().await;
    }

    async fn nobody_by_that_id(backend) {
        let mut server = Server::with_tokens(backend).await;
        for id in ["96bf0d3f-720d-4620-8dee-0f59f997cb51", "4", "nobody", "%00"] {
            let answer = JOHN.get(&server, &format!("/chat/messages/{id}/")).await;
            assert_eq!((answer.status.as_u16(), answer.json()), (404, failure("Invalid receipient")), "{id}");
        }
        server.stop().await;
    }

    async fn the_threads_of_the_caller(backend) {
        let mut server = Server::with_tokens(backend).await;
        let mut john = JOHN.socket(&server).await;
        for other in [&ADMIN, &BOB] {
            john.say(text(other, "hello there")).await;
            john.hear().await;
        }
        let answer = JOHN.get(&server, "/chat/user/threads/").await.json();
        let with_bob = JOHN.history(&server, &BOB).await.remove(0);
        let with_admin = JOHN.history(&server, &ADMIN).await.remove(0);
        let thread = |last: &Value| json!({"id": last["thread"], "other_user": last["receiver"], "last_message": last});
        let threads = [thread(&with_bob), thread(&with_admin)];
        let expected = json!({"status": "success", "data": threads, "entity": threads, "message": null, "success": true});
        assert_eq!(answer, expected);
        assert_eq!(JOHN.get(&server, "/chat/get-user-threads/").await.json(), expected, "as the older revision calls it");
        server.stop().await;
    }

    async fn the_files_in_a_thread(backend) {
        let mut server = Server::with_tokens(backend).await;
        JOHN.upload(&server, &ADMIN, "first", 10).await;
        ADMIN.upload(&server, &JOHN, "second", 20).await;
        JOHN.upload(&server, &BOB, "elsewhere", 30).await;
        let files = ADMIN.data(&server, "/chat/thread/files/1/").await;
        assert_eq!(files, Value::from(ADMIN.history(&server, &JOHN).await), "as among the messages, newest first");
        assert_eq!(files.as_array().unwrap().len(), 2);
        server.stop().await;
    }
}
