//! SQLite statements of node leases.

use async_trait::async_trait;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Sqlite, get, greatest, micros, optional_time, time};
use crate::{Node, Nodes, Position, Result, Timestamp};

const RENEW: &str = concat!(
    "INSERT INTO nodes AS known (id, version, bus, started_at, position, until) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, bus = excluded.bus, started_at = excluded.started_at,
        position = ",
    greatest!("known.position", "excluded.position"),
    ", until = max(known.until, excluded.until)"
);
const END: &str = "DELETE FROM nodes WHERE id = $1";
const NODES: &str = "SELECT id, version, bus, started_at, position, until FROM nodes WHERE until >= $1 ORDER BY id";
const FORGET: &str = "DELETE FROM nodes WHERE id IN (SELECT id FROM nodes WHERE until < $1 LIMIT +$2) RETURNING id";

fn node(row: &SqliteRow) -> Result<Node> {
    Ok(Node {
        id: get(row, "id")?,
        version: get(row, "version")?,
        bus: get(row, "bus")?,
        started_at: optional_time(row, "started_at")?,
        position: get::<Option<i64>, _>(row, "position")?.map(Position),
        until: time(row, "until")?,
    })
}

#[async_trait]
impl Nodes for Sqlite {
    async fn renew_lease(&self, node: &Node) -> Result<()> {
        let renew = sqlx::query(RENEW)
            .bind(node.id)
            .bind(&node.version)
            .bind(&node.bus)
            .bind(node.started_at.map(micros))
            .bind(node.position.map(|position| position.0))
            .bind(micros(node.until));
        self.write(renew).await.map(drop)
    }

    async fn end_lease(&self, node: Uuid) -> Result<()> {
        self.write(sqlx::query(END).bind(node)).await.map(drop)
    }

    async fn nodes(&self, at: Timestamp) -> Result<Vec<Node>> {
        self.rows(sqlx::query(NODES).bind(micros(at))).await?.iter().map(node).collect()
    }

    async fn forget_nodes(&self, before: Timestamp, most: usize) -> Result<u64> {
        let gone = self.write_in_steps(most, |step| sqlx::query(FORGET).bind(micros(before)).bind(step)).await?;
        Ok(gone.len() as u64)
    }
}
