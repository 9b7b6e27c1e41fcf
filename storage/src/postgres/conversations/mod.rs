//! PostgreSQL statements of conversations and participants.

pub(crate) mod read_positions;
pub(crate) mod support;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::{
    Postgres, PostgresTx,
    accounts::users::person,
    get, limit,
    messages::message_rows::{last_message, last_message_columns, message_columns},
    partners_of, word,
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
         (SELECT json_agg(json_build_object('model', d.model, 'id', d.record_id) ORDER BY d.model, d.record_id) \
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
/// `read_seq >= 0` always holds. Without a column of the row itself, the planner would search all participants of a conversation
/// for one, in the index by joining.
const PEOPLE_IN: &str = concat!(
    "SELECT p.conversations, p.joined, ",
    person_columns!(),
    " FROM (
          SELECT listed.partner_id, array_agg(listed.conversation_id) AS conversations, array_agg(listed.joined_at) AS joined
          FROM (SELECT DISTINCT unnest($1::bigint[]) AS id) c CROSS JOIN LATERAL (
              SELECT conversation_id, partner_id, joined_at FROM participants
              WHERE conversation_id = c.id AND partner_id = $2 AND read_seq >= 0
              UNION ALL (
                  SELECT conversation_id, partner_id, joined_at FROM participants
                  WHERE conversation_id = c.id AND partner_id <> $2 ORDER BY joined_at, partner_id LIMIT $3
              )
          ) listed GROUP BY listed.partner_id
      ) p
      JOIN partners person ON person.id = p.partner_id
      LEFT JOIN users account ON account.partner_id = p.partner_id"
);
const CONTACTS: &str = "SELECT own.partner_id, array_agg(DISTINCT other.partner_id ORDER BY other.partner_id) AS contacts
    FROM participants own
    JOIN participants other ON other.conversation_id = own.conversation_id AND other.partner_id <> own.partner_id
    WHERE own.partner_id = ANY ($1) GROUP BY own.partner_id";
const PARTICIPANT_IDS: &str = "SELECT partner_id FROM participants WHERE conversation_id = $1 ORDER BY partner_id";
/// List of the partner's conversations that match `$condition`.
macro_rules! inbox {
    ($participants:literal) => {
        concat!(
            "SELECT c.last_seq - p.read_seq - p.own_after AS unread, p.window_state, p.shelf, ",
            conversation_columns!(),
            ", ",
            last_message_columns!(),
            " FROM ",
            $participants,
            " p
              JOIN conversations c ON c.id = p.conversation_id
              LEFT JOIN messages m ON m.id = c.last_message_id AND c.last_seq > p.visible_from_seq
              WHERE p.partner_id = $1
                AND ($2::text IS NULL OR c.thread_type = $2)
                AND (NOT $3 OR c.last_seq - p.read_seq - p.own_after > 0)
                AND ($4::text[] = '{}' OR c.kind = ANY ($4))
              ORDER BY coalesce(c.last_message_at, c.created_at) DESC, c.id DESC LIMIT $5"
        )
    };
}
const INBOX: &str = inbox!("participants");
/// Separate from [`INBOX`]: a shared plan would read all conversations of the partner. `OFFSET 0` is an optimization fence: the
/// planner would do so as well where its statistics say that a partner has few.
const INBOX_OF: &str = inbox!(
    "(SELECT DISTINCT unnest($6::bigint[]) AS id) asked CROSS JOIN LATERAL (
                  SELECT conversation_id, partner_id, read_seq, own_after, visible_from_seq, window_state, shelf
                  FROM participants WHERE conversation_id = asked.id AND partner_id = $1 OFFSET 0
              )"
);
const LIST_SIZE: &str = "SELECT
        (SELECT count(*) FROM (SELECT FROM participants WHERE partner_id = $1 LIMIT $3) own) AS conversations,
        (SELECT count(*) FROM (
            SELECT FROM participants own CROSS JOIN LATERAL (
                SELECT FROM participants WHERE conversation_id = own.conversation_id LIMIT $2
            ) listed WHERE own.partner_id = $1 LIMIT $4
        ) people) AS people";
