//! The report of a run: counters and latencies for each dialect, as text, as JSON, and as an HdrHistogram log.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::Path,
    time::{Duration, SystemTime},
};

use hdrhistogram::{
    Histogram,
    serialization::{
        V2DeflateSerializer,
        interval_log::{IntervalLogWriterBuilder, Tag},
    },
};
use serde::Serialize;

use crate::{
    Load, Result,
    dialect::Dialect,
    recorder::{Counters, DialectStats, Recorder},
};

/// Duration and outcome of a run.
pub(crate) struct RunOutcome {
    pub(crate) measured: Duration,
    pub(crate) is_interrupted: bool,
}

/// Report of a run.
#[derive(Serialize)]
pub struct Report {
    pub url: String,
    pub seed: u64,
    pub messages_per_minute: f64,
    pub measured_seconds: f64,
    pub interrupted: bool,
    /// Number of virtual users expected; `visitors` has those that connected.
    pub expected_visitors: usize,
    /// Scheduling lateness of this program itself: no latency is more precise than this.
    pub own_lateness: Latency,
    pub dialects: BTreeMap<&'static str, DialectReport>,
    #[serde(skip)]
    histograms: Vec<(String, Histogram<u64>)>,
}

/// Counters and latencies of a dialect.
#[derive(Serialize)]
pub struct DialectReport {
    #[serde(flatten)]
    pub counters: Counters,
    pub acknowledgement: Latency,
    pub delivery: Latency,
    pub arrival: Latency,
    pub comeback: Latency,
}

/// A latency distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let millis = |micros: u64| micros as f64 / 1_000.0;
        let at = |quantile| millis(histogram.value_at_quantile(quantile));
        let (p50, p90, p99, p99_9) = (at(0.5), at(0.9), at(0.99), at(0.999));
        Self { count: histogram.len(), p50, p90, p99, p99_9, max: millis(histogram.max()) }
    }
}

impl DialectReport {
    fn of(counts: &DialectStats) -> Self {
        let [acknowledgement, delivery, arrival, comeback] =
            [&counts.acknowledgement, &counts.delivery, &counts.arrival, &counts.comeback].map(Latency::of);
        Self { counters: counts.counters.clone(), acknowledgement, delivery, arrival, comeback }
    }
}

impl Report {
    pub(crate) fn new(
        load: &Load,
        expected_visitors: usize,
        run: RunOutcome,
        recorder: &Recorder,
        lateness: Histogram<u64>,
    ) -> Self {
        let (mut dialects, mut histograms) = (BTreeMap::new(), Vec::new());
        for dialect in Dialect::ALL {
            let counts = recorder.stats(dialect);
            if counts.counters.visitors == 0 && counts.counters.errors.is_empty() {
                continue;
            }
            dialects.insert(dialect.name(), DialectReport::of(&counts));
            for (what, histogram) in [
                ("acknowledgement", &counts.acknowledgement),
                ("delivery", &counts.delivery),
                ("arrival", &counts.arrival),
                ("comeback", &counts.comeback),
            ] {
                histograms.push((format!("{dialect}.{what}"), histogram.clone()));
            }
        }
        let own_lateness = Latency::of(&lateness);
        histograms.push(("own_lateness".to_owned(), lateness));
        Self {
            url: load.url.to_string(),
            seed: load.seed,
            messages_per_minute: load.messages_per_minute,
            measured_seconds: run.measured.as_secs_f64(),
            interrupted: run.is_interrupted,
            expected_visitors,
            own_lateness,
            dialects,
            histograms,
        }
    }

    /// Writes the output files that the options name.
    pub fn write(&self, load: &Load) -> Result<()> {
        if let Some(file) = &load.json {
            fs::write(file, serde_json::to_string_pretty(self)? + "\n")?;
        }
        if let Some(file) = &load.hdr_log {
            self.write_log(file)?;
        }
        Ok(())
    }

    fn write_log(&self, file: &Path) -> Result<()> {
        let (mut out, mut serializer) = (Vec::new(), V2DeflateSerializer::new());
        let begun = SystemTime::now() - Duration::from_secs_f64(self.measured_seconds);
        let mut log = IntervalLogWriterBuilder::new().with_start_time(begun).begin_log_with(&mut out, &mut serializer)?;
        for (tag, histogram) in &self.histograms {
            let measured = Duration::from_secs_f64(self.measured_seconds);
            let since = begun.duration_since(SystemTime::UNIX_EPOCH)?;
            log.write_histogram(histogram, since, measured, Tag::new(tag))
                .map_err(|error| format!("a histogram cannot be written: {error:?}"))?;
        }
        Ok(fs::write(file, out)?)
    }

    /// True if messages were neither lost, nor duplicated, nor out of order.
    pub fn is_flawless(&self) -> bool {
        self.dialects.values().all(|told| told.counters.lost + told.counters.doubled + told.counters.out_of_order == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let visitors: u64 = self.dialects.values().map(|told| told.counters.visitors).sum();
        let (rate, seconds) = (self.messages_per_minute, self.measured_seconds);
        writeln!(
            f,
            "{visitors} of {} visitors at {}, {rate} messages a minute each, {seconds:.1} s measured",
            self.expected_visitors, self.url
        )?;
        writeln!(f, "\n{:<30}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}", "milliseconds", "count", "p50", "p90", "p99", "p99.9", "max")?;
        for (dialect, told) in &self.dialects {
            for (what, latency) in [
                ("acknowledgement", told.acknowledgement),
                ("delivery", told.delivery),
                ("arrival", told.arrival),
                ("comeback", told.comeback),
            ] {
                latency.write(f, &format!("{dialect} {what}"))?;
            }
        }
        self.own_lateness.write(f, "this program's own lateness")?;
        for (dialect, told) in &self.dialects {
            let told = &told.counters;
            writeln!(
                f,
                "\n{dialect}: {} visitors; {} said, {} acknowledged, {} refused, {} unconfirmed, {} never said; {} delivered, {} lost, \
                 {} unheard, {} doubled, {} out of order; {} left and {} cut off",
                told.visitors,
                told.said,
                told.acknowledged,
                told.refused,
                told.unconfirmed,
                told.unsaid,
                told.delivered,
                told.lost,
                told.unheard,
                told.doubled,
                told.out_of_order,
                told.left,
                told.cut_off,
            )?;
            for (kind, count) in &told.errors {
                writeln!(f, "  {count} times: {kind}")?;
            }
        }
        if self.interrupted {
            writeln!(f, "\nIt was interrupted.")?;
        }
        if self.own_lateness.p99 > 5.0 {
            writeln!(f, "\nThis program was late itself: give it more of a machine before you trust these figures.")?;
        }
        Ok(())
    }
}

impl Latency {
    fn write(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        write!(f, "{what:<30}{:>9}", self.count)?;
        if self.count > 0 {
            for value in [self.p50, self.p90, self.p99, self.p99_9, self.max] {
                write!(f, "{value:>10.1}")?;
            }
        }
        writeln!(f)
    }
}
