//! PostgreSQL statements of node leases.

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Postgres, alone, count, get, limit};
use crate::{Node, Nodes, Position, Result, Timestamp};

const RENEW: &str = "INSERT INTO nodes AS known (id, version, bus, started_at, position, until) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (id) DO UPDATE SET version = excluded.version, bus = excluded.bus, started_at = excluded.started_at,
        position = greatest(known.position, excluded.position), until = greatest(known.until, excluded.until)";
const END: &str = "DELETE FROM nodes WHERE id = $1";
const NODES: &str = "SELECT id, version, bus, started_at, position, until FROM nodes WHERE until >= $1 ORDER BY id";
const FORGET: &str = concat!(
    "WITH old AS MATERIALIZED (
        SELECT id FROM nodes WHERE until < $1 AND ",
    alone!("nodes"),
    " LIMIT $2
    ), gone AS (
        DELETE FROM nodes n USING old WHERE n.id = old.id AND n.until < $1 RETURNING n.id
    )
    SELECT count(*) FROM gone"
);

fn node(row: &PgRow) -> Result<Node> {
    Ok(Node {
        id: get(row, "id")?,
        version: get(row, "version")?,
        bus: get(row, "bus")?,
        started_at: get(row, "started_at")?,
        position: get::<Option<i64>, _>(row, "position")?.map(Position),
        until: get(row, "until")?,
    })
}

#[async_trait]
impl Nodes for Postgres {
    async fn renew_lease(&self, node: &Node) -> Result<()> {
        let renew = sqlx::query(RENEW)
            .bind(node.id)
            .bind(&node.version)
            .bind(&node.bus)
            .bind(node.started_at)
            .bind(node.position.map(|position| position.0))
            .bind(node.until);
        self.rows(renew).await.map(drop)
    }

    async fn end_lease(&self, node: Uuid) -> Result<()> {
        self.rows(sqlx::query(END).bind(node)).await.map(drop)
    }

    async fn nodes(&self, at: Timestamp) -> Result<Vec<Node>> {
        self.rows(sqlx::query(NODES).bind(at)).await?.iter().map(node).collect()
    }

    async fn forget_nodes(&self, before: Timestamp, most: usize) -> Result<u64> {
        count(&self.only_row(sqlx::query(FORGET).bind(before).bind(limit(most))).await?)
    }
}
