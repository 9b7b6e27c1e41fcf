//! PostgreSQL event log: positions are assigned under the lock of its head, in the last statement before a commit.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::{Postgres, PostgresTx, alone, commit_outcome::CommitMark, count, get, limit, timeline::timeline};
use crate::{
    ConversationId, Error, Event, EventLog, EventMark, Fact, LogPage, LogState, Member, PartnerId, Position, Result, Scope,
    Timestamp, Topic, conversations::memberships::membership_intervals,
};

const POSITION: &str = "SELECT position FROM log_head";
/// Binary search by position. A few reads by primary key, so no index by time needs upkeep.
const POSITION_AT: &str = "WITH RECURSIVE search (low, high) AS (
        SELECT coalesce((SELECT min(position) FROM events) - 1, head.position), head.position FROM log_head head
        UNION ALL
        SELECT CASE WHEN e.at <= $1 THEN e.position ELSE s.low END,
            CASE WHEN e.at <= $1 THEN s.high ELSE s.low + (s.high - s.low + 1) / 2 - 1 END
        FROM search s CROSS JOIN LATERAL (
            SELECT position, at FROM events WHERE position >= s.low + (s.high - s.low + 1) / 2 ORDER BY position LIMIT 1
        ) e
        WHERE s.low < s.high
    )
    SELECT max(low) AS position FROM search";
/// State of the event log. Searches the newest mark only as far back as a large transaction reaches, to bound the cost without
/// one.
macro_rules! log_state {
    ($timeline:expr) => {
        concat!(
            "SELECT head.position AS head, asked.position AS asked, asked.mark AS asked_mark,
                newest.position AS newest, newest.mark AS newest_mark, pg_is_in_recovery() AS is_standby, ",
            $timeline,
            " AS timeline
            FROM log_head head
            LEFT JOIN events asked ON asked.position = $1
            LEFT JOIN LATERAL (
                SELECT position, mark FROM events
                WHERE mark IS NOT NULL AND position > head.position - 1000 ORDER BY position DESC LIMIT 1
            ) newest ON true"
        )
    };
}
const LOG_STATE: &str = log_state!(timeline!());
const LOG_STATE_WITHOUT_TIMELINE: &str = log_state!("NULL::bigint");
/// At most `$2` events after `$1`; the one that reaches `$3` bytes is the last. `found` also counts those beyond the byte limit.
macro_rules! log {
    ($events:literal) => {
        concat!(
            "SELECT position, conversation_id, partner_id, fact, at, found FROM (
                SELECT e.*, count(*) OVER () AS found,
                    sum(octet_length(e.fact::text)) OVER (ORDER BY e.position) - octet_length(e.fact::text) AS bytes_before
                FROM (",
            $events,
            ") e
            ) e WHERE bytes_before < $3 ORDER BY position"
        )
    };
}
const EVERYTHING: &str =
    log!("SELECT position, conversation_id, partner_id, fact, at FROM events WHERE position > $1 ORDER BY position LIMIT $2");
const OF_CONVERSATION: &str = log!(
    "SELECT position, conversation_id, partner_id, fact, at FROM events
    WHERE conversation_id = $4 AND position > $1 ORDER BY position LIMIT $2"
);
/// One index range per membership interval, so that the cost does not depend on events elsewhere.
const OF_PARTNER: &str = log!(
    "SELECT e.position, e.conversation_id, e.partner_id, e.fact, e.at
    FROM memberships m CROSS JOIN LATERAL (
        SELECT position, conversation_id, partner_id, fact, at FROM events
        WHERE conversation_id = m.conversation_id
            AND position > greatest($1, m.from_position - 1) AND position < coalesce(m.until_position, 9223372036854775807)
            AND (seq IS NULL OR seq > m.visible_from_seq)
        ORDER BY position LIMIT $2
    ) e
    WHERE m.partner_id = $4 AND (m.until_position IS NULL OR m.until_position > $1)
    UNION ALL (
        SELECT position, conversation_id, partner_id, fact, at FROM events
        WHERE partner_id = $4 AND position > $1 ORDER BY position LIMIT $2
    )
    ORDER BY position LIMIT $2"
);
const MEMBERS_AT: &str = "SELECT partner_id, visible_from_seq FROM memberships
    WHERE conversation_id = $1 AND from_position <= $2 AND (until_position IS NULL OR until_position > $2)
    ORDER BY partner_id";

