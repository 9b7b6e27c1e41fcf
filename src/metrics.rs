//! Metrics in Prometheus's text format.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::{
    CounterVec, Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

/// Bucket bounds in seconds: half a millisecond to a minute, the longest wait of a poll.
const REQUEST_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Bucket bounds in seconds for one statement.
const STORE_BUCKETS: &[f64] =
    &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Limits whose refusals are counted: settings, those of `limits` without that word. The list in `deploy/GUIDE.md` has the same.
pub const LIMITS: [&str; 24] = [
    "address.requests_at_once",
    "answers_bytes",
    "bodies_bytes",
    "body_bytes",
    "body_seconds",
    "connections",
    "connections_per_address",
    "failed_logins_per_address",
    "failed_logins_per_login",
    "message_bytes",
    "participants",
    "password_checks_waiting",
    "sockets.message_bytes",
    "sockets.per_user",
    "upload_bytes",
    "uploads.bytes",
    "user.conversations_per_second",
    "user.requests_at_once",
    "user.searches_per_second",
    "user.upload_bytes_per_day",
    "user.uploads_at_once",
    "user.writes_per_second",
    "waiting_polls_per_user",
    "write_seconds",
];

/// All metrics of one server. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    requests: HistogramVec,
    panics: IntCounter,
    messages: IntCounter,
    batches: IntCounter,
    store_kind: IntGaugeVec,
    store: HistogramVec,
    store_failures: IntCounterVec,
    bus_connected: IntGauge,
    bus_batches: IntCounterVec,
    connections: IntGauge,
    sockets: IntGaugeVec,
    frames_told: IntCounterVec,
    sockets_closed: IntCounterVec,
    held_back: CounterVec,
    polls_waiting: IntGauge,
    sends_waiting: IntGauge,
    marks_waiting: IntGauge,
    listening: IntGauge,
    ring_bytes: IntGauge,
    log_position: IntGauge,
    log_unread: IntGauge,
    log_epoch: IntGauge,
    orphan_sweeps: IntCounterVec,
    orphans_deleted: IntCounter,
    refused: IntCounterVec,
    bodies: IntGauge,
    answers: IntGauge,
    backups: IntGauge,
}

