//! SQLite statements of support sessions.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;

use super::{conversation, conversation_columns};
use crate::{
    Conversation, ConversationId, Locked, MessageSide, OpenSupportSession, PartnerId, Result, Role, Support, SupportSession,
    SupportSide, SupportStatus, Timestamp, UserId, WriteSupport,
    columns::session_columns,
    sqlite::{Sqlite, SqliteTx, get, limit, list, micros, only, optional_time, time},
};

/// Sessions by status. Starts at the conversations, few of which are open.
macro_rules! sessions {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            session_columns!(),
            " FROM conversations c CROSS JOIN support_sessions s ON s.conversation_id = c.id WHERE c.kind = 'support' AND ",
            $condition,
            " ORDER BY c.id DESC LIMIT +$2 OFFSET $1"
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
    " FROM support_sessions s CROSS JOIN conversations c ON c.id = s.conversation_id
      ORDER BY s.conversation_id DESC LIMIT +$2 OFFSET $1"
);
const WAITING: &str = sessions!("c.closed_at IS NULL AND s.joiner_id IS NULL");
const JOINED: &str = sessions!("c.closed_at IS NULL AND s.joiner_id IS NOT NULL");
const CLOSED: &str = sessions!("c.closed_at IS NOT NULL");
const TOUCH: &str = concat!(
    "UPDATE support_sessions SET
        initiator_pinged_at = CASE WHEN initiator_id = $2 THEN max(initiator_pinged_at, $3) ELSE initiator_pinged_at END,
        joiner_pinged_at = CASE WHEN joiner_id = $2 THEN max(joiner_pinged_at, $3) ELSE joiner_pinged_at END
    WHERE conversation_id = $1 AND (initiator_id = $2 OR joiner_id = $2)
        AND EXISTS (SELECT 1 FROM conversations WHERE id = $1 AND closed_at IS NULL);
    SELECT ",
    session_columns!(),
    " FROM conversations c JOIN support_sessions s ON s.conversation_id = c.id
      WHERE c.id = $1 AND c.closed_at IS NULL AND $2 IN (s.initiator_id, s.joiner_id)"
);
const UNREAD: &str = "SELECT coalesce(sum(c.last_seq - p.read_seq - p.own_after), 0) AS unread
    FROM support_sessions s
    CROSS JOIN participants p ON p.conversation_id = s.conversation_id AND p.partner_id = s.initiator_id
    CROSS JOIN conversations c ON c.id = s.conversation_id
    WHERE s.initiator_id = $1";
const SEEN_AT: &str = "SELECT asked.value ->> 0 AS seq, (
        SELECT m.at FROM support_seen m
        WHERE m.conversation_id = $1 AND m.by_initiator = asked.value ->> 1 AND m.seq >= asked.value ->> 0
        ORDER BY m.seq LIMIT 1
    ) AS at
    FROM json_each($2) asked";
/// Condition on conversation `c`: the partner `$partner` has written there since `$1`.
macro_rules! wrote_since {
    ($partner:literal) => {
        concat!(
            "EXISTS (
                SELECT 1 FROM participants p CROSS JOIN messages m ON m.id = p.last_own_id
                WHERE p.conversation_id = c.id AND p.partner_id = ",
            $partner,
            " AND m.created_at >= $1
            )"
        )
    };
}
const OF_CONVERSATIONS: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM conversations c JOIN support_sessions s ON s.conversation_id = c.id WHERE c.id IN (SELECT value FROM json_each($1))"
);
const OPEN: &str = concat!(
    "SELECT ",
    session_columns!(),
    ", c.created_at, c.last_seq
      FROM support_sessions s CROSS JOIN conversations c ON c.id = s.conversation_id
      WHERE s.initiator_id = $1 AND c.closed_at IS NULL ORDER BY c.id DESC LIMIT +$2"
);
const INSERT: &str = "INSERT INTO support_sessions (conversation_id, initiator_id, initiator_pinged_at) VALUES ($1, $2, $3)";
const SET_JOINER: &str = "UPDATE support_sessions
    SET joiner_id = $2, joiner_pinged_at = CASE WHEN $2 IS NOT NULL THEN $3 END WHERE conversation_id = $1";
