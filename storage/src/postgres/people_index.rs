//! The column and the index that searches for people use.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::error::code;
use super::{Postgres, get, limit};
use crate::Result;
use crate::fold::fold_person;

const INDEX: &str = "partners_folded";
const HAS_INDEX: &str = "SELECT to_regclass($1) IS NOT NULL";
/// Nodes that start at once make it one after the other. Ends with the connection.
const ALONE: &str = "SELECT pg_advisory_lock(73201, hashtext('partners_folded'))";
const CREATE_EXTENSION: &str = "CREATE EXTENSION IF NOT EXISTS pg_trgm";
/// The operators are where the extension is, which may have been made long ago.
const SCHEMA: &str = "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_trgm'";
const UNFOLDED: &str = "SELECT id, name, email, phone FROM partners WHERE folded IS NULL ORDER BY id LIMIT $1";
/// Not those that somebody has changed meanwhile.
const FOLD: &str = "UPDATE partners p SET folded = f.folded
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) AS f(id, name, email, phone, folded)
    WHERE p.id = f.id AND p.folded IS NULL
        AND (p.name, p.email, p.phone) IS NOT DISTINCT FROM (f.name, f.email, f.phone)";
const ANY_UNFOLDED: &str = "SELECT EXISTS (SELECT FROM partners WHERE folded IS NULL)";
/// So that the planner knows at once that they are folded.
const ANALYZE: &str = "ANALYZE partners (name, folded)";

impl Postgres {
    /// Makes the index by which people are searched, unless it is there. Gives whether it is; it is not where the extension
    /// `pg_trgm` is missing and this user may not create it.
    ///
    /// # Errors
    /// `Unavailable` if the database cannot be reached.
    pub async fn index_people(&self) -> Result<bool> {
        if get(&self.only_row(sqlx::query(HAS_INDEX).bind(INDEX)).await?, 0)? {
            return Ok(true);
        }
        self.alone_with_locks("the index of people", async |connection| match create_index(connection).await {
            Ok(()) => Ok(true),
            Err(error) if is_not_to_be_had(&error) => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    /// Fills the column for at most so many people; gives for how many it was tried.
    pub(super) async fn fold_some(&self, people: usize) -> Result<u64> {
        let rows = self.rows(sqlx::query(UNFOLDED).bind(limit(people))).await?;
        let (mut ids, mut names, mut emails, mut phones, mut folded) = (vec![], vec![], vec![], vec![], vec![]);
        for row in &rows {
            let (name, email, phone): (&str, Option<&str>, Option<&str>) =
                (get(row, "name")?, get(row, "email")?, get(row, "phone")?);
            ids.push(get::<i64, _>(row, "id")?);
            folded.push(fold_person(name, email, phone));
            names.push(name);
            emails.push(email);
            phones.push(phone);
        }
        if !rows.is_empty() {
            let fold = sqlx::query(FOLD).bind(ids).bind(names).bind(emails).bind(phones).bind(folded);
            self.rows(fold).await?;
            if !get::<bool, _>(&self.only_row(sqlx::query(ANY_UNFOLDED)).await?, 0)? {
                self.rows(sqlx::query(ANALYZE)).await?;
            }
        }
        Ok(rows.len() as u64)
    }
}

async fn create_index(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(ALONE).execute(&mut *connection).await?;
    connection.execute(CREATE_EXTENSION).await?;
    let schema: String = get(&sqlx::query(SCHEMA).fetch_one(&mut *connection).await?, 0)?;
    let create = format!("CREATE INDEX IF NOT EXISTS {INDEX} ON partners USING gin (folded {schema}.gin_trgm_ops)");
    // People change seldom: no list of what is still to be indexed, which every search would read.
    let create = create + " WITH (fastupdate = off)";
    connection.execute(AssertSqlSafe(create)).await.map(drop)
}

/// True if the server does not have the extension, or does not let this user have it.
fn is_not_to_be_had(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("42501" | "58P01" | "0A000"))
}
