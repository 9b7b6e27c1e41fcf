//! SQLite statements of conversations and participants.

pub(crate) mod read_positions;
pub(crate) mod support;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;

use super::{
    Sqlite, SqliteTx,
    accounts::users::person,
    get, limit, list,
    messages::message_rows::{last_message, last_message_columns, message_columns},
    micros, optional_time, partners_of, time, word,
};
use crate::{
    Conversation, ConversationId, ConversationKind, Conversations, Error, Folder, GroupId, InboxEntry, InboxFilter, ListSize,
    Locked, MessageId, NewConversation, Participant, ParticipantRole, ParticipantStatus, PartnerId, Person, Result, ThreadType,
    Timestamp, UnreadTotals, WindowState, WriteConversations,
    columns::{participant_columns, person_columns},
};

/// Columns that [`conversation`] reads, of `conversations AS c`.
macro_rules! conversation_columns {
    () => {
        "c.id AS conversation_id, c.uuid AS conversation_uuid, c.kind, c.thread_type, c.name AS conversation_name, \
         c.created_at AS conversation_created_at, c.group_id, c.last_seq, c.last_message_id, c.last_message_at, c.closed_at, \
         c.external_id AS conversation_external_id, c.began_direct OR c.kind = 'direct' AS began_direct, \
         (SELECT json_group_array(json_object('model', d.model, 'id', d.record_id) ORDER BY d.model, d.record_id) \
          FROM conversation_documents d WHERE d.conversation_id = c.id) AS documents"
    };
}

pub(crate) use conversation_columns;

const CONVERSATION: &str = concat!("SELECT ", conversation_columns!(), " FROM conversations c WHERE c.id = $1");
const CONVERSATION_SEEN_BY: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    ", ",
    participant_columns!(),
    ", ",
    person_columns!(),
    " FROM conversations c
      LEFT JOIN participants p ON p.conversation_id = c.id AND p.partner_id = $2
      LEFT JOIN partners person ON person.id = p.partner_id
      LEFT JOIN users account ON account.partner_id = p.partner_id
      WHERE c.id = $1"
);
const PARTICIPANTS: &str = concat!(
    "SELECT ",
    participant_columns!(),
    ", ",
    person_columns!(),
    " FROM conversations c
      JOIN participants p ON p.conversation_id = c.id
      JOIN partners person ON person.id = p.partner_id
      LEFT JOIN users account ON account.partner_id = p.partner_id
      WHERE c.id = $1 ORDER BY p.joined_at, p.partner_id"
);
const PEOPLE_IN: &str = concat!(
    "SELECT own.places, ",
    person_columns!(),
    " FROM (
          SELECT listed.partner_id, json_group_array(json_array(listed.conversation_id, listed.joined_at)) AS places
          FROM (SELECT DISTINCT value AS id FROM json_each($1)) asked
          CROSS JOIN participants listed ON listed.conversation_id = asked.id AND listed.partner_id IN (
              SELECT $2 UNION ALL SELECT partner_id FROM (
                  SELECT partner_id FROM participants WHERE conversation_id = asked.id AND partner_id <> $2
                  ORDER BY joined_at, partner_id LIMIT +$3
              )
          ) GROUP BY listed.partner_id
      ) own
      CROSS JOIN partners person ON person.id = own.partner_id
      LEFT JOIN users account ON account.partner_id = own.partner_id"
);
const CONTACTS: &str = "SELECT DISTINCT own.partner_id, other.partner_id
    FROM participants own
    CROSS JOIN participants other ON other.conversation_id = own.conversation_id AND other.partner_id <> own.partner_id
    WHERE own.partner_id IN (SELECT value FROM json_each($1)) ORDER BY own.partner_id, other.partner_id";
