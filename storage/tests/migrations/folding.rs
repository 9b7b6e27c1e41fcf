//! Tests of folded names: people of earlier versions are found before and after their names are folded.

use sqlx::Executor;
use storage::postgres::{Options, Postgres};
use storage::{Storage, Users};

use crate::{Migrated, PATIENCE};

const BEFORE: &str = "INSERT INTO partners (id, name, email) VALUES
    (1, E'Jose\\u0301 Mac', NULL), (2, 'José Windows', 'jose@example.com'), (3, 'Plain', NULL)";

async fn found(storage: &Postgres, query: &str) -> Vec<i64> {
    storage.search_people(query, 10).await.unwrap().into_iter().map(|person| person.partner.id.0).collect()
}

#[tokio::test]
async fn names_of_earlier_versions_are_folded_step_by_step() {
    let mut migrated = Migrated::from(42, BEFORE).await;
    assert!(migrated.storage.index_people().await.unwrap(), "the throwaway PostgreSQL has the extension");
    assert!(migrated.storage.index_people().await.unwrap(), "it is there");
    let unfolded = "SELECT id::text FROM partners WHERE folded IS NULL ORDER BY id";
    assert_eq!(migrated.texts(unfolded).await, ["1", "2", "3"]);
    assert_eq!(found(&migrated.storage, "josé").await, [2], "as before");
    assert_eq!(found(&migrated.storage, "JOSE@").await, [2]);
    assert_eq!(migrated.storage.fold_people(2).await.unwrap(), 2);
    assert_eq!(found(&migrated.storage, "josé").await, [1, 2]);
    assert_eq!(found(&migrated.storage, "PLAIN").await, [3], "those that are left are found as well");
    assert_eq!(migrated.storage.fold_people(2).await.unwrap(), 1);
    assert_eq!(migrated.storage.fold_people(2).await.unwrap(), 0);
    // A node of an earlier version keeps writing, and scripts change names.
    migrated.database.execute("INSERT INTO partners (id, name) VALUES (4, 'Jose\u{301} Late')").await.unwrap();
    migrated.database.execute("UPDATE partners SET name = 'Renamed' WHERE id = 3").await.unwrap();
    migrated.database.execute("UPDATE partners SET mobile = '1' WHERE id = 1").await.unwrap();
    assert_eq!(migrated.texts(unfolded).await, ["3", "4"]);
    assert_eq!((found(&migrated.storage, "plain").await, found(&migrated.storage, "renamed").await), (vec![], vec![3]));
    assert_eq!(migrated.storage.fold_people(10).await.unwrap(), 2);
    assert_eq!(found(&migrated.storage, "josé l").await, [4]);
    migrated.drop().await;
}

/// Tests a role without the right to create extensions: search works without the index.
#[tokio::test]
async fn without_the_right_to_create_the_index_people_are_found() {
    let mut migrated = Migrated::from(42, BEFORE).await;
    let role = format!("limited_{}", uuid::Uuid::new_v4().simple());
    let grant =
        format!("CREATE ROLE {role}; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; GRANT ALL ON SCHEMA public TO {role}");
    migrated.database.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(grant))).await.unwrap();
    let url = format!("{}?options=-c%20role%3D{role}", migrated.url);
    let options = Options { url, max_connections: 2, acquire_timeout: PATIENCE, statement_timeout: PATIENCE };
    let limited = Postgres::open(&options).await.unwrap();
    assert!(!limited.index_people().await.unwrap());
    assert_eq!(limited.fold_people(10).await.unwrap(), 3);
    assert_eq!(found(&limited, "JOSÉ").await, [1, 2]);
    limited.close().await;
    let revoke = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    migrated.database.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(revoke))).await.unwrap();
    migrated.drop().await;
}
