//! SQLite statements of presence.

use async_trait::async_trait;

use super::{Sqlite, get, greatest, limit, list, micros, optional_time, time};
use crate::{ChosenStatus, Error, Heartbeat, PartnerId, Presence, Presences, Result, ShortenedLease, Timestamp};

const PRESENCES: &str = "SELECT partner_id, set_status, last_seen, there_until, idle_from FROM presences
    WHERE partner_id IN (SELECT value FROM json_each($1))";
const EXPIRED_LEASES: &str = "SELECT partner_id, there_until FROM presences
    WHERE set_status IS NULL AND (there_until, partner_id) > ($1, $2) AND there_until <= $3
    ORDER BY there_until, partner_id LIMIT +$4";
/// `WHERE true`, since the parser would take `ON` for a part of the read.
const TOUCH_PRESENCES: &str = concat!(
    "INSERT INTO presences AS known (partner_id, last_seen, there_until, idle_from)
    SELECT value ->> 0, max(value ->> 1), max(value ->> 2), max(value ->> 3) FROM json_each($1) WHERE true GROUP BY value ->> 0
    ON CONFLICT (partner_id) DO UPDATE SET last_seen = max(known.last_seen, excluded.last_seen), there_until = ",
    greatest!("known.there_until", "excluded.there_until"),
    ", idle_from = ",
    greatest!("known.idle_from", "excluded.idle_from")
);
const SHORTEN_PRESENCES: &str = "UPDATE presences SET there_until = ends.value ->> 2 FROM json_each($1) ends
    WHERE partner_id = ends.value ->> 0 AND there_until > ends.value ->> 2
        AND there_until = coalesce(ends.value ->> 1, there_until)";
const SET_PRESENCE: &str = "INSERT INTO presences AS known (partner_id, set_status, last_seen) VALUES ($1, $2, $3)
    ON CONFLICT (partner_id) DO UPDATE
    SET set_status = excluded.set_status, last_seen = max(known.last_seen, excluded.last_seen)";

#[async_trait]
impl Presences for Sqlite {
    async fn presences(&self, partners: &[PartnerId]) -> Result<Vec<Presence>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.rows(sqlx::query(PRESENCES).bind(list(partners))).await?;
        rows.iter()
            .map(|row| {
                let chosen = match get::<Option<&str>, _>(row, "set_status")? {
                    Some(word) => {
                        Some(ChosenStatus::parse(word).ok_or_else(|| Error::Corrupt(format!("set_status is {word:?}")))?)
                    }
                    None => None,
                };
                Ok(Presence {
                    partner: PartnerId(get(row, "partner_id")?),
                    chosen,
                    last_seen: time(row, "last_seen")?,
                    lease_expires_at: optional_time(row, "there_until")?,
                    idle_since: optional_time(row, "idle_from")?,
                })
            })
            .collect()
    }

    async fn expired_leases(
        &self,
        (after, partner): (Timestamp, PartnerId),
        until: Timestamp,
        most: usize,
    ) -> Result<Vec<(PartnerId, Timestamp)>> {
        let ended = sqlx::query(EXPIRED_LEASES).bind(micros(after)).bind(partner.0).bind(micros(until)).bind(limit(most));
        let ended = self.rows(ended).await?;
        ended.iter().map(|row| Ok((PartnerId(get(row, "partner_id")?), time(row, "there_until")?))).collect()
    }

    async fn record_heartbeats(&self, signs: &[Heartbeat]) -> Result<()> {
        if signs.is_empty() {
            return Ok(());
        }
        let signs =
            signs.iter().map(|sign| (sign.partner, micros(sign.last_seen), micros(sign.there_until), sign.idle_from.map(micros)));
        self.write(sqlx::query(TOUCH_PRESENCES).bind(list(signs))).await.map(drop)
    }

    async fn shorten_leases(&self, ends: &[ShortenedLease]) -> Result<()> {
        if ends.is_empty() {
            return Ok(());
        }
        let ends = ends.iter().map(|end| (end.partner, end.expected.map(micros), micros(end.there_until)));
        self.write(sqlx::query(SHORTEN_PRESENCES).bind(list(ends))).await.map(drop)
    }

    async fn set_presence(&self, partner: PartnerId, set: Option<ChosenStatus>, seen: Timestamp) -> Result<()> {
        let upsert = sqlx::query(SET_PRESENCE).bind(partner.0).bind(set.map(ChosenStatus::as_str)).bind(micros(seen));
        self.write(upsert).await.map(drop)
    }
}
