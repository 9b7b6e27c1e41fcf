//! SQLite statements of the import of rows of other systems.

use std::{collections::HashMap, ops::RangeFrom};

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{PASS_OVER, SqliteTx, get, hex, list, micros};
use crate::{
    Attachment, AttachmentId, Conversation, ConversationId, Error, GroupId, Import, ImportedAttachment, ImportedConversation,
    ImportedGroup, ImportedMessage, ImportedParticipant, ImportedUser, Locked, Member, Message, MessageLocation, MessageSide,
    Metadata, NewPartner, PartnerId, Result, Revision, Timestamp, UserId, WriteImport, WriteMessages,
    fold::fold_person,
    import::{
        MessagePlan, ReadMarks, expect_same_conversations, imported_files, locked_last_seq, partners_of_users, record_import,
    },
};

/// A trigger of the schema forgets the folded text of a person who still has the same; the last statement restores it.
const PUT_PARTNERS: &str = "INSERT INTO partners (id, name, email, phone, mobile, folded)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each($1) WHERE true
    ON CONFLICT (id) DO UPDATE SET name = excluded.name, email = excluded.email, phone = excluded.phone,
        mobile = excluded.mobile, folded = excluded.folded;
    UPDATE partners SET folded = new.value ->> 5 FROM json_each($1) new
    WHERE partners.id = new.value ->> 0 AND folded IS NULL";
const USERS: &str = "SELECT id, uuid, partner_id FROM users WHERE id IN (SELECT value FROM json_each($1))";
const PUT_USERS: &str =
    "INSERT INTO users AS known (id, uuid, partner_id, login, password_hash, role, active, language, time_zone,
        profile, created_at, external_id)
    SELECT value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        value ->> 8, value ->> 9, value ->> 10, value ->> 11
    FROM json_each($1) WHERE true
    ON CONFLICT (id) DO UPDATE SET login = coalesce(excluded.login, known.login),
        password_hash = coalesce(excluded.password_hash, known.password_hash), role = excluded.role, active = excluded.active,
        language = excluded.language, time_zone = excluded.time_zone, profile = excluded.profile,
        created_at = excluded.created_at, external_id = coalesce(excluded.external_id, known.external_id)";
const PUT_GROUPS: &str = "INSERT INTO groups (id, name) SELECT value ->> 0, value ->> 1 FROM json_each($1) WHERE true
    ON CONFLICT (id) DO UPDATE SET name = excluded.name";
const PUT_MEMBERS: &str = "DELETE FROM group_members WHERE group_id IN (SELECT value FROM json_each($1))
        AND (group_id, user_id) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each($2));
    INSERT INTO group_members (group_id, user_id) SELECT value ->> 0, value ->> 1 FROM json_each($2) WHERE true
    ON CONFLICT DO NOTHING";
const CONVERSATIONS: &str = "SELECT id, uuid FROM conversations WHERE id IN (SELECT value FROM json_each($1))";
/// Triggers of the schema follow a change of the kind.
const PUT_CONVERSATIONS: &str =
    "INSERT INTO conversations AS known (id, uuid, kind, thread_type, name, created_at, group_id, closed_at,
        external_id, began_direct)
    SELECT value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        value ->> 8, value ->> 9 OR value ->> 2 = 'direct'
    FROM json_each($1) WHERE true
    ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, thread_type = excluded.thread_type, name = excluded.name,
        created_at = excluded.created_at, group_id = excluded.group_id, closed_at = coalesce(excluded.closed_at, known.closed_at),
        external_id = coalesce(excluded.external_id, known.external_id),
        began_direct = known.began_direct OR excluded.began_direct";
