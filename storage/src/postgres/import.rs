//! PostgreSQL statements of the import of rows of other systems. Each takes its locks in the order of ids.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::{PostgresTx, get, limit};
use crate::{
    Attachment, AttachmentId, Conversation, ConversationId, Error, GroupId, Import, ImportedAttachment, ImportedConversation,
    ImportedGroup, ImportedMessage, ImportedParticipant, ImportedUser, Locked, Member, Message, MessageLocation, MessageSide,
    Metadata, NewPartner, PartnerId, Result, Revision, Timestamp, UserId, WriteImport, WriteMessages,
    fold::fold_person,
    import::{
        MessagePlan, ReadMarks, expect_same_conversations, imported_files, locked_last_seq, partners_of_users, record_import,
    },
};

/// Advances a sequence beyond ids that were not drawn from it.
const PASS_OVER: &str = "SELECT setval($1::text::regclass, $2)
    WHERE coalesce(pg_sequence_last_value($1::text::regclass), 0) < $2";
const DRAW: &str = "SELECT nextval($1::text::regclass) AS id FROM generate_series(1, $2)";
const PUT_PARTNERS: &str = "INSERT INTO partners (id, name, email, phone, mobile, folded)
    SELECT id, name, email, phone, mobile, folded
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
        AS new(id, name, email, phone, mobile, folded) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, phone = excluded.phone,
        mobile = excluded.mobile, folded = excluded.folded";
/// A trigger of the schema has forgotten the folded text of a person who still has the same.
const REFOLD: &str = "UPDATE partners p SET folded = new.folded FROM unnest($1::bigint[], $2::text[]) AS new(id, folded)
    WHERE p.id = new.id AND p.folded IS NULL";
const LOCK_USERS: &str = "SELECT id, uuid, partner_id FROM users WHERE id = ANY ($1) ORDER BY id FOR UPDATE";
const PUT_USERS: &str =
    "INSERT INTO users AS known (id, uuid, partner_id, login, password_hash, role, active, language, time_zone,
        profile, created_at, external_id)
    SELECT id, uuid, partner_id, login, password_hash, role, active, language, time_zone, profile::json, created_at, external_id
    FROM unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::text[], $9::text[],
            $10::text[], $11::timestamptz[], $12::text[])
        AS new(id, uuid, partner_id, login, password_hash, role, active, language, time_zone, profile, created_at, external_id)
    ORDER BY id
    ON CONFLICT (id) DO UPDATE SET login = coalesce(excluded.login, known.login),
        password_hash = coalesce(excluded.password_hash, known.password_hash), role = excluded.role, active = excluded.active,
        language = excluded.language, time_zone = excluded.time_zone, profile = excluded.profile,
        created_at = excluded.created_at, external_id = coalesce(excluded.external_id, known.external_id)";
const PUT_GROUPS: &str = "INSERT INTO groups (id, name)
    SELECT id, name FROM unnest($1::bigint[], $2::text[]) AS new(id, name) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET name = excluded.name";
const PUT_MEMBERS: &str = "WITH given AS MATERIALIZED (
        SELECT DISTINCT group_id, user_id FROM unnest($2::bigint[], $3::bigint[]) AS new(group_id, user_id)
    ), gone AS (
        DELETE FROM group_members m WHERE m.group_id = ANY ($1) AND NOT EXISTS (
            SELECT FROM given WHERE given.group_id = m.group_id AND given.user_id = m.user_id
        )
    )
    INSERT INTO group_members (group_id, user_id) SELECT group_id, user_id FROM given ON CONFLICT DO NOTHING";
const LOCK_CONVERSATIONS: &str = "SELECT id, uuid FROM conversations WHERE id = ANY ($1) ORDER BY id FOR UPDATE";
/// Triggers of the schema follow a change of the kind.
const PUT_CONVERSATIONS: &str =
    "INSERT INTO conversations AS known (id, uuid, kind, thread_type, name, created_at, group_id, closed_at,
        external_id, began_direct)
    SELECT id, uuid, kind, thread_type, name, created_at, group_id, closed_at, external_id, began_direct OR kind = 'direct'
    FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bigint[], $8::timestamptz[],
            $9::text[], $10::boolean[])
        AS new(id, uuid, kind, thread_type, name, created_at, group_id, closed_at, external_id, began_direct) ORDER BY id
    ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, thread_type = excluded.thread_type, name = excluded.name,
        created_at = excluded.created_at, group_id = excluded.group_id, closed_at = coalesce(excluded.closed_at, known.closed_at),
        external_id = coalesce(excluded.external_id, known.external_id),
        began_direct = known.began_direct OR excluded.began_direct";
