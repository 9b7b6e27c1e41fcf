//! Tests of deletion and of revocation: a deleted message leaves no text and no file behind, and former members and deactivated
//! users read no file.

use reqwest::{
    Method,
    header::CONTENT_TYPE,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    across::people::{asked, concierge},
    support::{ADMIN, Answer, BOB, Backend, Client, JANE, JOHN, Server, Socket, files_below, http, token, until},
    with_every_backend, with_tokens_on_every_backend,
};

pub const UID_OF_ADMIN: i64 = 2;
pub const UID_OF_JOHN: i64 = 4;
pub const UID_OF_JANE: i64 = 6;
const UUID_OF_ADMIN: &str = "75140d72-8b20-4549-885c-20599badb486";
pub const UUID_OF_JOHN: &str = "302e305b-6e73-4f9c-bac7-551a92b106b0";
/// The demo data's conversation of the admin and John, of the kind between two.
pub const PAIR: i64 = 1;
/// The demo data's conversation of the admin, John, Jane and Bob.
const TEAM: i64 = 2;

/// Uploads an attachment for a later message. Returns its id.
pub async fn upload(client: &Client, name: &str, bytes: &str) -> Value {
    let form = Form::new().part("file", Part::bytes(bytes.as_bytes().to_vec()).file_name(name.to_owned()));
    let request = client.request(Method::POST, "/api/messaging/attachment/upload").multipart(form);
    Answer::of(request).await.json()["attachment_id"].take()
}

pub async fn send(client: &Client, thread: i64, body: &str, files: &[&Value]) -> i64 {
    let sent = client.messaging("message/send", json!({"thread_id": thread, "body": body, "attachment_ids": files})).await;
    sent["message_id"].as_i64().unwrap_or_else(|| panic!("{sent}"))
}

/// A user's socket of one conversation.
pub async fn enter(server: &Server, uid: i64, conversation: i64) -> Socket {
    let mut socket = Socket::open(server.socket_url(&format!("/conversations/{conversation}/?token={}", token(uid)))).await;
    socket.heard_so_far().await;
    socket
}

pub async fn delete(server: &Server, uid: i64, conversation: i64, message: i64) {
    let mut socket = enter(server, uid, conversation).await;
    socket.say(json!({"action": "delete_message", "message_id": message})).await;
    let told = socket.hear_until(|told| told["type"] == "message.deleted" || told["type"] == "error").await;
    assert_eq!(told["message_id"], message.to_string(), "{told}");
    socket.close().await;
}

pub async fn edit(server: &Server, uid: i64, conversation: i64, message: i64, text: &str) {
    let mut socket = enter(server, uid, conversation).await;
    socket.say(json!({"action": "edit_message", "message_id": message, "content": text})).await;
    let told = socket.hear_until(|told| told["type"] == "message.edited" || told["type"] == "error").await;
    assert_eq!(told["message_id"], message.to_string(), "{told}");
    socket.close().await;
}

async fn leave(client: &Client, uuid: &str) {
    let params = json!({"model": "im_chat.session", "method": "quit_user", "args": [uuid], "kwargs": {}});
    assert_eq!(client.result("/web/dataset/call_kw", params).await, true);
}

/// The data of an answer of `room`'s HTTP routes to a user.
pub async fn room(server: &Server, uid: i64, path: &str) -> Value {
    let answer = Answer::of(server.client().request(Method::GET, path).bearer_auth(token(uid))).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()["data"].take()
}

/// The uuid of the caller's session with one other user.
async fn session_with(client: &Client, uid: i64) -> String {
    let session = client.result("/im_chat/api/get_or_create_session", json!({"user_to": uid})).await;
    session["uuid"].as_str().expect("it has one").to_owned()
}