/// `OFFSET 0` is an optimization fence: a join would read all conversations while there are few thousands.
const UNREAD_TOTALS: &str = "SELECT
        coalesce(sum(n.unread) FILTER (WHERE n.thread_type = 'chat'), 0)::bigint AS chat,
        coalesce(sum(n.unread) FILTER (WHERE n.thread_type = 'group'), 0)::bigint AS \"group\",
        coalesce(sum(n.unread) FILTER (WHERE n.thread_type = 'sms'), 0)::bigint AS sms
    FROM (
        SELECT c.thread_type, c.last_seq - p.read_seq - p.own_after AS unread
        FROM participants p CROSS JOIN LATERAL (
            SELECT thread_type, last_seq FROM conversations WHERE id = p.conversation_id OFFSET 0
        ) c WHERE p.partner_id = $1
    ) n";

const INSERT_CONVERSATION: &str = "WITH new AS (
        INSERT INTO conversations (id, uuid, kind, thread_type, name, created_at, group_id, external_id, began_direct)
        VALUES (coalesce($1, nextval('conversations_id')), $2, $3, $4, $5, $6, $7, $11, $3 = 'direct') RETURNING id
    ), about AS (
        INSERT INTO conversation_documents (conversation_id, model, record_id)
        SELECT new.id, d.model, d.record_id FROM new, unnest($8::text[], $9::bigint[]) AS d(model, record_id)
    ), first AS (
        INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, role)
        SELECT new.id, p.id, $6, 0, CASE WHEN p.id = $12 THEN 'owner' ELSE 'member' END FROM new, (SELECT DISTINCT unnest($10::bigint[]) AS id) p
    )
    SELECT id FROM new";
/// Advances the sequence beyond an id that was not drawn from it.
const PASS_OVER: &str = "SELECT setval('conversations_id', $1) FROM conversations_id WHERE last_value < $1 OR NOT is_called";
/// Locks rows in the order of sorting, since ids never change. `FOR NO KEY UPDATE`, because `FOR UPDATE` would also wait for
/// transactions that only refer to the row by a foreign key.
const LOCK_CONVERSATIONS: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c WHERE c.id = ANY (ARRAY(SELECT unnest($1::bigint[]))) ORDER BY c.id FOR NO KEY UPDATE OF c"
);
const LOCK_FREE_CONVERSATIONS: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c WHERE c.id = ANY (ARRAY(SELECT unnest($1::bigint[])))
      ORDER BY c.id FOR NO KEY UPDATE OF c SKIP LOCKED"
);
const EXISTING: &str = "SELECT id FROM conversations WHERE id = ANY ($1) ORDER BY id";
const PARTICIPATING: &str =
    "SELECT p.conversation_id, p.partner_id, p.role AS participant_role, p.visible_from_seq, p.muted_until
    FROM unnest((SELECT $1::bigint[]), (SELECT $2::bigint[])) AS asked(conversation_id, partner_id)
    JOIN participants p ON p.conversation_id = asked.conversation_id AND p.partner_id = asked.partner_id";
const INSERT_PARTICIPANTS: &str = "INSERT INTO participants (conversation_id, partner_id, joined_at, read_seq, visible_from_seq)
    SELECT c.id, new.id, $3, c.last_seq, $4
    FROM conversations c, (SELECT DISTINCT unnest($2::bigint[]) AS id) new WHERE c.id = $1 ORDER BY new.id
    ON CONFLICT DO NOTHING RETURNING partner_id";
const PARTICIPANT_COUNT: &str = "SELECT count(*) FROM participants WHERE conversation_id = $1";
const SET_CLOSED: &str = "UPDATE conversations SET closed_at = $2 WHERE id = $1";
/// A trigger of the schema records that the conversation was direct.
const SET_KIND: &str = "UPDATE conversations SET kind = $2 WHERE id = $1";
const SET_PLACE: &str = "UPDATE participants SET window_state = coalesce($3, window_state), shelf = coalesce($4, shelf)
    WHERE conversation_id = $1 AND partner_id = $2
        AND (window_state <> coalesce($3, window_state) OR shelf <> coalesce($4, shelf))
    RETURNING partner_id";
