use std::time::Instant;

use crate::config;

/// How fast a client may send: a bucket of frames that fills by the second.
pub(super) struct Pace {
    burst: f64,
    per_second: f64,
    left: f64,
    at: Instant,
    warned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// The first frame too many.
    Warn,
    /// Another one, before the client had held back for as long as it takes to send a whole burst again.
    Enough,
}

impl Pace {
    pub(super) fn new(limits: &config::Sockets) -> Self {
        let burst = f64::from(limits.frames_burst);
        Self { burst, per_second: f64::from(limits.frames_per_second), left: burst, at: Instant::now(), warned: false }
    }

    /// Counts a frame that comes now.
    pub(super) fn step(&mut self) -> Verdict {
        let now = Instant::now();
        let gained = now.duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        self.left = (self.left + gained).min(self.burst);
        if self.left >= self.burst {
            self.warned = false;
        }
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Verdict::Fine;
        }
        if std::mem::replace(&mut self.warned, true) { Verdict::Enough } else { Verdict::Warn }
    }
}