const OPEN_JOINED: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c CROSS JOIN support_sessions s ON s.conversation_id = c.id
      WHERE c.kind = 'support' AND c.closed_at IS NULL AND s.joiner_id = $1 ORDER BY c.id"
);
/// Open sessions whose initiator has sent no request or message since `$1`.
const SILENT: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c CROSS JOIN support_sessions s ON s.conversation_id = c.id
      WHERE c.kind = 'support' AND c.closed_at IS NULL AND s.initiator_pinged_at < $1 AND NOT ",
    wrote_since!("s.initiator_id"),
    " ORDER BY c.id LIMIT +$2"
);
/// Open sessions whose joiner is absent or may no longer answer.
const ABSENT: &str = concat!(
    "SELECT ",
    conversation_columns!(),
    " FROM conversations c CROSS JOIN support_sessions s ON s.conversation_id = c.id
      WHERE c.kind = 'support' AND c.closed_at IS NULL AND s.joiner_id IS NOT NULL AND (
        NOT EXISTS (
            SELECT 1 FROM users u
            WHERE u.partner_id = s.joiner_id AND u.active AND u.role IN (SELECT value FROM json_each($3))
        ) OR (
            s.joiner_pinged_at < $1 AND NOT ",
    wrote_since!("s.joiner_id"),
    "       AND NOT EXISTS (SELECT 1 FROM presences p WHERE p.partner_id = s.joiner_id AND p.last_seen >= $1)
        )
      )
      ORDER BY c.id LIMIT +$2"
);
const MARK_SEEN: &str = "INSERT INTO support_seen (conversation_id, by_initiator, seq, at)
    SELECT s.conversation_id, s.initiator_id = asked.value ->> 1, asked.value ->> 2, $2
    FROM json_each($1) asked CROSS JOIN support_sessions s ON s.conversation_id = asked.value ->> 0
    WHERE asked.value ->> 1 IN (s.initiator_id, s.joiner_id) AND NOT EXISTS (
        SELECT 1 FROM support_seen m
        WHERE m.conversation_id = s.conversation_id AND m.by_initiator = (s.initiator_id = asked.value ->> 1)
            AND m.seq >= asked.value ->> 2
    )
    ON CONFLICT DO NOTHING RETURNING conversation_id";
const WITH_ROLE: &str =
    "SELECT partner_id FROM users WHERE active AND role IN (SELECT value FROM json_each($1)) ORDER BY partner_id";

fn words(roles: &[Role]) -> String {
    list(roles.iter().map(|role| role.as_str()))
}

fn session(row: &SqliteRow) -> Result<SupportSession> {
    let side = |partner: Option<i64>, user, pinged_at| {
        let Some(partner) = partner else { return Ok(None) };
        Ok::<_, crate::Error>(Some(SupportSide {
            partner: PartnerId(partner),
            user: UserId(get(row, user)?),
            pinged_at: time(row, pinged_at)?,
        }))
    };
    let initiator = side(get(row, "initiator_id")?, "initiator_user_id", "initiator_pinged_at")?;
    Ok(SupportSession {
        conversation: ConversationId(get(row, "conversation_id")?),
        uuid: get(row, "uuid")?,
        initiator: only(initiator)?,
        joiner: side(get(row, "joiner_id")?, "joiner_user_id", "joiner_pinged_at")?,
        closed_at: optional_time(row, "closed_at")?,
    })
}

#[async_trait]
impl Support for Sqlite {
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
        let rows = self.write(sqlx::query(TOUCH).bind(id.0).bind(partner.0).bind(micros(at))).await?;
        rows.first().map(session).transpose()
    }

    async fn support_unread(&self, initiator: PartnerId) -> Result<i64> {
        get(&self.only_row(sqlx::query(UNREAD).bind(initiator.0)).await?, "unread")
    }

    async fn seen_at(&self, of: ConversationId, messages: &[(i64, MessageSide)]) -> Result<HashMap<i64, Timestamp>> {
        if messages.is_empty() {
            return Ok(HashMap::new());
        }
        let asked = messages.iter().map(|(seq, by)| (*seq, *by == MessageSide::Agent));
        let rows = self.rows(sqlx::query(SEEN_AT).bind(of.0).bind(list(asked))).await?;
        let seen = rows.iter().map(|row| Ok((get(row, "seq")?, optional_time(row, "at")?)));
        let seen = seen.collect::<Result<Vec<(i64, _)>>>()?;
        Ok(seen.into_iter().filter_map(|(seq, at)| Some((seq, at?))).collect())
    }
}

