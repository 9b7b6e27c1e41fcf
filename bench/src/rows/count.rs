//! The rows about requests that only read.

use crate::{
    Result,
    children::Server,
    http::Request,
    load::{self, median},
    report::{Mark, Row},
    rows::Bench,
};

impl Bench<'_> {
    /// Measures answers per second, beside those of a bare handler.
    pub(super) async fn answers(
        &self,
        (ours, requests): (&Server, &[Vec<Request>]),
        (limits, bare): (&Server, &[Vec<Request>]),
        (key, what, limit): (&'static str, &'static str, &'static str),
        mark: Mark,
    ) -> Result<()> {
        let (mut rounds, mut costs) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds() {
            let (ours, our_cost) = self.cost(ours, requests).await?;
            let (limit, its_cost) = self.cost(limits, bare).await?;
            rounds.push((ours, limit));
            costs.push(its_cost / our_cost);
        }
        let remark = format!("per second of the server's processor time {:.2} times as many", median(&costs));
        self.done(Row { key: key.into(), what: what.into(), limit: limit.into(), unit: "/s".into(), mark, rounds, remark })
    }

    /// Answers per second, and the server's processor time for one answer in microseconds.
    pub(super) async fn cost(&self, server: &Server, requests: &[Vec<Request>]) -> Result<(f64, f64)> {
        let before = server.busy()?;
        let answers = load::throughput(server.address, requests, self.time()).await?;
        let all = answers * load::LASTS * self.time().as_secs_f64();
        Ok((answers, 1e6 * (server.busy()? - before) / all))
    }
}
