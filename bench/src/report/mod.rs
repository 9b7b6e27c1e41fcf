//! Results of the benchmark: figures of all rounds, kept as JSON. Tables and plots are made from them.

mod plot;
mod table;

use std::{borrow::Cow, collections::BTreeSet, fs, path::Path};

use serde::{Deserialize, Serialize};

pub(crate) use self::table::{HEAD, growth_table, number, row_line};
use crate::{Result, load::median, machine::Machine};

/// Text that is either written in this program or read from an earlier report.
pub(crate) type Text = Cow<'static, str>;

/// Keys of all rows, in the order of the report. Rows with other keys are no longer measured, and are dropped.
const KEYS: [&str; 52] = [
    "count-memory",
    "count-postgres",
    "send-spread",
    "send-spread-at-once",
    "send-together",
    "send-together-at-once",
    "lone-send",
    "poll-memory",
    "poll-postgres",
    "fan-out-1",
    "fan-out-16",
    "memory-conversations",
    "memory-room",
    "memory-poll",
    "memory-start",
    "memory-logins",
    "memory-sockets",
    "memory-messages",
    "memory-mix",
    "room-channels",
    "room",
    "nodes-1",
    "nodes",
    "bus-postgres",
    "bus-nats",
    "flood-sends",
    "flood-searches",
    "flood-uploads",
    "flood-sockets",
    "flood-polls",
    "flood-logins",
    "flood-both",
    "flood-both-logins",
    "scale-count",
    "scale-newest",
    "scale-oldest",
    "sqlite-lone-send",
    "sqlite-lone-send-pocketbase",
    "sqlite-send-spread",
    "sqlite-send-spread-pocketbase",
    "sqlite-send-together",
    "sqlite-count",
    "sqlite-poll",
    "sqlite-start",
    "sqlite-start-pocketbase",
    "sqlite-memory-start",
    "sqlite-memory-start-pocketbase",
    "sqlite-memory-large",
    "growth-connections",
    "growth-history",
    "growth-conversations",
    "growth-participants",
];
const FIGURES: &str = "results.json";

/// Target of a row.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RowTarget {
    AtLeast(f64),
    AtMost(f64),
    /// Ours is below this value, whatever the limit needs.
    Below(f64),
    /// Ours is at least this value, whatever the limit reaches.
    Reach(f64),
}

/// One row: a measurement of ours and of the limit beside it, in turns.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Key, and name of the plot's file.
    pub(crate) key: Text,
    pub(crate) what: Text,
    pub(crate) limit: Text,
    pub(crate) unit: Text,
    pub(crate) mark: RowTarget,
    /// One pair for each round: ours, and the limit.
    pub(crate) rounds: Vec<(f64, f64)>,
    pub(crate) remark: String,
}

impl Row {
    /// True if the key is in the report's list.
    pub(crate) fn is_known(&self) -> bool {
        KEYS.contains(&self.key.as_ref())
    }

    fn ours(&self) -> Vec<f64> {
        self.rounds.iter().map(|(ours, _)| *ours).collect()
    }

    fn limits(&self) -> Vec<f64> {
        self.rounds.iter().map(|(_, limit)| *limit).collect()
    }

    fn ratios(&self) -> Spread {
        Spread::of(self.rounds.iter().map(|(ours, limit)| ours / limit))
    }

    /// True if the median meets the target.
    fn meets_target(&self) -> bool {
        match self.mark {
            RowTarget::AtLeast(ratio) => self.ratios().median >= ratio,
            RowTarget::AtMost(ratio) => self.ratios().median <= ratio,
            RowTarget::Below(most) => median(&self.ours()) < most,
            RowTarget::Reach(least) => median(&self.ours()) >= least,
        }
    }
}

/// Growth of several costs with one size.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Growth {
    pub(crate) key: Text,
    /// Name of the size.
    pub(crate) over: Text,
    pub(crate) sizes: Vec<u32>,
    pub(crate) curves: Vec<Curve>,
}

