//! PostgreSQL statements of support sessions.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::{conversation, conversation_columns};
use crate::{
    Conversation, ConversationId, Locked, MessageSide, OpenSupportSession, PartnerId, Result, Role, Support, SupportSession,
    SupportSide, SupportStatus, Timestamp, UserId, WriteSupport,
    columns::session_columns,
    postgres::{Postgres, PostgresTx, get, limit},
};

/// Sessions by status. Starts at the conversations, few of which are open; `OFFSET 0` keeps the planner from a scan of all
/// sessions ever.
macro_rules! sessions {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            session_columns!(),
            " FROM conversations c CROSS JOIN LATERAL (
                SELECT initiator_id, initiator_pinged_at, joiner_id, joiner_pinged_at FROM support_sessions
                WHERE conversation_id = c.id OFFSET 0
            ) s WHERE c.kind = 'support' AND ",
            $condition,
            " ORDER BY c.id DESC OFFSET $1 LIMIT $2"
        )
    };
}

const SESSION: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM conversations c JOIN support_sessions s ON s.conversation_id = c.id WHERE c.id = $1"
);
const ALL: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM support_sessions s JOIN conversations c ON c.id = s.conversation_id
      ORDER BY s.conversation_id DESC OFFSET $1 LIMIT $2"
);
const WAITING: &str = sessions!("c.closed_at IS NULL AND s.joiner_id IS NULL");
const JOINED: &str = sessions!("c.closed_at IS NULL AND s.joiner_id IS NOT NULL");
const CLOSED: &str = sessions!("c.closed_at IS NOT NULL");
const TOUCH: &str = concat!(
    "UPDATE support_sessions s SET
        initiator_pinged_at = CASE WHEN s.initiator_id = $2 THEN greatest(s.initiator_pinged_at, $3)
            ELSE s.initiator_pinged_at END,
        joiner_pinged_at = CASE WHEN s.joiner_id = $2 THEN greatest(s.joiner_pinged_at, $3) ELSE s.joiner_pinged_at END
     FROM conversations c
     WHERE s.conversation_id = $1 AND c.id = $1 AND c.closed_at IS NULL AND (s.initiator_id = $2 OR s.joiner_id = $2)
     RETURNING ",
    session_columns!()
);
const UNREAD: &str = "SELECT coalesce(sum(c.last_seq - p.read_seq - p.own_after), 0)::bigint AS unread
    FROM support_sessions s
    JOIN participants p ON p.conversation_id = s.conversation_id AND p.partner_id = s.initiator_id
    JOIN conversations c ON c.id = s.conversation_id
    WHERE s.initiator_id = $1";
const SEEN_AT: &str = "SELECT asked.seq, mark.at
    FROM support_sessions s CROSS JOIN unnest($2::bigint[], $3::boolean[]) AS asked(seq, by_agent)
    CROSS JOIN LATERAL (
        SELECT m.at FROM support_seen m
        WHERE m.conversation_id = $1 AND m.by_initiator = asked.by_agent AND m.seq >= asked.seq
        ORDER BY m.seq LIMIT 1
    ) mark
    WHERE s.conversation_id = $1";
/// Condition on conversation `c`: the partner `$partner` has written there since `$1`.
macro_rules! wrote_since {
    ($partner:literal) => {
        concat!(
            "EXISTS (
                SELECT FROM participants p JOIN messages m ON m.id = p.last_own_id
                WHERE p.conversation_id = c.id AND p.partner_id = ",
            $partner,
            " AND m.created_at >= $1 OFFSET 0
            )"
        )
    };
}
const OF_CONVERSATIONS: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM conversations c JOIN support_sessions s ON s.conversation_id = c.id WHERE c.id = ANY ($1)"
);
const OPEN: &str = concat!(
    "SELECT ",
    session_columns!(),
    ", c.created_at, c.last_seq
      FROM support_sessions s CROSS JOIN LATERAL (
        SELECT id, uuid, closed_at, created_at, last_seq FROM conversations WHERE id = s.conversation_id OFFSET 0
      ) c
      WHERE s.initiator_id = $1 AND c.closed_at IS NULL ORDER BY c.id DESC LIMIT $2"
);
const INSERT: &str = "INSERT INTO support_sessions (conversation_id, initiator_id, initiator_pinged_at) VALUES ($1, $2, $3)";
const SET_JOINER: &str = "UPDATE support_sessions
    SET joiner_id = $2, joiner_pinged_at = CASE WHEN $2::bigint IS NOT NULL THEN $3::timestamptz END WHERE conversation_id = $1";