const PUT_DOCUMENTS: &str = "DELETE FROM conversation_documents WHERE conversation_id IN (SELECT value FROM json_each($1))
        AND (conversation_id, model, record_id) NOT IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($2));
    INSERT INTO conversation_documents (conversation_id, model, record_id)
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($2) WHERE true ON CONFLICT DO NOTHING";
/// Returns a row for each session whose sides have accounts.
const PUT_SUPPORT: &str = "INSERT INTO support_sessions
        (conversation_id, initiator_id, initiator_pinged_at, joiner_id, joiner_pinged_at)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each($1)
    WHERE EXISTS (SELECT 1 FROM users WHERE partner_id = value ->> 1)
        AND (value ->> 3 IS NULL OR EXISTS (SELECT 1 FROM users WHERE partner_id = value ->> 3))
    ON CONFLICT (conversation_id) DO UPDATE SET initiator_id = excluded.initiator_id,
        initiator_pinged_at = excluded.initiator_pinged_at, joiner_id = excluded.joiner_id,
        joiner_pinged_at = excluded.joiner_pinged_at
    RETURNING conversation_id";
const PUT_ATTACHMENTS: &str = "INSERT INTO attachments
        (id, object, name, mimetype, size_bytes, access_token, owner_id, created_at, sha256, width, height, duration_milliseconds)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
        unhex(value ->> 8), value ->> 9, value ->> 10, value ->> 11
    FROM json_each($1) WHERE true ON CONFLICT (id) DO NOTHING";
/// Inserts messages, and lets conversations and participants follow them: a deleted message is unread for nobody, and its
/// author's own is not for the author.
const INSERT_MESSAGES: &str =
    "INSERT INTO messages (id, conversation_id, seq, author_id, message_type, body, metadata, has_attachments,
        external_id, reply_to_id, support_side, held, created_at, edited_at, edited_by, deleted_at, deleted_by)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 ->> 0, value ->> 4 ->> 1, value ->> 4 ->> 2,
        value ->> 4 ->> 3, value ->> 4 ->> 4, value ->> 4 ->> 5, value ->> 5, value ->> 6, value ->> 7, value ->> 4 ->> 6,
        value ->> 4 ->> 7, value ->> 8, value ->> 9
    FROM json_each($1);
    UPDATE conversations SET last_seq = newest.value ->> 1, last_message_id = newest.value ->> 2,
        last_message_at = newest.value ->> 3
    FROM json_each($2) newest WHERE conversations.id = newest.value ->> 0;
    UPDATE participants SET own_after = own_after + (gone.value ->> 1)
    FROM json_each($3) gone WHERE conversation_id = gone.value ->> 0;
    UPDATE participants SET own_after = own_after + (wrote.value ->> 2), last_own_id = wrote.value ->> 3
    FROM json_each($4) wrote WHERE conversation_id = wrote.value ->> 0 AND partner_id = wrote.value ->> 1";
/// Columns that change: type, text, metadata, with or without files, external id, answered message, edit.
type Content<'a> =
    (&'static str, &'a str, Option<&'a str>, bool, Option<&'a str>, Option<crate::MessageId>, Option<i64>, Option<PartnerId>);
const UPDATE_MESSAGES: &str = "UPDATE messages SET message_type = now.value ->> 1 ->> 0, body = now.value ->> 1 ->> 1,
        metadata = now.value ->> 1 ->> 2, has_attachments = has_attachments OR (now.value ->> 1 ->> 3),
        external_id = now.value ->> 1 ->> 4, reply_to_id = now.value ->> 1 ->> 5, edited_at = now.value ->> 1 ->> 6,
        edited_by = now.value ->> 1 ->> 7
    FROM json_each($1) now WHERE messages.id = now.value ->> 0";
/// Moves the files of changed messages out of the way of their new ones.
const SET_FILES_ASIDE: &str =
    "UPDATE message_attachments SET place = -1 - place WHERE message_id IN (SELECT value FROM json_each($1))";
/// A trigger of the schema deletes the files that no message holds any longer.
const DROP_FILES_ASIDE: &str =
    "DELETE FROM message_attachments WHERE message_id IN (SELECT value FROM json_each($1)) AND place < 0";