#[async_trait]
impl WriteSupport for SqliteTx {
    async fn insert_support_session(
        &mut self,
        of: ConversationId,
        initiator: PartnerId,
        at: Timestamp,
    ) -> Result<SupportSession> {
        self.rows(sqlx::query(INSERT).bind(of.0).bind(initiator.0).bind(micros(at))).await?;
        session(&self.only_row(sqlx::query(SESSION).bind(of.0)).await?)
    }

    async fn support_session_of(&mut self, of: &Locked<Conversation>) -> Result<Option<SupportSession>> {
        self.row(sqlx::query(SESSION).bind(of.id.0)).await?.as_ref().map(session).transpose()
    }

    async fn support_sessions_of(&mut self, of: &[&Locked<Conversation>]) -> Result<Vec<SupportSession>> {
        if of.is_empty() {
            return Ok(Vec::new());
        }
        let ids = list(of.iter().map(|of| of.id));
        self.rows(sqlx::query(OF_CONVERSATIONS).bind(ids)).await?.iter().map(session).collect()
    }

    async fn open_support_sessions(&mut self, initiator: PartnerId, most: usize) -> Result<Vec<OpenSupportSession>> {
        let rows = self.rows(sqlx::query(OPEN).bind(initiator.0).bind(limit(most))).await?;
        let begun = |row: &SqliteRow| {
            Ok(OpenSupportSession { session: session(row)?, begun_at: time(row, "created_at")?, messages: get(row, "last_seq")? })
        };
        rows.iter().map(begun).collect()
    }

    async fn set_support_joiner(&mut self, of: &Locked<Conversation>, joiner: Option<PartnerId>, at: Timestamp) -> Result<()> {
        let set = sqlx::query(SET_JOINER).bind(of.id.0).bind(joiner.map(|joiner| joiner.0)).bind(micros(at));
        self.rows(set).await.map(drop)
    }

    async fn lock_joined_support(&mut self, joiner: PartnerId) -> Result<Vec<Locked<Conversation>>> {
        let rows = self.rows(sqlx::query(OPEN_JOINED).bind(joiner.0)).await?;
        rows.iter().map(|row| conversation(row).map(Locked)).collect()
    }

    async fn lock_absent_support(
        &mut self,
        before: Timestamp,
        answering: &[Role],
        most: usize,
    ) -> Result<Vec<Locked<Conversation>>> {
        let absent = sqlx::query(ABSENT).bind(micros(before)).bind(limit(most)).bind(words(answering));
        let rows = self.rows(absent).await?;
        rows.iter().map(|row| conversation(row).map(Locked)).collect()
    }

    async fn lock_silent_support(&mut self, before: Timestamp, most: usize) -> Result<Vec<Locked<Conversation>>> {
        let rows = self.rows(sqlx::query(SILENT).bind(micros(before)).bind(limit(most))).await?;
        rows.iter().map(|row| conversation(row).map(Locked)).collect()
    }

    async fn mark_seen(&mut self, upto: &[(ConversationId, PartnerId, i64)], at: Timestamp) -> Result<Vec<ConversationId>> {
        if upto.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.rows(sqlx::query(MARK_SEEN).bind(list(upto)).bind(micros(at))).await?;
        rows.iter().map(|row| Ok(ConversationId(get(row, "conversation_id")?))).collect()
    }

    async fn partners_with_role(&mut self, roles: &[Role]) -> Result<Vec<PartnerId>> {
        let rows = self.rows(sqlx::query(WITH_ROLE).bind(words(roles))).await?;
        rows.iter().map(|row| Ok(PartnerId(get(row, "partner_id")?))).collect()
    }
}
