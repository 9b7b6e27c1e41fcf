//! Growth of costs with the size of the data.

mod connections;
mod conversations;
mod histories;
mod participants;

use crate::rows::Benchmark;

impl Benchmark<'_> {
    /// The sizes; without the largest in a quick run.
    fn sizes<const N: usize>(&self, sizes: [u32; N]) -> Vec<u32> {
        sizes.into_iter().take(if self.cli.quick { N - 1 } else { N }).collect()
    }

    fn growth_rounds(&self) -> usize {
        if self.cli.quick { 3 } else { 5 }
    }

    /// Number of repetitions at each size in each round.
    fn growth_times(&self) -> usize {
        if self.cli.quick { 20 } else { 100 }
    }
}