const DELETE_PARTICIPANT: &str = "WITH gone AS (
        DELETE FROM participants WHERE conversation_id = $1 AND partner_id = $2 RETURNING partner_id, seen_seq, visible_from_seq
    ), kept AS (
        UPDATE conversations c SET left_seen_seq = greatest(c.left_seen_seq, gone.seen_seq) FROM gone
        WHERE c.id = $1 AND gone.visible_from_seq = 0
    ), kept_of_newcomer AS (
        INSERT INTO left_reads AS known (conversation_id, visible_from_seq, seen_seq)
        SELECT $1, visible_from_seq, seen_seq FROM gone WHERE visible_from_seq > 0 AND seen_seq > visible_from_seq
        ON CONFLICT (conversation_id, visible_from_seq)
        DO UPDATE SET seen_seq = greatest(known.seen_seq, excluded.seen_seq)
    )
    SELECT partner_id FROM gone";
pub(crate) fn conversation(row: &PgRow) -> Result<Conversation> {
    Ok(Conversation {
        id: ConversationId(get(row, "conversation_id")?),
        uuid: get(row, "conversation_uuid")?,
        kind: word(row, "kind", ConversationKind::parse)?,
        thread_type: word(row, "thread_type", ThreadType::parse)?,
        name: get(row, "conversation_name")?,
        created_at: get(row, "conversation_created_at")?,
        group: get::<Option<i64>, _>(row, "group_id")?.map(GroupId),
        documents: get::<Option<Json<_>>, _>(row, "documents")?.map_or_else(Vec::new, |documents| documents.0),
        last_seq: get(row, "last_seq")?,
        last_message: get::<Option<i64>, _>(row, "last_message_id")?.map(MessageId),
        last_message_at: get(row, "last_message_at")?,
        closed_at: get(row, "closed_at")?,
        external_id: get(row, "conversation_external_id")?,
        began_direct: get(row, "began_direct")?,
    })
}

fn standing(row: &PgRow) -> Result<ParticipantStatus> {
    Ok(ParticipantStatus {
        role: word(row, "participant_role", ParticipantRole::parse)?,
        visible_from_seq: get(row, "visible_from_seq")?,
        muted_until: get(row, "muted_until")?,
    })
}

fn participant(row: &PgRow, conversation: ConversationId) -> Result<Participant> {
    Ok(Participant {
        conversation,
        person: person(row)?,
        window: word(row, "window_state", WindowState::parse)?,
        folder: word(row, "shelf", Folder::parse)?,
        read_seq: get(row, "read_seq")?,
        unread: get(row, "unread")?,
        joined_at: get(row, "joined_at")?,
        status: standing(row)?,
    })
}

fn place(row: &PgRow) -> Result<(ConversationId, PartnerId)> {
    Ok((ConversationId(get(row, "conversation_id")?), PartnerId(get(row, "partner_id")?)))
}

fn places(of: &[(ConversationId, PartnerId, i64)]) -> (Vec<i64>, Vec<i64>) {
    of.iter().map(|(conversation, partner, _)| (conversation.0, partner.0)).unzip()
}

fn numbers(ids: &[ConversationId]) -> Vec<i64> {
    ids.iter().map(|id| id.0).collect()
}