const PUT_DOCUMENTS: &str = "WITH given AS MATERIALIZED (
        SELECT DISTINCT conversation_id, model, record_id
        FROM unnest($2::bigint[], $3::text[], $4::bigint[]) AS new(conversation_id, model, record_id)
    ), gone AS (
        DELETE FROM conversation_documents d WHERE d.conversation_id = ANY ($1) AND NOT EXISTS (
            SELECT FROM given
            WHERE given.conversation_id = d.conversation_id AND given.model = d.model AND given.record_id = d.record_id
        )
    )
    INSERT INTO conversation_documents (conversation_id, model, record_id)
    SELECT conversation_id, model, record_id FROM given ON CONFLICT DO NOTHING";
/// Returns a row for each session whose sides have accounts.
const PUT_SUPPORT: &str = "INSERT INTO support_sessions
        (conversation_id, initiator_id, initiator_pinged_at, joiner_id, joiner_pinged_at)
    SELECT new.conversation_id, new.initiator_id, new.initiator_pinged_at, new.joiner_id, new.joiner_pinged_at
    FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::timestamptz[])
        AS new(conversation_id, initiator_id, initiator_pinged_at, joiner_id, joiner_pinged_at)
    JOIN users initiator ON initiator.partner_id = new.initiator_id LEFT JOIN users joiner ON joiner.partner_id = new.joiner_id
    WHERE new.joiner_id IS NULL OR joiner.id IS NOT NULL ORDER BY new.conversation_id
    ON CONFLICT (conversation_id) DO UPDATE SET initiator_id = excluded.initiator_id,
        initiator_pinged_at = excluded.initiator_pinged_at, joiner_id = excluded.joiner_id,
        joiner_pinged_at = excluded.joiner_pinged_at
    RETURNING conversation_id";
const PUT_ATTACHMENTS: &str = "INSERT INTO attachments
        (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, sha256, width, height, duration_milliseconds)
    SELECT id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, decode(sha256, 'hex'), width, height,
        duration_milliseconds
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::timestamptz[],
            $9::text[], $10::int[], $11::int[], $12::bigint[])
        AS new(id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, sha256, width, height,
            duration_milliseconds)
    ORDER BY id ON CONFLICT (id) DO NOTHING";
/// Inserts messages, and lets conversations and participants follow them: a deleted message is unread for nobody, and its
/// author's own is not for the author.
const INSERT_MESSAGES: &str = "WITH asked AS MATERIALIZED (
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                $8::boolean[], $9::text[], $10::bigint[], $11::text[], $12::boolean[], $13::timestamptz[], $14::timestamptz[],
                $15::bigint[], $16::timestamptz[], $17::bigint[])
            AS new(id, conversation_id, seq, author_id, message_type, body, metadata, has_attachments, external_id, reply_to_id,
                support_side, held, created_at, edited_at, edited_by, deleted_at, deleted_by)
    ), stored AS (
        INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, metadata, has_attachments, external_id,
            reply_to_id, support_side, held, created_at, edited_at, edited_by, deleted_at, deleted_by)
        SELECT id, conversation_id, seq, author_id, message_type, body, metadata::json, has_attachments, external_id,
            reply_to_id, support_side, held, created_at, edited_at, edited_by, deleted_at, deleted_by
        FROM asked ORDER BY id
    ), newest AS MATERIALIZED (
        SELECT DISTINCT ON (conversation_id) conversation_id, id, seq, created_at FROM asked ORDER BY conversation_id, seq DESC
    ), moved AS (
        UPDATE conversations c
        SET last_seq = newest.seq, last_message_id = newest.id, last_message_at = newest.created_at
        FROM newest WHERE c.id = newest.conversation_id
    ), gone AS MATERIALIZED (
        SELECT conversation_id, count(*) AS messages FROM asked WHERE deleted_at IS NOT NULL GROUP BY conversation_id
    ), wrote AS MATERIALIZED (
        SELECT conversation_id, author_id, count(*) FILTER (WHERE deleted_at IS NULL) AS messages, max(id) AS last_id
        FROM asked GROUP BY conversation_id, author_id
    ), concerned AS MATERIALIZED (
        SELECT p.conversation_id, p.partner_id, wrote.last_id,
            coalesce(wrote.messages, 0) + coalesce(gone.messages, 0) AS messages
        FROM participants p
        LEFT JOIN wrote ON wrote.conversation_id = p.conversation_id AND wrote.author_id = p.partner_id
        LEFT JOIN gone ON gone.conversation_id = p.conversation_id
        WHERE p.conversation_id IN (SELECT conversation_id FROM newest)
            AND (wrote.messages IS NOT NULL OR gone.messages IS NOT NULL)
        ORDER BY p.conversation_id, p.partner_id FOR NO KEY UPDATE OF p
    )
    UPDATE participants p
    SET own_after = p.own_after + concerned.messages, last_own_id = coalesce(concerned.last_id, p.last_own_id)
    FROM concerned WHERE p.conversation_id = concerned.conversation_id AND p.partner_id = concerned.partner_id";
