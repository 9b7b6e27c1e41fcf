//! The rows about costs that must not depend on the size of a table, and about one send on an idle server.

use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    Result,
    children::Server,
    database::{self, Databases},
    load,
    report::{Row, RowTarget, number},
    requests::{count, page, send, session},
    rows::Benchmark,
};

impl Benchmark<'_> {
    pub(crate) async fn lone_send(&self, ours: &Server, databases: &Databases) -> Result<()> {
        databases.settle().await?;
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
        self.finish_row(Row {
            key: "lone-send".into(),
            what: "one lone send, PostgreSQL".into(),
            limit: "the same writes as one bare statement".into(),
            unit: "us".into(),
            mark: RowTarget::AtMost(2.0),
            rounds,
            remark: "ours over HTTP".into(),
        })
    }

    /// Measures requests in large conversations and the same ones in small conversations.
    pub(super) async fn scale(&self, ours: &Server) -> Result<()> {
        let histories = self.histories();
        let largest = histories.last().copied().map_or(0, i64::from);
        let large = 1499 + i64::try_from(histories.len())?;
        let page =
            |reader: i64, conversation: i64, offset: i64| page(&session(reader), conversation, &format!(r#""offset":{offset}"#));
        let (newest, oldest) = (page(large - 1435, large, 0), page(large - 1435, large, largest - 50));
        let rows = [
            (
                "scale-newest",
                format!("newest page of {} messages", number(largest as f64)),
                "of 1,000",
                newest,
                page(65, 1500, 0),
            ),
            (
                "scale-oldest",
                format!("oldest page of {} messages", number(largest as f64)),
                "of 1,000",
                oldest,
                page(65, 1500, 950),
            ),
        ];
        // Each count follows a message, which invalidates the cached count.
        let (mut counted, person) = (Vec::new(), session(1));
        for _ in 0..self.rounds() {
            let count = async |conversation: i64, reader: i64| {
                let said = send(&person, conversation);
                load::latency_after_send(ours.address, &said, &|_| count(&session(reader)), self.times() / 10).await
            };
            counted.push((count(1509, 70).await?, count(1508, 69).await?));
        }
        self.finish_row(Row {
            key: "scale-count".into(),
            what: "`notifications/count` after a message, 50,000 unread".into(),
            limit: "100 unread".into(),
            unit: "us".into(),
            mark: RowTarget::AtMost(1.3),
            rounds: counted,
            remark: "each has one more than before".into(),
        })?;
        for (key, what, limit, large, small) in rows {
            let mut rounds = Vec::new();
            for _ in 0..self.rounds() {
                let large = load::latency(ours.address, std::slice::from_ref(&large), self.times()).await?;
                let small = load::latency(ours.address, std::slice::from_ref(&small), self.times()).await?;
                rounds.push((large, small));
            }
            let (key, what, limit, unit) = (key.into(), what.into(), limit.into(), "us".into());
            self.finish_row(Row { key, what, limit, unit, mark: RowTarget::AtMost(1.3), rounds, remark: String::new() })?;
        }
        Ok(())
    }

    /// Number of repetitions, one at a time.
    pub(super) fn times(&self) -> usize {
        if self.cli.quick { 200 } else { 1_000 }
    }
}