/// Gauges that are read at each scrape.
pub struct ScrapedGauges {
    pub polls_waiting: usize,
    pub sends_waiting: usize,
    pub marks_waiting: usize,
    pub listening: usize,
    pub ring_bytes: usize,
    pub log_position: i64,
    pub log_unread_for: Duration,
    pub log_epoch: i64,
    pub bodies_bytes: usize,
    pub answers_bytes: usize,
    /// `None` while the store does not tell.
    pub backups_running: Option<usize>,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let families = Families {
            requests: histogram(
                "dragoman_request_seconds",
                "Requests by route and outcome.",
                &["route", "outcome"],
                REQUEST_BUCKETS,
            ),
            panics: counter("dragoman_panics_total", "Panics caught while answering a request."),
            messages: counter("dragoman_messages_stored_total", "Messages stored by this node."),
            batches: counter("dragoman_message_commits_total", "Commits that stored messages; sends that wait share one."),
            store_kind: IntGaugeVec::new(Opts::new("dragoman_store_info", "Kind of store; the value is 1."), &["storage"])
                .expect("names and labels are valid"),
            store: histogram(
                "dragoman_store_seconds",
                "Statements of the database by operation: verb and table.",
                &["operation"],
                STORE_BUCKETS,
            ),
            store_failures: counters(
                "dragoman_store_failures_total",
                "Statements of the database that failed, by operation.",
                &["operation"],
            ),
            sockets: IntGaugeVec::new(Opts::new("dragoman_sockets", "Open sockets by dialect."), &["dialect"])
                .expect("names and labels are valid"),
            frames_told: counters("dragoman_socket_frames_total", "Frames told on sockets, by dialect.", &["dialect"]),
            sockets_closed: counters(
                "dragoman_sockets_closed_total",
                "Sockets by dialect and the code that they were closed with.",
                &["dialect", "code"],
            ),
            held_back: CounterVec::new(
                Opts::new("dragoman_socket_held_back_seconds_total", "Time for which sockets were read no further, by dialect."),
                &["dialect"],
            )
            .expect("names and labels are valid"),
            bus_connected: gauge("dragoman_bus_connected", "Whether other nodes can be heard; 1 also for a node that is alone."),
            bus_batches: counters(
                "dragoman_bus_letters_total",
                "Letters between nodes: sent, lost on sending, heard.",
                &["what"],
            ),
            connections: gauge("dragoman_connections", "Open connections."),
            polls_waiting: gauge("dragoman_polls_waiting", "Polls that wait for something to happen."),
            sends_waiting: gauge("dragoman_sends_waiting", "Sends that wait for the next commit."),
            marks_waiting: gauge("dragoman_marks_waiting", "Marks as read that wait for the next commit."),
            listening: gauge("dragoman_listeners", "Listeners to the log, polls included."),
            ring_bytes: gauge("dragoman_ring_bytes", "Bytes of recent events in memory, with their memoised encodings."),
            log_position: gauge("dragoman_log_position", "The newest event that listeners were told of."),
            log_epoch: gauge("dragoman_log_epoch", "How often the event log was restarted, because the store had lost events."),
            log_unread: gauge("dragoman_log_unread_seconds", "For how long the log cannot be read; 0 while it can."),
            orphan_sweeps: counters(
                "dragoman_orphan_sweeps_total",
                "Orphan sweeps by outcome: done, refused (too much would be deleted, or the files are another's), failed.",
                &["outcome"],
            ),
            orphans_deleted: counter("dragoman_orphans_deleted_total", "Objects deleted by orphan sweeps."),
            refused: counters(
                "dragoman_refused_total",
                "Refusals by the limit that was reached: its setting, without `limits.`.",
                &["limit"],
            ),
            bodies: gauge("dragoman_bodies_bytes", "Memory for bodies and frames under way, of limits.bodies_bytes."),
            answers: gauge("dragoman_answers_bytes", "Memory for answers under way, of limits.answers_bytes."),
            backups: gauge("dragoman_backups_running", "Backups that run: the bytes of deleted files stay until their end."),
            registry,
        };
        let all: [Box<dyn Collector>; 28] = [
            Box::new(families.requests.clone()),
            Box::new(families.panics.clone()),
            Box::new(families.messages.clone()),
            Box::new(families.batches.clone()),
            Box::new(families.store.clone()),
            Box::new(families.store_failures.clone()),
            Box::new(families.connections.clone()),
            Box::new(families.bus_connected.clone()),
            Box::new(families.store_kind.clone()),
            Box::new(families.bus_batches.clone()),
            Box::new(families.sockets.clone()),
            Box::new(families.frames_told.clone()),
            Box::new(families.sockets_closed.clone()),
            Box::new(families.held_back.clone()),
            Box::new(families.polls_waiting.clone()),
            Box::new(families.sends_waiting.clone()),
            Box::new(families.marks_waiting.clone()),
            Box::new(families.listening.clone()),
            Box::new(families.ring_bytes.clone()),
            Box::new(families.log_position.clone()),
            Box::new(families.log_unread.clone()),
            Box::new(families.log_epoch.clone()),
            Box::new(families.orphan_sweeps.clone()),
            Box::new(families.orphans_deleted.clone()),
            Box::new(families.refused.clone()),
            Box::new(families.bodies.clone()),
            Box::new(families.answers.clone()),
            Box::new(families.backups.clone()),
        ];
        // Initialised to 0: a counter that appears with its first event shows no increase.
        for outcome in ["done", "refused", "failed"] {
            families.orphan_sweeps.with_label_values(&[outcome]);
        }
        for limit in LIMITS {
            families.refused.with_label_values(&[limit]);
        }
        for family in all {
            families.registry.register(family).expect("metric names are unique");
        }
        Self(Arc::new(families))
    }
}

impl Metrics {
    /// Counts a completed request.
    pub fn request(&self, route: &str, outcome: &str, begun: Instant) {
        self.0.requests.with_label_values(&[route, outcome]).observe(begun.elapsed().as_secs_f64());
    }

    /// Counts a caught panic.
    pub fn panic(&self) {
        self.0.panics.inc();
    }