const UPDATE_MESSAGES: &str = "WITH asked AS MATERIALIZED (
        SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::bigint[],
                $8::timestamptz[], $9::bigint[])
            AS new(id, message_type, body, metadata, has_attachments, external_id, reply_to_id, edited_at, edited_by)
    ), locked AS MATERIALIZED (
        SELECT m.id FROM messages m WHERE m.id IN (SELECT id FROM asked) ORDER BY m.id FOR NO KEY UPDATE
    )
    UPDATE messages m SET message_type = asked.message_type, body = asked.body, metadata = asked.metadata::json,
        has_attachments = m.has_attachments OR asked.has_attachments, external_id = asked.external_id,
        reply_to_id = asked.reply_to_id, edited_at = asked.edited_at, edited_by = asked.edited_by
    FROM locked JOIN asked ON asked.id = locked.id WHERE m.id = locked.id";
/// Moves the files of changed messages out of the way of their new ones.
const SET_FILES_ASIDE: &str = "UPDATE message_attachments SET place = -1 - place WHERE message_id = ANY ($1)";
/// A trigger of the schema deletes the files that no message holds any longer.
const DROP_FILES_ASIDE: &str = "DELETE FROM message_attachments WHERE message_id = ANY ($1) AND place < 0";
const PUT_REACTIONS: &str = "WITH given AS MATERIALIZED (
        SELECT message_id, partner_id, content, at
        FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[]) AS new(message_id, partner_id, content, at)
    ), gone AS (
        DELETE FROM reactions r WHERE r.message_id = ANY ($1) AND NOT EXISTS (
            SELECT FROM given
            WHERE given.message_id = r.message_id AND given.partner_id = r.partner_id AND given.content = r.content
        )
    ), marked AS (
        UPDATE messages m SET has_reactions = true
        FROM (SELECT DISTINCT message_id FROM given) reacted WHERE m.id = reacted.message_id AND NOT m.has_reactions
    )
    INSERT INTO reactions (message_id, partner_id, content, at) SELECT message_id, partner_id, content, at FROM given
    ON CONFLICT (message_id, content, partner_id) DO UPDATE SET at = excluded.at";
/// First of two statements. Read positions stay where they are until the transaction ends.
const LOCK_READERS: &str = "SELECT p.conversation_id, p.partner_id, p.read_seq, p.seen_seq, p.visible_from_seq
    FROM unnest($1::bigint[], $2::bigint[]) AS asked(conversation_id, partner_id)
    JOIN participants p ON p.conversation_id = asked.conversation_id AND p.partner_id = asked.partner_id
    ORDER BY p.conversation_id, p.partner_id FOR NO KEY UPDATE OF p";
