//! Tests of query plans: with many rows and fresh statistics, no hot statement scans a large table sequentially.
#![cfg(feature = "postgres")]
// `.clippy.toml` allows these only in functions that are marked as tests themselves.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection, Executor, PgConnection, Row};
use storage::postgres::{Options, Postgres};
use storage::{
    ActorKind, AttachmentId, AuditFilter, Author, ChangeKey, Changes as _, ClientKey, ConversationId, EventLog, InboxFilter,
    ListSize, MessageId, MessageType, NewAuditEntry, NewMessage, Page, PartnerId, Position, Reads as _, Scope, SessionKey,
    SessionTouch, Storage, TokenKey, Topic, UploadReference,
};

/// 5,000 people in 10,000 conversations of four, with 60,000 messages and as many reactions and events. One of the four
/// is a newcomer, who sees the last three messages.
const FILL: &str = "
    INSERT INTO partners (id, name) SELECT n, 'p' || n FROM generate_series(1, 5000) n;
    INSERT INTO users (id, uuid, login, password_hash, partner_id, role, language, time_zone, profile, created_at)
        SELECT n + 5000, gen_random_uuid(), 'u' || n, '', n, 'user', '', '', '{}', now() FROM generate_series(1, 5000) n;
    INSERT INTO sessions (key, user_id, created_at, last_used_at)
        SELECT sha256(int8send(n)), n + 5000, now(), now() FROM generate_series(1, 5000) n;
    INSERT INTO refresh_tokens (key, family, user_id, expires_at)
        SELECT sha256(int8send(n)), gen_random_uuid(), n + 5000, now() FROM generate_series(1, 5000) n;
    INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, last_message_id, last_message_at)
        SELECT n, gen_random_uuid(), 'group', 'group', '', now(), 6, n + 50000, now() FROM generate_series(1, 10000) n;
    INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, own_after, last_own_id, visible_from_seq)
        SELECT c, 1 + (c * 7 + p * 911) % 5000, now(), p, 0, (p - 1) * 10000 + c, CASE p WHEN 4 THEN 3 ELSE 0 END
        FROM generate_series(1, 10000) c, generate_series(1, 4) p;
    INSERT INTO memberships (conversation_id, partner_id, from_position, visible_from_seq)
        SELECT conversation_id, partner_id, 0, visible_from_seq FROM participants;
    INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, has_attachments, client_key, client_hash,
            has_reactions, created_at)
        SELECT (s - 1) * 10000 + c, c, s, 1 + (c * 7 + 911 * (1 + s % 4)) % 5000, 'text', 'hello', s = 6, 'k' || s,
            CASE WHEN s > 4 THEN sha256('') END, true, now() - interval '1 hour'
        FROM generate_series(1, 10000) c, generate_series(1, 6) s;
    INSERT INTO reactions (message_id, partner_id, content, at)
        SELECT n, 1 + n % 5000, 'like', now() FROM generate_series(1, 60000) n;
    INSERT INTO events (position, conversation_id, fact, at, message_id, seq)
        SELECT m.id, m.conversation_id, format('{\"fact\":\"message_posted\",\"of\":{\"id\":%s,\"seq\":%s,\"conversation\":%s,'
            '\"author\":{\"partner\":%s,\"user\":null,\"name\":\"p\"},\"message_type\":\"text\",\"body\":\"hello\",\"metadata\":null,'
            '\"attachments\":[],\"client_key\":null,\"held\":false,\"created_at\":\"2023-11-14T22:13:20Z\",\"edited_at\":null,'
            '\"deleted_at\":null}}', m.id, m.seq, m.conversation_id, m.author_id)::json, now(), m.id, m.seq
        FROM messages m;
    INSERT INTO attachments (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, sent)
        SELECT n, 'o' || n, '', '', 0, '', 1 + n % 5000, now(), n % 20 > 0 FROM generate_series(1, 20000) n;
    INSERT INTO message_attachments (message_id, place, attachment_id)
        SELECT 50000 + n, 0, n FROM generate_series(1, 10000) n WHERE n % 20 > 0;
    INSERT INTO audit (at, actor_kind, actor_id, action, outcome)
        SELECT now(), 'user', n % 1000, 'sign_in', 'ok' FROM generate_series(1, 20000) n;
    INSERT INTO memberships (conversation_id, partner_id, from_position, until_position)
        SELECT c, 1 + (c * 7 + 5) % 5000, 0, 1 + c FROM generate_series(1, 10000) c;
    INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, last_seq, closed_at)
        SELECT 10000 + n, gen_random_uuid(), 'support', 'chat', '', now(), 1, CASE WHEN n <= 9900 THEN now() END
        FROM generate_series(1, 10000) n;
    INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq)
        SELECT 10000 + n, 1 + n % 5000, now(), 0 FROM generate_series(1, 10000) n;
    INSERT INTO support_sessions (conversation_id, initiator_id, initiator_pinged_at, joiner_id, joiner_pinged_at)
        SELECT 10000 + n, 1 + n % 5000, now(), 1, now() FROM generate_series(1, 10000) n;
    INSERT INTO support_seen (conversation_id, by_initiator, seq, at)
        SELECT 10000 + n, false, 1, now() FROM generate_series(1, 9900) n;
    INSERT INTO devices (user_id, name, connection, created_at, updated_at, expires_at)
        SELECT n + 5000, 'phone', 'c' || n, now(), now(), now() FROM generate_series(1, 5000) n;
    INSERT INTO uploads (name, owner_id, mimetype, limit_bytes, expires_at, kept)
        SELECT 'f' || n, 5001 + n % 5000, '', 1, now(), n % 20 > 0 FROM generate_series(1, 20000) n;
    INSERT INTO presences (partner_id, last_seen, there_until)
        SELECT n, now(), now() - n * interval '1 second' FROM generate_series(1, 5000) n;
    UPDATE log_head SET position = 60000;
    SELECT setval('messages_id', 60000);
    ANALYZE;