/// Locks in the common lock order of conversations. The joiner is checked again once the rows are locked.
const LOCK_JOINED: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c JOIN support_sessions s ON s.conversation_id = c.id
      WHERE c.closed_at IS NULL AND s.joiner_id = $1 AND c.id = ANY (ARRAY(
        SELECT c.id FROM conversations c CROSS JOIN LATERAL (
            SELECT joiner_id FROM support_sessions WHERE conversation_id = c.id OFFSET 0
        ) s
        WHERE s.joiner_id = $1 AND c.kind = 'support' AND c.closed_at IS NULL
      ))
      ORDER BY c.id FOR NO KEY UPDATE OF c, s"
);
/// Open sessions whose initiator has sent no request or message since `$1`, locked in the common lock order of conversations.
const LOCK_SILENT: &str = concat!(
    "WITH silent AS MATERIALIZED (
        SELECT c.id FROM conversations c CROSS JOIN LATERAL (
            SELECT initiator_id, initiator_pinged_at FROM support_sessions WHERE conversation_id = c.id OFFSET 0
        ) s
        WHERE c.kind = 'support' AND c.closed_at IS NULL AND s.initiator_pinged_at < $1
            AND NOT ",
    wrote_since!("s.initiator_id"),
    " ORDER BY c.id LIMIT $2
    )
    SELECT ",
    conversation_columns!(),
    " FROM silent JOIN conversations c ON c.id = silent.id JOIN support_sessions s ON s.conversation_id = c.id
      WHERE c.closed_at IS NULL AND s.initiator_pinged_at < $1
      ORDER BY c.id FOR NO KEY UPDATE OF c, s SKIP LOCKED"
);
/// Open sessions whose joiner is absent or may no longer answer. `OFFSET 0` keeps the planner from a scan of all users. A session
/// with another joiner meanwhile is left alone.
const LOCK_ABSENT: &str = concat!(
    "WITH joined AS MATERIALIZED (
        SELECT c.id, s.joiner_id, s.joiner_pinged_at, EXISTS (
            SELECT FROM users u WHERE u.partner_id = s.joiner_id AND u.active AND u.role = ANY ($3) OFFSET 0
        ) AS answers
        FROM conversations c CROSS JOIN LATERAL (
            SELECT joiner_id, joiner_pinged_at FROM support_sessions WHERE conversation_id = c.id OFFSET 0
        ) s
        WHERE c.kind = 'support' AND c.closed_at IS NULL AND s.joiner_id IS NOT NULL
    ), absent AS MATERIALIZED (
        SELECT c.id, c.joiner_id, c.answers FROM joined c
        WHERE NOT c.answers OR (
            c.joiner_pinged_at < $1 AND NOT ",
    wrote_since!("c.joiner_id"),
    "       AND NOT EXISTS (SELECT FROM presences p WHERE p.partner_id = c.joiner_id AND p.last_seen >= $1 OFFSET 0)
        )
        ORDER BY c.id LIMIT $2
    )
    SELECT ",
    conversation_columns!(),
    " FROM absent JOIN conversations c ON c.id = absent.id JOIN support_sessions s ON s.conversation_id = c.id
      WHERE c.closed_at IS NULL AND s.joiner_id = absent.joiner_id AND (NOT absent.answers OR s.joiner_pinged_at < $1)
      ORDER BY c.id FOR NO KEY UPDATE OF c, s SKIP LOCKED"
);
const MARK_SEEN: &str = "INSERT INTO support_seen (conversation_id, by_initiator, seq, at)
    SELECT s.conversation_id, s.initiator_id = asked.partner_id, asked.seq, $4
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS asked(conversation_id, partner_id, seq)
    JOIN support_sessions s ON s.conversation_id = asked.conversation_id
    WHERE asked.partner_id IN (s.initiator_id, s.joiner_id) AND NOT EXISTS (
        SELECT FROM support_seen m
        WHERE m.conversation_id = s.conversation_id AND m.by_initiator = (s.initiator_id = asked.partner_id)
            AND m.seq >= asked.seq
    )
    ORDER BY s.conversation_id
    ON CONFLICT DO NOTHING RETURNING conversation_id";