const PUT_PARTICIPANTS: &str = "WITH asked AS MATERIALIZED (
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::text[], $6::text[],
                $7::timestamptz[], $8::bigint[], $9::bigint[], $10::bigint[])
            AS new(conversation_id, partner_id, joined_at, window_state, shelf, role, muted_until, visible_from_seq, read_seq,
                seen_seq)
    ), wrote AS MATERIALIZED (
        SELECT m.conversation_id, m.author_id, max(m.id) AS last_id, max(m.seq) AS last_seq
        FROM messages m WHERE m.conversation_id = ANY ($11) GROUP BY m.conversation_id, m.author_id
    )
    INSERT INTO participants (conversation_id, partner_id, joined_at, window_state, shelf, role, muted_until,
        visible_from_seq, read_seq, seen_seq, own_after, last_own_id)
    SELECT asked.conversation_id, asked.partner_id, asked.joined_at, asked.window_state, asked.shelf, asked.role,
        asked.muted_until, asked.visible_from_seq, asked.read_seq, asked.seen_seq, (
            SELECT count(*) FROM messages m
            WHERE m.conversation_id = asked.conversation_id AND m.seq > asked.read_seq
                AND (m.author_id = asked.partner_id OR m.deleted_at IS NOT NULL)
        ), wrote.last_id
    FROM asked LEFT JOIN wrote ON wrote.conversation_id = asked.conversation_id AND wrote.author_id = asked.partner_id
        AND wrote.last_seq > asked.visible_from_seq
    ORDER BY asked.conversation_id, asked.partner_id
    ON CONFLICT (conversation_id, partner_id) DO UPDATE SET window_state = excluded.window_state, shelf = excluded.shelf,
        role = excluded.role, muted_until = excluded.muted_until, read_seq = excluded.read_seq, seen_seq = excluded.seen_seq,
        own_after = excluded.own_after";

impl PostgresTx {
    /// Draws an id for each row without one. The sequence then goes on above all given ids.
    async fn ids(&mut self, sequence: &str, given: &[Option<i64>]) -> Result<Vec<i64>> {
        if let Some(highest) = given.iter().flatten().max() {
            self.rows(sqlx::query(PASS_OVER).bind(sequence).bind(highest)).await?;
        }
        let missing = given.iter().filter(|id| id.is_none()).count();
        if missing == 0 {
            return Ok(Vec::new());
        }
        let drawn = self.rows(sqlx::query(DRAW).bind(sequence).bind(limit(missing))).await?;
        Ok(drawn.iter().map(|row| get(row, "id")).collect::<sqlx::Result<_>>()?)
    }

    /// The id of each row, given or drawn.
    async fn all_ids(&mut self, sequence: &str, given: Vec<Option<i64>>) -> Result<Vec<i64>> {
        let mut drawn = self.ids(sequence, &given).await?.into_iter();
        let id = |given: Option<i64>| given.or_else(|| drawn.next()).expect("an id is drawn for each row without one");
        Ok(given.into_iter().map(id).collect())
    }

    async fn put_partners(&mut self, ids: &[i64], partners: &[&NewPartner]) -> Result<()> {
        let folded = partners.iter().map(|new| fold_person(&new.name, new.email.as_deref(), new.phone.as_deref()));
        let folded: Vec<String> = folded.collect();
        let put = sqlx::query(PUT_PARTNERS)
            .bind(ids)
            .bind(column(partners, |new| new.name.as_str()))
            .bind(column(partners, |new| new.email.as_deref()))
            .bind(column(partners, |new| new.phone.as_deref()))
            .bind(column(partners, |new| new.mobile.as_deref()))
            .bind(&folded);
        self.rows(put).await?;
        self.rows(sqlx::query(REFOLD).bind(ids).bind(&folded)).await.map(drop)
    }

    async fn put_support(&mut self, ids: &[i64], conversations: &[ImportedConversation]) -> Result<()> {
        let sessions: Vec<_> = ids.iter().zip(conversations).filter_map(|(id, row)| Some((*id, row.support?))).collect();
        if sessions.is_empty() {
            return Ok(());
        }
        let put = sqlx::query(PUT_SUPPORT)
            .bind(column(&sessions, |(id, _)| *id))
            .bind(column(&sessions, |(_, sides)| sides.initiator.0.0))
            .bind(column(&sessions, |(_, sides)| sides.initiator.1))
            .bind(column(&sessions, |(_, sides)| sides.joiner.map(|(partner, _)| partner.0)))
            .bind(column(&sessions, |(_, sides)| sides.joiner.map(|(_, at)| at)));
        let stored = self.rows(put).await?;
        if stored.len() == sessions.len() { Ok(()) } else { Err(Error::Internal("a side of support has no account".into())) }
    }

