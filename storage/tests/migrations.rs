//! What was stored by an earlier schema is still what it was.
#![cfg(feature = "postgres")]
// What `.clippy.toml` allows in tests, it allows only in functions marked so themselves.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, migrate::Migrator};
use storage::postgres::{Options, Postgres};
use storage::{
    AttachmentId, Attachments, ConversationId, Conversations, EventLog, Member, MessageId, PartnerId, Position, Scope, Storage,
    UnreadTotals, Uploads,
};

/// Two partners in a conversation in which something has happened, a file that was sent there, and one that was not.
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

/// Two partners in a conversation with a message that was deleted and two that name uploads. Both are kept, as is one that
/// only the deleted message named; a fourth is named by metadata, which did not count then.
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

/// A database that held this when its schema was older than this version, and has been brought up to date.
struct Migrated {
    storage: Postgres,
    admin: PgConnection,
    name: String,
}

impl Migrated {
    async fn from(version: i64, before: &'static str) -> Self {
        let server = std::env::var("DRAGOMAN_TEST_POSTGRES")
            .expect("DRAGOMAN_TEST_POSTGRES names no PostgreSQL to make databases in: run the tests with .ci/test");
        let name = format!("migrations_{}", uuid::Uuid::new_v4().simple());
        let url = format!("{}/{name}", server.rsplit_once('/').expect("the address names a database").0);
        let mut admin = PgConnection::connect(&server).await.expect("the throwaway PostgreSQL is up");
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        admin.execute(create).await.expect("a database can be created");

        let all = sqlx::migrate!("../migrations");
        let earlier = all.iter().filter(|migration| migration.version < version).cloned().collect();
        let mut database = PgConnection::connect(&url).await.expect("the database is there");
        Migrator::with_migrations(earlier).run_direct(None, &mut database, false).await.expect("the earlier schema can be made");
        database.execute(before).await.expect("it fits the earlier schema");
        database.close().await.expect("nothing is under way");
        let patience = Duration::from_secs(30);
        let options = Options { url, max_connections: 2, acquire_timeout: patience, statement_timeout: patience };
        let storage = Postgres::open(&options).await.expect("the database is there");
        storage.migrate().await.expect("the schema can be brought up to date");
        Self { storage, admin, name }
    }

    async fn drop(mut self) {
        self.storage.close().await;
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
        let gone = tx.change_uploads(MessageId(message), PartnerId(1), &[]).await.unwrap();
        assert_eq!(gone.iter().map(|upload| upload.name.as_str()).collect::<Vec<_>>(), [name]);
    }
    for (partner, group) in [(1, 1), (2, 2)] {
        let expected = UnreadTotals { group, ..UnreadTotals::default() };
        assert_eq!(storage.unread_totals(PartnerId(partner)).await.unwrap(), expected, "{partner}");
    }
    migrated.drop().await;
}
