//! SQLite event log: positions are assigned in the last statements before a commit.

use std::time::Instant;

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use sqlx::types::Json;

use super::{Sqlite, SqliteTx, get, limit, list, micros, only, time};
use crate::{
    ConversationId, Error, Event, EventLog, Fact, LogPage, LogState, Member, PartnerId, Position, Result, Scope, Timestamp,
    Topic, conversations::memberships::membership_intervals,
};

/// Reads no page of the file.
const DATA_VERSION: &str = "PRAGMA data_version";
const POSITION: &str = "SELECT position FROM log_head";
/// Binary search by position. A few reads by primary key, so no index by time needs upkeep.
const POSITION_AT: &str = "WITH RECURSIVE search (low, high) AS (
        SELECT coalesce((SELECT min(position) FROM events) - 1, position), position FROM log_head
        UNION ALL
        SELECT CASE WHEN e.at <= $1 THEN e.position ELSE low END,
            CASE WHEN e.at <= $1 THEN high ELSE low + (high - low + 1) / 2 - 1 END
        FROM search CROSS JOIN events e
            ON e.position = (SELECT min(position) FROM events WHERE position >= low + (high - low + 1) / 2)
        WHERE low < high
    )
    SELECT max(low) AS position FROM search";
/// At most `$2` events after `$1`; the one that reaches `$3` bytes is the last. `found` also counts those beyond the byte limit.
macro_rules! log {
    ($events:literal) => {
        concat!(
            "SELECT position, conversation_id, partner_id, fact, at, found FROM (
                SELECT page.*, count(*) OVER () AS found,
                    sum(octet_length(fact)) OVER (ORDER BY position) - octet_length(fact) AS bytes_before
                FROM (
                    SELECT position, conversation_id, partner_id, fact, at FROM events WHERE ",
            $events,
            " ORDER BY position LIMIT +$2
                ) page
            ) WHERE bytes_before < $3 ORDER BY position"
        )
    };
}
const EVERYTHING: &str = log!("position > $1");
const OF_CONVERSATION: &str = log!("conversation_id = $4 AND position > $1");
/// One index range per membership interval, of at most `$2` events, so that the cost does not depend on events elsewhere.
const OF_PARTNER: &str = log!(
    "position IN (
        SELECT position FROM (
            SELECT of_it.position FROM memberships m CROSS JOIN events of_it ON of_it.position IN (
                SELECT e.position FROM events e
                WHERE e.conversation_id = m.conversation_id AND e.position > max($1, m.from_position - 1)
                    AND e.position < coalesce(m.until_position, 9223372036854775807)
                    AND (e.seq IS NULL OR e.seq > m.visible_from_seq)
                ORDER BY e.position LIMIT +$2
            )
            WHERE m.partner_id = $4 AND (m.until_position IS NULL OR m.until_position > $1)
            UNION ALL
            SELECT position FROM (SELECT position FROM events WHERE partner_id = $4 AND position > $1 ORDER BY position LIMIT +$2)
        ) ORDER BY position LIMIT +$2
    )"
);
const MEMBERS_AT: &str = "SELECT partner_id, visible_from_seq FROM memberships
    WHERE conversation_id = $1 AND from_position <= $2 AND (until_position IS NULL OR until_position > $2)
    ORDER BY partner_id";

const APPEND: &str = "UPDATE log_head SET position = position + $1 RETURNING position - $1 + 1 AS first;
    INSERT INTO events (position, conversation_id, partner_id, fact, at, message_id, seq)
    SELECT (SELECT position - $1 + 1 FROM log_head) + key, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4,
        value ->> 5
    FROM json_each($2)";
/// Ends memberships of earlier first, since a partner may leave and rejoin.
const CHANGE_STAYS: &str = "UPDATE memberships SET until_position = stays.value ->> 3 FROM json_each($1) stays
    WHERE stays.value ->> 2 IS NULL AND conversation_id = stays.value ->> 0 AND partner_id = stays.value ->> 1
        AND until_position IS NULL;
    INSERT INTO memberships (conversation_id, partner_id, from_position, until_position, visible_from_seq)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each($1) WHERE value ->> 2 IS NOT NULL";
/// Forgets events up to the first that is young enough, whatever the times of later ones: the event log must have no gaps.
const FORGET_EVENTS: &str = "DELETE FROM events WHERE position IN (SELECT position FROM events ORDER BY position LIMIT +$2)
        AND position < coalesce(
            (SELECT min(position) FROM (SELECT position, at FROM events ORDER BY position LIMIT +$2) WHERE at >= $1),
            9223372036854775807
        )
    RETURNING position";
const FORGET_MEMBERSHIPS: &str = "DELETE FROM memberships WHERE (conversation_id, partner_id, from_position) IN (
        SELECT conversation_id, partner_id, from_position FROM memberships
        WHERE until_position <= coalesce((SELECT min(position) FROM events), (SELECT position + 1 FROM log_head))
        ORDER BY until_position LIMIT +$1
    ) RETURNING partner_id";

