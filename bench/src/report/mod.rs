//! The table.

use std::fmt;

use crate::load::median;

/// What is to be reached.
#[derive(Clone, Copy)]
pub(crate) enum Mark {
    AtLeast(f64),
    AtMost(f64),
    /// Below so many KiB, whatever the limit needs.
    Below(f64),
    /// So many of ours, whatever the limit reaches.
    Reach(f64),
}

/// One row: what was measured, and beside it the limit, in turns.
pub(crate) struct Row {
    pub(crate) what: &'static str,
    pub(crate) limit: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) mark: Mark,
    /// A pair for each round: ours, and the limit.
    pub(crate) rounds: Vec<(f64, f64)>,
    pub(crate) remark: String,
}

/// The head of the table.
pub(crate) const HEAD: &str = "| what | against | ours, median | limit, median | ratio: min | median | max | to reach | |\n\
                               |---|---|--:|--:|--:|--:|--:|--:|---|";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, limit, unit, remark, .. } = self;
        let (ours, limits): (Vec<_>, Vec<_>) = self.rounds.iter().copied().unzip();
        let ratios: Vec<_> = self.rounds.iter().map(|(ours, limit)| ours / limit).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let mark = match self.mark {
            Mark::AtLeast(ratio) => format!("at least {ratio}"),
            Mark::AtMost(ratio) => format!("at most {ratio}"),
            Mark::Reach(least) => format!("at least {least} {unit}"),
            Mark::Below(most) => format!("below {most} {unit}"),
        };
        let (ours, limits, ratio) = (median(&ours), median(&limits), median(&ratios));
        write!(
            f,
            "| {what} | {limit} | {ours:.0} {unit} | {limits:.0} {unit} | {least:.2} | **{ratio:.2}** | {most:.2} | {mark} | {remark} |"
        )
    }
}
