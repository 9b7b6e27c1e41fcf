//! Statements of the first release, whose nodes may go on writing during a rolling upgrade.

use sqlx::{PgConnection, Row, postgres::PgArguments, query::Query};
use uuid::Uuid;

const INSERT_USER: &str = "WITH uid AS MATERIALIZED (
        SELECT coalesce($1, nextval('people_id')) AS id
    ), partner AS (
        INSERT INTO partners (id, name, email, phone, mobile)
        SELECT coalesce($2, nextval('people_id')), $3, $4, $5, $6 FROM uid RETURNING id
    )
    INSERT INTO users (id, uuid, login, password_hash, partner_id, role, active, language, time_zone, profile, created_at)
    SELECT uid.id, $7, $8, $9, partner.id, $10, true, $11, $12, $13::text::json, $14 FROM uid, partner
    RETURNING id, partner_id";
const INSERT_CONVERSATION: &str = "WITH new AS (
        INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, group_id)
        VALUES (coalesce($1, nextval('conversations_id')), $2, $3, $4, $5, $6, $7) RETURNING id
    ), about AS (
        INSERT INTO conversation_documents (conversation_id, model, record_id)
        SELECT new.id, d.model, d.record_id FROM new, unnest($8::text[], $9::bigint[]) AS d(model, record_id)
    ), first AS (
        INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq)
        SELECT new.id, p.id, $6, 0 FROM new, (SELECT DISTINCT unnest($10::bigint[]) AS id) p
    )
    SELECT id FROM new";
const INSERT_PARTICIPANTS: &str = "INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq)
    SELECT c.id, new.id, $3, c.last_seq
    FROM conversations c, (SELECT DISTINCT unnest($2::bigint[]) AS id) new WHERE c.id = $1 ORDER BY new.id
    ON CONFLICT DO NOTHING RETURNING partner_id";
const SET_KIND: &str = "UPDATE conversations SET kind = $2 WHERE id = $1";
const INSERT_MESSAGES: &str = "WITH asked AS MATERIALIZED (
        SELECT place, conversation_id, author_id, message_type, body, metadata, has_attachments, client_key, held,
            created_at, seq
        FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::text[],
                $8::boolean[], $9::timestamptz[], $10::bigint[]) WITH ORDINALITY
            AS new(conversation_id, author_id, message_type, body, metadata, has_attachments, client_key, held, created_at,
                seq, place)
        ORDER BY place
    ), numbered AS MATERIALIZED (
        SELECT nextval('messages_id') AS id, place, conversation_id, author_id, message_type, body, metadata,
            has_attachments, client_key, held, created_at, seq
        FROM asked
    ), stored AS (
        INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, metadata, has_attachments,
            client_key, held, created_at)
        SELECT id, conversation_id, seq, author_id, message_type, body, metadata::json, has_attachments, client_key,
            held, created_at
        FROM numbered ORDER BY place
    ), newest AS MATERIALIZED (
        SELECT DISTINCT ON (conversation_id) conversation_id, id, seq, created_at
        FROM numbered ORDER BY conversation_id, seq DESC
    ), moved AS (
        UPDATE conversations c
        SET last_seq = newest.seq, last_message_id = newest.id, last_message_at = newest.created_at
        FROM newest WHERE c.id = newest.conversation_id
    ), wrote AS MATERIALIZED (
        SELECT conversation_id, author_id, count(*) AS messages, max(id) AS last_id FROM numbered GROUP BY conversation_id, author_id
    ), authors AS MATERIALIZED (
        SELECT p.conversation_id, p.partner_id, wrote.messages, wrote.last_id
        FROM participants p JOIN wrote ON wrote.conversation_id = p.conversation_id AND wrote.author_id = p.partner_id
        ORDER BY p.conversation_id, p.partner_id FOR NO KEY UPDATE OF p
    ), counted AS (
        UPDATE participants p SET own_after = p.own_after + authors.messages, last_own_id = authors.last_id
        FROM authors WHERE p.conversation_id = authors.conversation_id AND p.partner_id = authors.partner_id
    )
    SELECT id FROM numbered ORDER BY place";
