//! Shares of the dialects among the virtual users.

use std::str::FromStr;

use crate::dialect::Dialect;

/// The share of each dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mix([usize; Dialect::ALL.len()]);

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shares = [0; Dialect::ALL.len()];
        for part in text.split(',') {
            let (name, share) = part.split_once('=').ok_or("a share is a dialect, =, and a number")?;
            let dialect = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name.trim());
            let dialect = dialect.ok_or_else(|| format!("there is no dialect {name}"))?;
            shares[dialect as usize] = share.trim().parse().map_err(|_| format!("{share} is no share"))?;
        }
        if shares.iter().sum::<usize>() == 0 { Err("all shares are 0".into()) } else { Ok(Self(shares)) }
    }
}

impl Mix {
    /// Number of virtual users for each dialect. The remainder goes to the first dialects that have a share.
    pub(crate) fn divide(self, visitors: usize) -> [usize; Dialect::ALL.len()] {
        let all: usize = self.0.iter().sum();
        let mut counts = self.0.map(|share| visitors * share / all);
        let mut rest = visitors - counts.iter().sum::<usize>();
        for (count, _) in counts.iter_mut().zip(self.0).filter(|(_, share)| *share > 0) {
            *count += usize::from(rest > 0);
            rest = rest.saturating_sub(1);
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_speaks_some_dialect() {
        let mix: Mix = "messaging=3,im_chat=1,room=2,conversations=3,concierge=1".parse().unwrap();
        assert_eq!(mix.divide(100), [30, 10, 20, 30, 10]);
        assert_eq!(mix.divide(7), [3, 1, 1, 2, 0]);
        for visitors in 0..50 {
            assert_eq!(mix.divide(visitors).iter().sum::<usize>(), visitors);
        }
        let mix: Mix = "room=1".parse().unwrap();
        assert_eq!(mix.divide(3), [0, 0, 3, 0, 0]);
    }

    #[test]
    fn what_is_no_mix_is_refused() {
        for wrong in ["", "room", "room=x", "room=-1", "klingon=1", "room=0"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