const WITH_ROLE: &str = "SELECT partner_id FROM users WHERE active AND role = ANY ($1) ORDER BY partner_id";

fn words(roles: &[Role]) -> Vec<&'static str> {
    roles.iter().map(|role| role.as_str()).collect()
}

fn session(row: &PgRow) -> Result<SupportSession> {
    let side = |partner: Option<i64>, user, pinged_at| {
        let Some(partner) = partner else { return Ok(None) };
        Ok::<_, sqlx::Error>(Some(SupportSide {
            partner: PartnerId(partner),
            user: UserId(get(row, user)?),
            pinged_at: get(row, pinged_at)?,
        }))
    };
    let initiator = side(get(row, "initiator_id")?, "initiator_user_id", "initiator_pinged_at")?;
    Ok(SupportSession {
        conversation: ConversationId(get(row, "conversation_id")?),
        uuid: get(row, "uuid")?,
        initiator: initiator.ok_or(sqlx::Error::RowNotFound)?,
        joiner: side(get(row, "joiner_id")?, "joiner_user_id", "joiner_pinged_at")?,
        closed_at: get(row, "closed_at")?,
    })
}

#[async_trait]
impl Support for Postgres {
    async fn support_session(&self, id: ConversationId) -> Result<Option<SupportSession>> {
        self.row(sqlx::query(SESSION).bind(id.0)).await?.as_ref().map(session).transpose()
    }

    async fn support_sessions(&self, status: Option<SupportStatus>, offset: u64, most: usize) -> Result<Vec<SupportSession>> {
        let statement = match status {
            None => ALL,
            Some(SupportStatus::Waiting) => WAITING,
            Some(SupportStatus::Joined) => JOINED,
            Some(SupportStatus::Closed) => CLOSED,
        };
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        self.rows(sqlx::query(statement).bind(offset).bind(limit(most))).await?.iter().map(session).collect()
    }

    async fn touch_support_session(
        &self,
        id: ConversationId,
        partner: PartnerId,
        at: Timestamp,
    ) -> Result<Option<SupportSession>> {
        self.row(sqlx::query(TOUCH).bind(id.0).bind(partner.0).bind(at)).await?.as_ref().map(session).transpose()
    }

    async fn support_unread(&self, initiator: PartnerId) -> Result<i64> {
        Ok(get(&self.only_row(sqlx::query(UNREAD).bind(initiator.0)).await?, "unread")?)
    }

    async fn seen_at(&self, of: ConversationId, messages: &[(i64, MessageSide)]) -> Result<HashMap<i64, Timestamp>> {
        if messages.is_empty() {
            return Ok(HashMap::new());
        }
        let (seqs, by_agents): (Vec<i64>, Vec<bool>) = messages.iter().map(|(seq, by)| (*seq, *by == MessageSide::Agent)).unzip();
        let rows = self.rows(sqlx::query(SEEN_AT).bind(of.0).bind(seqs).bind(by_agents)).await?;
        rows.iter().map(|row| Ok((get(row, "seq")?, get(row, "at")?))).collect()
    }
}

