use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::types::Json;

use super::{Postgres, PostgresTx, get, limit};
use crate::{ConversationId, Error, Event, EventLog, Fact, PartnerId, Position, Result, Scope, Timestamp, Topic};

const POSITION: &str = "SELECT position FROM log_head";
/// Halves the log until it knows, which costs a few reads by position: there is no index by time to keep up.
const POSITION_AT: &str = "WITH RECURSIVE search (low, high) AS (
        SELECT coalesce((SELECT min(position) FROM events) - 1, 0), (SELECT max(position) FROM events)
        UNION ALL
        SELECT CASE WHEN e.at <= $1 THEN e.position ELSE s.low END, CASE WHEN e.at <= $1 THEN s.high ELSE e.position - 1 END
        FROM search s JOIN events e ON e.position = s.low + (s.high - s.low + 1) / 2
        WHERE s.low < s.high
    )
    SELECT max(low) AS position FROM search";
const EVERYTHING: &str = "SELECT position, conversation_id, partner_id, fact, at FROM events
    WHERE position > $1 ORDER BY position LIMIT $2";
const OF_CONVERSATION: &str = "SELECT position, conversation_id, partner_id, fact, at FROM events
    WHERE conversation_id = $3 AND position > $1 ORDER BY position LIMIT $2";
/// One index range per conversation, so that it does not matter how much happened elsewhere.
const OF_PARTNER: &str = "SELECT e.position, e.conversation_id, e.partner_id, e.fact, e.at
    FROM participants p CROSS JOIN LATERAL (
        SELECT position, conversation_id, partner_id, fact, at FROM events
        WHERE conversation_id = p.conversation_id AND position > $1 ORDER BY position LIMIT $2
    ) e
    WHERE p.partner_id = $3
    UNION ALL (
        SELECT position, conversation_id, partner_id, fact, at FROM events
        WHERE partner_id = $3 AND position > $1 ORDER BY position LIMIT $2
    )
    ORDER BY position LIMIT $2";
/// Locks the head of the log until the transaction has ended and its events are visible.
const APPEND: &str = "WITH head AS (
        UPDATE log_head SET position = position + $1 RETURNING position - $1 AS base
    )
    INSERT INTO events (position, conversation_id, partner_id, fact, at)
    SELECT head.base + f.place, f.conversation_id, f.partner_id, f.fact::json, f.at
    FROM head, unnest($2::bigint[], $3::bigint[], $4::text[], $5::timestamptz[])
        WITH ORDINALITY AS f(conversation_id, partner_id, fact, at, place)
    RETURNING position";

fn event(row: &PgRow) -> Result<Event> {
    let conversation: Option<i64> = get(row, "conversation_id")?;
    let topic = match conversation {
        Some(id) => Topic::Conversation(ConversationId(id)),
        None => Topic::Partner(PartnerId(get(row, "partner_id")?)),
    };
    Ok(Event { position: Position(get(row, "position")?), topic, fact: get::<Json<_>, _>(row, "fact")?.0, at: get(row, "at")? })
}

#[async_trait]
impl EventLog for Postgres {
    async fn events(&self, after: Position, scope: Scope, most: usize) -> Result<Vec<Event>> {
        let (statement, of) = match scope {
            Scope::Everything => (EVERYTHING, None),
            Scope::Conversation(id) => (OF_CONVERSATION, Some(id.0)),
            Scope::Partner(id) => (OF_PARTNER, Some(id.0)),
        };
        let mut query = sqlx::query(statement).bind(after.0).bind(limit(most));
        if let Some(id) = of {
            query = query.bind(id);
        }
        self.rows(query).await?.iter().map(event).collect()
    }

    async fn position(&self) -> Result<Position> {
        Ok(Position(get(&self.only_row(sqlx::query(POSITION)).await?, "position")?))
    }

    async fn position_at(&self, time: Timestamp) -> Result<Position> {
        Ok(Position(get(&self.only_row(sqlx::query(POSITION_AT).bind(time)).await?, "position")?))
    }
}

impl PostgresTx {
    /// Gives the recorded facts their places in the log. The last statement before the commit, because from here on
    /// nobody else can commit facts.
    pub(super) async fn append_facts(&mut self) -> Result<Vec<Event>> {
        if self.facts.is_empty() {
            return Ok(Vec::new());
        }
        let facts = std::mem::take(&mut self.facts);
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
        let append = sqlx::query(APPEND).bind(limit(facts.len())).bind(conversations).bind(partners).bind(texts).bind(times);
        let mut positions =
            self.rows(append).await?.iter().map(|row| get(row, "position")).collect::<sqlx::Result<Vec<i64>>>()?;
        positions.sort_unstable();
        let events = facts.into_iter().zip(positions);
        Ok(events.map(|((topic, fact, at), position)| Event { position: Position(position), topic, fact, at }).collect())
    }
}

fn text(fact: &Fact) -> Result<String> {
    serde_json::to_string(fact).map_err(|error| Error::Internal(error.into()))
}