const PUT_REACTIONS: &str = "DELETE FROM reactions WHERE message_id IN (SELECT value FROM json_each($1))
        AND (message_id, partner_id, content) NOT IN (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($2));
    UPDATE messages SET has_reactions = true WHERE id IN (SELECT value ->> 0 FROM json_each($2)) AND NOT has_reactions;
    INSERT INTO reactions (message_id, partner_id, content, at)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each($2) WHERE true
    ON CONFLICT (message_id, content, partner_id) DO UPDATE SET at = excluded.at";
const READERS: &str = "SELECT p.conversation_id, p.partner_id, p.read_seq, p.seen_seq, p.visible_from_seq
    FROM json_each($1) asked
    CROSS JOIN participants p ON p.conversation_id = asked.value ->> 0 AND p.partner_id = asked.value ->> 1";
/// Newest messages of the authors are read once for each conversation with new participants.
const PUT_PARTICIPANTS: &str = "WITH wrote AS MATERIALIZED (
        SELECT m.conversation_id, m.author_id, max(m.id) AS last_id, max(m.seq) AS last_seq
        FROM messages m WHERE m.conversation_id IN (SELECT value FROM json_each($2)) GROUP BY m.conversation_id, m.author_id
    )
    INSERT INTO participants (conversation_id, partner_id, joined_at, window_state, shelf, role, muted_until,
        visible_from_seq, read_seq, seen_seq, own_after, last_own_id)
    SELECT new.value ->> 0, new.value ->> 1, new.value ->> 2, new.value ->> 3, new.value ->> 4, new.value ->> 5,
        new.value ->> 6, new.value ->> 7, new.value ->> 8, new.value ->> 9, (
            SELECT count(*) FROM messages m
            WHERE m.conversation_id = new.value ->> 0 AND m.seq > new.value ->> 8
                AND (m.author_id = new.value ->> 1 OR m.deleted_at IS NOT NULL)
        ), wrote.last_id
    FROM json_each($1) new
    LEFT JOIN wrote ON wrote.conversation_id = new.value ->> 0 AND wrote.author_id = new.value ->> 1
        AND wrote.last_seq > new.value ->> 7
    WHERE true
    ON CONFLICT (conversation_id, partner_id) DO UPDATE SET window_state = excluded.window_state, shelf = excluded.shelf,
        role = excluded.role, muted_until = excluded.muted_until, read_seq = excluded.read_seq, seen_seq = excluded.seen_seq,
        own_after = excluded.own_after";

impl SqliteTx {
    /// Draws an id for each row without one. The sequence then goes on above all given ids.
    async fn ids(&mut self, sequence: &'static str, given: &[Option<i64>]) -> Result<RangeFrom<i64>> {
        if let Some(highest) = given.iter().flatten().max() {
            self.rows(sqlx::query(PASS_OVER).bind(sequence).bind(*highest)).await?;
        }
        let missing = given.iter().filter(|id| id.is_none()).count();
        if missing == 0 {
            return Ok(0..);
        }
        Ok(self.draw(sequence, missing).await?..)
    }

    /// The id of each row, given or drawn.
    async fn all_ids(&mut self, sequence: &'static str, given: &[Option<i64>]) -> Result<Vec<i64>> {
        let mut drawn = self.ids(sequence, given).await?;
        let id = |given: &Option<i64>| given.or_else(|| drawn.next()).expect("ids do not run out");
        Ok(given.iter().map(id).collect())
    }