/// Duration of one operation at each size, in microseconds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) what: Text,
    /// For each round, for each size.
    pub(crate) rounds: Vec<Vec<f64>>,
    /// Highest allowed ratio of the duration at the largest size to that at the smallest; None if the duration may
    /// grow.
    pub(crate) most: Option<f64>,
    pub(crate) remark: Text,
}

impl Growth {
    /// Begins a round, in which each curve gets one value for each size.
    pub(crate) fn round(&mut self) {
        for curve in &mut self.curves {
            curve.rounds.push(Vec::with_capacity(self.sizes.len()));
        }
    }
}

impl Curve {
    /// A curve that must not grow.
    pub(crate) fn flat(what: &'static str) -> Self {
        Self { what: what.into(), rounds: Vec::new(), most: Some(1.3), remark: "".into() }
    }

    /// A curve that may grow, and why.
    pub(crate) fn growing(what: &'static str, why: &'static str) -> Self {
        Self { what: what.into(), rounds: Vec::new(), most: None, remark: why.into() }
    }

    /// Adds the duration at the next size of this round.
    pub(crate) fn add(&mut self, microseconds: f64) {
        if let Some(round) = self.rounds.last_mut() {
            round.push(microseconds);
        }
    }

    fn at(&self, size: usize) -> Spread {
        Spread::of(self.rounds.iter().filter_map(|round| round.get(size).copied()))
    }

    /// Ratios of the largest size to the smallest, one for each round.
    fn ratios(&self) -> Spread {
        Spread::of(self.rounds.iter().filter_map(|round| Some(round.last()? / round.first()?)))
    }
}

struct Spread {
    values: Vec<f64>,
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let values: Vec<_> = values.collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        Self { least, median: median(&values), most, values }
    }
}

/// One invocation of the benchmark.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Start time in UTC.
    pub(crate) at: String,
    pub(crate) command: String,
    pub(crate) seconds: u64,
    pub(crate) machine: Machine,
}

/// A result with the start time of its run.
#[derive(Serialize, Deserialize)]
struct Dated<T> {
    run: String,
    #[serde(flatten)]
    result: T,
}

/// Results of this run and of earlier ones.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Results {
    runs: Vec<Run>,
    rows: Vec<Dated<Row>>,
    growth: Vec<Dated<Growth>>,
}

