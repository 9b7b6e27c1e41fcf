//! The rows about what must not depend on how much there is, and about an idle server.

use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    Result,
    children::Server,
    database::{self, Databases},
    http, load,
    report::{Mark, Row},
    requests::{count, send, session},
    rows::Bench,
};

impl Bench<'_> {
    pub(crate) async fn lone(&self, ours: &Server, databases: &Databases) -> Result<()> {
        let mut connection = PgConnection::connect(&databases.limits).await?;
        // Conversation 32 holds the persons 1 and 2.
        let send = [send(&session(1), 32)];
        let mut rounds = Vec::new();
        for _ in 0..self.rounds() {
            let sent = load::latency(ours.address, &send, self.times()).await?;
            let mut taken = Vec::new();
            for _ in 0..self.times() {
                let begun = Instant::now();
                let statement = sqlx::query(AssertSqlSafe(database::send("$1", "$2"))).bind(32_i64).bind(1_i64);
                statement.execute(&mut connection).await?;
                taken.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            rounds.push((sent, load::median(&taken)));
        }
        connection.close().await?;
        Row {
            what: "one lone send, PostgreSQL",
            limit: "the same writes as one bare statement",
            unit: "us",
            mark: Mark::AtMost(2.0),
            rounds,
            remark: "ours over HTTP".into(),
        }
        .print()
    }

    /// What is asked for in large conversations takes no longer than in small ones.
    pub(crate) async fn scale(&self, ours: &Server, databases: &Databases) -> Result<()> {
        databases.fill().await?;
        let page = |conversation: i64, offset: i64| {
            let params = format!(r#"{{"thread_id":{conversation},"limit":50,"offset":{offset}}}"#);
            http::call("/api/messaging/messages", &session(65), &params)
        };
        let rows = [
            ("`notifications/count`, 50,000 unread", "100 unread", count(&session(67)), count(&session(66))),
            ("newest page of 1,000,000 messages", "of 1,000", page(1501, 0), page(1500, 0)),
            ("oldest page of 1,000,000 messages", "of 1,000", page(1501, 999_950), page(1500, 950)),
        ];
        for (what, limit, large, small) in rows {
            let mut rounds = Vec::new();
            for _ in 0..self.rounds() {
                let large = load::latency(ours.address, std::slice::from_ref(&large), self.times()).await?;
                let small = load::latency(ours.address, std::slice::from_ref(&small), self.times()).await?;
                rounds.push((large, small));
            }
            Row { what, limit, unit: "us", mark: Mark::AtMost(1.3), rounds, remark: String::new() }.print()?;
        }
        Ok(())
    }

    /// How often something is done one at a time.
    fn times(&self) -> usize {
        if self.cli.quick { 200 } else { 1_000 }
    }
}