";
const SCANS: &str = "SELECT relname::text, seq_scan FROM pg_stat_user_tables
    WHERE relname IN ('attachments', 'audit', 'conversations', 'devices', 'events', 'memberships', 'message_attachments',
    'messages', 'participants', 'partners', 'presences', 'reactions', 'refresh_tokens', 'sessions', 'support_seen',
    'support_sessions', 'uploads', 'users')";

/// Number of other connections to the database.
const OTHERS: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";

/// Sequential scans of each table by connections that have ended. PostgreSQL adds the counters of a connection to the
/// statistics with a delay; once the connection is gone from the list, all of them are there.
async fn scans(database: &mut PgConnection) -> BTreeMap<String, i64> {
    while database.fetch_one(OTHERS).await.unwrap().get::<i64, _>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let rows = database.fetch_all(SCANS).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn options(url: String) -> Options {
    Options { url, max_connections: 2, acquire_timeout: Duration::from_secs(10), statement_timeout: Duration::from_secs(30) }
}

#[tokio::test]
async fn hot_statements_read_no_large_table_from_end_to_end() {
    let server = std::env::var("DRAGOMAN_TEST_POSTGRES")
        .expect("DRAGOMAN_TEST_POSTGRES names no PostgreSQL to make databases in: run the tests with .ci/test");
    let name = format!("plans_{}", uuid::Uuid::new_v4().simple());
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let mut admin = PgConnection::connect(&server).await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();

    let storage = Postgres::open(&options(url.clone())).await.unwrap();
    storage.migrate().await.unwrap();
    storage.close().await;
    let mut database = PgConnection::connect(&url).await.unwrap();
    database.execute(FILL).await.unwrap();
    database.close().await.unwrap();

    let mut database = PgConnection::connect(&url).await.unwrap();
    let before = scans(&mut database).await;
    let storage = Postgres::open(&options(url.clone())).await.unwrap();
    // PostgreSQL plans the first five runs of a statement for their values, and may use a generic plan afterwards.
    for round in 1..=12 {
        read(&storage, round).await;
        write(&storage, round).await;
        support(&storage, round).await;
    }
    storage.close().await;
    assert_eq!(scans(&mut database).await, before, "a table was read from end to end");

    database.close().await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
}

fn session_key() -> SessionKey {
    SessionKey([7; 32])
}

async fn read(storage: &Postgres, round: i64) {
    use storage::{
        AddressBooks, Attachments, Audit, Conversations, Directory, Document, GroupId, HeldMessages, Messages, Presences,
        Reactions, Sessions, Tokens, Users,
    };

    let (conversation, partner) = (ConversationId(round), PartnerId(1 + (round * 7 + 911) % 5000));
    storage.session(session_key()).await.unwrap();
    storage.touch_sessions(&[SessionTouch { key: session_key(), last_used_at: DateTime::UNIX_EPOCH, told: None }]).await.unwrap();
    storage.refresh_token(TokenKey([7; 32])).await.unwrap();
    storage.user_of_family(uuid::Uuid::nil()).await.unwrap();
    storage.user_by_uuid(uuid::Uuid::nil()).await.unwrap();
    storage.user_by_external_id("nobody").await.unwrap();
    storage.people(&[partner, PartnerId(round)]).await.unwrap();
    storage.conversation(conversation).await.unwrap().unwrap();
    storage.conversation_seen_by(conversation, partner).await.unwrap().unwrap().1.unwrap();
    assert_eq!(storage.participants(conversation).await.unwrap().len(), 4);
    assert_eq!(storage.people_in(&[conversation], partner, 1).await.unwrap().len(), 2);
    let most = ListSize { conversations: 10_000, people: 20_000 };
    assert!(storage.list_size(partner, 2, most).await.unwrap().people > 0);
    assert!(!storage.inbox(partner, InboxFilter::default()).await.unwrap().is_empty());
    storage.unread_totals(partner).await.unwrap();
    let other = storage.participant_ids(conversation).await.unwrap()[0];
    for about in [None, Some(&Document { model: "sale.order".to_owned(), id: round })] {
        storage.direct_conversation((partner, other), about).await.unwrap();
        storage.group_conversation(GroupId(1 + round % 10), about).await.unwrap();
    }
    storage.direct_conversations((partner, other)).await.unwrap();
    assert_eq!(storage.messages_with_files(conversation, partner, Some(MessageId(50_000)), 50).await.unwrap(), []);
    assert_eq!(storage.conversation_uuids(&[conversation]).await.unwrap().len(), 1);
    assert_eq!(storage.conversations_by_uuid(&[uuid::Uuid::nil()]).await.unwrap(), []);
    assert_eq!(storage.messages_at(&[(conversation, 3), (conversation, 4)]).await.unwrap().len(), 2);
    let members = [conversation, ConversationId(round + 1)];
    let members = storage.people_in(&members, partner, 10).await.unwrap();
    let members: Vec<_> = members.iter().map(|(id, person)| (*id, person.partner.id)).collect();
    assert_eq!(storage.last_messages(&members, partner).await.unwrap().len(), 8);
    let forgotten = 50 * (round - 7).max(0);
    assert_eq!(storage.position_at(DateTime::UNIX_EPOCH).await.unwrap(), Position(forgotten));
    storage.changes(conversation, ChangeKey::since(MessageId(round)), 50).await.unwrap();
    storage.read_by_others(conversation, partner).await.unwrap();
    storage.unread_by_others(partner, 50).await.unwrap();
    assert_eq!(storage.members_at(conversation, Position(500)).await.unwrap().len(), 4);
    storage.attachment_access(AttachmentId(8_000 + round), partner).await.unwrap().unwrap();
    assert_eq!(storage.reactions(MessageId(round), partner).await.unwrap().len(), 1);
    for actor in [None, Some((ActorKind::User, "7"))] {
        let entries = storage.audit_entries(AuditFilter { actor, before: Some(19_000) }, 10).await.unwrap();
        assert_eq!(entries.len(), 10);
    }
    storage.address_book_owners(&[partner]).await.unwrap();
    storage.contacts(&[partner, PartnerId(round)]).await.unwrap();
    assert_eq!(storage.expired_leases((DateTime::UNIX_EPOCH, partner), Utc::now(), 50).await.unwrap().len(), 50);
    storage.renew_held_lease(uuid::Uuid::nil(), Utc::now(), &[partner]).await.unwrap();
    assert!(storage.has_held_lease(partner, DateTime::UNIX_EPOCH).await.unwrap());
    assert_eq!(storage.held_messages_of(partner, 100).await.unwrap(), []);
    assert_eq!(storage.held_without_lease(Utc::now(), 100).await.unwrap(), []);
    storage.conversations_with_new_messages(partner, Utc::now()).await.unwrap();
    assert_eq!(storage.messages_by_id(&[MessageId(round), MessageId(round + 1)]).await.unwrap().len(), 2);
    let pages = [
        Page::Newest { offset: 2, limit: 50 },
        Page::Before { id: MessageId(50_000), limit: 50 },
        Page::After { id: MessageId(10_000), limit: 50 },
    ];
    for page in pages {
        assert!(!storage.messages(conversation, partner, page).await.unwrap().is_empty());
    }
    assert!(storage.newest_bytes(conversation, partner, 2, 50).await.unwrap() > 0);
    for scope in [Scope::Everything, Scope::Conversation(conversation), Scope::Partner(partner)] {
        assert!(!storage.events(Position(100), scope, 50).await.unwrap().is_empty());
    }
}

async fn write(storage: &Postgres, round: i64) {
    let now = DateTime::UNIX_EPOCH;
    let (conversation, partner) = (ConversationId(round), PartnerId(1 + (round * 7 + 911) % 5000));
    let mut tx = storage.begin().await.unwrap();
    let locked = tx.lock_conversations(&[conversation]).await.unwrap();
    assert_eq!(tx.participant_statuses(&[(conversation, partner)]).await.unwrap().len(), 1);
    let key = ClientKey { conversation, author: partner, key: "k4".to_owned(), hash: [1; 32] };
    assert_eq!(tx.messages_by_client_key(&[key]).await.unwrap().len(), 1);
    let new = NewMessage {
        conversation,
        author: Author { partner, user: None, name: String::new() },
        message_type: MessageType::Text,
        body: "hello".to_owned(),
        metadata: None,
        attachments: Vec::new(),
        client_key: None,
        external_id: None,
        reply_to: None,
        support_side: None,
        held: false,
        created_at: now,
    };
    tx.release_client_keys(&[MessageId(40_000 + round)]).await.unwrap();
    for message in tx.insert_messages(locked, vec![new]).await.unwrap() {
        tx.record(Topic::Conversation(conversation), storage::Fact::MessagePosted(message), now);
    }
    assert_eq!(tx.advance_read(conversation, partner, 3).await.unwrap().newly_read, 2);
    assert!(!tx.advance_read_everywhere(partner).await.unwrap().is_empty());
    tx.commit().await.unwrap();
    change(storage, round).await;
    clear_away(storage, round).await;
}

async fn change(storage: &Postgres, round: i64) {
    use storage::Messages;

    let now = DateTime::UNIX_EPOCH;
    let (conversation, partner) = (ConversationId(round), PartnerId(1 + (round * 7 + 911) % 5000));
    let mut tx = storage.begin().await.unwrap();
    let of = tx.lock_conversations(&[conversation]).await.unwrap().remove(0);
    let places = [(conversation, MessageId(10_000 + round))];
    assert_eq!(tx.seqs_of(&places).await.unwrap().len(), 1);
    assert!(tx.insert_reaction(&of, MessageId(20_000 + round), partner, "wow", now).await.unwrap());
    assert_eq!(tx.reaction_contents(&of, MessageId(20_000 + round)).await.unwrap().len(), 2);
    tx.delete_reaction(&of, MessageId(20_000 + round), partner, "wow").await.unwrap();
    tx.edit_message(&of, MessageId(20_000 + round), "again", partner, now).await.unwrap().unwrap();
    let deleted = tx.delete_message(&of, MessageId(50_000 + round), partner, now).await.unwrap().unwrap();
    assert_eq!(deleted.files.len(), 1);
    let deleted = tx.delete_attachment(AttachmentId(9_000 + round)).await.unwrap().unwrap();
    assert_eq!(deleted.conversations, [ConversationId(9_000 + round)]);
    tx.insert_audit(&NewAuditEntry {
        at: now,
        actor: ActorKind::User,
        actor_id: Some("7".to_owned()),
        address: None,
        action: "delete".to_owned(),
        object: None,
        outcome: "ok".to_owned(),
        correlation: None,
    })
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let newcomer = PartnerId(1 + (round * 7 + 4 * 911) % 5000);
    for page in [Page::Newest { offset: 0, limit: 50 }, Page::After { id: MessageId(0), limit: 50 }] {
        let page = storage.messages(conversation, newcomer, page).await.unwrap();
        assert!(page.iter().all(|seen| seen.message.seq > 3) && page.len() == 4);
    }
}

/// Frequent statements of support clients: sessions, devices, uploads and presence.
async fn support(storage: &Postgres, round: i64) {
    use storage::{
        Attachments, DeviceConnection, Devices, Heartbeat, Presences, Support, SupportStatus, UploadedFile, Uploads, UserId,
    };

    let (session, initiator, now) = (ConversationId(10_000 + round), PartnerId(1 + round), Utc::now());
    storage.support_session(session).await.unwrap().unwrap();
    for status in [None, Some(SupportStatus::Joined), Some(SupportStatus::Closed)] {
        assert_eq!(storage.support_sessions(status, 10, 50).await.unwrap().len(), 50);
    }
    assert!(storage.touch_support_session(ConversationId(19_999), PartnerId(5_000), now).await.unwrap().is_some());
    assert_eq!(storage.support_unread(initiator).await.unwrap(), 2);
    assert_eq!(storage.seen_at(session, &[(1, storage::MessageSide::Initiator)]).await.unwrap().len(), 1);
    let user = UserId(5_000 + round);
    let used = DeviceConnection { user, device: "phone", connection: "c", at: now, expires_at: now };
    storage.touch_device(used).await.unwrap();
    storage.upload("f7").await.unwrap().unwrap();
    let objects = ["o15001", "f7", "of nothing"].map(str::to_owned);
    assert_eq!(storage.objects_in_use(&objects).await.unwrap().len(), 2);
    assert_eq!(storage.expire_uploads(now, 10).await.unwrap().len(), 10);
    assert_eq!(storage.presences(&[initiator, PartnerId(99)]).await.unwrap().len(), 2);
    let sign = Heartbeat { partner: initiator, last_seen: now, there_until: now, idle_from: None };
    storage.record_heartbeats(&[sign]).await.unwrap();
    storage.set_presence(initiator, None, now).await.unwrap();

    let mut tx = storage.begin().await.unwrap();
    tx.connect_device(used).await.unwrap();
    let file =
        UploadedFile { object: "o".to_owned(), mimetype: String::new(), size_bytes: 1, width: None, height: None, put_at: now };
    assert!(tx.put_upload(&format!("f{round}"), file).await.unwrap());
    assert_eq!(tx.open_support_sessions(PartnerId(4_901 + round), 3).await.unwrap().len(), 1);
    assert_eq!(tx.lock_absent_support(DateTime::UNIX_EPOCH, &[storage::Role::User], 10).await.unwrap().len(), 0);
    assert_eq!(tx.lock_silent_support(DateTime::UNIX_EPOCH, 10).await.unwrap().len(), 0);
    assert_eq!(tx.lock_joined_support(PartnerId(1)).await.unwrap().len(), 100);
    let named = [(1, "f19", 20), (2, "f18", 19)];
    let named = named.map(|(message, name, owner)| UploadReference {
        message: MessageId(message),
        author: PartnerId(owner),
        name: name.to_owned(),
    });
    tx.reference_uploads(&named).await.unwrap();
    tx.mark_seen(&[(session, PartnerId(1), 1)], now).await.unwrap();
    tx.commit().await.unwrap();
}

/// Periodic clean-up, which must not scan large tables either.
async fn clear_away(storage: &Postgres, round: i64) {
    use storage::{Attachments, Audit};

    let [young, old] = [Utc::now() - TimeDelta::hours(1), Utc::now() + TimeDelta::hours(1)];
    assert_eq!(storage.forget_events(young, 50).await.unwrap(), 0);
    assert_eq!(storage.forget_unsent(young, 50).await.unwrap(), [""; 0]);
    assert_eq!(storage.forget_audit(young, 50).await.unwrap(), 1, "the one of this round");
    if round > 6 {
        assert_eq!(storage.forget_events(old, 50).await.unwrap(), 50);
        assert_eq!(storage.forget_unsent(old, 50).await.unwrap().len(), 50);
    }
    storage.forget_memberships(50).await.unwrap();
}