    async fn put_new_messages(&mut self, new: &[Message]) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let insert = sqlx::query(INSERT_MESSAGES)
            .bind(column(new, |message| message.id.0))
            .bind(column(new, |message| message.conversation.0))
            .bind(column(new, |message| message.seq))
            .bind(column(new, |message| message.author.partner.0))
            .bind(column(new, |message| message.message_type.as_str()))
            .bind(column(new, |message| message.body.as_str()))
            .bind(column(new, |message| message.metadata.as_ref().map(Metadata::json)))
            .bind(column(new, |message| !message.attachments.is_empty()))
            .bind(column(new, |message| message.external_id.as_deref()))
            .bind(column(new, |message| message.reply_to.map(|id| id.0)))
            .bind(column(new, |message| message.support_side.map(MessageSide::as_str)))
            .bind(column(new, |message| message.held))
            .bind(column(new, |message| message.created_at))
            .bind(column(new, |message| message.edited_at))
            .bind(column(new, |message| message.edited_by.map(|by| by.0)))
            .bind(column(new, |message| message.deleted_at))
            .bind(column(new, |message| message.deleted_by.map(|by| by.0)));
        self.rows(insert).await?;
        self.insert_message_attachments(new).await
    }

    async fn put_changed_messages(&mut self, changed: Vec<(Message, Message)>) -> Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        let with_other_files = changed.iter().filter(|(before, now)| before.attachments != now.attachments);
        let with_other_files: Vec<Message> = with_other_files.map(|(_, now)| now.clone()).collect();
        let now: Vec<Message> = changed.into_iter().map(|(_, now)| now).collect();
        let update = sqlx::query(UPDATE_MESSAGES)
            .bind(column(&now, |message| message.id.0))
            .bind(column(&now, |message| message.message_type.as_str()))
            .bind(column(&now, |message| message.body.as_str()))
            .bind(column(&now, |message| message.metadata.as_ref().map(Metadata::json)))
            .bind(column(&now, |message| !message.attachments.is_empty()))
            .bind(column(&now, |message| message.external_id.as_deref()))
            .bind(column(&now, |message| message.reply_to.map(|id| id.0)))
            .bind(column(&now, |message| message.edited_at))
            .bind(column(&now, |message| message.edited_by.map(|by| by.0)));
        self.rows(update).await?;
        if !with_other_files.is_empty() {
            let ids = column(&with_other_files, |message| message.id.0);
            self.rows(sqlx::query(SET_FILES_ASIDE).bind(&ids)).await?;
            self.insert_message_attachments(&with_other_files).await?;
            self.rows(sqlx::query(DROP_FILES_ASIDE).bind(&ids)).await?;
        }
        self.rewrite_copies(&now).await
    }

    async fn put_reactions(&mut self, plan: &MessagePlan, messages: &[ImportedMessage]) -> Result<()> {
        if plan.reacted.is_empty() {
            return Ok(());
        }
        let reactions: Vec<_> = plan.reactions(messages).collect();
        let put = sqlx::query(PUT_REACTIONS)
            .bind(column(&plan.reacted, |(id, _)| id.0))
            .bind(column(&reactions, |(id, _)| id.0))
            .bind(column(&reactions, |(_, reaction)| reaction.partner.0))
            .bind(column(&reactions, |(_, reaction)| reaction.content.as_str()))
            .bind(column(&reactions, |(_, reaction)| reaction.at));
        self.rows(put).await.map(drop)
    }
}

/// One column of rows.
fn column<'a, R, C>(rows: &'a [R], value: impl Fn(&'a R) -> C) -> Vec<C> {
    rows.iter().map(value).collect()
}

impl WriteImport for PostgresTx {
    fn import(&mut self, at: Timestamp) -> &mut dyn Import {
        record_import(&mut self.facts, at);
        self
    }
}

#[async_trait]
impl Import for PostgresTx {
    async fn import_partners(&mut self, partners: &[NewPartner]) -> Result<Vec<PartnerId>> {
        let ids = self.all_ids("people_id", column(partners, |new| new.id.map(|id| id.0))).await?;
        self.put_partners(&ids, &partners.iter().collect::<Vec<_>>()).await?;
        Ok(ids.into_iter().map(PartnerId).collect())
    }