const PARTICIPANT_IDS: &str = "SELECT partner_id FROM participants WHERE conversation_id = $1 ORDER BY partner_id";
/// List of the partner's conversations that match `$condition`.
macro_rules! inbox {
    ($condition:literal) => {
        concat!(
            "SELECT c.last_seq - p.read_seq - p.own_after AS unread, p.window_state, p.shelf, ",
            conversation_columns!(),
            ", ",
            last_message_columns!(),
            " FROM participants p
              CROSS JOIN conversations c ON c.id = p.conversation_id
              LEFT JOIN messages m ON m.id = c.last_message_id AND c.last_seq > p.visible_from_seq
              WHERE p.partner_id = $1
                AND ($2 IS NULL OR c.thread_type = $2)
                AND (NOT $3 OR c.last_seq - p.read_seq - p.own_after > 0)
                AND ($4 = '[]' OR c.kind IN (SELECT value FROM json_each($4)))",
            $condition,
            " ORDER BY coalesce(c.last_message_at, c.created_at) DESC, c.id DESC LIMIT +$5"
        )
    };
}
const INBOX: &str = inbox!("");
const INBOX_OF: &str = inbox!(" AND p.conversation_id IN (SELECT value FROM json_each($6))");
const LIST_SIZE: &str = "SELECT
        (SELECT count(*) FROM (SELECT 1 FROM participants WHERE partner_id = $1 LIMIT +$3)) AS conversations,
        (SELECT count(*) FROM (
            SELECT 1 FROM participants own CROSS JOIN participants listed ON listed.conversation_id = own.conversation_id
                AND listed.partner_id IN (SELECT partner_id FROM participants WHERE conversation_id = own.conversation_id LIMIT +$2)
            WHERE own.partner_id = $1 LIMIT +$4
        )) AS people";
const UNREAD_TOTALS: &str = "SELECT
        coalesce(sum(c.last_seq - p.read_seq - p.own_after) FILTER (WHERE c.thread_type = 'chat'), 0) AS chat,
        coalesce(sum(c.last_seq - p.read_seq - p.own_after) FILTER (WHERE c.thread_type = 'group'), 0) AS \"group\",
        coalesce(sum(c.last_seq - p.read_seq - p.own_after) FILTER (WHERE c.thread_type = 'sms'), 0) AS sms
    FROM participants p CROSS JOIN conversations c ON c.id = p.conversation_id WHERE p.partner_id = $1";

const SEQUENCE: &str = "conversations_id";
const INSERT_CONVERSATION: &str = "INSERT INTO conversations
        (id, uuid, kind, thread_type, name, created_at, group_id, external_id, began_direct)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $3 = 'direct')";
const INSERT_DOCUMENTS: &str = "INSERT INTO conversation_documents (conversation_id, model, record_id)
    SELECT $1, value ->> 0, value ->> 1 FROM json_each($2)";
const INSERT_FOUNDERS: &str = "INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, role)
    SELECT $1, value, $3, 0, CASE WHEN value IS $4 THEN 'owner' ELSE 'member' END FROM json_each($2)";
const CONVERSATIONS: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c WHERE c.id IN (SELECT value FROM json_each($1)) ORDER BY c.id"
);
const PARTICIPATING: &str =
    "SELECT p.conversation_id, p.partner_id, p.role AS participant_role, p.visible_from_seq, p.muted_until
    FROM json_each($1) asked
    CROSS JOIN participants p ON p.conversation_id = asked.value ->> 0 AND p.partner_id = asked.value ->> 1";
const INSERT_PARTICIPANTS: &str = "INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, visible_from_seq)
    SELECT c.id, new.value, $3, c.last_seq, $4 FROM conversations c CROSS JOIN json_each($2) new WHERE c.id = $1
    ON CONFLICT DO NOTHING RETURNING partner_id";
const PARTICIPANT_COUNT: &str = "SELECT count(*) FROM participants WHERE conversation_id = $1";
const SET_CLOSED: &str = "UPDATE conversations SET closed_at = $2 WHERE id = $1";
/// A trigger of the schema records that the conversation was direct.
const SET_KIND: &str = "UPDATE conversations SET kind = $2 WHERE id = $1";
const SET_PLACE: &str = "UPDATE participants SET window_state = coalesce($3, window_state), shelf = coalesce($4, shelf)
    WHERE conversation_id = $1 AND partner_id = $2
        AND (window_state <> coalesce($3, window_state) OR shelf <> coalesce($4, shelf))
    RETURNING partner_id";
