//! PostgreSQL statements of presence.

use async_trait::async_trait;

use super::{Postgres, get, limit};
use crate::{ChosenStatus, Error, Heartbeat, PartnerId, Presence, Presences, Result, ShortenedLease, Timestamp};

const PRESENCES: &str =
    "SELECT partner_id, set_status, last_seen, there_until, idle_from FROM presences WHERE partner_id = ANY ($1)";
const EXPIRED_LEASES: &str = "SELECT partner_id, there_until FROM presences
    WHERE set_status IS NULL AND (there_until, partner_id) > ($1, $2) AND there_until <= $3
    ORDER BY there_until, partner_id LIMIT $4";
/// Locks partners by rising id, since several nodes write the same ones concurrently.
const TOUCH_PRESENCES: &str = "INSERT INTO presences AS known (partner_id, last_seen, there_until, idle_from)
    SELECT t.partner_id, max(t.last_seen), max(t.there_until), max(t.idle_from)
    FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[])
        AS t(partner_id, last_seen, there_until, idle_from)
    GROUP BY t.partner_id ORDER BY t.partner_id
    ON CONFLICT (partner_id) DO UPDATE SET last_seen = greatest(known.last_seen, excluded.last_seen),
        there_until = greatest(known.there_until, excluded.there_until),
        idle_from = greatest(known.idle_from, excluded.idle_from)";
/// Locks in the order of [`TOUCH_PRESENCES`].
const SHORTEN_PRESENCES: &str = "WITH ends AS MATERIALIZED (
        SELECT known.partner_id, s.there_until
        FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[]) AS s(partner_id, known_until, there_until)
        JOIN presences known ON known.partner_id = s.partner_id
        WHERE known.there_until > s.there_until AND known.there_until = coalesce(s.known_until, known.there_until)
        ORDER BY known.partner_id FOR NO KEY UPDATE OF known
    )
    UPDATE presences p SET there_until = ends.there_until FROM ends WHERE p.partner_id = ends.partner_id";
const SET_PRESENCE: &str = "INSERT INTO presences AS known (partner_id, set_status, last_seen) VALUES ($1, $2, $3)
    ON CONFLICT (partner_id) DO UPDATE
    SET set_status = excluded.set_status, last_seen = greatest(known.last_seen, excluded.last_seen)";

#[async_trait]
impl Presences for Postgres {
    async fn presences(&self, partners: &[PartnerId]) -> Result<Vec<Presence>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i64> = partners.iter().map(|id| id.0).collect();
        let rows = self.rows(sqlx::query(PRESENCES).bind(ids)).await?;
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
                    last_seen: get(row, "last_seen")?,
                    lease_expires_at: get(row, "there_until")?,
                    idle_since: get(row, "idle_from")?,
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
        let ended = sqlx::query(EXPIRED_LEASES).bind(after).bind(partner.0).bind(until).bind(limit(most));
        let ended = self.rows(ended).await?;
        ended.iter().map(|row| Ok((PartnerId(get(row, "partner_id")?), get(row, "there_until")?))).collect()
    }

    async fn record_heartbeats(&self, signs: &[Heartbeat]) -> Result<()> {
        if signs.is_empty() {
            return Ok(());
        }
        let touch = sqlx::query(TOUCH_PRESENCES)
            .bind(signs.iter().map(|sign| sign.partner.0).collect::<Vec<_>>())
            .bind(signs.iter().map(|sign| sign.last_seen).collect::<Vec<_>>())
            .bind(signs.iter().map(|sign| sign.there_until).collect::<Vec<_>>())
            .bind(signs.iter().map(|sign| sign.idle_from).collect::<Vec<_>>());
        self.rows(touch).await.map(drop)
    }

    async fn shorten_leases(&self, ends: &[ShortenedLease]) -> Result<()> {
        if ends.is_empty() {
            return Ok(());
        }
        let shorten = sqlx::query(SHORTEN_PRESENCES)
            .bind(ends.iter().map(|end| end.partner.0).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| end.expected).collect::<Vec<_>>())
            .bind(ends.iter().map(|end| end.there_until).collect::<Vec<_>>());
        self.rows(shorten).await.map(drop)
    }

    async fn set_presence(&self, partner: PartnerId, set: Option<ChosenStatus>, seen: Timestamp) -> Result<()> {
        let upsert = sqlx::query(SET_PRESENCE).bind(partner.0).bind(set.map(ChosenStatus::as_str)).bind(seen);
        self.rows(upsert).await.map(drop)
    }
}
