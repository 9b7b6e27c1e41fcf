//! Trigram index for the search of people, and the backfill of its folded column.

use sqlx::sqlite::SqliteRow;

use crate::{
    Result,
    columns::person_columns,
    fold::{fold, fold_person},
    sqlite::{STEP_ROWS, Sqlite, get, limit, list},
};

/// Condition on `partners AS person`: it has no folded text, and contains `$2` in lower case.
macro_rules! is_unfolded_match {
    () => {
        "person.folded IS NULL AND (instr(lower(person.name), lower($2)) > 0
            OR instr(lower(person.email), lower($2)) > 0 OR instr(lower(person.phone), lower($2)) > 0)"
    };
}

const COUNT_MATCHES: &str = "SELECT count(*) FROM (SELECT 1 FROM partners_folded WHERE partners_folded MATCH $1 LIMIT +$2)";
/// Sorts all people that the index finds.
const BY_INDEX: &str = concat!(
    "SELECT * FROM (
        SELECT ",
    person_columns!(),
    "   FROM partners_folded CROSS JOIN partners person ON person.id = partners_folded.rowid
        LEFT JOIN users account ON account.partner_id = person.id
        WHERE partners_folded MATCH $1 AND account.active IS NOT 0
        UNION ALL
        SELECT ",
    person_columns!(),
    "   FROM partners person INDEXED BY partners_unfolded LEFT JOIN users account ON account.partner_id = person.id
        WHERE account.active IS NOT 0 AND ",
    is_unfolded_match!(),
    ") ORDER BY partner_name, partner_id LIMIT +$3"
);
/// Walks along the names until enough people are found.
const BY_NAME: &str = concat!(
    "SELECT ",
    person_columns!(),
    " FROM partners person LEFT JOIN users account ON account.partner_id = person.id
      WHERE account.active IS NOT 0 AND (instr(person.folded, $1) > 0 OR ",
    is_unfolded_match!(),
    ") ORDER BY person.name, person.id LIMIT +$3"
);

const UNFOLDED: &str = "SELECT id, name, email, phone FROM partners WHERE folded IS NULL ORDER BY id LIMIT +$1";
/// Skips rows that were changed meanwhile.
const FOLD: &str = "UPDATE partners SET folded = f.value ->> 4 FROM json_each($1) f
    WHERE partners.id = f.value ->> 0 AND folded IS NULL
        AND (name, email, phone) IS (f.value ->> 1, f.value ->> 2, f.value ->> 3)";

/// Least length of a text that the index finds, in characters.
const TRIGRAM: usize = 3;
/// Number of matches from which on a walk along the names soon finds enough people.
const MANY: usize = 1_000;

impl Sqlite {
    pub(super) async fn find_people(&self, query: &str, people: usize) -> Result<Vec<SqliteRow>> {
        let folded = fold(query);
        let phrase = format!("\"{}\"", folded.replace('"', "\"\""));
        let is_rare = folded.chars().count() >= TRIGRAM && {
            let count = self.only_row(sqlx::query(COUNT_MATCHES).bind(&phrase).bind(limit(MANY))).await?;
            get::<i64, _>(&count, 0)? < limit(MANY)
        };
        let search = if is_rare { sqlx::query(BY_INDEX).bind(phrase) } else { sqlx::query(BY_NAME).bind(folded) };
        self.rows(search.bind(query).bind(limit(people))).await
    }

    /// Fills the folded column of at most `people` rows. Returns the number of rows tried.
    pub(super) async fn backfill_folded(&self, people: usize) -> Result<u64> {
        let mut tried = 0;
        while tried < people {
            let step = STEP_ROWS.min(people - tried);
            let rows = self.rows(sqlx::query(UNFOLDED).bind(limit(step))).await?;
            let folded = rows.iter().map(|row| {
                let (name, email, phone): (&str, Option<&str>, Option<&str>) =
                    (get(row, "name")?, get(row, "email")?, get(row, "phone")?);
                Ok((get::<i64, _>(row, "id")?, name, email, phone, fold_person(name, email, phone)))
            });
            let folded = folded.collect::<Result<Vec<_>>>()?;
            if !folded.is_empty() {
                self.write(sqlx::query(FOLD).bind(list(folded))).await?;
            }
            tried += rows.len();
            if rows.len() < step {
                break;
            }
        }
        Ok(tried as u64)
    }
}
