//! Trigram index for the search of people, and the backfill of its folded column.

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use crate::{
    Result,
    fold::fold_person,
    postgres::{Postgres, error::code, get, limit},
};

const INDEX: &str = "partners_folded";
const HAS_INDEX: &str = "SELECT to_regclass($1) IS NOT NULL";
/// Advisory lock: nodes that start at once create the index one after the other. Ends with the connection.
const ALONE: &str = "SELECT pg_advisory_lock(73201, hashtext('partners_folded'))";
pub(crate) const CREATE_EXTENSION: &str = "CREATE EXTENSION IF NOT EXISTS pg_trgm";
/// Schema of the extension's operators, since an earlier installation may have chosen it.
const SCHEMA: &str = "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
    WHERE e.extname = 'pg_trgm'";
const UNFOLDED: &str = "SELECT id, name, email, phone FROM partners WHERE folded IS NULL ORDER BY id LIMIT $1";
/// Skips rows that were changed meanwhile.
const FOLD: &str = "UPDATE partners p SET folded = f.folded
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[]) AS f(id, name, email, phone, folded)
    WHERE p.id = f.id AND p.folded IS NULL
        AND (p.name, p.email, p.phone) IS NOT DISTINCT FROM (f.name, f.email, f.phone)";
const ANY_UNFOLDED: &str = "SELECT EXISTS (SELECT FROM partners WHERE folded IS NULL)";
/// Updates statistics, so that the planner knows at once that no unfolded rows are left.
const ANALYZE: &str = "ANALYZE partners (name, folded)";

impl Postgres {
    /// Creates the index for the search of people, unless it exists. Returns false if it cannot: the extension `pg_trgm` is
    /// missing and this database user may not create it.
    ///
    /// # Errors
    /// `Unavailable` if the database cannot be reached, or a lock stays taken for all attempts.
    ///
    /// # Cancel safety
    /// A dropped call closes its connection: the index exists completely or not at all.
    pub async fn index_people(&self) -> Result<bool> {
        if get(&self.only_row(sqlx::query(HAS_INDEX).bind(INDEX)).await?, 0)? {
            return Ok(true);
        }
        self.alone_with_locks("index of people", async |connection| match create_index(connection).await {
            Ok(()) => Ok(true),
            Err(error) if is_extension_unavailable(&error) => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    /// Fills the folded column of at most `people` rows. Returns the number of rows tried.
    pub(crate) async fn backfill_folded(&self, people: usize) -> Result<u64> {
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
    // People change seldom: no pending list (`fastupdate`), which every search would read.
    let create = create + " WITH (fastupdate = off)";
    connection.execute(AssertSqlSafe(create)).await.map(drop)
}

/// True if the server lacks the extension, or refuses it to this database user.
fn is_extension_unavailable(error: &sqlx::Error) -> bool {
    matches!(code(error).as_deref(), Some("42501" | "58P01" | "0A000"))
}