const DELETE_PARTICIPANT: &str =
    "DELETE FROM participants WHERE conversation_id = $1 AND partner_id = $2 RETURNING seen_seq, visible_from_seq";
const KEEP_READ: &str = "UPDATE conversations SET left_seen_seq = max(left_seen_seq, $2) WHERE id = $1";
const KEEP_READ_OF_NEWCOMER: &str = "INSERT INTO left_reads AS known (conversation_id, visible_from_seq, seen_seq)
    VALUES ($1, $2, $3)
    ON CONFLICT (conversation_id, visible_from_seq) DO UPDATE SET seen_seq = max(known.seen_seq, excluded.seen_seq)";
pub(crate) fn conversation(row: &SqliteRow) -> Result<Conversation> {
    Ok(Conversation {
        id: ConversationId(get(row, "conversation_id")?),
        uuid: get(row, "conversation_uuid")?,
        kind: word(row, "kind", ConversationKind::parse)?,
        thread_type: word(row, "thread_type", ThreadType::parse)?,
        name: get(row, "conversation_name")?,
        created_at: time(row, "conversation_created_at")?,
        group: get::<Option<i64>, _>(row, "group_id")?.map(GroupId),
        documents: get::<Json<_>, _>(row, "documents")?.0,
        last_seq: get(row, "last_seq")?,
        last_message: get::<Option<i64>, _>(row, "last_message_id")?.map(MessageId),
        last_message_at: optional_time(row, "last_message_at")?,
        closed_at: optional_time(row, "closed_at")?,
        external_id: get(row, "conversation_external_id")?,
        began_direct: get(row, "began_direct")?,
    })
}

fn standing(row: &SqliteRow) -> Result<ParticipantStatus> {
    Ok(ParticipantStatus {
        role: word(row, "participant_role", ParticipantRole::parse)?,
        visible_from_seq: get(row, "visible_from_seq")?,
        muted_until: optional_time(row, "muted_until")?,
    })
}

fn participant(row: &SqliteRow, conversation: ConversationId) -> Result<Participant> {
    Ok(Participant {
        conversation,
        person: person(row)?,
        window: word(row, "window_state", WindowState::parse)?,
        folder: word(row, "shelf", Folder::parse)?,
        read_seq: get(row, "read_seq")?,
        unread: get(row, "unread")?,
        joined_at: time(row, "joined_at")?,
        status: standing(row)?,
    })
}

fn place(row: &SqliteRow) -> Result<(ConversationId, PartnerId)> {
    Ok((ConversationId(get(row, "conversation_id")?), PartnerId(get(row, "partner_id")?)))
}

#[async_trait]
impl Conversations for Sqlite {
    async fn conversation(&self, id: ConversationId) -> Result<Option<Conversation>> {
        self.row(sqlx::query(CONVERSATION).bind(id.0)).await?.as_ref().map(conversation).transpose()
    }

    async fn conversation_seen_by(
        &self,
        id: ConversationId,
        partner: PartnerId,
    ) -> Result<Option<(Conversation, Option<Participant>)>> {
        let Some(row) = self.row(sqlx::query(CONVERSATION_SEEN_BY).bind(id.0).bind(partner.0)).await? else {
            return Ok(None);
        };
        let takes_part = get::<Option<i64>, _>(&row, "partner_id")?.is_some();
        let place = if takes_part { Some(participant(&row, id)?) } else { None };
        Ok(Some((conversation(&row)?, place)))
    }

    async fn participants(&self, id: ConversationId) -> Result<Vec<Participant>> {
        self.rows(sqlx::query(PARTICIPANTS).bind(id.0)).await?.iter().map(|row| participant(row, id)).collect()
    }

    async fn people_in(
        &self,
        conversations: &[ConversationId],
        first: PartnerId,
        others: usize,
    ) -> Result<Vec<(ConversationId, Arc<Person>)>> {
        if conversations.is_empty() {
            return Ok(Vec::new());
        }
        let people = sqlx::query(PEOPLE_IN).bind(list(conversations)).bind(first.0).bind(limit(others));
        let rows = self.rows(people).await?;
        let mut found = Vec::new();
        for row in &rows {
            let person = Arc::new(person(row)?);
            let Json(places): Json<Vec<(ConversationId, i64)>> = get(row, "places")?;
            found.extend(places.into_iter().map(|(id, joined)| (id, joined, Arc::clone(&person))));
        }
        found.sort_unstable_by_key(|(id, joined, person)| (*id, *joined, person.partner.id));
        Ok(found.into_iter().map(|(id, _, person)| (id, person)).collect())
    }