const INSERT_UPLOAD: &str = "INSERT INTO uploads (name, owner_id, mimetype, limit_bytes, expires_at)
    VALUES ($1, $2, $3, $4, $5)";
const ATTEND: &str = "WITH node AS (
        INSERT INTO nodes AS known (id, until) VALUES ($1, $2)
        ON CONFLICT (id) DO UPDATE SET until = greatest(known.until, excluded.until)
        RETURNING xmax <> 0 AS known
    ), there AS (
        INSERT INTO attendances (partner_id, node_id) SELECT partner_id, $1 FROM unnest($3::bigint[]) AS t(partner_id)
        ON CONFLICT DO NOTHING
    )
    SELECT known FROM node";
const APPEND: &str = "WITH head AS (
        UPDATE log_head SET position = position + $1 RETURNING position - $1 AS base
    ) INSERT INTO events (position, conversation_id, partner_id, fact, at, mark)
    SELECT head.base + f.place, f.conversation_id, f.partner_id, f.fact::json, f.at,
        CASE WHEN f.place = 1 THEN gen_random_uuid() END
    FROM head, unnest($2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[])
        WITH ORDINALITY AS f(conversation_id, partner_id, fact, at, place)
    RETURNING position, mark, pg_current_xact_id()::text AS transaction";

/// The first column of the only row.
async fn one(database: &mut PgConnection, query: Query<'_, sqlx::Postgres, PgArguments>) -> i64 {
    query.fetch_one(database).await.unwrap().get(0)
}

pub(crate) async fn insert_user(database: &mut PgConnection, login: &str) -> i64 {
    let insert = sqlx::query(INSERT_USER).bind(None::<i64>).bind(None::<i64>).bind(login);
    let insert = insert.bind(None::<&str>).bind(None::<&str>).bind(None::<&str>).bind(Uuid::new_v4()).bind(login).bind("hash");
    one(database, insert.bind("user").bind("en_US").bind("UTC").bind("{}").bind(chrono::Utc::now())).await
}

pub(crate) async fn insert_direct_conversation(database: &mut PgConnection, participants: &[i64]) -> i64 {
    let insert = sqlx::query(INSERT_CONVERSATION).bind(None::<i64>).bind(Uuid::new_v4()).bind("direct").bind("chat").bind("");
    let insert = insert.bind(chrono::Utc::now()).bind(None::<i64>).bind(Vec::<&str>::new()).bind(Vec::<i64>::new());
    one(database, insert.bind(participants)).await
}

pub(crate) async fn insert_participant(database: &mut PgConnection, conversation: i64, partner: i64) {
    let insert = sqlx::query(INSERT_PARTICIPANTS).bind(conversation).bind(vec![partner]).bind(chrono::Utc::now());
    assert_eq!(one(database, insert).await, partner);
}

pub(crate) async fn set_kind(database: &mut PgConnection, conversation: i64, kind: &str) {
    sqlx::query(SET_KIND).bind(conversation).bind(kind).execute(database).await.unwrap();
}

const METADATA: &str = r#"{"z": 1.0, "a":[null, "secret \u0000"]}"#;

