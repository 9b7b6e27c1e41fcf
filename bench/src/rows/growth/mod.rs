//! How cost grows with what there is much of.

mod connections;
mod conversations;
mod histories;
mod participants;

use crate::rows::Bench;

impl Bench<'_> {
    /// All but the largest, where there is little time.
    fn sizes<const N: usize>(&self, sizes: [u32; N]) -> Vec<u32> {
        sizes.into_iter().take(if self.cli.quick { N - 1 } else { N }).collect()
    }

    fn growth_rounds(&self) -> usize {
        if self.cli.quick { 3 } else { 5 }
    }

    /// How often something is done at each size in each round.
    fn growth_times(&self) -> usize {
        if self.cli.quick { 20 } else { 100 }
    }
}