impl Results {
    /// Loads the results of an earlier report. Without one they are empty.
    pub(crate) fn load(directory: &Path) -> Result<Self> {
        match fs::read(directory.join(FIGURES)) {
            Ok(figures) => Ok(serde_json::from_slice(&figures)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Replaces earlier results by those of a run. Results that the run did not measure stay.
    pub(crate) fn merge(&mut self, run: Run, rows: Vec<Row>, growth: Vec<Growth>) {
        let at = run.at.clone();
        replace(&mut self.rows, rows, &at, |row| &row.key);
        replace(&mut self.growth, growth, &at, |growth| &growth.key);
        self.runs.push(run);
        let used: BTreeSet<_> =
            self.rows.iter().map(|row| &row.run).chain(self.growth.iter().map(|growth| &growth.run)).cloned().collect();
        self.runs.retain(|run| used.contains(&run.at));
    }

    /// Writes the figures, the tables and the plots.
    pub(crate) fn save(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join(FIGURES), serde_json::to_string_pretty(self)? + "\n")?;
        for row in &self.rows {
            fs::write(directory.join(format!("{}.svg", row.result.key)), plot::row(&row.result)?)?;
        }
        for growth in &self.growth {
            fs::write(directory.join(format!("{}.svg", growth.result.key)), plot::growth(&growth.result)?)?;
        }
        Ok(fs::write(directory.join("README.md"), table::report(self))?)
    }
}

fn replace<T>(known: &mut Vec<Dated<T>>, new: Vec<T>, run: &str, key: impl Fn(&T) -> &Text) {
    known.retain(|old| new.iter().all(|new| key(new) != key(&old.result)));
    known.extend(new.into_iter().map(|it| Dated { run: run.to_owned(), result: it }));
    let place = |it: &T| KEYS.iter().position(|known| *known == key(it).as_ref());
    known.retain(|dated| place(&dated.result).is_some());
    known.sort_by_key(|dated| place(&dated.result));
}

#[cfg(test)]
mod tests {
    use super::{Curve, Growth, Results, Row, RowTarget, Run, plot, table};
    use crate::machine::Machine;

    fn run(at: &str) -> Run {
        Run { at: at.to_owned(), command: "bench/run".to_owned(), seconds: 61, machine: Machine::this(None).unwrap() }
    }

    fn row(key: &'static str, mark: RowTarget, rounds: &[(f64, f64)]) -> Row {
        let (what, limit, unit) = ("`what`".into(), "limit".into(), "/s".into());
        Row { key: key.into(), what, limit, unit, mark, rounds: rounds.to_vec(), remark: String::new() }
    }

    fn growth() -> Growth {
        let rounds = vec![vec![90.0, 100.0, 2_000.0], vec![100.0, 110.0, 2_500.0], vec![95.0, 90.0, 1_900.0]];
        let mut curve = Curve::flat("a send");
        curve.rounds = rounds;
        Growth { key: "growth-history".into(), over: "messages".into(), sizes: vec![10, 100, 1_000], curves: vec![curve] }
    }

    #[test]
    fn a_run_leaves_what_it_does_not_measure() {
        let mut results = Results::default();
        let [count, poll] = ["count-memory", "poll-memory"].map(|key| row(key, RowTarget::AtLeast(0.5), &[(1.0, 2.0)]));
        results.merge(run("first"), vec![poll.clone(), count.clone()], vec![growth()]);
        results.merge(run("second"), vec![count, row("of old", RowTarget::AtLeast(1.0), &[(1.0, 1.0)])], Vec::new());
        let kept: Vec<_> = results.rows.iter().map(|row| (row.result.key.as_ref(), row.run.as_str())).collect();
        assert_eq!(kept, [("count-memory", "second"), ("poll-memory", "first")]);
        assert_eq!(results.growth[0].run, "first");
        results.merge(run("third"), vec![poll], vec![growth()]);
        let runs: Vec<_> = results.runs.iter().map(|run| run.at.as_str()).collect();
        assert_eq!(runs, ["second", "third"]);
        let read: Results = serde_json::from_str(&serde_json::to_string(&results).unwrap()).unwrap();
        assert_eq!(table::report(&read), table::report(&results));
    }

    #[test]
    fn what_counts_is_the_median() {
        let rounds = [(1.0, 4.0), (2.0, 4.0), (30.0, 4.0)];
        assert!(row("room", RowTarget::AtLeast(0.5), &rounds).meets_target());
        assert!(!row("room", RowTarget::AtMost(0.4), &rounds).meets_target());
        assert!(row("room", RowTarget::Reach(2.0), &rounds).meets_target());
        assert!(!row("room", RowTarget::Below(2.0), &rounds).meets_target());
        let told = table::growth_table(&growth());
        assert!(told.contains("| a send | 95 | 100 | 2,000 | 20.00 | **22.22** | 25.00 | at most 1.3 | **missed** |"), "{told}");
    }

    #[test]
    fn plots_show_every_round_without_any_font() {
        let rounds = [(1.0, 4.0), (2.0, 4.0), (30.0, 4.0)];
        for (mark, lines) in [(RowTarget::AtLeast(0.5), 1), (RowTarget::Below(3.0), 2)] {
            let svg = plot::row(&row("room", mark, &rounds)).unwrap();
            assert_eq!(svg.matches("<circle").count(), lines * rounds.len(), "{svg}");
        }
        assert_eq!(plot::growth(&growth()).unwrap().matches("<circle").count(), 3);
    }
}
