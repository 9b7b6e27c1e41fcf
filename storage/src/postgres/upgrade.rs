//! Migrations that nodes of other versions must not meet.

use super::{MIGRATIONS, Postgres, get};
use crate::{Result, Timestamp};

/// The line at the head of a migration that must not be done while a node of another version serves the store.
const NEEDS_NO_OTHERS: &str = "-- needs: no older nodes";

const HAS: &str = "SELECT to_regclass($1) IS NOT NULL";
const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success";
/// The table of the first release has no version, nor do its rows.
const OTHERS: &str = "SELECT n.id::text AS id, to_jsonb(n) ->> 'version' AS version, n.until FROM nodes n
    WHERE n.until >= clock_timestamp() AND to_jsonb(n) ->> 'version' IS DISTINCT FROM $1 ORDER BY n.id";

/// A node of another version whose lease lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherNode {
    pub id: String,
    /// `None` for nodes of the first release.
    pub version: Option<String>,
    pub until: Timestamp,
}

impl Postgres {
    /// The nodes because of which the schema cannot be brought up to date now: those of other versions than `version`, if a
    /// migration that is still to be done needs that there are none.
    pub async fn nodes_in_the_way(&self, version: &str) -> Result<Vec<OtherNode>> {
        let mut needing = MIGRATIONS.iter().filter(|migration| needs_no_others(migration.sql.as_str())).peekable();
        if needing.peek().is_none() {
            return Ok(Vec::new());
        }
        let applied = self.applied_migrations().await?;
        match needing.any(|migration| !applied.contains(&migration.version)) {
            true => self.other_nodes(version).await,
            false => Ok(Vec::new()),
        }
    }

    /// The nodes of other versions than `version` whose leases last, by the database's clock.
    pub async fn other_nodes(&self, version: &str) -> Result<Vec<OtherNode>> {
        if !self.has_table("nodes").await? {
            return Ok(Vec::new());
        }
        let rows = self.rows(sqlx::query(OTHERS).bind(version)).await?;
        let nodes = rows
            .iter()
            .map(|row| Ok(OtherNode { id: get(row, "id")?, version: get(row, "version")?, until: get(row, "until")? }));
        nodes.collect()
    }

    async fn applied_migrations(&self) -> Result<Vec<i64>> {
        if !self.has_table("_sqlx_migrations").await? {
            return Ok(Vec::new());
        }
        Ok(self.rows(sqlx::query(APPLIED)).await?.iter().map(|row| get(row, "version")).collect::<sqlx::Result<_>>()?)
    }

    async fn has_table(&self, name: &str) -> Result<bool> {
        Ok(get(&self.only_row(sqlx::query(HAS).bind(name)).await?, 0)?)
    }
}

/// Whether a migration says so in the comment at its head.
fn needs_no_others(sql: &str) -> bool {
    sql.lines().take_while(|line| line.starts_with("--")).any(|line| line.trim_end() == NEEDS_NO_OTHERS)
}

#[cfg(test)]
mod tests {
    use super::needs_no_others;

    #[test]
    fn a_migration_says_at_its_head_that_others_must_not_meet_it() {
        for sql in ["-- needs: no older nodes\nDROP TABLE a;", "-- What it does.\n-- needs: no older nodes\nDROP TABLE a;"] {
            assert!(needs_no_others(sql), "{sql}");
        }
        for sql in
            ["", "DROP TABLE a;", "DROP TABLE a;\n-- needs: no older nodes", "-- needs: no older nodes at all\nDROP TABLE a;"]
        {
            assert!(!needs_no_others(sql), "{sql}");
        }
    }
}