#[async_trait]
impl Conversations for Postgres {
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
        let people = sqlx::query(PEOPLE_IN).bind(numbers(conversations)).bind(first.0).bind(limit(others));
        let rows = self.rows(people).await?;
        let mut places = Vec::new();
        for row in &rows {
            let person = Arc::new(person(row)?);
            let conversations: Vec<i64> = get(row, "conversations")?;
            let joined: Vec<Timestamp> = get(row, "joined")?;
            places.extend(conversations.into_iter().zip(joined).map(|(id, joined)| (id, joined, Arc::clone(&person))));
        }
        places.sort_unstable_by_key(|(id, joined, person)| (*id, *joined, person.partner.id));
        Ok(places.into_iter().map(|(id, _, person)| (ConversationId(id), person)).collect())
    }

    async fn participant_ids(&self, id: ConversationId) -> Result<Vec<PartnerId>> {
        let rows = self.rows(sqlx::query(PARTICIPANT_IDS).bind(id.0)).await?;
        rows.iter().map(|row| Ok(PartnerId(get(row, "partner_id")?))).collect()
    }

    async fn contacts(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = partners.iter().map(|id| id.0).collect();
        self.rows(sqlx::query(CONTACTS).bind(ids)).await?.iter().map(|row| partners_of(row, "contacts")).collect()
    }

    async fn inbox(&self, partner: PartnerId, filter: InboxFilter<'_>) -> Result<Vec<InboxEntry>> {
        let statement = if filter.only.is_some() { INBOX_OF } else { INBOX };
        let kinds: Vec<_> = filter.kinds.iter().map(|kind| kind.as_str()).collect();
        let mut inbox = sqlx::query(statement)
            .bind(partner.0)
            .bind(filter.thread_type.map(ThreadType::as_str))
            .bind(filter.unread)
            .bind(kinds)
            .bind(filter.limit.map(limit));
        if let Some(only) = filter.only {
            inbox = inbox.bind(numbers(only));
        }
        let entry = |row: &PgRow| {
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
impl WriteConversations for PostgresTx {
    async fn insert_conversation(&mut self, new: NewConversation) -> Result<Conversation> {
        let mut documents = new.documents;
        documents.sort_unstable();
        documents.dedup();
        let (models, records): (Vec<&str>, Vec<i64>) =
            documents.iter().map(|document| (document.model.as_str(), document.id)).unzip();
        let mut founders = new.participants;
        founders.sort_unstable();
        founders.dedup();
        let participants: Vec<i64> = founders.iter().map(|id| id.0).collect();
        let insert = sqlx::query(INSERT_CONVERSATION)
            .bind(new.id.map(|id| id.0))
            .bind(new.uuid)
            .bind(new.kind.as_str())
            .bind(new.thread_type.as_str())
            .bind(&new.name)
            .bind(new.created_at)
            .bind(new.group.map(|id| id.0))
            .bind(models)
            .bind(records)
            .bind(participants)
            .bind(&new.external_id)
            .bind(new.owner.map(|owner| owner.0));
        let id = ConversationId(get(&self.only_row(insert).await?, "id")?);
        if let Some(given) = new.id {
            self.rows(sqlx::query(PASS_OVER).bind(given.0)).await?;
        }
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
        let rows = self.rows(sqlx::query(LOCK_CONVERSATIONS).bind(numbers(ids))).await?;
        rows.iter().map(|row| conversation(row).map(Locked)).collect()
    }

    async fn lock_free_conversations(
        &mut self,
        ids: &[ConversationId],
    ) -> Result<(Vec<Locked<Conversation>>, Vec<ConversationId>)> {
        if ids.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let rows = self.rows(sqlx::query(LOCK_FREE_CONVERSATIONS).bind(numbers(ids))).await?;
        let free = rows.iter().map(|row| conversation(row).map(Locked)).collect::<Result<Vec<_>>>()?;
        let rest: Vec<_> = ids.iter().copied().filter(|id| free.iter().all(|locked| locked.id != *id)).collect();
        if rest.is_empty() {
            return Ok((free, rest));
        }
        let busy = self.rows(sqlx::query(EXISTING).bind(numbers(&rest))).await?;
        let busy = busy.iter().map(|row| Ok(ConversationId(get(row, "id")?))).collect::<Result<_>>()?;
        Ok((free, busy))
    }

    async fn participant_statuses(
        &mut self,
        pairs: &[(ConversationId, PartnerId)],
    ) -> Result<HashMap<(ConversationId, PartnerId), ParticipantStatus>> {
        if pairs.is_empty() {
            return Ok(HashMap::new());
        }
        let (conversations, partners): (Vec<i64>, Vec<i64>) = pairs.iter().map(|(c, p)| (c.0, p.0)).unzip();
        let rows = self.rows(sqlx::query(PARTICIPATING).bind(conversations).bind(partners)).await?;
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
        let ids: Vec<i64> = partners.iter().map(|id| id.0).collect();
        let insert = sqlx::query(INSERT_PARTICIPANTS).bind(to.id.0).bind(ids).bind(joined_at).bind(visible_from_seq);
        let rows = self.rows(insert).await?;
        rows.iter().map(|row| Ok(PartnerId(get(row, "partner_id")?))).collect()
    }

    async fn participant_count(&mut self, of: &Locked<Conversation>) -> Result<i64> {
        Ok(get(&self.only_row(sqlx::query(PARTICIPANT_COUNT).bind(of.id.0)).await?, 0)?)
    }

    async fn set_closed(&mut self, of: &Locked<Conversation>, at: Timestamp) -> Result<()> {
        self.rows(sqlx::query(SET_CLOSED).bind(of.id.0).bind(at)).await.map(drop)
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
        Ok(self.row(sqlx::query(DELETE_PARTICIPANT).bind(of.id.0).bind(partner.0)).await?.is_some())
    }
}