fn event(row: &SqliteRow) -> Result<Event> {
    let conversation: Option<i64> = get(row, "conversation_id")?;
    let topic = match conversation {
        Some(id) => Topic::Conversation(ConversationId(id)),
        None => Topic::Partner(PartnerId(get(row, "partner_id")?)),
    };
    let fact = match get::<Json<Fact>, _>(row, "fact") {
        Ok(fact) => fact.0,
        // A fact of a newer version must not hide all that follow it.
        Err(Error::Corrupt(_)) => Fact::Unknown,
        Err(error) => return Err(error),
    };
    Ok(Event { position: Position(get(row, "position")?), topic, fact, at: time(row, "at")? })
}

#[async_trait]
impl EventLog for Sqlite {
    async fn log(&self, after: Position, scope: Scope, most: usize, bytes: usize) -> Result<LogPage> {
        let (statement, of) = match scope {
            Scope::Everything => (EVERYTHING, None),
            Scope::Conversation(id) => (OF_CONVERSATION, Some(id.0)),
            Scope::Partner(id) => (OF_PARTNER, Some(id.0)),
        };
        let mut query = sqlx::query(statement).bind(after.0).bind(limit(most)).bind(limit(bytes));
        if let Some(id) = of {
            query = query.bind(id);
        }
        let rows = self.rows(query).await?;
        let found = rows.first().map_or(Ok(0), |row| get::<i64, _>(row, "found"))?;
        let more = found >= limit(most) || limit(rows.len()) < found;
        Ok(LogPage { events: rows.iter().map(event).collect::<Result<_>>()?, more })
    }

    async fn members_at(&self, conversation: ConversationId, position: Position) -> Result<Vec<Member>> {
        let rows = self.rows(sqlx::query(MEMBERS_AT).bind(conversation.0).bind(position.0)).await?;
        let member = |row: &SqliteRow| {
            Ok(Member { partner: PartnerId(get(row, "partner_id")?), visible_from_seq: get(row, "visible_from_seq")? })
        };
        rows.iter().map(member).collect()
    }

    async fn position(&self) -> Result<Position> {
        Ok(Position(get(&self.only_row(sqlx::query(POSITION)).await?, "position")?))
    }

    async fn data_version(&self) -> Result<Option<i64>> {
        let core = &self.core;
        core.files.check()?;
        let mut keeper = core.keeper.lock().await;
        let keeper = keeper.as_mut().ok_or_else(|| core.explain(sqlx::Error::PoolClosed))?;
        let begun = Instant::now();
        let rows = keeper.rows(sqlx::query(DATA_VERSION), begun + core.limits.statement_timeout).await;
        let rows = core.counted("data_version", begun, rows.map_err(|error| core.explain(error)))?;
        Ok(Some(get(only(rows.first())?, 0)?))
    }

    async fn log_state(&self, _asked: Position) -> Result<LogState> {
        // No marks: a file that is put in the place of an open one is refused, so the event log never goes back.
        Ok(LogState { head: self.position().await?, ..LogState::default() })
    }

    async fn position_at(&self, time: Timestamp) -> Result<Position> {
        Ok(Position(get(&self.only_row(sqlx::query(POSITION_AT).bind(micros(time))).await?, "position")?))
    }

    async fn forget_events(&self, before: Timestamp, most: usize) -> Result<u64> {
        Ok(self.write_in_steps(most, |step| sqlx::query(FORGET_EVENTS).bind(micros(before)).bind(step)).await?.len() as u64)
    }

    async fn forget_memberships(&self, most: usize) -> Result<u64> {
        Ok(self.write_in_steps(most, |step| sqlx::query(FORGET_MEMBERSHIPS).bind(step)).await?.len() as u64)
    }
}

impl SqliteTx {
    /// Assigns positions to the recorded facts and appends them.
    pub(super) async fn append_facts(&mut self) -> Result<Vec<Event>> {
        if self.facts.is_empty() {
            return Ok(Vec::new());
        }
        let facts = std::mem::take(&mut self.facts);
        let stays = membership_intervals(&facts, &self.founders, &self.imported);
        let rows = facts.iter().map(|(topic, fact, at)| {
            let (conversation, partner) = match topic {
                Topic::Conversation(id) => (Some(id), None),
                Topic::Partner(id) => (None, Some(id)),
            };
            let text = serde_json::to_string(fact).map_err(|error| Error::Internal(error.into()))?;
            Ok((conversation, partner, text, micros(*at), fact.message().map(|message| message.id), fact.seq()))
        });
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let append = sqlx::query(APPEND).bind(limit(facts.len())).bind(list(rows));
        let first: i64 = get(&self.only_row(append).await?, "first")?;
        if !stays.is_empty() {
            let at = |place: Option<usize>| place.map(|place| first + limit(place));
            let stays =
                stays.iter().map(|stay| (stay.conversation, stay.partner, at(stay.from), at(stay.until), stay.visible_from_seq));
            self.rows(sqlx::query(CHANGE_STAYS).bind(list(stays))).await?;
        }
        let events = facts.into_iter().zip(first..);
        Ok(events.map(|((topic, fact, at), position)| Event { position: Position(position), topic, fact, at }).collect())
    }
}
