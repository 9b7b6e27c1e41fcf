//! Query plans of executed statements, as PostgreSQL's `auto_explain` reports them.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Enables `auto_explain` for the database NAME: every connection receives the plan of each of its statements as a
/// notice.
pub(crate) const EXPLAIN: &str = "
    ALTER DATABASE NAME SET session_preload_libraries = 'auto_explain';
    ALTER DATABASE NAME SET auto_explain.log_min_duration = 0;
    ALTER DATABASE NAME SET auto_explain.log_analyze = on;
    ALTER DATABASE NAME SET auto_explain.log_timing = off;
    ALTER DATABASE NAME SET auto_explain.log_format = json;
    ALTER DATABASE NAME SET auto_explain.log_level = notice;
";
/// Plan nodes that read rows of tables. Other nodes only pass on the rows of these.
const READS: [&str; 4] = ["Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan"];

/// The plan of one executed statement.
pub(crate) struct Plan(Value);

impl Plan {
    /// Number of rows read, filtered ones included. A node without a match counts as one.
    pub(crate) fn read(&self) -> f64 {
        read(&self.0["Plan"])
    }
}

fn read(node: &Value) -> f64 {
    let number = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let below = node["Plans"].as_array().into_iter().flatten().map(read).sum::<f64>();
    if !READS.contains(&node["Node Type"].as_str().unwrap_or_default()) {
        return below;
    }
    let rows = number("Actual Rows") + number("Rows Removed by Filter") + number("Rows Removed by Index Recheck");
    below + number("Actual Loops") * rows.max(1.0)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// Collects the plans: sqlx emits PostgreSQL's notices as `tracing` events.
#[derive(Clone, Default)]
pub(crate) struct Plans(Arc<Mutex<Vec<Plan>>>);

impl Plans {
    pub(crate) fn take(&self) -> Vec<Plan> {
        std::mem::take(&mut self.0.lock())
    }
}

impl Subscriber for Plans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::postgres::notice"
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        if let Some((_, plan)) = message.0.split_once("plan:\n") {
            self.0.lock().push(Plan(serde_json::from_str(plan).unwrap()));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