    /// Counts a commit of messages.
    pub fn stored(&self, messages: usize) {
        self.0.batches.inc();
        self.0.messages.inc_by(messages as u64);
    }

    /// Notes the kind of store.
    pub fn store(&self, kind: &str) {
        self.0.store_kind.with_label_values(&[kind]).set(1);
    }

    /// Counts a statement of the database.
    pub fn statement(&self, operation: &str, time: Duration, failed: bool) {
        self.0.store.with_label_values(&[operation]).observe(time.as_secs_f64());
        let failures = self.0.store_failures.with_label_values(&[operation]);
        // Initialised to 0: a counter that appears with its first failure shows no increase.
        failures.inc_by(u64::from(failed));
    }

    /// Counts an open connection while the result lives.
    pub fn connection(&self) -> GaugeGuard {
        GaugeGuard::new(self.0.connections.clone())
    }

    /// Notes if the bus is connected.
    pub fn bus_connected(&self, connected: bool) {
        self.0.bus_connected.set(connected.into());
    }

    /// Counts a batch of notifications on the bus: `sent`, `lost` or `heard`.
    pub fn bus_batch(&self, what: &str) {
        self.0.bus_batches.with_label_values(&[what]).inc();
    }

    /// Counts an open socket while the result lives.
    pub fn socket(&self, dialect: &str) -> GaugeGuard {
        GaugeGuard::new(self.0.sockets.with_label_values(&[dialect]))
    }

    /// Counts frames that were sent.
    pub fn frames_sent(&self, dialect: &str, frames: usize) {
        if frames > 0 {
            self.0.frames_told.with_label_values(&[dialect]).inc_by(frames as u64);
        }
    }

    /// Counts a closed socket by its close code.
    pub fn socket_closed(&self, dialect: &str, code: u16) {
        self.0.sockets_closed.with_label_values(&[dialect, &code.to_string()]).inc();
    }

    /// Counts back-pressure: time for which a socket over its rate limit was not read.
    pub fn held_back(&self, dialect: &str, time: Duration) {
        self.0.held_back.with_label_values(&[dialect]).inc_by(time.as_secs_f64());
    }

    /// Counts an orphan sweep that was `done`, `refused` or `failed`.
    pub fn orphan_sweep(&self, outcome: &str) {
        self.0.orphan_sweeps.with_label_values(&[outcome]).inc();
    }

    /// Counts objects that an orphan sweep has deleted.
    pub fn orphans_deleted(&self, objects: usize) {
        self.0.orphans_deleted.inc_by(objects as u64);
    }

    /// Counts a refusal by `limit`, one of [`LIMITS`].
    pub fn refused(&self, limit: &'static str) {
        debug_assert!(LIMITS.contains(&limit), "{limit} is not listed");
        self.0.refused.with_label_values(&[limit]).inc();
    }

    /// All metrics in Prometheus's text format.
    pub fn text(&self, depths: &ScrapedGauges) -> Vec<u8> {
        let as_gauge = |depth: usize| i64::try_from(depth).unwrap_or(i64::MAX);
        self.0.polls_waiting.set(as_gauge(depths.polls_waiting));
        self.0.sends_waiting.set(as_gauge(depths.sends_waiting));
        self.0.marks_waiting.set(as_gauge(depths.marks_waiting));
        self.0.listening.set(as_gauge(depths.listening));
        self.0.ring_bytes.set(as_gauge(depths.ring_bytes));
        self.0.bodies.set(as_gauge(depths.bodies_bytes));
        self.0.answers.set(as_gauge(depths.answers_bytes));
        if let Some(backups) = depths.backups_running {
            self.0.backups.set(as_gauge(backups));
        }
        self.0.log_position.set(depths.log_position);
        self.0.log_epoch.set(depths.log_epoch);
        self.0.log_unread.set(i64::try_from(depths.log_unread_for.as_secs()).unwrap_or(i64::MAX));
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text).expect("writing to memory cannot fail");
        text
    }
}

/// Guard of a gauge: increments it, and decrements it when dropped.
pub struct GaugeGuard(IntGauge);

impl GaugeGuard {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn histogram(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels).expect("names and labels are valid")
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("the name is valid")
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are valid")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("the name is valid")
}