    async fn import_users(&mut self, users: &[ImportedUser]) -> Result<Vec<(UserId, PartnerId)>> {
        let given: Vec<Option<i64>> = column(users, |row| row.user.id.map(|id| id.0));
        let known = self.rows(sqlx::query(LOCK_USERS).bind(given.iter().flatten().copied().collect::<Vec<i64>>())).await?;
        let known = known.iter().map(|row| Ok((get(row, "id")?, (get(row, "uuid")?, get(row, "partner_id")?))));
        let known: HashMap<i64, (uuid::Uuid, i64)> = known.collect::<sqlx::Result<_>>()?;
        let partners = partners_of_users(users, &known)?;
        let all_given = given.iter().chain(&partners).copied().flatten().map(Some).collect::<Vec<_>>();
        self.ids("people_id", &all_given).await?;
        let (uids, partners) = (self.all_ids("people_id", given).await?, self.all_ids("people_id", partners).await?);
        self.put_partners(&partners, &column(users, |row| &row.user.partner)).await?;
        let put = sqlx::query(PUT_USERS)
            .bind(&uids)
            .bind(column(users, |row| row.user.uuid))
            .bind(&partners)
            .bind(column(users, |row| row.user.login.as_deref()))
            .bind(column(users, |row| row.user.password.as_ref().map(|hash| hash.0.as_str())))
            .bind(column(users, |row| row.user.role.as_str()))
            .bind(column(users, |row| row.active))
            .bind(column(users, |row| row.user.language.as_str()))
            .bind(column(users, |row| row.user.time_zone.as_str()))
            .bind(column(users, |row| row.user.profile.to_string()))
            .bind(column(users, |row| row.user.created_at))
            .bind(column(users, |row| row.user.external_id.as_deref()));
        self.rows(put).await?;
        Ok(uids.into_iter().map(UserId).zip(partners.into_iter().map(PartnerId)).collect())
    }

    async fn import_groups(&mut self, groups: &[ImportedGroup]) -> Result<Vec<GroupId>> {
        let ids = self.all_ids("groups_id", column(groups, |row| row.id.map(|id| id.0))).await?;
        self.rows(sqlx::query(PUT_GROUPS).bind(&ids).bind(column(groups, |row| row.name.as_str()))).await?;
        let members = ids.iter().zip(groups).flat_map(|(id, row)| row.members.iter().map(|member| (*id, member.0)));
        let (of, members): (Vec<i64>, Vec<i64>) = members.unzip();
        self.rows(sqlx::query(PUT_MEMBERS).bind(&ids).bind(of).bind(members)).await?;
        Ok(ids.into_iter().map(GroupId).collect())
    }

    async fn import_conversations(&mut self, conversations: &[ImportedConversation]) -> Result<Vec<ConversationId>> {
        let given: Vec<Option<i64>> = column(conversations, |row| row.id.map(|id| id.0));
        let known =
            self.rows(sqlx::query(LOCK_CONVERSATIONS).bind(given.iter().flatten().copied().collect::<Vec<i64>>())).await?;
        let known = known.iter().map(|row| Ok((get(row, "id")?, get(row, "uuid")?)));
        let known: HashMap<i64, uuid::Uuid> = known.collect::<sqlx::Result<_>>()?;
        expect_same_conversations(conversations, &known)?;
        let ids = self.all_ids("conversations_id", given).await?;
        let put = sqlx::query(PUT_CONVERSATIONS)
            .bind(&ids)
            .bind(column(conversations, |row| row.uuid))
            .bind(column(conversations, |row| row.kind.as_str()))
            .bind(column(conversations, |row| row.thread_type.as_str()))
            .bind(column(conversations, |row| row.name.as_str()))
            .bind(column(conversations, |row| row.created_at))
            .bind(column(conversations, |row| row.group.map(|id| id.0)))
            .bind(column(conversations, |row| row.closed_at))
            .bind(column(conversations, |row| row.external_id.as_deref()))
            .bind(column(conversations, |row| row.began_direct));
        self.rows(put).await?;
        let documents = ids.iter().zip(conversations).flat_map(|(id, row)| row.documents.iter().map(|about| (*id, about)));
        let documents: Vec<_> = documents.collect();
        let put = sqlx::query(PUT_DOCUMENTS)
            .bind(&ids)
            .bind(column(&documents, |(id, _)| *id))
            .bind(column(&documents, |(_, about)| about.model.as_str()))
            .bind(column(&documents, |(_, about)| about.id));
        self.rows(put).await?;
        self.put_support(&ids, conversations).await?;
        Ok(ids.into_iter().map(ConversationId).collect())
    }

