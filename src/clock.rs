//! The one place where the program asks what time it is.

use chrono::SubsecRound;
use storage::Timestamp;

/// Now, to the microsecond, which is what every backend keeps.
pub fn now() -> Timestamp {
    chrono::Utc::now().trunc_subsecs(6)
}