/// Appends facts, after the statements of `$with`. Appends none if the head of the event log is before `$8`. Locks the head until
/// the transaction has ended and its events are visible.
macro_rules! append {
    ($with:literal) => {
        concat!(
            "WITH head AS (
                UPDATE log_head SET position = position + $1 WHERE position >= $8 RETURNING position - $1 AS base
            )",
            $with,
            " INSERT INTO events (position, conversation_id, partner_id, fact, at, message_id, seq, mark)
            SELECT head.base + f.place, f.conversation_id, f.partner_id, f.fact::json, f.at, f.message_id, f.seq,
                CASE WHEN f.place = 1 THEN gen_random_uuid() END
            FROM head, unnest($2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[], $6::bigint[], $7::bigint[])
                WITH ORDINALITY AS f(conversation_id, partner_id, fact, at, message_id, seq, place)
            RETURNING position, mark, pg_current_xact_id()::text AS transaction"
        )
    };
}

const APPEND: &str = append!("");
/// Appends facts with membership changes. A membership of earlier ends first, if the partner also rejoins.
const APPEND_WITH_STAYS: &str = append!(
    ", stays AS MATERIALIZED (
        SELECT s.conversation_id, s.partner_id, head.base + s.from_place AS from_position,
            head.base + s.until_place AS until_position, s.visible_from_seq
        FROM head, unnest($9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[])
            AS s(conversation_id, partner_id, from_place, until_place, visible_from_seq)
    ), ended AS (
        UPDATE memberships m SET until_position = stays.until_position FROM stays
        WHERE stays.from_position IS NULL AND m.conversation_id = stays.conversation_id
            AND m.partner_id = stays.partner_id AND m.until_position IS NULL
    ), begun AS (
        INSERT INTO memberships (conversation_id, partner_id, from_position, until_position, visible_from_seq)
        SELECT conversation_id, partner_id, from_position, until_position, visible_from_seq FROM stays WHERE from_position IS NOT NULL
    )"
);
/// Forgets events up to the first that is young enough, whatever the times of later ones, or that another transaction is
/// rewriting: the event log must have no gaps. Skips locks, so it cannot deadlock with a transaction that rewrites several
/// events.
const FORGET_EVENTS: &str = concat!(
    "WITH oldest AS MATERIALIZED (
        SELECT position, at FROM events WHERE ",
    alone!("events"),
    " ORDER BY position LIMIT $2
    ), free AS MATERIALIZED (
        SELECT position FROM events ORDER BY position LIMIT $2 FOR UPDATE SKIP LOCKED
    ), kept AS MATERIALIZED (
        SELECT min(position) AS first FROM oldest WHERE at >= $1 OR position NOT IN (SELECT position FROM free)
    ), gone AS (
        DELETE FROM events e USING oldest, kept
        WHERE e.position = oldest.position AND (kept.first IS NULL OR oldest.position < kept.first) RETURNING e.position
    )
    SELECT count(*) FROM gone"
);
const FORGET_COMMITS: &str = concat!("DELETE FROM commits WHERE at < $1 AND ", alone!("commits"));
const FORGET_MEMBERSHIPS: &str = concat!(
    "WITH log AS MATERIALIZED (
        SELECT coalesce((SELECT min(position) FROM events), head.position + 1) AS oldest FROM log_head head
    ), ended AS MATERIALIZED (
        SELECT m.conversation_id, m.partner_id, m.from_position FROM memberships m
        WHERE m.until_position <= (SELECT oldest FROM log) AND ",
    alone!("memberships"),
    " ORDER BY m.until_position LIMIT $1
    ), gone AS (
        DELETE FROM memberships m USING ended
        WHERE m.conversation_id = ended.conversation_id AND m.partner_id = ended.partner_id
            AND m.from_position = ended.from_position RETURNING m.partner_id
    )
    SELECT count(*) FROM gone"
);

fn event(row: &PgRow) -> Result<Event> {
    let conversation: Option<i64> = get(row, "conversation_id")?;
    let topic = match conversation {
        Some(id) => Topic::Conversation(ConversationId(id)),
        None => Topic::Partner(PartnerId(get(row, "partner_id")?)),
    };
    let fact = match get::<Json<Fact>, _>(row, "fact") {
        Ok(fact) => fact.0,
        // A fact of a newer version must not hide all that follow it.
        Err(sqlx::Error::ColumnDecode { .. }) => Fact::Unknown,
        Err(error) => return Err(error.into()),
    };
    Ok(Event { position: Position(get(row, "position")?), topic, fact, at: get(row, "at")? })
}

