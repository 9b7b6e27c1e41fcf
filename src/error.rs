//! Errors in general: causes for the log, and their text.

use std::{error::Error, fmt, sync::Arc};

/// Cause of a failure, for the log only.
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Formats an error with all its causes in one line. Omits a cause whose text the error repeats.
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> impl fmt::Display + 'a {
    struct Chain<'a>(&'a dyn Error);

    impl fmt::Display for Chain<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut said = self.0.to_string();
            f.write_str(&said)?;
            let mut cause = self.0.source();
            while let Some(error) = cause {
                let text = error.to_string();
                if !said.ends_with(&text) {
                    write!(f, ": {text}")?;
                    said = text;
                }
                cause = error.source();
            }
            Ok(())
        }
    }

    Chain(error)
}
