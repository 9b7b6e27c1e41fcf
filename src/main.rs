//! Entry point of the program: its allocator, and the command line.

use std::process::ExitCode;

/// Memory allocator: returns freed memory to the system within some ten seconds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    dragoman::cli::main()
}