/// Stores a message with a client key and metadata, and its event.
pub(crate) async fn send(database: &mut PgConnection, (conversation, seq): (i64, i64), author: i64, key: &str) -> i64 {
    let insert = sqlx::query(INSERT_MESSAGES).bind(vec![conversation]).bind(vec![author]).bind(vec!["text"]).bind(vec!["secret"]);
    let insert = insert.bind(vec![METADATA]).bind(vec![false]).bind(vec![key]).bind(vec![false]).bind(vec![chrono::Utc::now()]);
    let id = one(database, insert.bind(vec![seq])).await;
    let posted = fact_of(database, "posted", id).await;
    let read = format!(r#"{{"fact":"read_up_to","of":{{"partner":{author},"seq":{seq},"messages":[{id}]}}}}"#);
    append(database, conversation, &[posted, read]).await;
    id
}

/// Edits a message of [`send`], and records the event.
pub(crate) async fn edit(database: &mut PgConnection, conversation: i64, id: i64, text: &str) {
    const EDIT: &str = "UPDATE messages SET body = $2, edited_at = now() WHERE id = $1";
    sqlx::query(EDIT).bind(id).bind(text).execute(&mut *database).await.unwrap();
    let edited = fact_of(database, "edited", id).await;
    append(database, conversation, &[edited]).await;
}

/// Deletes a message, and records the event.
pub(crate) async fn delete(database: &mut PgConnection, conversation: i64, id: i64) {
    const DELETE: &str = "WITH gone AS (DELETE FROM message_attachments a WHERE a.message_id = $1)
        UPDATE messages SET body = '', metadata = NULL, has_attachments = false, deleted_at = now() WHERE id = $1";
    sqlx::query(DELETE).bind(id).execute(&mut *database).await.unwrap();
    let deleted = fact_of(database, "deleted", id).await;
    append(database, conversation, &[deleted]).await;
}

/// A fact with the stored message, without files.
async fn fact_of(database: &mut PgConnection, kind: &str, id: i64) -> String {
    type Time = chrono::DateTime<chrono::Utc>;
    const STORED: &str = "SELECT conversation_id, seq, author_id, body, metadata::text AS metadata, client_key, created_at,
            edited_at, deleted_at FROM messages WHERE id = $1";
    let row = sqlx::query(STORED).bind(id).fetch_one(database).await.unwrap();
    let number = |name: &str| row.get::<i64, _>(name);
    let time = |name: &str| {
        let time: Option<Time> = row.get(name);
        time.map_or("null".to_owned(), |time| format!("{:?}", time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
    };
    let (conversation, seq, author) = (number("conversation_id"), number("seq"), number("author_id"));
    let metadata = row.get::<Option<String>, _>("metadata").unwrap_or("null".to_owned());
    let (body, key) = (row.get::<&str, _>("body"), row.get::<&str, _>("client_key"));
    let (created, edited, deleted) = (time("created_at"), time("edited_at"), time("deleted_at"));
    format!(
        r#"{{"fact":"message_{kind}","of":{{"id":{id},"seq":{seq},"conversation":{conversation},"author":{{"partner":{author},"#
    ) + &format!(r#""user":11,"name":"Ann"}},"message_type":"text","body":"{body}","metadata":{metadata},"attachments":[],"#)
        + &format!(r#""client_key":"{key}","held":false,"created_at":{created},"edited_at":{edited},"deleted_at":{deleted}}}}}"#)
}

async fn append(database: &mut PgConnection, conversation: i64, facts: &[String]) {
    let count = facts.len();
    let append = sqlx::query(APPEND).bind(count as i64).bind(vec![conversation; count]).bind(vec![None::<i64>; count]);
    append.bind(facts).bind(vec![chrono::Utc::now(); count]).execute(database).await.unwrap();
}

pub(crate) async fn insert_upload(database: &mut PgConnection, name: &str, owner: i64) {
    let insert = sqlx::query(INSERT_UPLOAD).bind(name).bind(owner).bind("image/png").bind(9_i64);
    insert.bind(chrono::DateTime::UNIX_EPOCH).execute(database).await.unwrap();
}

/// Renews held-message leases. True if the node was known.
pub(crate) async fn attend(database: &mut PgConnection, node: Uuid, partner: i64) -> bool {
    let attend = sqlx::query(ATTEND).bind(node).bind(chrono::Utc::now()).bind(vec![partner]);
    attend.fetch_one(database).await.unwrap().get(0)
}
