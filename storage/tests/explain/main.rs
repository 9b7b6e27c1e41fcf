//! Tests of the rows that hot statements read. In a database with many rows of everything, `auto_explain` reports the
//! rows that each statement of a method has read; the method's result must account for all of them.
#![cfg(feature = "postgres")]
// `.clippy.toml` allows these only in functions that are marked as tests themselves.
#![allow(clippy::unwrap_used)]

mod concierge;
mod plans;
mod reads;
mod search;
mod writes;

use std::cell::RefCell;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use storage::postgres::{Options, Postgres};
use storage::{Storage, Users};

use plans::{EXPLAIN, Plans};

const FILL: &str = include_str!("fill.sql");
/// PostgreSQL plans the first five runs of a statement for their values, and may use a generic plan afterwards.
const RUNS: usize = 7;

/// A database with many rows of everything, on one connection.
struct Explained {
    storage: Postgres,
    plans: Plans,
    /// Methods that have read more rows than they should.
    excesses: RefCell<Vec<String>>,
}

impl Explained {
    /// Runs a method several times; each run reads about this many rows, or fewer. Up to twice as many are accepted:
    /// the planner's statistics are samples, and now and then it starts a join from the other side.
    async fn within<T>(&self, about: u32, what: &str, work: impl AsyncFn(&Postgres) -> storage::Result<T>) -> T {
        let mut given = None;
        for _ in 0..RUNS {
            self.plans.take();
            given = Some(work(&self.storage).await.unwrap());
            // Another statement as a barrier: its answer comes after all notices of the earlier ones.
            self.storage.writability().await.unwrap();
            let plans = self.plans.take();
            assert!(plans.len() > 1, "{what}: nothing was explained");
            let read = plans.iter().map(plans::Plan::read).sum::<f64>();
            if read > 2.0 * f64::from(about) {
                let told: String = plans.iter().map(|plan| format!("{plan}\n")).collect();
                let told = format!("{what} has read {read} rows, and should read about {about}:\n{told}");
                self.excesses.borrow_mut().push(told);
                break;
            }
        }
        given.unwrap()
    }
}

#[tokio::test]
async fn hot_statements_read_no_more_than_they_give() {
    let server = std::env::var("DRAGOMAN_TEST_POSTGRES")
        .expect("DRAGOMAN_TEST_POSTGRES names no PostgreSQL to make databases in: run the tests with .ci/test");
    let name = format!("explain_{}", uuid::Uuid::new_v4().simple());
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let mut admin = PgConnection::connect(&server).await.unwrap();
    admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();

    let options = |url| Options {
        url,
        max_connections: 1,
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(30),
    };
    let filled = Postgres::open(&options(url.clone())).await.unwrap();
    filled.migrate().await.unwrap();
    assert!(filled.index_people().await.unwrap());
    let mut database = PgConnection::connect(&url).await.unwrap();
    database.execute(FILL).await.unwrap();
    while filled.fold_people(1_000).await.unwrap() > 0 {}
    filled.close().await;
    database.execute(AssertSqlSafe(EXPLAIN.replace("NAME", &name))).await.unwrap();
    database.close().await.unwrap();

    let plans = Plans::default();
    let _hearing = tracing::subscriber::set_default(plans.clone());
    let explained = Explained { storage: Postgres::open(&options(url)).await.unwrap(), plans, excesses: RefCell::default() };
    reads::of_a_long_conversation(&explained).await;
    reads::of_newcomers(&explained).await;
    reads::of_the_audit_trail(&explained).await;
    reads::of_a_busy_person(&explained).await;
    reads::of_a_crowd(&explained).await;
    search::of_messages(&explained).await;
    search::of_people(&explained).await;
    concierge::sessions_devices_uploads_presence(&explained).await;
    writes::to_what_is_large(&explained).await;

    explained.storage.close().await;
    admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
    let excesses = explained.excesses.into_inner();
    assert!(excesses.is_empty(), "{}", excesses.join("\n"));
}
