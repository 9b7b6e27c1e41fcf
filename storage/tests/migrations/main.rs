//! Tests of migrations: data stored under an earlier schema keeps its meaning.
#![cfg(feature = "postgres")]
// `.clippy.toml` allows these only in functions that are marked as tests themselves.
#![allow(clippy::unwrap_used)]

mod first_release;
mod folding;
#[cfg(feature = "sqlite")]
mod tables;

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, Row, migrate::Migrator};
use storage::postgres::{Options, Postgres};
use storage::{
    AttachmentId, Attachments, Author, ChangeKey, Changes, ClientKey, ConversationId, ConversationKind, Conversations, EventLog,
    Fact, HeldMessages, KeyedMessage, Member, Message, MessageId, MessageType, Messages, NewClientKey, NewMessage, NewPartner,
    Nodes, ParticipantStatus, PartnerId, PasswordHash, Position, Scope, Storage, UnreadTotals, UploadReference, Uploads, UserId,
    Users, WindowState, Workspace, Workspaces,
};

/// Two partners in a conversation with some events, a file that was sent there, and a file that was not.
const BEFORE: &str = "
    INSERT INTO partners (id, name) VALUES (1, 'Ann'), (2, 'Ben');
    INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, last_message_id)
        VALUES (1, gen_random_uuid(), 'group', 'group', '', now(), 1, 1);
    INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq) VALUES (1, 1, now(), 0), (1, 2, now(), 0);
    INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, created_at)
        VALUES (1, 1, 1, 1, 'text', '', true, now());
    INSERT INTO attachments (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at)
        VALUES (1, 'sent', '', '', 0, '', 1, now()), (2, 'unsent', '', '', 0, '', 1, now());
    INSERT INTO message_attachments (message_id, place, attachment_id) VALUES (1, 0, 1);
    INSERT INTO events (position, conversation_id, fact, at) SELECT n, 1,
        '{\"fact\": \"attachment_deleted\", \"of\": {\"attachment\": 7}}', now() FROM generate_series(1, 3) n;
    UPDATE log_head SET position = 3;
";

/// Two partners in a conversation with a deleted message and two messages that mention uploads. Both uploads are kept,
/// as is one that only the deleted message mentioned. A fourth upload is mentioned by metadata, which did not count
/// then.
const BEFORE_MENTIONS: &str = "
    INSERT INTO partners (id, name) VALUES (1, 'Ann'), (2, 'Ben');
    INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
        VALUES (1, gen_random_uuid(), 'ann', '', 1, 'user', '', '', '{}', now());
    INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, last_message_id)
        VALUES (1, gen_random_uuid(), 'group', 'group', '', now(), 4, 4);
    INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, own_after)
        VALUES (1, 1, now(), 0, 3), (1, 2, now(), 0, 1);
    INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, metadata, has_attachments, created_at, deleted_at)
        VALUES (1, 1, 1, 1, 'text', '', NULL, false, now(), now()),
        (2, 1, 2, 1, 'text', 'See (https://a.example/x/pictures/11111111-2222-4333-8444-555555555555.png).', NULL, false, now(), NULL),
        (3, 1, 3, 2, 'text', 'https://a.example/pictures/22222222-2222-4333-8444-555555555555', NULL, false, now(), NULL),
        (4, 1, 4, 1, 'text', '', '{\"thumb\": \"/pictures/33333333-2222-4333-8444-555555555555.jpg\"}', false, now(), NULL);
    INSERT INTO uploads (name, owner_id, mimetype, limit_bytes, expires_at, kept) VALUES
        ('pictures/11111111-2222-4333-8444-555555555555.png', 1, '', 0, now() - interval '1 day', true),
        ('pictures/22222222-2222-4333-8444-555555555555', 1, '', 0, now() - interval '1 day', true),
        ('pictures/33333333-2222-4333-8444-555555555555.jpg', 1, '', 0, now() - interval '1 day', false),
        ('pictures/44444444-2222-4333-8444-555555555555.jpg', 1, '', 0, now() - interval '1 day', true);