#[async_trait]
impl WriteSupport for PostgresTx {
    async fn insert_support_session(
        &mut self,
        of: ConversationId,
        initiator: PartnerId,
        at: Timestamp,
    ) -> Result<SupportSession> {
        self.rows(sqlx::query(INSERT).bind(of.0).bind(initiator.0).bind(at)).await?;
        session(&self.only_row(sqlx::query(SESSION).bind(of.0)).await?)
    }

    async fn support_session_of(&mut self, of: &Locked<Conversation>) -> Result<Option<SupportSession>> {
        self.row(sqlx::query(SESSION).bind(of.id.0)).await?.as_ref().map(session).transpose()
    }

    async fn support_sessions_of(&mut self, of: &[&Locked<Conversation>]) -> Result<Vec<SupportSession>> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = of.iter().map(|of| of.id.0).collect();
        self.rows(sqlx::query(OF_CONVERSATIONS).bind(ids)).await?.iter().map(session).collect()
    }

    async fn open_support_sessions(&mut self, initiator: PartnerId, most: usize) -> Result<Vec<OpenSupportSession>> {
        let rows = self.rows(sqlx::query(OPEN).bind(initiator.0).bind(limit(most))).await?;
        let begun = |row: &PgRow| {
            Ok(OpenSupportSession { session: session(row)?, begun_at: get(row, "created_at")?, messages: get(row, "last_seq")? })
        };
        rows.iter().map(begun).collect()
    }

    async fn set_support_joiner(&mut self, of: &Locked<Conversation>, joiner: Option<PartnerId>, at: Timestamp) -> Result<()> {
        self.rows(sqlx::query(SET_JOINER).bind(of.id.0).bind(joiner.map(|joiner| joiner.0)).bind(at)).await.map(drop)
    }

    async fn lock_joined_support(&mut self, joiner: PartnerId) -> Result<Vec<Locked<Conversation>>> {
        let rows = self.rows(sqlx::query(LOCK_JOINED).bind(joiner.0)).await?;
        rows.iter().map(|row| conversation(row).map(Locked)).collect()
    }

    async fn lock_absent_support(
        &mut self,
        before: Timestamp,
        answering: &[Role],
        most: usize,
    ) -> Result<Vec<Locked<Conversation>>> {
        let absent = sqlx::query(LOCK_ABSENT).bind(before).bind(limit(most)).bind(words(answering));
        let rows = self.rows(absent).await?;
        rows.iter().map(|row| conversation(row).map(Locked)).collect()
    }

    async fn lock_silent_support(&mut self, before: Timestamp, most: usize) -> Result<Vec<Locked<Conversation>>> {
        let rows = self.rows(sqlx::query(LOCK_SILENT).bind(before).bind(limit(most))).await?;
        rows.iter().map(|row| conversation(row).map(Locked)).collect()
    }

    async fn mark_seen(&mut self, upto: &[(ConversationId, PartnerId, i64)], at: Timestamp) -> Result<Vec<ConversationId>> {
        if upto.is_empty() {
            return Ok(Vec::new());
        }
        let mark = sqlx::query(MARK_SEEN)
            .bind(upto.iter().map(|(id, ..)| id.0).collect::<Vec<_>>())
            .bind(upto.iter().map(|(_, partner, _)| partner.0).collect::<Vec<_>>())
            .bind(upto.iter().map(|(.., seq)| *seq).collect::<Vec<_>>())
            .bind(at);
        self.rows(mark).await?.iter().map(|row| Ok(ConversationId(get(row, "conversation_id")?))).collect()
    }

    async fn partners_with_role(&mut self, roles: &[Role]) -> Result<Vec<PartnerId>> {
        let rows = self.rows(sqlx::query(WITH_ROLE).bind(words(roles))).await?;
        rows.iter().map(|row| Ok(PartnerId(get(row, "partner_id")?))).collect()
    }
}
