//! The rows about requests that only read.

use crate::{
    Result,
    children::Server,
    http::Request,
    load::{self, median},
    report::{Row, RowTarget},
    rows::Benchmark,
};

impl Benchmark<'_> {
    /// Measures answers per second, beside those of a bare handler.
    pub(super) async fn throughput_row(
        &self,
        (ours, requests): (&Server, &[Vec<Request>]),
        (limits, bare): (&Server, &[Vec<Request>]),
        (key, what, limit): (&'static str, &'static str, &'static str),
        mark: RowTarget,
    ) -> Result<()> {
        let (mut rounds, mut costs) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds() {
            let (ours, our_cost) = self.cost(ours, requests).await?;
            let (limit, its_cost) = self.cost(limits, bare).await?;
            rounds.push((ours, limit));
            costs.push(its_cost / our_cost);
        }
        let remark = format!("per second of the server's processor time {:.2} times as many", median(&costs));
        self.finish_row(Row { key: key.into(), what: what.into(), limit: limit.into(), unit: "/s".into(), mark, rounds, remark })
    }

    /// Answers per second, and the server's processor time for one answer in microseconds.
    pub(super) async fn cost(&self, server: &Server, requests: &[Vec<Request>]) -> Result<(f64, f64)> {
        let before = server.processor_seconds()?;
        let answers = load::throughput(server.address, requests, self.turn_duration()).await?;
        let all = answers * load::DURATION_RATIO * self.turn_duration().as_secs_f64();
        Ok((answers, 1e6 * (server.processor_seconds()? - before) / all))
    }
}
