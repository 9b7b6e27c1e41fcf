//! Progress of a move: a bar on a terminal, otherwise a line every ten seconds.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Pause between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Progress on standard error.
pub(super) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    said: Instant,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} {msg}, {eta} left");
        let style = style.expect("the template is well-formed");
        // Hidden unless standard error is a terminal.
        let bar = ProgressBar::new(total).with_style(style).with_message(what);
        Self { bar, what, said: Instant::now() }
    }

    /// Raises the total.
    pub(super) fn expect(&self, more: u64) {
        self.bar.inc_length(more);
    }

    pub(super) fn add(&mut self, done: u64) {
        self.bar.inc(done);
        if self.bar.is_hidden() && self.said.elapsed() >= PAUSE {
            self.said = Instant::now();
            let total = self.bar.length().unwrap_or_default();
            self.say(&format!("{} of {total} {}", self.bar.position(), self.what));
        }
    }

    /// Writes a line, above the bar.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| {
            // An error means that standard error is closed.
            let _ = writeln!(std::io::stderr(), "dragoman: {line}");
        });
    }

    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}
