//! Names of statements for metrics: few, and equal for statements with the same effect on the same table.

use std::sync::Arc;
use std::time::Duration;

use sqlx::database::HasStatementCache;
use sqlx::query::Query;
use sqlx::{Database, Execute as _, IntoArguments};

use crate::{Error, Result};

/// Callback for every statement: its operation, its duration, and true if it failed. Must return quickly.
pub type Observer = Arc<dyn Fn(&str, Duration, bool) + Send + Sync>;

/// Query with its operation.
pub(crate) struct Statement<'q, DB: Database> {
    pub(crate) operation: Operation,
    pub(crate) query: Query<'q, DB, DB::Arguments>,
}

impl<'q, DB: Database + HasStatementCache> Statement<'q, DB>
where
    DB::Arguments: IntoArguments<DB>,
{
    /// Takes the query apart and rebuilds it, since sqlx exposes the text only that way.
    pub(crate) fn of(mut query: Query<'q, DB, DB::Arguments>) -> Result<Self> {
        let persistent = sqlx::Execute::persistent(&query);
        let arguments = query.take_arguments().map_err(Error::Internal)?.unwrap_or_default();
        let sql = query.sql();
        let operation = Operation::of(sql.as_str());
        Ok(Self { operation, query: sqlx::query_with(sql, arguments).persistent(persistent) })
    }
}

/// Operation of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Verb and table, for example `select messages`: a metric label, bounded by the constants of this backend.
    pub(crate) name: String,
    /// True if its commit may have to wait for a standby.
    pub(crate) writes: bool,
}

impl Operation {
    /// Derives the name from the table of the insert, else of the delete, else of the update, else of the first read: other parts
    /// of a statement serve that one. The last of several counts, which is not nested.
    pub(crate) fn of(sql: &str) -> Self {
        let mut words = sql.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()).peekable();
        let (mut before, mut locks) = ("", false);
        let (mut inserts, mut deletes, mut updates, mut reads) = (None, None, None, None);
        while let Some(word) = words.next() {
            let next = table(words.peek().copied().unwrap_or_default());
            match word.trim_start_matches('(') {
                "INTO" => inserts = Some(next),
                "FROM" if before.ends_with("DELETE") => deletes = Some(next),
                "UPDATE" | "SHARE" if ["FOR", "KEY"].contains(&before) => locks = true,
                "UPDATE" if before != "DO" => updates = Some(next),
                "FROM" | "JOIN" if before != "DISTINCT" && reads.is_none() => reads = next,
                _ => {}
            }
            before = word;
        }
        let writes = [("insert", inserts), ("delete", deletes), ("update", updates)];
        let written = writes.into_iter().find_map(|(verb, table)| Some((verb, table?)));
        let (verb, table) = written.unwrap_or((if locks { "lock" } else { "select" }, reads));
        let name = table.map_or_else(|| verb.to_owned(), |table| format!("{verb} {table}"));
        Self { name, writes: written.is_some() || sql.contains("nextval(") }
    }
}

/// Parses a table name at the head of a text; `None` for a keyword, a subquery or a function.
fn table(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    (end > 0 && !text[end..].starts_with('(')).then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::Operation;

    #[test]
    fn an_operation_is_a_verb_and_a_table() {
        for (sql, name, writes) in [
            ("SELECT clock_timestamp()", "select", false),
            ("SELECT position FROM log_head", "select log_head", false),
            ("SELECT EXISTS (SELECT FROM partners)", "select partners", false),
            ("SELECT a IS DISTINCT FROM b FROM users WHERE id = $1", "select users", false),
            ("SELECT m.id FROM (SELECT x FROM unnest($1) x) ids JOIN messages m ON m.id = x", "select messages", false),
            ("SELECT id FROM conversations ORDER BY id FOR NO KEY UPDATE SKIP LOCKED", "lock conversations", false),
            ("SELECT id FROM attachments FOR SHARE", "lock attachments", false),
            ("SELECT nextval('messages_id') AS id", "select", true),
            ("INSERT INTO nodes AS known (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET id = excluded.id", "insert nodes", true),
            (
                "WITH old AS (SELECT id FROM nodes), gone AS (DELETE FROM nodes n USING old) SELECT count(*) FROM gone",
                "delete nodes",
                true,
            ),
            (
                "WITH head AS (UPDATE log_head SET position = 1) INSERT INTO events (position) SELECT 1 FROM head",
                "insert events",
                true,
            ),
            ("UPDATE partners p SET folded = f.folded FROM unnest($1) AS f(id) WHERE p.id = f.id", "update partners", true),
        ] {
            assert_eq!(Operation::of(sql), Operation { name: name.to_owned(), writes }, "{sql}");
        }
    }
}
