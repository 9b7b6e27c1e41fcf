//! Migrations that must not run while nodes of other versions serve the store.

use super::{MIGRATIONS, Postgres, get};
use crate::{Result, Timestamp};

/// Header line of a migration that must not run while a node of another version serves the store.
const NEEDS_NO_OTHERS: &str = "-- needs: no older nodes";

const HAS: &str = "SELECT to_regclass($1) IS NOT NULL";
const APPLIED: &str = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
/// Live nodes of other versions. The first release's table has no version column, hence `to_jsonb`.
const OTHERS: &str = "SELECT n.id::text AS id, to_jsonb(n) ->> 'version' AS version, n.until FROM nodes n
    WHERE n.until >= clock_timestamp() AND to_jsonb(n) ->> 'version' IS DISTINCT FROM $1 ORDER BY n.id";

/// Node of another version with an unexpired lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherNode {
    pub id: String,
    /// The node's version; `None` for the first release.
    pub version: Option<String>,
    pub until: Timestamp,
}

impl Postgres {
    /// Finds the nodes that block the migration: those of other versions than `version`, if a pending migration must not meet
    /// any.
    ///
    /// # Errors
    /// Those of [`Storage`](crate::Storage).
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
    pub async fn blocking_nodes(&self, version: &str) -> Result<Vec<OtherNode>> {
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

    /// Finds the nodes of other versions than `version` with an unexpired lease, by the database's clock.
    ///
    /// # Errors
    /// Those of [`Storage`](crate::Storage).
    ///
    /// # Cancel safety
    /// A dropped call leaves nothing behind.
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

    /// True if the migrations of this program have been applied, and no others.
    pub(super) async fn has_known_schema(&self) -> Result<bool> {
        let applied = self.applied_migrations().await?;
        Ok(MIGRATIONS.iter().map(|migration| migration.version).eq(applied))
    }

    async fn applied_migrations(&self) -> Result<Vec<i64>> {
        if !self.has_table("_sqlx_migrations").await? {
            return Ok(Vec::new());
        }
        Ok(self.rows(sqlx::query(APPLIED)).await?.iter().map(|row| get(row, "version")).collect::<sqlx::Result<_>>()?)
    }

    pub(super) async fn has_table(&self, name: &str) -> Result<bool> {
        Ok(get(&self.only_row(sqlx::query(HAS).bind(name)).await?, 0)?)
    }
}

/// True if the header comment of a migration contains [`NEEDS_NO_OTHERS`].
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