    async fn put_partners<'a>(&mut self, ids: &[i64], partners: impl Iterator<Item = &'a NewPartner>) -> Result<()> {
        let rows = ids.iter().zip(partners).map(|(id, NewPartner { name, email, phone, mobile, .. })| {
            (id, name, email, phone, mobile, fold_person(name, email.as_deref(), phone.as_deref()))
        });
        self.rows(sqlx::query(PUT_PARTNERS).bind(list(rows))).await.map(drop)
    }

    async fn put_support(&mut self, ids: &[i64], conversations: &[ImportedConversation]) -> Result<()> {
        let side = |(partner, at): (PartnerId, Timestamp)| (partner, micros(at));
        let sessions = ids.iter().zip(conversations).filter_map(|(id, row)| {
            let (sides, joiner) = (row.support?, row.support?.joiner.map(side));
            let (initiator, pinged_at) = side(sides.initiator);
            Some((id, initiator, pinged_at, joiner.map(|(partner, _)| partner), joiner.map(|(_, at)| at)))
        });
        let sessions: Vec<_> = sessions.collect();
        if sessions.is_empty() {
            return Ok(());
        }
        let stored = self.rows(sqlx::query(PUT_SUPPORT).bind(list(&sessions))).await?;
        if stored.len() == sessions.len() { Ok(()) } else { Err(Error::Internal("a side of support has no account".into())) }
    }

    async fn put_new_messages(&mut self, new: &[Message]) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let rows = new.iter().map(|message| {
            (
                (message.id, message.conversation, message.seq, message.author.partner, content(message)),
                (message.support_side.map(MessageSide::as_str), message.held, micros(message.created_at)),
                (message.deleted_at.map(micros), message.deleted_by),
            )
        });
        let rows = rows.map(|((id, of, seq, author, content), (side, held, created), (deleted, by))| {
            (id, of, seq, author, content, side, held, created, deleted, by)
        });
        let (mut newest, mut gone, mut wrote) = (HashMap::new(), HashMap::new(), HashMap::new());
        for Message { id, conversation: of, seq, author, created_at, deleted_at, .. } in new {
            newest.insert(of, (seq, id, micros(*created_at)));
            let (messages, last) = wrote.entry((of, author.partner)).or_insert((0, id));
            *last = id;
            match deleted_at {
                Some(_) => *gone.entry(of).or_insert(0) += 1,
                None => *messages += 1,
            }
        }
        let insert = sqlx::query(INSERT_MESSAGES)
            .bind(list(rows))
            .bind(list(newest.into_iter().map(|(of, (seq, id, at))| (of, seq, id, at))))
            .bind(list(gone))
            .bind(list(wrote.into_iter().map(|((of, by), (messages, last))| (of, by, messages, last))));
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
        let rows = list(now.iter().map(|message| (message.id, content(message))));
        self.rows(sqlx::query(UPDATE_MESSAGES).bind(rows)).await?;
        if !with_other_files.is_empty() {
            let ids = list(with_other_files.iter().map(|message| message.id));
            self.rows(sqlx::query(SET_FILES_ASIDE).bind(&ids)).await?;
            self.insert_message_attachments(&with_other_files).await?;
            self.rows(sqlx::query(DROP_FILES_ASIDE).bind(ids)).await?;
        }
        self.rewrite_copies(&now).await
    }

    async fn put_reactions(&mut self, plan: &MessagePlan, messages: &[ImportedMessage]) -> Result<()> {
        if plan.reacted.is_empty() {
            return Ok(());
        }
        let reactions = plan.reactions(messages);
        let reactions = reactions.map(|(id, reaction)| (id, reaction.partner, &reaction.content, micros(reaction.at)));
        let put = sqlx::query(PUT_REACTIONS).bind(list(plan.reacted.iter().map(|(id, _)| id))).bind(list(reactions));
        self.rows(put).await.map(drop)
    }
}

fn content(message: &Message) -> Content<'_> {
    (
        message.message_type.as_str(),
        &message.body,
        message.metadata.as_ref().map(Metadata::json),
        !message.attachments.is_empty(),
        message.external_id.as_deref(),
        message.reply_to,
        message.edited_at.map(micros),
        message.edited_by,
    )
}

impl WriteImport for SqliteTx {
    fn import(&mut self, at: Timestamp) -> &mut dyn Import {
        record_import(&mut self.facts, at);
        self
    }
}

