//! The program's clock.

use chrono::SubsecRound;
use storage::Timestamp;

/// Current time in microseconds, the precision of every backend.
pub fn now() -> Timestamp {
    chrono::Utc::now().trunc_subsecs(6)
}