    async fn participant_ids(&self, id: ConversationId) -> Result<Vec<PartnerId>> {
        let rows = self.rows(sqlx::query(PARTICIPANT_IDS).bind(id.0)).await?;
        rows.iter().map(|row| Ok(PartnerId(get(row, "partner_id")?))).collect()
    }

    async fn contacts(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        partners_of(&self.rows(sqlx::query(CONTACTS).bind(list(partners))).await?)
    }

    async fn inbox(&self, partner: PartnerId, filter: InboxFilter<'_>) -> Result<Vec<InboxEntry>> {
        let statement = if filter.only.is_some() { INBOX_OF } else { INBOX };
        let mut inbox = sqlx::query(statement)
            .bind(partner.0)
            .bind(filter.thread_type.map(ThreadType::as_str))
            .bind(filter.unread)
            .bind(list(filter.kinds.iter().map(|kind| kind.as_str())))
            .bind(limit(filter.limit.unwrap_or(usize::MAX)));
        if let Some(only) = filter.only {
            inbox = inbox.bind(list(only));
        }
        let entry = |row: &SqliteRow| {
            let conversation = conversation(row)?;
            // `None` if there is no message, or if it is hidden.
            let last_message = get::<Option<i64>, _>(row, "message_id")?.map(|_| last_message(row)).transpose()?;
            Ok(InboxEntry {
                conversation,
                window: word(row, "window_state", WindowState::parse)?,
                shelf: word(row, "shelf", Folder::parse)?,
                unread: get(row, "unread")?,
                last_message,
            })
        };
        self.rows(inbox).await?.iter().map(entry).collect()
    }

    async fn list_size(&self, partner: PartnerId, of_each: usize, most: ListSize) -> Result<ListSize> {
        let most = (limit(most.conversations), limit(most.people));
        let size = sqlx::query(LIST_SIZE).bind(partner.0).bind(limit(of_each)).bind(most.0).bind(most.1);
        let row = self.only_row(size).await?;
        let count = |column: &str| Ok::<_, Error>(usize::try_from(get::<i64, _>(&row, column)?).expect("a count fits"));
        Ok(ListSize { conversations: count("conversations")?, people: count("people")? })
    }

    async fn unread_totals(&self, partner: PartnerId) -> Result<UnreadTotals> {
        let row = self.only_row(sqlx::query(UNREAD_TOTALS).bind(partner.0)).await?;
        Ok(UnreadTotals { chat: get(&row, "chat")?, group: get(&row, "group")?, sms: get(&row, "sms")? })
    }
}

#[async_trait]
impl WriteConversations for SqliteTx {
    async fn insert_conversation(&mut self, new: NewConversation) -> Result<Conversation> {
        let mut documents = new.documents;
        documents.sort_unstable();
        documents.dedup();
        let mut founders = new.participants;
        founders.sort_unstable();
        founders.dedup();
        let id = self.draw_unless(new.id.map(|id| id.0), SEQUENCE).await?;
        let insert = sqlx::query(INSERT_CONVERSATION)
            .bind(id)
            .bind(new.uuid)
            .bind(new.kind.as_str())
            .bind(new.thread_type.as_str())
            .bind(&new.name)
            .bind(micros(new.created_at))
            .bind(new.group.map(|id| id.0))
            .bind(&new.external_id);
        self.rows(insert).await?;
        if !documents.is_empty() {
            let rows = list(documents.iter().map(|document| (&document.model, document.id)));
            self.rows(sqlx::query(INSERT_DOCUMENTS).bind(id).bind(rows)).await?;
        }
        let owner = new.owner.map(|owner| owner.0);
        let insert = sqlx::query(INSERT_FOUNDERS).bind(id).bind(list(&founders)).bind(micros(new.created_at)).bind(owner);
        self.rows(insert).await?;
        let id = ConversationId(id);
        self.founders.insert(id, founders);
        Ok(Conversation {
            id,
            uuid: new.uuid,
            kind: new.kind,
            thread_type: new.thread_type,
            name: new.name,
            created_at: new.created_at,
            group: new.group,
            documents,
            last_seq: 0,
            last_message: None,
            last_message_at: None,
            closed_at: None,
            external_id: new.external_id,
            began_direct: new.kind == ConversationKind::Direct,
        })
    }

