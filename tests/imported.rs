//! Tests of an import beside a running server: counts, lists, log-ins and sends are right at once, and nobody is told.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};
use storage::{
    Author, ConversationId, ConversationKind, Folder, ImportedConversation, ImportedMessage, ImportedParticipant, ImportedUser,
    MessageType, NewMessage, NewPartner, NewUser, ParticipantStatus, PartnerId, Storage, ThreadType, Timestamp, User,
    WindowState,
    postgres::{self, Postgres},
    sqlite::{self, Sqlite},
};
use uuid::Uuid;

use crate::support::{Backend, JOHN, Server, until};

/// A conversation of the demo data with John.
const PAIR: i64 = 1;
const NEW: &str = "mira@kontor.example";

/// The store of a running server.
async fn open(backend: &Backend) -> Arc<dyn Storage> {
    let timeout = Duration::from_secs(10);
    if backend.is_postgres() {
        let url = backend.url().to_owned();
        let options = postgres::Options { url, max_connections: 2, acquire_timeout: timeout, statement_timeout: timeout };
        return Arc::new(Postgres::open(&options).await.unwrap());
    }
    let options = sqlite::Options {
        path: PathBuf::from(backend.url().strip_prefix("sqlite:").unwrap()),
        readers: 1,
        acquire_timeout: timeout,
        statement_timeout: timeout,
        transaction_timeout: timeout,
        max_bytes: None,
    };
    Arc::new(Sqlite::open(&options).await.unwrap())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

/// A new user with the password of another one.
fn mira(like: &User) -> ImportedUser {
    let user = NewUser {
        id: None,
        uuid: Uuid::from_u128(1),
        login: Some(NEW.to_owned()),
        password: like.password.clone(),
        external_id: None,
        partner: NewPartner { id: None, name: "Mira Lund".to_owned(), email: None, phone: None, mobile: None },
        role: like.role,
        language: "da_DK".to_owned(),
        time_zone: "Europe/Copenhagen".to_owned(),
        profile: json!({}),
        created_at: at(0),
    };
    ImportedUser { user, active: true }
}

/// The same user with another name.
fn renamed(user: &User, name: &str) -> ImportedUser {
    let user = user.clone();
    let partner =
        NewPartner { id: Some(user.partner.id), name: name.to_owned(), email: user.partner.email, phone: None, mobile: None };
    let (id, uuid, login, password, external_id) = (Some(user.id), user.uuid, None, None, None);
    let User { role, language, time_zone, profile, created_at, .. } = user;
    let user = NewUser { id, uuid, login, password, external_id, partner, role, language, time_zone, profile, created_at };
    ImportedUser { user, active: true }
}

fn message(conversation: ConversationId, by: PartnerId, body: &str) -> ImportedMessage {
    let message = NewMessage {
        conversation,
        author: Author { partner: by, user: None, name: String::new() },
        message_type: MessageType::Text,
        body: body.to_owned(),
        metadata: None,
        attachments: Vec::new(),
        client_key: None,
        external_id: None,
        reply_to: None,
        support_side: None,
        held: false,
        created_at: at(1),
    };
    ImportedMessage { id: None, seq: None, message, edited: None, deleted: None, reactions: Vec::new() }
}

fn participant(conversation: ConversationId, partner: PartnerId, read_seq: i64) -> ImportedParticipant {
    let (joined_at, window, folder, status) = (at(0), WindowState::Open, Folder::Active, ParticipantStatus::default());
    ImportedParticipant { conversation, partner, joined_at, window, folder, read_seq, status }
}

/// Imports a user, a conversation with John, who has read the first of its messages, and a message into an old one.
async fn import(store: &dyn Storage, john: &User, now: Timestamp) -> ConversationId {
    let mut tx = store.begin().await.unwrap();
    let users = [mira(john), renamed(john, "Johannes")];
    let mira = tx.import(now).import_users(&users).await.unwrap()[0].1;
    let room = ImportedConversation {
        id: None,
        uuid: Uuid::from_u128(2),
        kind: ConversationKind::Direct,
        thread_type: ThreadType::Chat,
        name: "Mira Lund".to_owned(),
        created_at: at(0),
        group: None,
        documents: Vec::new(),
        closed_at: None,
        external_id: None,
        began_direct: true,
        support: None,
    };
    let room = tx.import(now).import_conversations(&[room]).await.unwrap()[0];
    let rooms = [ConversationId(PAIR), room];
    let rows =
        [message(room, mira, "one"), message(rooms[0], mira, "old"), message(room, mira, "two"), message(room, mira, "three")];
    let to = tx.lock_conversations(&rooms).await.unwrap();
    tx.import(now).import_messages(to, &rows).await.unwrap();
    let of = tx.lock_conversations(&rooms).await.unwrap();
    let participants = [participant(room, john.partner.id, 1), participant(room, mira, 3)];
    tx.import(now).import_participants(&of, &participants).await.unwrap();
    assert_eq!(tx.commit().await.unwrap().len(), 1);
    room
}

fn texts(page: &Value) -> Vec<&str> {
    page["messages"].as_array().unwrap().iter().map(|message| message["body"].as_str().unwrap()).collect()
}

async fn an_import_is_seen_at_once(backend: Backend) {
    let mut server = Server::demo(backend.clone()).await;
    let store = open(&backend).await;
    let client = server.log_in(JOHN).await;
    let john = store.user_by_login(JOHN).await.unwrap().unwrap();
    let count = async || client.messaging("notifications/count", json!({})).await["total_count"].as_i64().unwrap();
    let threads = async || client.messaging("threads", json!({})).await["threads"].as_array().unwrap().clone();
    client.messaging("message/send", json!({"thread_id": PAIR, "body": "before"})).await;
    // Counts and people are cached from here on.
    let (before, lists) = (count().await, threads().await.len());
    let head = store.position().await.unwrap();
    let room = import(&*store, &john, at(9)).await;

    let name = async || client.result("/web/session/get_session_info", json!({})).await["name"].clone();
    until("the new name", async || (name().await == "Johannes").then_some(())).await;
    assert_eq!(count().await, before + 3);
    let listed = threads().await;
    assert_eq!(listed.len(), lists + 1);
    let thread = listed.iter().find(|thread| thread["id"] == room.0).unwrap_or_else(|| panic!("{listed:?}"));
    assert_eq!((&thread["unread_count"], &thread["last_message"]), (&json!(2), &json!("three")));
    let page = client.messaging("messages", json!({"thread_id": PAIR, "limit": 2})).await;
    assert_eq!(texts(&page), ["old", "before"]);

    let mut other = server.client();
    other.log_in(NEW, "123456").await;
    let sent = client.messaging("message/send", json!({"thread_id": room.0, "body": "four"})).await;
    assert_eq!(sent["success"], true, "{sent}");
    let polled = other.messaging("poll/updates", json!({"timeout": 0})).await;
    assert_eq!(polled["unread_count"], 1, "{polled}");
    let page = other.messaging("messages", json!({"thread_id": room.0})).await;
    assert_eq!(texts(&page), ["four", "three", "two", "one"]);
    assert_eq!(page["messages"][0]["author_name"], "Johannes");
    assert_eq!(client.messaging("notifications/mark_all_read", json!({"thread_id": room.0})).await["marked_count"], 2);
    assert_eq!(count().await, before + 1);
    // The import itself is told nobody, whoever takes part.
    let told = store.events(head, storage::Scope::Partner(john.partner.id), 99).await.unwrap();
    assert!(told.iter().all(|event| event.at > at(9)) && !told.is_empty(), "{told:?}");
    store.close().await;
    server.stop().await;
}

mod an_import_beside_a_server_is_seen_at_once {
    use super::*;

    #[tokio::test]
    async fn sqlite() {
        an_import_is_seen_at_once(Backend::sqlite()).await;
    }

    #[tokio::test]
    async fn postgres() {
        an_import_is_seen_at_once(Backend::postgres().await).await;
    }
}
