//! What was stored by an earlier schema is still what it was.
#![cfg(feature = "postgres")]
// What `.clippy.toml` allows in tests, it allows only in functions marked so themselves.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, migrate::Migrator};
use storage::postgres::{Options, Postgres};
use storage::{AttachmentId, Attachments, ConversationId, EventLog, PartnerId, Position, Scope, Storage};

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

#[tokio::test]
async fn those_who_were_in_find_what_happened_and_what_was_sent_stays() {
    let server = std::env::var("DRAGOMAN_TEST_POSTGRES")
        .expect("DRAGOMAN_TEST_POSTGRES names no PostgreSQL to make databases in: run the tests with .ci/test");
    let name = format!("migrations_{}", uuid::Uuid::new_v4().simple());
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let mut admin = PgConnection::connect(&server).await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();

    let all = sqlx::migrate!("../migrations");
    let earlier = Migrator::with_migrations(all.iter().filter(|migration| migration.version < 12).cloned().collect());
    let mut database = PgConnection::connect(&url).await.unwrap();
    earlier.run_direct(None, &mut database, false).await.unwrap();
    database.execute(BEFORE).await.unwrap();
    let patience = Duration::from_secs(30);
    let options = Options { url, max_connections: 2, acquire_timeout: patience, statement_timeout: patience };
    let storage = Postgres::open(&options).await.unwrap();
    storage.migrate().await.unwrap();

    for partner in [1, 2].map(PartnerId) {
        assert_eq!(storage.events(Position(0), Scope::Partner(partner), 10).await.unwrap().len(), 3);
    }
    assert_eq!(storage.members_at(ConversationId(1), Position(2)).await.unwrap(), [1, 2].map(PartnerId));
    let tomorrow = chrono::Utc::now() + chrono::TimeDelta::days(1);
    assert_eq!(storage.forget_unsent(tomorrow, 10).await.unwrap(), ["unsent"]);
    assert!(storage.attachment(AttachmentId(1)).await.unwrap().is_some());

    storage.close().await;
    database.close().await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
}