";

const BEFORE_26: &str = include_str!("before_26.sql");

/// A database filled under an earlier schema, and migrated since.
struct Migrated {
    storage: Postgres,
    database: PgConnection,
    admin: PgConnection,
    name: String,
    url: String,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl Migrated {
    async fn from(version: i64, before: &'static str) -> Self {
        let server = std::env::var("DRAGOMAN_TEST_POSTGRES")
            .expect("DRAGOMAN_TEST_POSTGRES names no PostgreSQL to make databases in: run the tests with .ci/test");
        let name = format!("migrations_{}", uuid::Uuid::new_v4().simple());
        let url = format!("{}/{name}", server.rsplit_once('/').expect("the address names a database").0);
        let mut admin = PgConnection::connect(&server).await.expect("the throwaway PostgreSQL is up");
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        admin.execute(create).await.expect("a database can be created");

        let all = sqlx::migrate!("../migrations/postgres");
        let earlier = all.iter().filter(|migration| migration.version < version).cloned().collect();
        let mut database = PgConnection::connect(&url).await.expect("the database is there");
        Migrator::with_migrations(earlier).run_direct(None, &mut database, false).await.expect("the earlier schema can be made");
        database.execute(before).await.expect("it fits the earlier schema");
        // Opened before the migration, as a node of the earlier version would be.
        let options = Options { url: url.clone(), max_connections: 2, acquire_timeout: PATIENCE, statement_timeout: PATIENCE };
        let storage = Postgres::open(&options).await.expect("the database is there");
        storage.migrate().await.expect("the schema can be brought up to date");
        Self { storage, database, admin, name, url }
    }

    /// The rows of a statement, one text each.
    async fn texts(&mut self, statement: &'static str) -> Vec<String> {
        let rows = self.database.fetch_all(statement).await.expect("it fits the schema of today");
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn drop(mut self) {
        self.storage.close().await;
        self.database.close().await.expect("nothing is under way");
        let drop = sqlx::AssertSqlSafe(format!("DROP DATABASE {} WITH (FORCE)", self.name));
        self.admin.execute(drop).await.expect("nobody needs it");
    }
}

#[tokio::test]
async fn those_who_were_in_find_what_happened_and_what_was_sent_stays() {
    let migrated = Migrated::from(12, BEFORE).await;
    let storage = &migrated.storage;
    for partner in [1, 2].map(PartnerId) {
        assert_eq!(storage.events(Position(0), Scope::Partner(partner), 10).await.unwrap().len(), 3);
    }
    let members = [1, 2].map(|partner| Member { partner: PartnerId(partner), visible_from_seq: 0 });
    assert_eq!(storage.members_at(ConversationId(1), Position(2)).await.unwrap(), members);
    let tomorrow = chrono::Utc::now() + chrono::TimeDelta::days(1);
    assert_eq!(storage.forget_unsent(tomorrow, 10).await.unwrap(), ["unsent"]);
    assert!(storage.attachment(AttachmentId(1)).await.unwrap().is_some());
    migrated.drop().await;
}

#[tokio::test]
async fn uploads_know_who_names_them_and_deleted_messages_count_for_nobody() {
    let migrated = Migrated::from(20, BEFORE_MENTIONS).await;
    let storage = &migrated.storage;
    let expired = storage.expire_uploads(chrono::Utc::now(), 10).await.unwrap();
    let names: Vec<_> = expired.iter().map(|upload| upload.name.as_str()).collect();
    assert_eq!(names, ["pictures/44444444-2222-4333-8444-555555555555.jpg"]);
    for (message, name) in [
        (2, "pictures/11111111-2222-4333-8444-555555555555.png"),
        (3, "pictures/22222222-2222-4333-8444-555555555555"),
        (4, "pictures/33333333-2222-4333-8444-555555555555.jpg"),
    ] {
        let mut tx = storage.begin().await.unwrap();
        let gone = tx.replace_upload_references(MessageId(message), PartnerId(1), &[]).await.unwrap();
        assert_eq!(gone.iter().map(|upload| upload.name.as_str()).collect::<Vec<_>>(), [name]);
    }
    for (partner, group) in [(1, 1), (2, 2)] {
        let expected = UnreadTotals { group, ..UnreadTotals::default() };
        assert_eq!(storage.unread_totals(PartnerId(partner)).await.unwrap(), expected, "{partner}");
    }
    migrated.drop().await;
}

/// Tests the changes of messages: changes before the migration are listed once more, and changes by a node of the first
/// release are listed like any other.
#[tokio::test]
async fn changes_of_messages_are_known() {
    let mut migrated = Migrated::from(20, BEFORE_MENTIONS).await;
    let changed = async |storage: &Postgres, since| {
        let changes = storage.changes(ConversationId(1), ChangeKey::since(MessageId(since)), 10).await.unwrap();
        changes.into_iter().map(|change| (change.key.after.0, change.key.message.0)).collect::<Vec<_>>()
    };
    assert_eq!(changed(&migrated.storage, 4).await, [(4, 1)]);
    assert_eq!(changed(&migrated.storage, 5).await, []);
    for statement in
        ["UPDATE messages SET body = 'edited', edited_at = now() WHERE id = 3", "UPDATE messages SET held = false WHERE id = 4"]
    {
        migrated.database.execute(statement).await.unwrap();
    }
    assert_eq!(changed(&migrated.storage, 4).await, [(4, 1), (4, 3)]);
    migrated.drop().await;
}

/// The stored messages by ascending id, each with the number of its copies in the event log. The copies must be equal to the
/// stored message.
async fn copies(storage: &Postgres) -> Vec<(Message, usize)> {
    let events = storage.events(Position(0), Scope::Everything, 100).await.unwrap();
    assert!(events.iter().all(|event| event.fact != Fact::Unknown), "{events:?}");
    let mut stored = storage.messages_by_id(&(0..100).map(MessageId).collect::<Vec<_>>()).await.unwrap();
    stored.sort_unstable_by_key(|message| message.id);
    let counted = stored.into_iter().map(|message| {
        let copies = events.iter().filter_map(|event| event.fact.message()).filter(|copy| copy.id == message.id);
        let copies = copies.inspect(|copy| assert_eq!(**copy, message)).count();
        (message, copies)
    });
    counted.collect()
}

#[tokio::test]
async fn the_log_says_what_messages_say() {
    let mut migrated = Migrated::from(26, BEFORE_26).await;
    let named = "SELECT position || ' ' || coalesce(message_id || ' ' || seq, '-') FROM events ORDER BY position";
    let expected = [
        "1 1 1", "2 2 2", "3 3 3", "4 2 2", "5 3 3", "6 -", "7 4 4", "8 5 1", "9 5 1", "10 2 2", "11 3 3", "12 6 5", "13 8 2",
        "14 -",
    ];
    assert_eq!(migrated.texts(named).await, expected);
    let told = migrated.texts("SELECT fact::text FROM events ORDER BY position").await;
    assert!(!told.iter().any(|fact| fact.contains("secret")), "{told:#?}");

    let storage = &migrated.storage;
    let counts: Vec<_> = copies(storage).await.iter().map(|(message, copies)| (message.id.0, *copies)).collect();
    assert_eq!(counts, [(1, 1), (2, 3), (3, 3), (4, 1), (5, 2), (6, 1), (7, 0), (8, 1)]);
    let mut tx = storage.begin().await.unwrap();
    let of = tx.lock_conversations(&[ConversationId(1)]).await.unwrap();
    let now = chrono::Utc::now();
    tx.edit_message(&of[0], MessageId(6), "again", PartnerId(1), now).await.unwrap().unwrap();
    tx.delete_message(&of[0], MessageId(2), PartnerId(1), now).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    copies(storage).await;
    migrated.drop().await;
}

#[tokio::test]
async fn files_that_nobody_can_reach_are_gone() {
    let mut migrated = Migrated::from(26, BEFORE_26).await;
    assert_eq!(migrated.texts("SELECT name FROM attachments ORDER BY id").await, ["kept", "held", "unsent"]);
    let mentions = "SELECT name || ' ' || message_id FROM upload_mentions ORDER BY name, message_id";
    assert_eq!(migrated.texts(mentions).await, ["foreign 7", "own 7", "shared 1"]);
    let storage = &migrated.storage;
    for (name, owner) in [("shared", 1), ("foreign", 1), ("own", 2)] {
        assert_eq!(storage.upload(name).await.unwrap().unwrap().owner, PartnerId(owner), "{name}");
    }
    for (message, author, expected) in [(1, 1, vec!["shared"]), (7, 2, vec!["foreign", "own"])] {
        let mut tx = storage.begin().await.unwrap();
        let gone = tx.replace_upload_references(MessageId(message), PartnerId(author), &[]).await.unwrap();
        let mut gone: Vec<_> = gone.into_iter().map(|upload| upload.name).collect();
        gone.sort_unstable();
        assert_eq!(gone, expected);
    }
    migrated.drop().await;
}

fn asked(conversation: i64, key: &str) -> ClientKey {
    ClientKey { conversation: ConversationId(conversation), author: PartnerId(1), key: key.to_owned(), hash: [7; 32] }
}

/// A message of Ann's with a client key.
fn keyed(conversation: i64, key: &str) -> NewMessage {
    NewMessage {
        conversation: ConversationId(conversation),
        author: Author { partner: PartnerId(1), user: Some(UserId(11)), name: "Ann".to_owned() },
        message_type: MessageType::Text,
        body: String::new(),
        metadata: None,
        attachments: Vec::new(),
        client_key: Some(NewClientKey { key: key.to_owned(), hash: [7; 32] }),
        external_id: None,
        reply_to: None,
        support_side: None,
        held: false,
        created_at: chrono::DateTime::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn messages_without_a_hash_are_found_for_any() {
    let migrated = Migrated::from(26, BEFORE_26).await;
    let mut tx = migrated.storage.begin().await.unwrap();
    let found = tx.messages_by_client_key(&[asked(1, "k1"), asked(1, "k2"), asked(2, "k1")]).await.unwrap();
    let mut found: Vec<_> = found.into_iter().map(|known| (known.message.id.0, known.hash)).collect();
    found.sort_unstable();
    assert_eq!(found, [(1, None), (2, None)]);
    tx.release_client_keys(&[MessageId(1)]).await.unwrap();
    let to = tx.lock_conversations(&[ConversationId(1)]).await.unwrap();
    let stored = tx.insert_messages(to, vec![keyed(1, "k1")]).await.unwrap().remove(0);
    let known = tx.messages_by_client_key(&[asked(1, "k1")]).await.unwrap();
    assert_eq!(known, [KeyedMessage { message: stored, hash: Some([7; 32]) }]);
    tx.commit().await.unwrap();
    migrated.drop().await;
}

#[tokio::test]
async fn people_conversations_and_nodes_are_what_they_were() {
    let migrated = Migrated::from(26, BEFORE_26).await;
    let storage = &migrated.storage;
    let ann = storage.user_by_login("ann").await.unwrap().unwrap();
    assert_eq!((ann.password, ann.external_id, ann.can_moderate), (Some(PasswordHash("hash".to_owned())), None, false));
    for (id, began_direct) in [(1, false), (2, true)] {
        let id = ConversationId(id);
        assert_eq!(storage.conversation(id).await.unwrap().unwrap().began_direct, began_direct);
        for participant in storage.participants(id).await.unwrap() {
            assert_eq!(participant.status, ParticipantStatus::default());
        }
        let members = [1, 2].map(|partner| Member { partner: PartnerId(partner), visible_from_seq: 0 });
        assert_eq!(storage.members_at(id, Position(1)).await.unwrap(), members);
    }
    let now = chrono::Utc::now();
    let nodes = storage.nodes(now).await.unwrap();
    assert_eq!(
        nodes.iter().map(|node| (node.id.as_u128(), &node.version, node.position)).collect::<Vec<_>>(),
        [(1, &None, None)]
    );
    assert!(storage.has_held_lease(PartnerId(1), now).await.unwrap());
    assert_eq!(storage.held_without_lease(now, 10).await.unwrap(), []);
    assert_eq!(storage.workspace().await.unwrap(), Workspace::default());
    migrated.drop().await;
}

#[tokio::test]
async fn the_first_release_may_go_on_writing() {
    let mut migrated = Migrated::from(26, BEFORE_26).await;
    let database = &mut migrated.database;
    let cat = first_release::insert_user(database, "cat").await;
    let direct = first_release::insert_direct_conversation(database, &[1, 2]).await;
    let id = first_release::send(database, (direct, 1), 1, "k").await;
    first_release::set_kind(database, direct, "group").await;
    let storage = &migrated.storage;
    let cats = storage.user(UserId(cat)).await.unwrap().unwrap().partner.id;
    first_release::insert_participant(database, direct, cats.0).await;
    let conversation = storage.conversation(ConversationId(direct)).await.unwrap().unwrap();
    assert!(conversation.began_direct && conversation.kind == ConversationKind::Group);
    assert_eq!(storage.participants(conversation.id).await.unwrap()[2].status, ParticipantStatus::default());
    first_release::insert_upload(database, "new", 12).await;
    assert_eq!(storage.upload("new").await.unwrap().unwrap().owner, PartnerId(2));
    assert!(!first_release::attend(database, uuid::Uuid::from_u128(7), 2).await);
    assert!(storage.has_held_lease(PartnerId(2), chrono::DateTime::UNIX_EPOCH).await.unwrap());
    assert!(storage.renew_held_lease(uuid::Uuid::from_u128(7), chrono::Utc::now(), &[]).await.unwrap());

    let mut tx = storage.begin().await.unwrap();
    let found = tx.messages_by_client_key(&[asked(direct, "k")]).await.unwrap();
    assert_eq!(found.iter().map(|known| (known.message.id.0, known.hash)).collect::<Vec<_>>(), [(id, None)]);
    tx.reference_uploads(&[UploadReference { message: MessageId(id), author: PartnerId(2), name: "new".to_owned() }])
        .await
        .unwrap();
    let of = tx.lock_conversations(&[conversation.id]).await.unwrap();
    tx.delete_message(&of[0], MessageId(id), PartnerId(1), chrono::Utc::now()).await.unwrap().unwrap();
    tx.commit().await.unwrap();
    assert_eq!(copies(storage).await.last().map(|(message, copies)| (message.id.0, *copies)), Some((id, 1)));
    assert_eq!(storage.expire_uploads(chrono::Utc::now(), 10).await.unwrap(), [], "it is named");
    let told = migrated.texts("SELECT fact::text FROM events ORDER BY position").await;
    assert!(!told.iter().any(|fact| fact.contains("secret")), "{told:#?}");
    let named = "SELECT coalesce(message_id || ' ' || seq, '-') FROM events WHERE position > 14 ORDER BY position";
    assert_eq!(migrated.texts(named).await, [format!("{id} 1"), "-".to_owned()]);
    migrated.drop().await;
}

#[tokio::test]
async fn what_the_first_release_takes_back_is_gone() {
    let mut migrated = Migrated::from(26, BEFORE_26).await;
    let database = &mut migrated.database;
    let direct = first_release::insert_direct_conversation(database, &[1, 2]).await;
    let edited = first_release::send(database, (direct, 1), 1, "k").await;
    let deleted = first_release::send(database, (direct, 2), 1, "l").await;
    let kept = first_release::send(database, (direct, 3), 1, "m").await;
    let files = "INSERT INTO attachments (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, sent)
            SELECT 1000 + n, 'file ' || n, '', '', 0, '', 1, now(), true FROM generate_series(1, 2) n";
    database.execute(files).await.unwrap();
    for (message, file) in [(deleted, 1001), (deleted, 1002), (kept, 1002)] {
        let hold = sqlx::query("INSERT INTO message_attachments (message_id, place, attachment_id) VALUES ($1, $2, $2)");
        hold.bind(message).bind(file).execute(&mut *database).await.unwrap();
    }
    first_release::edit(database, direct, edited, "first change").await;
    first_release::edit(database, direct, edited, "last change").await;
    first_release::delete(database, direct, deleted).await;
    let told = migrated.texts("SELECT fact::text FROM events WHERE message_id IS NOT NULL ORDER BY position").await;
    let about = |id: i64| told.iter().filter(|fact| fact.contains(&format!(r#""of":{{"id":{id},"#))).collect::<Vec<_>>();
    assert_eq!((about(edited).len(), about(deleted).len()), (3, 2), "{told:#?}");
    assert!(about(edited).iter().all(|fact| fact.contains(r#""body":"last change""#)), "{told:#?}");
    assert!(about(deleted).iter().all(|fact| fact.contains(r#""body":"""#) && !fact.contains("secret")), "{told:#?}");
    let kinds = "SELECT split_part(fact::text, '\"', 4) FROM events WHERE message_id IS NOT NULL ORDER BY position DESC LIMIT 3";
    assert_eq!(migrated.texts(kinds).await, ["message_deleted", "message_edited", "message_edited"]);
    assert_eq!(migrated.texts("SELECT id::text FROM attachments WHERE id > 1000").await, ["1002"]);
    migrated.drop().await;
}

#[tokio::test]
async fn a_version_rises_with_what_sends_are_judged_by() {
    let mut migrated = Migrated::from(26, BEFORE_26).await;
    let (id, now) = (ConversationId(2), chrono::Utc::now());
    let mut version = "0".to_owned();
    for (change, rises) in [
        ("join", true),
        ("message", false),
        ("read", false),
        ("place", false),
        ("edit", false),
        ("mute", true),
        ("mute again", false),
        ("leave", true),
        ("kind", true),
        ("close", true),
    ] {
        let mut tx = migrated.storage.begin().await.unwrap();
        let of = tx.lock_conversations(&[id]).await.unwrap().remove(0);
        let partner = PartnerId(2);
        match change {
            "join" => {
                let new = tx
                    .insert_partner(NewPartner {
                        id: Some(PartnerId(3)),
                        name: "Cat".to_owned(),
                        email: None,
                        phone: None,
                        mobile: None,
                    })
                    .await
                    .unwrap();
                assert_eq!(tx.insert_participants(&of, &[new.id], 1, now).await.unwrap().len(), 1);
            }
            "message" => drop(tx.insert_messages(vec![of], vec![keyed(2, "k")]).await.unwrap()),
            "read" => assert_eq!(tx.advance_read(id, partner, i64::MAX).await.unwrap().newly_read, 2),
            "place" => assert!(tx.set_conversation_settings(id, partner, Some(WindowState::Folded), None).await.unwrap()),
            "edit" => assert!(tx.edit_message(&of, MessageId(5), "edited", partner, now).await.unwrap().is_some()),
            "leave" => assert!(tx.delete_participant(&of, partner).await.unwrap()),
            "kind" => tx.set_kind(&of, ConversationKind::Group).await.unwrap(),
            "close" => tx.set_closed(&of, now).await.unwrap(),
            _ => {}
        }
        tx.commit().await.unwrap();
        if change.starts_with("mute") {
            let mute = "UPDATE participants SET muted_until = '2123-01-01' WHERE conversation_id = 2 AND partner_id = 1";
            migrated.database.execute(mute).await.unwrap();
        }
        let now = migrated.texts("SELECT version::text FROM conversations WHERE id = 2").await.remove(0);
        assert_eq!(now != version, rises, "{change}: from {version} to {now}");
        version = now;
        assert_eq!(migrated.texts("SELECT version::text FROM conversations WHERE id = 1").await, ["0"], "{change}");
    }
    let standing = migrated.storage.participants(id).await.unwrap()[0].status;
    assert!(standing.muted_until.is_some());
    migrated.drop().await;
}
