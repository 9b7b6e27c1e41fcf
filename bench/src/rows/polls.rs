//! The rows about long polls.

use std::time::Duration;

use crate::{
    Result,
    children::Server,
    database::Databases,
    http::{self, Request},
    load::{self, Delivery},
    report::{Row, RowTarget},
    requests::{DemoThreads, FROM_NOW_ON, poll, send, session},
    rows::Benchmark,
};

/// Number of waiting polls for the memory measurement. With fewer of them the server's base memory would dominate.
const POLLS: usize = 10_000;

impl Benchmark<'_> {
    pub(super) async fn poll(
        &self,
        ours: &Server,
        limits: &Server,
        (thread, reader, writer): (i64, &str, &str),
        route: &str,
        (key, what): (&'static str, &'static str),
        limit: &'static str,
    ) -> Result<()> {
        let wait = |_: &str| http::call("/wait", "", "{}");
        let poll = |last: &str| poll(reader, thread, last);
        let (send, notify) = (send(writer, thread), http::call(route, "", "{}"));
        let times = if self.cli.quick { 30 } else { 100 };
        let mut deliveries: Vec<(Delivery, Delivery)> = Vec::new();
        for _ in 0..self.rounds() {
            let delivery = load::delivery(ours.address, &poll, &send, times).await?;
            deliveries.push((delivery, load::delivery(limits.address, &wait, &notify, times).await?));
        }
        let (ours, limits): (Vec<_>, Vec<_>) = deliveries.iter().map(|(ours, limit)| (ours.after_send, limit.after_send)).unzip();
        let (ours, limits) = (load::median(&ours), load::median(&limits));
        let remark = format!("after the send's own answer: {ours:.0} us, limit {limits:.0} us");
        let rounds = deliveries.iter().map(|(ours, limit)| (ours.total, limit.total)).collect();
        let (key, what, limit) = (key.into(), what.into(), limit.into());
        self.finish_row(Row { key, what, limit, unit: "us".into(), mark: RowTarget::AtMost(2.0), rounds, remark })
    }

    pub(super) async fn memory(&self, storage: &str, databases: Option<&Databases>) -> Result<()> {
        let polls = load::connections_limit(POLLS)?;
        let mut rounds = Vec::new();
        let mut remark = format!("{polls} polls");
        for round in 0..if self.cli.quick { 1 } else { 3 } {
            let ours = Server::dragoman(&self.program, storage)?;
            let polling: Vec<Request> = match databases {
                Some(_) => (1..=1000).map(|n| poll(&session(n % 32 + 1), n, FROM_NOW_ON)).collect(),
                None => {
                    let house = DemoThreads::create(&ours).await?;
                    vec![poll(&house.readers[0], house.thread, FROM_NOW_ON)]
                }
            };
            let before = ours.resident()?;
            let waiting = load::open_waiting_requests(ours.address, polling.into_iter().cycle(), polls).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            let each = (ours.resident()? - before) / polls as f64;
            if let Some(databases) = databases.filter(|_| round == 0 && !self.cli.quick) {
                // Delay of PostgreSQL's statistics: by now all backends have reported earlier transactions.
                tokio::time::sleep(Duration::from_secs(11)).await;
                let before = databases.transactions().await?;
                tokio::time::sleep(Duration::from_secs(12)).await;
                let transactions = databases.transactions().await? - before;
                remark += &format!(", transactions in 12 s of waiting: {transactions}");
            }
            drop((waiting, ours));

            let limits = Server::limits(None)?;
            let before = limits.resident()?;
            let request = http::call("/wait", "", "{}");
            let _waiting = load::open_waiting_requests(limits.address, std::iter::repeat(request), polls).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            rounds.push((each, (limits.resident()? - before) / polls as f64));
        }
        self.finish_row(Row {
            key: "memory-poll".into(),
            what: "memory of a waiting long poll".into(),
            limit: "a bare handler that waits".into(),
            unit: "KiB".into(),
            mark: RowTarget::Below(24.0),
            rounds,
            remark,
        })
    }
}