#[async_trait]
impl Import for SqliteTx {
    async fn import_partners(&mut self, partners: &[NewPartner]) -> Result<Vec<PartnerId>> {
        let given: Vec<_> = partners.iter().map(|new| new.id.map(|id| id.0)).collect();
        let ids = self.all_ids("people_id", &given).await?;
        self.put_partners(&ids, partners.iter()).await?;
        Ok(ids.into_iter().map(PartnerId).collect())
    }

    async fn import_users(&mut self, users: &[ImportedUser]) -> Result<Vec<(UserId, PartnerId)>> {
        let uids: Vec<_> = users.iter().map(|row| row.user.id.map(|id| id.0)).collect();
        let known = self.rows(sqlx::query(USERS).bind(list(uids.iter().flatten()))).await?;
        let known = known.iter().map(|row| Ok((get(row, "id")?, (get(row, "uuid")?, get(row, "partner_id")?))));
        let known: HashMap<i64, (Uuid, i64)> = known.collect::<Result<_>>()?;
        let partners = partners_of_users(users, &known)?;
        let all_given: Vec<_> = uids.iter().chain(&partners).copied().filter(Option::is_some).collect();
        self.all_ids("people_id", &all_given).await?;
        let (uids, partners) = (self.all_ids("people_id", &uids).await?, self.all_ids("people_id", &partners).await?);
        self.put_partners(&partners, users.iter().map(|row| &row.user.partner)).await?;
        let rows = users.iter().zip(&uids).zip(&partners).map(|((ImportedUser { user, active }, id), partner)| {
            let password = user.password.as_ref().map(|hash| &hash.0);
            let (profile, created_at) = (user.profile.to_string(), micros(user.created_at));
            let uuid = hex(user.uuid.as_bytes());
            let (role, language, time_zone) = (user.role.as_str(), &user.language, &user.time_zone);
            let (login, external_id) = (&user.login, &user.external_id);
            (id, uuid, partner, login, password, role, active, language, time_zone, profile, created_at, external_id)
        });
        self.rows(sqlx::query(PUT_USERS).bind(list(rows))).await?;
        Ok(uids.into_iter().map(UserId).zip(partners.into_iter().map(PartnerId)).collect())
    }

    async fn import_groups(&mut self, groups: &[ImportedGroup]) -> Result<Vec<GroupId>> {
        let given: Vec<_> = groups.iter().map(|row| row.id.map(|id| id.0)).collect();
        let ids = self.all_ids("groups_id", &given).await?;
        self.rows(sqlx::query(PUT_GROUPS).bind(list(ids.iter().zip(groups).map(|(id, row)| (id, &row.name))))).await?;
        let members = ids.iter().zip(groups).flat_map(|(id, row)| row.members.iter().map(move |member| (id, member)));
        self.rows(sqlx::query(PUT_MEMBERS).bind(list(&ids)).bind(list(members))).await?;
        Ok(ids.into_iter().map(GroupId).collect())
    }

    async fn import_conversations(&mut self, conversations: &[ImportedConversation]) -> Result<Vec<ConversationId>> {
        let given: Vec<_> = conversations.iter().map(|row| row.id.map(|id| id.0)).collect();
        let known = self.rows(sqlx::query(CONVERSATIONS).bind(list(given.iter().flatten()))).await?;
        let known = known.iter().map(|row| Ok((get(row, "id")?, get(row, "uuid")?)));
        let known: HashMap<i64, Uuid> = known.collect::<Result<_>>()?;
        expect_same_conversations(conversations, &known)?;
        let ids = self.all_ids("conversations_id", &given).await?;
        let rows = ids.iter().zip(conversations).map(|(id, row)| {
            let (kind, thread_type) = (row.kind.as_str(), row.thread_type.as_str());
            let (created_at, closed_at) = (micros(row.created_at), row.closed_at.map(micros));
            let uuid = hex(row.uuid.as_bytes());
            (id, uuid, kind, thread_type, &row.name, created_at, row.group, closed_at, &row.external_id, row.began_direct)
        });
        self.rows(sqlx::query(PUT_CONVERSATIONS).bind(list(rows))).await?;
        let documents = ids.iter().zip(conversations);
        let documents =
            documents.flat_map(|(id, row)| row.documents.iter().map(move |document| (id, &document.model, document.id)));
        self.rows(sqlx::query(PUT_DOCUMENTS).bind(list(&ids)).bind(list(documents))).await?;
        self.put_support(&ids, conversations).await?;
        Ok(ids.into_iter().map(ConversationId).collect())
    }