#[async_trait]
impl EventLog for Postgres {
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
        let member = |row: &PgRow| {
            Ok(Member { partner: PartnerId(get(row, "partner_id")?), visible_from_seq: get(row, "visible_from_seq")? })
        };
        rows.iter().map(member).collect()
    }

    async fn position(&self) -> Result<Position> {
        Ok(Position(get(&self.only_row(sqlx::query(POSITION)).await?, "position")?))
    }

    async fn log_state(&self, asked: Position) -> Result<LogState> {
        let statement = if self.timelines.are_known() { LOG_STATE } else { LOG_STATE_WITHOUT_TIMELINE };
        let row = self.only_row(sqlx::query(statement).bind(asked.0)).await?;
        let mark = |position, mark| -> Result<Option<EventMark>> {
            let position: Option<i64> = get(&row, position)?;
            let mark = get(&row, mark)?;
            Ok(position.map(|position| EventMark { position: Position(position), mark }))
        };
        if get(&row, "is_standby")? {
            // A standby may lag behind, which is no loss of events.
            return Err(self.gate.unavailable("the server is a standby", "name the primary in the address"));
        }
        let head = Position(get(&row, "head")?);
        self.timelines.record_head(head);
        Ok(LogState {
            head,
            requested: mark("asked", "asked_mark")?,
            newest: mark("newest", "newest_mark")?,
            timeline: get(&row, "timeline")?,
        })
    }

    async fn position_at(&self, time: Timestamp) -> Result<Position> {
        Ok(Position(get(&self.only_row(sqlx::query(POSITION_AT).bind(time)).await?, "position")?))
    }

    async fn forget_events(&self, before: Timestamp, most: usize) -> Result<u64> {
        self.rows(sqlx::query(FORGET_COMMITS).bind(before)).await?;
        count(&self.only_row(sqlx::query(FORGET_EVENTS).bind(before).bind(limit(most))).await?)
    }

    async fn forget_memberships(&self, most: usize) -> Result<u64> {
        count(&self.only_row(sqlx::query(FORGET_MEMBERSHIPS).bind(limit(most))).await?)
    }
}

impl PostgresTx {
    /// Assigns positions to the recorded facts and appends them. The last statement before the commit: it holds the head's lock,
    /// so no other transaction can commit facts.
    pub(super) async fn append_facts(&mut self) -> Result<Vec<Event>> {
        if self.facts.is_empty() {
            return Ok(Vec::new());
        }
        let facts = std::mem::take(&mut self.facts);
        let stays = membership_intervals(&facts, &self.founders, &self.imported);
        let conversations: Vec<Option<i64>> = facts
            .iter()
            .map(|(topic, ..)| match topic {
                Topic::Conversation(id) => Some(id.0),
                Topic::Partner(_) => None,
            })
            .collect();
        let partners: Vec<Option<i64>> = facts
            .iter()
            .map(|(topic, ..)| match topic {
                Topic::Conversation(_) => None,
                Topic::Partner(id) => Some(id.0),
            })
            .collect();
        let texts = facts.iter().map(|(_, fact, _)| text(fact)).collect::<Result<Vec<String>>>()?;
        let times: Vec<Timestamp> = facts.iter().map(|(.., at)| *at).collect();
        let statement = if stays.is_empty() { APPEND } else { APPEND_WITH_STAYS };
        let mut append =
            sqlx::query(statement).bind(limit(facts.len())).bind(conversations).bind(partners).bind(texts).bind(times);
        append = append
            .bind(facts.iter().map(|(_, fact, _)| fact.message().map(|message| message.id.0)).collect::<Vec<_>>())
            .bind(facts.iter().map(|(_, fact, _)| fact.seq()).collect::<Vec<_>>())
            .bind(self.storage.known_head());
        if !stays.is_empty() {
            append = append
                .bind(stays.iter().map(|stay| stay.conversation.0).collect::<Vec<_>>())
                .bind(stays.iter().map(|stay| stay.partner.0).collect::<Vec<_>>())
                .bind(stays.iter().map(|stay| stay.from.map(place)).collect::<Vec<_>>())
                .bind(stays.iter().map(|stay| stay.until.map(place)).collect::<Vec<_>>())
                .bind(stays.iter().map(|stay| stay.visible_from_seq).collect::<Vec<_>>());
        }
        let rows = self.rows(append).await?;
        if rows.is_empty() {
            self.failed = true;
            return Err(Error::Unavailable("event log ends before events already read or written".into()));
        }
        let mut places = rows.iter().map(|row| Ok((get(row, "position")?, row))).collect::<Result<Vec<(i64, _)>>>()?;
        places.sort_unstable_by_key(|(position, _)| *position);
        self.mark = places.first().map(|(position, row)| CommitMark::of(row, Some(*position))).transpose()?;
        let positions = places.into_iter().map(|(position, _)| position);
        let events = facts.into_iter().zip(positions);
        Ok(events.map(|((topic, fact, at), position)| Event { position: Position(position), topic, fact, at }).collect())
    }
}

/// Ordinal of a fact in the statement, from 1.
fn place(place: usize) -> i64 {
    limit(place) + 1
}

fn text(fact: &Fact) -> Result<String> {
    serde_json::to_string(fact).map_err(|error| Error::Internal(error.into()))
}
