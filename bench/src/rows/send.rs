//! The rows about sending from many connections.

use std::process::Command;

use crate::{
    Result,
    children::{self, Server},
    database::{self, Databases, WriteMode},
    http::Request,
    load::median,
    report::{Row, RowTarget},
    rows::Benchmark,
};

impl Benchmark<'_> {
    pub(super) async fn send(
        &self,
        ours: &Server,
        databases: &Databases,
        load: &[Vec<Request>],
        variables: [&str; 3],
        (key, what): (&'static str, &'static str),
        mark: RowTarget,
    ) -> Result<()> {
        databases.settle().await?;
        let mut costs = Vec::new();
        let limits = [
            (WriteMode::Transaction, "", "`pgbench`, 32 clients, the same writes in one transaction"),
            (
                WriteMode::SingleStatement,
                "-at-once",
                "`pgbench`, 32 clients, the same writes in a single statement, which is stricter",
            ),
        ];
        let mut rounds = limits.map(|_| Vec::new());
        for _ in 0..self.rounds() {
            let (sent, cost) = self.cost(ours, load).await?;
            costs.push(cost);
            for ((writes, ..), rounds) in limits.iter().zip(&mut rounds) {
                rounds.push((sent, self.pgbench(&databases.limits, *writes, variables)?));
            }
        }
        for ((_, suffix, limit), rounds) in limits.into_iter().zip(rounds) {
            self.finish_row(Row {
                key: format!("{key}{suffix}").into(),
                what: what.into(),
                limit: limit.into(),
                unit: "/s".into(),
                mark,
                rounds,
                remark: format!("{:.0} us of the server's processor time each", median(&costs)),
            })?;
        }
        Ok(())
    }

    pub(super) fn pgbench(&self, database: &str, writes: WriteMode, variables: [&str; 3]) -> Result<f64> {
        let script = std::env::temp_dir().join(format!("dragoman-bench-{}.sql", std::process::id()));
        std::fs::write(&script, database::script(writes))?;
        let mut command = Command::new(children::pgbench());
        command.args(["--no-vacuum", "--protocol=prepared", "--client=32", "--jobs=1"]);
        command.arg(format!("--time={}", self.turn_duration().as_secs().max(1)));
        command.args(variables.map(|variable| format!("--define={variable}"))).arg("--file").arg(&script).arg(database);
        let printed = children::output_of(&mut command);
        std::fs::remove_file(script)?;
        let printed = printed?;
        let rate = printed.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate = rate.and_then(|rate| rate.split_whitespace().next()).ok_or("pgbench printed no rate")?;
        Ok(rate.parse()?)
    }
}
