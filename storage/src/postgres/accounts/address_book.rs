//! PostgreSQL statements of address books.

use async_trait::async_trait;

use crate::{
    AddressBooks, PartnerId, Result, UserId, WriteAddressBooks,
    postgres::{Postgres, PostgresTx, get, partners_of},
};

const BOOK: &str = "SELECT user_id FROM book_entries WHERE owner_id = $1 ORDER BY user_id";
const KNOWN_BY: &str = "SELECT account.partner_id, array_agg(owner.partner_id ORDER BY owner.partner_id) AS owners
    FROM users account
    JOIN book_entries b ON b.user_id = account.id
    JOIN users owner ON owner.id = b.owner_id
    WHERE account.partner_id = ANY ($1) GROUP BY account.partner_id";
const INSERT_INTO_BOOK: &str =
    "INSERT INTO book_entries (owner_id, user_id) SELECT $1, unnest($2::bigint[]) ON CONFLICT DO NOTHING";
const BOOK_SIZE: &str = "SELECT count(*) FROM book_entries WHERE owner_id = $1";
const DELETE_FROM_BOOK: &str = "DELETE FROM book_entries WHERE owner_id = $1 AND user_id = ANY ($2)";

fn numbers(users: &[UserId]) -> Vec<i64> {
    users.iter().map(|id| id.0).collect()
}

#[async_trait]
impl AddressBooks for Postgres {
    async fn address_book(&self, owner: UserId) -> Result<Vec<UserId>> {
        let rows = self.rows(sqlx::query(BOOK).bind(owner.0)).await?;
        rows.iter().map(|row| Ok(UserId(get(row, "user_id")?))).collect()
    }

    async fn address_book_owners(&self, partners: &[PartnerId]) -> Result<Vec<(PartnerId, Vec<PartnerId>)>> {
        if partners.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<_> = partners.iter().map(|id| id.0).collect();
        self.rows(sqlx::query(KNOWN_BY).bind(ids)).await?.iter().map(|row| partners_of(row, "owners")).collect()
    }
}

#[async_trait]
impl WriteAddressBooks for PostgresTx {
    async fn insert_into_address_book(&mut self, owner: UserId, users: &[UserId]) -> Result<usize> {
        self.rows(sqlx::query(INSERT_INTO_BOOK).bind(owner.0).bind(numbers(users))).await?;
        let size: i64 = get(&self.only_row(sqlx::query(BOOK_SIZE).bind(owner.0)).await?, 0)?;
        Ok(usize::try_from(size).unwrap_or(usize::MAX))
    }

    async fn delete_from_address_book(&mut self, owner: UserId, users: &[UserId]) -> Result<()> {
        self.rows(sqlx::query(DELETE_FROM_BOOK).bind(owner.0).bind(numbers(users))).await.map(drop)
    }
}