    async fn lock_conversations(&mut self, ids: &[ConversationId]) -> Result<Vec<Locked<Conversation>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // The transaction is the only writer, so all rows are locked.
        let rows = self.rows(sqlx::query(CONVERSATIONS).bind(list(ids))).await?;
        rows.iter().map(|row| conversation(row).map(Locked)).collect()
    }

    async fn lock_free_conversations(
        &mut self,
        ids: &[ConversationId],
    ) -> Result<(Vec<Locked<Conversation>>, Vec<ConversationId>)> {
        // No other writer can hold a lock.
        Ok((self.lock_conversations(ids).await?, Vec::new()))
    }

    async fn participant_statuses(
        &mut self,
        pairs: &[(ConversationId, PartnerId)],
    ) -> Result<HashMap<(ConversationId, PartnerId), ParticipantStatus>> {
        if pairs.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.rows(sqlx::query(PARTICIPATING).bind(list(pairs))).await?;
        rows.iter().map(|row| Ok((place(row)?, standing(row)?))).collect()
    }

    async fn insert_participants(
        &mut self,
        to: &Locked<Conversation>,
        partners: &[PartnerId],
        visible_from_seq: i64,
        joined_at: Timestamp,
    ) -> Result<Vec<PartnerId>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        let insert = sqlx::query(INSERT_PARTICIPANTS).bind(to.id.0).bind(list(partners)).bind(micros(joined_at));
        let rows = self.rows(insert.bind(visible_from_seq)).await?;
        rows.iter().map(|row| Ok(PartnerId(get(row, "partner_id")?))).collect()
    }

    async fn participant_count(&mut self, of: &Locked<Conversation>) -> Result<i64> {
        get(&self.only_row(sqlx::query(PARTICIPANT_COUNT).bind(of.id.0)).await?, 0)
    }

    async fn set_closed(&mut self, of: &Locked<Conversation>, at: Timestamp) -> Result<()> {
        self.rows(sqlx::query(SET_CLOSED).bind(of.id.0).bind(micros(at))).await.map(drop)
    }

    async fn set_kind(&mut self, of: &Locked<Conversation>, kind: ConversationKind) -> Result<()> {
        self.rows(sqlx::query(SET_KIND).bind(of.id.0).bind(kind.as_str())).await.map(drop)
    }

    async fn set_conversation_settings(
        &mut self,
        of: ConversationId,
        partner: PartnerId,
        window: Option<WindowState>,
        shelf: Option<Folder>,
    ) -> Result<bool> {
        let set = sqlx::query(SET_PLACE)
            .bind(of.0)
            .bind(partner.0)
            .bind(window.map(WindowState::as_str))
            .bind(shelf.map(Folder::as_str));
        Ok(self.row(set).await?.is_some())
    }

    async fn delete_participant(&mut self, of: &Locked<Conversation>, partner: PartnerId) -> Result<bool> {
        let gone = self.row(sqlx::query(DELETE_PARTICIPANT).bind(of.id.0).bind(partner.0)).await?;
        let Some(gone) = gone else { return Ok(false) };
        let (seen, hidden): (i64, i64) = (get(&gone, "seen_seq")?, get(&gone, "visible_from_seq")?);
        if hidden == 0 {
            self.rows(sqlx::query(KEEP_READ).bind(of.id.0).bind(seen)).await?;
        } else if seen > hidden {
            self.rows(sqlx::query(KEEP_READ_OF_NEWCOMER).bind(of.id.0).bind(hidden).bind(seen)).await?;
        }
        Ok(true)
    }
}