    async fn import_attachments(&mut self, files: &[ImportedAttachment]) -> Result<Vec<Attachment>> {
        let given: Vec<_> = files.iter().map(|row| row.id.map(|id| id.0)).collect();
        let ids = self.all_ids("attachments_id", &given).await?;
        let rows = ids.iter().zip(files).map(|(id, ImportedAttachment { file, .. })| {
            let (media, created_at) = (&file.media, micros(file.created_at));
            (
                (id, &file.object, &file.name, &file.mimetype, file.size_bytes, &file.access_token, file.owner, created_at),
                (&media.sha256, media.width, media.height, media.duration_milliseconds),
            )
        });
        let rows = rows.map(|((id, object, name, mimetype, size, token, owner, at), (sha256, width, height, duration))| {
            (id, object, name, mimetype, size, token, owner, at, sha256, width, height, duration)
        });
        self.rows(sqlx::query(PUT_ATTACHMENTS).bind(list(rows))).await?;
        let ids: Vec<_> = ids.into_iter().map(AttachmentId).collect();
        let stored = self.attachments_to_send(&ids).await?;
        imported_files(&ids, files, stored)
    }

    async fn import_messages(
        &mut self,
        to: Vec<Locked<Conversation>>,
        messages: &[ImportedMessage],
    ) -> Result<Vec<MessageLocation>> {
        let given: Vec<_> = messages.iter().map(|row| row.id.map(|id| id.0)).collect();
        let drawn = self.ids("messages_id", &given).await?;
        let stored = self.messages_as_they_are(given.into_iter().flatten().collect()).await?;
        let mut plan = MessagePlan::new(&to, messages, stored, drawn)?;
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
        let asked = list(participants.iter().map(|row| (row.conversation, row.partner)));
        let known = self.rows(sqlx::query(READERS).bind(asked)).await?;
        let known = known.iter().map(read_marks).collect::<Result<HashMap<_, _>>>()?;
        let (mut rows, mut grown) = (Vec::with_capacity(participants.len()), Vec::new());
        for row in participants {
            let stored = known.get(&(row.conversation.0, row.partner.0)).copied();
            let marks = row.marks(locked_last_seq(of, row.conversation)?, stored);
            let ReadMarks { read_seq, seen_seq, visible_from_seq } = marks;
            let (window, folder, role) = (row.window.as_str(), row.folder.as_str(), row.status.role.as_str());
            let (joined_at, muted) = (micros(row.joined_at), row.status.muted_until.map(micros));
            let positions = (visible_from_seq, read_seq, seen_seq);
            rows.push((
                row.conversation,
                row.partner,
                joined_at,
                window,
                folder,
                role,
                muted,
                positions.0,
                positions.1,
                positions.2,
            ));
            if stored.is_none() {
                grown.push(row.conversation);
                self.imported.push((row.conversation, Member { partner: row.partner, visible_from_seq }));
            }
        }
        self.rows(sqlx::query(PUT_PARTICIPANTS).bind(list(rows)).bind(list(grown))).await.map(drop)
    }
}

fn read_marks(row: &SqliteRow) -> Result<((i64, i64), ReadMarks)> {
    let marks = ReadMarks {
        read_seq: get(row, "read_seq")?,
        seen_seq: get(row, "seen_seq")?,
        visible_from_seq: get(row, "visible_from_seq")?,
    };
    Ok(((get(row, "conversation_id")?, get(row, "partner_id")?), marks))
}