/// Attachment paths in an answer, also in JSON within its texts.
fn addresses_in(answer: &Value) -> Vec<String> {
    const BEGINNING: &str = "/api/messaging/attachment/";
    match answer {
        Value::Array(list) => list.iter().flat_map(addresses_in).collect(),
        Value::Object(object) => {
            // Some dialects give the address and the token in separate fields.
            let apart = object.get("id").zip(object.get("access_token").and_then(Value::as_str));
            let apart = apart.map(|(id, token)| format!("{BEGINNING}{id}?access_token={token}"));
            apart.into_iter().chain(object.values().flat_map(addresses_in)).collect()
        }
        Value::String(text) => match serde_json::from_str(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => addresses_in(&inner),
            Ok(_) | Err(_) => {
                let address = |(at, _): (usize, &str)| {
                    let rest = &text[at..];
                    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"/%._~-".contains(c)).unwrap_or(rest.len());
                    rest[..end].to_owned()
                };
                let addresses = text.match_indices(BEGINNING).map(address);
                addresses.filter(|address| address[BEGINNING.len()..].contains('/')).collect()
            }
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Addresses of attachments, each once, that John's and the admin's clients receive in any dialect.
async fn shown_in_every_dialect(server: &Server) -> Vec<String> {
    let mut shown = Vec::new();
    for (login, uid, other) in [(ADMIN, UID_OF_ADMIN, UUID_OF_JOHN), (JOHN, UID_OF_JOHN, UUID_OF_ADMIN)] {
        let client = server.log_in(login).await;
        let uuid = session_with(&client, if uid == UID_OF_ADMIN { UID_OF_JOHN } else { UID_OF_ADMIN }).await;
        let mut socket = enter(server, uid, PAIR).await;
        socket.say(json!({"action": "fetch_messages"})).await;
        for (dialect, answer) in [
            ("messaging", client.messaging("messages", json!({"thread_id": PAIR})).await),
            ("im_chat", client.result("/im_chat/history", json!({"uuid": uuid})).await),
            ("the bus", client.result("/longpolling/poll", json!({"channels": [], "last": 1})).await),
            ("room", room(server, uid, &format!("/chat/messages/{other}/")).await),
            ("conversations", socket.hear_until(|told| told["type"] == "messages_fetched").await),
        ] {
            let found = addresses_in(&answer);
            assert!(!found.is_empty(), "{dialect} shows the file: {answer}");
            shown.extend(found);
        }
        socket.close().await;
    }
    shown.sort_unstable();
    shown.dedup();
    shown
}

with_every_backend! {
    /// Every address that a dialect ever gave out stops working, with and without a session, and the object store loses the
    /// bytes.
    async fn the_file_of_a_deleted_message_is_gone(backend) {
        let files = tempfile::tempdir().unwrap();
        let server = Server::builder(backend).with_tokens().set("FILES", format!("file:{}", files.path().display()));
        let mut server = server.start().await;
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let form = Form::new().text("receiver", UUID_OF_ADMIN).text("message", "");
        let form = form.part("attached_file", Part::bytes(b"the secret".to_vec()).file_name("room.txt"));
        let uploaded = Answer::of(server.client().request(Method::POST, "/chat/attachment/").bearer_auth(token(UID_OF_JOHN)).multipart(form));
        let message = uploaded.await.json()["entity"]["message"].take();
        let mut shown = vec![message["attached_file"].as_str().expect("it has an address").to_owned()];
        let attached = upload(&john, "messaging.txt", "the secret").await;
        let sent = send(&john, PAIR, "look", &[&attached]).await;
        shown.extend(shown_in_every_dialect(&server).await);
        assert!(shown.len() >= 4, "each of two files has an address for each of two: {shown:?}");
        let answers = async |path: &String| {
            let mut answers = Vec::new();
            for client in [server.client(), admin.clone(), john.clone()] {
                answers.push(Answer::of(client.request(Method::GET, path)).await);
            }
            answers
        };
        for path in &shown {
            assert!(answers(path).await.iter().all(|answer| answer.body == "the secret"), "{path}");
        }
        for id in [message["id"].as_i64().expect("it has an id"), sent] {
            delete(&server, UID_OF_JOHN, PAIR, id).await;
        }
        for path in &shown {
            for answer in answers(path).await {
                assert_eq!((answer.status.as_u16(), answer.json()), (404, json!({"error": "Attachment not found"})), "{path}");
            }
        }
        until("the end of the bytes", async || files_below(&files.path().join("attachments")).is_empty().then_some(())).await;
        server.stop().await;
    }
}

with_every_backend! {
    /// An attachment message of im_chat names its file in the message's JSON text. The server keeps the file like any other.
    async fn the_file_of_a_deleted_attachment_message_is_gone(backend) {
        let server = Server::builder(backend).with_tokens().set("RETENTION__UNSENT_ATTACHMENTS_SECONDS", 1);
        let mut server = server.set("RETENTION__EVERY_SECONDS", 1).start().await;
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        let session = session_with(&john, UID_OF_ADMIN).await;
        let (janes, forgotten) = (upload(&jane, "b.txt", "not his").await, upload(&john, "c.txt", "unsent").await);
        for key in ["id", "attachment_id", "url"] {
            let file = upload(&john, "a.txt", "the secret").await;
            let address = john.address_of(&file).await;
            let named = if key == "url" { json!(address) } else { file.clone() };
            let content = json!({"attachments": [{(key): named, "name": "a.txt"}, {"id": janes}]}).to_string();
            let post = json!({"uuid": session, "message_type": "money4_chat_attach_msg", "message_content": content});
            let message = john.result("/im_chat/post", post).await;
            let history = admin.result("/im_chat/history", json!({"uuid": session})).await;
            let shown = content.replace(&address, &admin.address_of(&file).await);
            assert_eq!((&history[0]["id"], &history[0]["message"]), (&message, &json!(shown)), "but for whom an address is");
            let history = john.result("/im_chat/history", json!({"uuid": session})).await;
            assert_eq!(history[0]["message"], content, "it is kept as it was sent");
            until("the end of what was never sent", async || {
                let path = format!("/api/messaging/attachment/{forgotten}");
                (Answer::of(john.request(Method::GET, &path)).await.status == 404).then_some(())
            })
            .await;
            let reads = async |client: &Client, path: &str| {
                let answer = Answer::of(client.request(Method::GET, path)).await;
                (answer.status == 200).then_some(answer.body)
            };
            let path = format!("/api/messaging/attachment/{file}");
            for (client, path) in [(&admin, &path), (&john, &path), (&server.client(), &address)] {
                assert_eq!(reads(client, path).await.as_deref(), Some("the secret"), "{key}");
            }
            assert_eq!(reads(&jane, &path).await, None, "{key}");
            delete(&server, UID_OF_JOHN, PAIR, message.as_i64().expect("it has an id")).await;
            for (client, path) in [(&admin, &path), (&john, &path), (&server.client(), &address)] {
                assert_eq!(reads(client, path).await, None, "{key}");
            }
        }
        server.stop().await;
    }
}

with_tokens_on_every_backend! {
    /// Agents read every support session with its files, joined or not.
    async fn an_agent_reads_the_files_of_sessions_it_has_not_joined(server) {
        let place = crate::across::people::Place::support(server).await;
        let (tenant, agent) = (crate::across::people::TENANT, crate::across::people::AGENT);
        let mut socket = concierge(server, agent, "reader").await;
        asked(&mut socket, "backend/leave-chat-session", json!({"chatSessionId": place.session})).await;
        let client = server.log_in(tenant.login).await;
        let file = upload(&client, "a.txt", "a question").await;
        let sent = send(&client, place.id, "look", &[&file]).await;
        let history = asked(&mut socket, "backend/get-chat-messages", json!({"chatSessionId": place.session})).await;
        let shown = addresses_in(&history);
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert_eq!(server.get(&shown[0]).await.text().await.unwrap(), "a question");
        let jane = server.log_in(JANE).await;
        assert_eq!(Answer::of(jane.request(Method::GET, &format!("/api/messaging/attachment/{file}"))).await.status, 403);
        let mut author = concierge(server, tenant, "author").await;
        asked(&mut author, "client/delete-message", json!({"chatSessionId": place.session, "messageId": sent})).await;
        assert_eq!(server.get(&shown[0]).await.status(), 404);
        socket.close().await;
    }

    /// The same in a support session, for files that arrive in other dialects.
    async fn the_file_of_a_support_session_is_gone_with_its_message(server) {
        let place = crate::across::people::Place::support(server).await;
        let (tenant, agent) = (crate::across::people::TENANT, crate::across::people::AGENT);
        let client = server.log_in(tenant.login).await;
        let file = upload(&client, "a.txt", "the secret").await;
        let sent = send(&client, place.id, "look", &[&file]).await;
        let mut shown = Vec::new();
        for who in [tenant, agent] {
            let mut socket = concierge(server, who, "reader").await;
            let body = json!({"chatSessionId": place.session});
            let history = asked(&mut socket, &format!("{}/get-chat-messages", who.side), body).await;
            shown.extend(addresses_in(&history));
        }
        assert_eq!(shown.len(), 2, "each has an address: {shown:?}");
        assert_ne!(shown[0], shown[1]);
        for path in &shown {
            assert_eq!(server.get(path).await.text().await.unwrap(), "the secret");
        }
        let mut socket = concierge(server, tenant, "author").await;
        asked(&mut socket, "client/delete-message", json!({"chatSessionId": place.session, "messageId": sent})).await;
        for path in &shown {
            assert_eq!(server.get(path).await.status(), 404, "{path}");
        }
        socket.close().await;
    }

    /// A file that two messages share outlives one of them, for the readers of the other.
    async fn a_file_that_another_message_holds_stays_there(server) {
        let (admin, john, jane) = (server.log_in(ADMIN).await, server.log_in(JOHN).await, server.log_in(JANE).await);
        let file = upload(&john, "a.txt", "shared").await;
        let in_pair = send(&john, PAIR, "first", &[&file]).await;
        send(&john, TEAM, "second", &[&file]).await;
        delete(server, UID_OF_JOHN, PAIR, in_pair).await;
        for client in [&admin, &john, &jane] {
            let path = client.address_of(&file).await;
            assert_eq!(server.get(&path).await.text().await.unwrap(), "shared");
        }
        let page = admin.messaging("messages", json!({"thread_id": PAIR})).await;
        assert_eq!((&page["messages"][0]["body"], &page["messages"][0]["attachments"]), (&json!(""), &json!([])));
    }

    /// Revocation by leaving: a former member's address stops working and works again after a return. The other members'
    /// addresses keep working.
    async fn who_has_left_reads_no_file(server) {
        let (admin, jane) = (server.log_in(ADMIN).await, server.log_in(JANE).await);
        let params = json!({"name": "three", "partner_ids": [UID_OF_JOHN, UID_OF_JANE], "thread_type": "group"});
        let thread = admin.messaging("thread/create", params).await["thread_id"].as_i64().unwrap();
        let sessions = jane.result("/im_chat/api/get_sessions_group", json!({})).await;
        let three = |session: &&Value| session["users"].as_array().is_some_and(|users| users.len() == 3);
        let uuid = sessions.as_array().unwrap().iter().find(three).unwrap()["uuid"].as_str().unwrap().to_owned();
        let file = upload(&admin, "a.txt", "for three").await;
        send(&admin, thread, "look", &[&file]).await;
        let (hers, other) = (jane.address_of(&file).await, admin.address_of(&file).await);
        let bare = format!("/api/messaging/attachment/{file}");
        let read = async |client: &Client, path: &String| Answer::of(client.request(Method::GET, path)).await.status.as_u16();
        assert_eq!([read(&server.client(), &hers).await, read(&jane, &bare).await], [200, 200]);
        leave(&jane, &uuid).await;
        assert_eq!([read(&server.client(), &hers).await, read(&jane, &hers).await, read(&jane, &bare).await], [403; 3]);
        let refused = jane.messaging(&format!("attachment/info/{file}"), json!({})).await;
        assert_eq!(refused, json!({"error": "Access denied"}));
        assert_eq!(read(&server.client(), &other).await, 200);
        admin.messaging("thread/add_participant", json!({"thread_id": thread, "partner_id": UID_OF_JANE})).await;
        assert_eq!(read(&server.client(), &hers).await, 200);
    }

    /// The same revocation for addresses in a message's own text, with its author's tokens.
    async fn who_left_keeps_no_file_that_a_text_names(server) {
        let (john, jane) = (server.log_in(JOHN).await, server.log_in(JANE).await);
        let thread = json!({"name": "files", "thread_type": "group", "partner_ids": [UID_OF_JANE, UID_OF_ADMIN]});
        let thread = john.messaging("thread/create", thread).await["thread_id"].as_i64().unwrap();
        let mut named = Vec::new();
        for name in ["a.txt", "b.txt"] {
            let file = upload(&john, name, "the secret").await;
            let (address, info) = (john.address_of(&file).await, format!("attachment/info/{file}"));
            let token = john.messaging(&info, json!({})).await["access_token"].take();
            named.push(json!({"id": file, "name": name, "url": address, "access_token": token}));
        }
        let sessions = jane.result("/im_chat/api/get_sessions_group", json!({})).await;
        let three = |session: &&Value| session["users"].as_array().is_some_and(|users| users.len() == 3);
        let uuid = sessions.as_array().unwrap().iter().find(three).unwrap()["uuid"].as_str().unwrap().to_owned();
        let content = json!({"attachments": named}).to_string();
        let post = json!({"uuid": uuid, "message_type": "money4_chat_attach_msg", "message_content": content});
        john.result("/im_chat/post", post).await;
        let mut socket = enter(server, UID_OF_JANE, thread).await;
        socket.say(json!({"action": "fetch_messages"})).await;
        let mut shown = Vec::new();
        for (dialect, answer) in [
            ("messaging", jane.messaging("messages", json!({"thread_id": thread})).await),
            ("messaging's list", jane.messaging("threads", json!({})).await),
            ("im_chat", jane.result("/im_chat/history", json!({"uuid": uuid})).await),
            ("im_chat's list", jane.result("/im_chat/api/get_sessions_group", json!({})).await),
            ("the bus", jane.result("/longpolling/poll", json!({"channels": [], "last": 1})).await),
            ("conversations", socket.hear_until(|told| told["type"] == "messages_fetched").await),
        ] {
            let found = addresses_in(&answer);
            assert!(!found.is_empty(), "{dialect} shows the files: {answer}");
            shown.extend(found);
        }
        for path in &shown {
            assert!(!path.contains("/5-") && !path.contains("=5-"), "it is John's: {path}");
        }
        let of_im_chat = addresses_in(&jane.result("/im_chat/history", json!({"uuid": uuid})).await);
        for path in &of_im_chat {
            assert_eq!(server.get(path).await.text().await.unwrap(), "the secret", "{path}");
        }
        leave(&jane, &uuid).await;
        for path in &shown {
            assert_eq!(server.get(path).await.status(), 403, "{path}");
        }
    }

    /// Signed addresses: a forged token opens nothing, and neither does one with another user's number.
    async fn an_address_opens_nothing_that_its_reader_may_not_read(server) {
        let (john, bob) = (server.log_in(JOHN).await, server.log_in(BOB).await);
        let (own, sent) = (upload(&john, "a.txt", "unsent").await, upload(&john, "b.txt", "sent").await);
        let his = john.address_of(&own).await;
        assert_eq!(server.get(&his).await.text().await.unwrap(), "unsent", "it is his to show");
        send(&john, PAIR, "look", &[&sent]).await;
        let token = his.rsplit('/').nth(1).unwrap();
        let (_, signature) = token.split_once('-').unwrap();
        for forged in [format!("9-{signature}"), format!("3-{signature}"), signature.to_owned(), format!("5-{}", "0".repeat(64))] {
            for file in [&own, &sent] {
                for rest in [format!("?access_token={forged}"), format!("/{forged}/a.txt")] {
                    let path = format!("/api/messaging/attachment/{file}{rest}");
                    for client in [server.client(), bob.clone()] {
                        assert_eq!(Answer::of(client.request(Method::GET, &path)).await.status, 403, "{path}");
                    }
                }
            }
        }
    }

    /// Quoting another user's upload: deleting or editing the quoting message deletes no upload.
    async fn a_quoted_upload_stays_its_owners(server) {
        let (jane, bob) = (server.log_in(JANE).await, server.log_in(BOB).await);
        let wish = json!({"filename": "a.png", "mimeType": "image/png", "type": "chat-images"});
        let address = async || {
            let given = jane.post("/file-new/get-upload-url", &wish).await.json()["data"]["uploadUrlData"].take();
            let [put, get] = ["uploadURL", "resourceUrl"].map(|key| given[key].as_str().unwrap().to_owned());
            let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
            assert_eq!(Answer::of(http().put(put).header(CONTENT_TYPE, "image/png").body(png)).await.status, 200);
            get
        };
        let status = async |address: &String| Answer::of(http().get(address)).await.status.as_u16();
        let (never_sent, sent) = (address().await, address().await);
        let own = send(&jane, TEAM, &format!("mine: {sent}"), &[]).await;
        for address in [&never_sent, &sent] {
            let quoting = send(&bob, TEAM, &format!("see {address}"), &[]).await;
            delete(server, 8, TEAM, quoting).await;
            let quoting = send(&bob, TEAM, &format!("see {address}"), &[]).await;
            edit(server, 8, TEAM, quoting, "never mind").await;
            edit(server, 8, TEAM, quoting, &format!("or {address}")).await;
            delete(server, 8, TEAM, quoting).await;
            assert_eq!(status(address).await, 200);
        }
        // A quoting message does not keep the upload either.
        send(&bob, TEAM, &format!("see {sent}"), &[]).await;
        delete(server, UID_OF_JANE, TEAM, own).await;
        assert_eq!([status(&never_sent).await, status(&sent).await], [200, 404]);
    }

    /// Event log: the bus delivers no former text, from any position, however old.
    async fn an_edited_and_deleted_text_is_told_from_no_position(server) {
        let (admin, john) = (server.log_in(ADMIN).await, server.log_in(JOHN).await);
        let before = server.metric("dragoman_log_position").await as i64;
        let id = send(&john, PAIR, "the first words", &[]).await;
        edit(server, UID_OF_JOHN, PAIR, id, "the second words").await;
        for last in [before, before + 1] {
            let told = admin.result("/longpolling/poll", json!({"channels": [], "last": last << 20})).await.to_string();
            assert!(!told.contains("first words"), "after {last}: {told}");
            assert!(told.contains("second words"), "after {last}: {told}");
        }
        delete(server, UID_OF_JOHN, PAIR, id).await;
        send(&john, PAIR, "the end", &[]).await;
        for last in before..=before + 3 {
            let told = admin.result("/longpolling/poll", json!({"channels": [], "last": last << 20})).await.to_string();
            assert!(told.contains("the end"), "after {last}: {told}");
            assert!(!told.contains("words"), "after {last}: {told}");
        }
    }
}

/// Revocation by deactivation: the addresses of a deactivated user stop working.
#[tokio::test]
async fn the_addresses_of_the_deactivated_count_no_longer() {
    let backend = Backend::postgres().await;
    let mut server = Server::demo(backend.clone()).await;
    let (admin, jane) = (server.log_in(ADMIN).await, server.log_in(JANE).await);
    let (sent, unsent) = (upload(&admin, "a.txt", "sent").await, upload(&jane, "b.txt", "unsent").await);
    send(&admin, TEAM, "look", &[&sent]).await;
    let hers = [jane.address_of(&sent).await, jane.address_of(&unsent).await];
    for path in &hers {
        assert_eq!(server.get(path).await.status(), 200);
    }
    backend.administer(&["user", "deactivate", JANE], "").await;
    for path in &hers {
        until("that the node knows", async || (server.get(path).await.status() == 403).then_some(())).await;
    }
    assert_eq!(server.get(&admin.address_of(&sent).await).await.status(), 200);
    server.stop().await;
}

/// The first release gave one secret to all readers. The server accepts that secret as the owner's.
#[tokio::test]
async fn an_address_of_the_first_release_counts_as_its_owners() {
    let backend = Backend::postgres().await;
    let mut server = Server::with_tokens(backend.clone()).await;
    let john = server.log_in(JOHN).await;
    let file = upload(&john, "a.txt", "hello").await;
    let mut database = PgConnection::connect(backend.url()).await.unwrap();
    let secret: String = sqlx::query_scalar("SELECT access_token FROM attachments").fetch_one(&mut database).await.unwrap();
    let path = format!("/api/messaging/attachment/{file}?access_token={secret}");
    assert_eq!(server.get(&path).await.text().await.unwrap(), "hello");
    let sent = send(&john, PAIR, "look", &[&file]).await;
    let shown = shown_in_every_dialect(&server).await;
    assert!(shown.iter().all(|address| !address.contains(&secret)), "nobody is given it any more: {shown:?}");
    assert_eq!(server.get(&path).await.text().await.unwrap(), "hello");
    delete(&server, UID_OF_JOHN, PAIR, sent).await;
    assert_eq!(server.get(&path).await.status(), 404);
    server.stop().await;
}