    async fn import_attachments(&mut self, files: &[ImportedAttachment]) -> Result<Vec<Attachment>> {
        let ids = self.all_ids("attachments_id", column(files, |row| row.id.map(|id| id.0))).await?;
        let put = sqlx::query(PUT_ATTACHMENTS)
            .bind(&ids)
            .bind(column(files, |row| row.file.object.as_str()))
            .bind(column(files, |row| row.file.name.as_str()))
            .bind(column(files, |row| row.file.mimetype.as_str()))
            .bind(column(files, |row| row.file.size_bytes))
            .bind(column(files, |row| row.file.access_token.as_str()))
            .bind(column(files, |row| row.file.owner.0))
            .bind(column(files, |row| row.file.created_at))
            .bind(column(files, |row| row.file.media.sha256.as_deref()))
            .bind(column(files, |row| row.file.media.width))
            .bind(column(files, |row| row.file.media.height))
            .bind(column(files, |row| row.file.media.duration_milliseconds));
        self.rows(put).await?;
        let ids: Vec<_> = ids.into_iter().map(AttachmentId).collect();
        let stored = self.attachments_to_send(&ids).await?;
        imported_files(&ids, files, stored)
    }

    async fn import_messages(
        &mut self,
        to: Vec<Locked<Conversation>>,
        messages: &[ImportedMessage],
    ) -> Result<Vec<MessageLocation>> {
        let given: Vec<Option<i64>> = column(messages, |row| row.id.map(|id| id.0));
        let drawn = self.ids("messages_id", &given).await?;
        let stored = self.messages_as_they_are(given.into_iter().flatten().collect()).await?;
        let mut plan = MessagePlan::new(&to, messages, stored, drawn.into_iter())?;
        self.put_new_messages(&plan.new).await?;
        self.put_changed_messages(std::mem::take(&mut plan.changed)).await?;
        self.put_reactions(&plan, messages).await?;
        for (of, id, Revision { by, at }) in plan.deleted {
            let of = to.iter().find(|locked| locked.id == of).expect("the plan has only locked ones");
            self.delete_message(of, id, by, at).await?;
        }
        Ok(plan.locations)
    }

    async fn import_participants(&mut self, of: &[Locked<Conversation>], participants: &[ImportedParticipant]) -> Result<()> {
        let conversations: Vec<i64> = column(participants, |row| row.conversation.0);
        let partners: Vec<i64> = column(participants, |row| row.partner.0);
        let known = self.rows(sqlx::query(LOCK_READERS).bind(&conversations).bind(&partners)).await?;
        let known = known.iter().map(read_marks).collect::<sqlx::Result<HashMap<_, _>>>()?;
        let stored = |row: &ImportedParticipant| known.get(&(row.conversation.0, row.partner.0)).copied();
        let marks = participants.iter().map(|row| Ok(row.marks(locked_last_seq(of, row.conversation)?, stored(row))));
        let marks = marks.collect::<Result<Vec<ReadMarks>>>()?;
        let new: Vec<_> = participants.iter().zip(&marks).filter(|(row, _)| stored(row).is_none()).collect();
        let put = sqlx::query(PUT_PARTICIPANTS)
            .bind(conversations)
            .bind(partners)
            .bind(column(participants, |row| row.joined_at))
            .bind(column(participants, |row| row.window.as_str()))
            .bind(column(participants, |row| row.folder.as_str()))
            .bind(column(participants, |row| row.status.role.as_str()))
            .bind(column(participants, |row| row.status.muted_until))
            .bind(column(&marks, |marks| marks.visible_from_seq))
            .bind(column(&marks, |marks| marks.read_seq))
            .bind(column(&marks, |marks| marks.seen_seq))
            .bind(column(&new, |(row, _)| row.conversation.0));
        let members = new
            .iter()
            .map(|(row, marks)| (row.conversation, Member { partner: row.partner, visible_from_seq: marks.visible_from_seq }));
        self.imported.extend(members);
        self.rows(put).await.map(drop)
    }
}

fn read_marks(row: &PgRow) -> sqlx::Result<((i64, i64), ReadMarks)> {
    let marks = ReadMarks {
        read_seq: get(row, "read_seq")?,
        seen_seq: get(row, "seen_seq")?,
        visible_from_seq: get(row, "visible_from_seq")?,
    };
    Ok(((get(row, "conversation_id")?, get(row, "partner_id")?), marks))
}
