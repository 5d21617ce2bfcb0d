//! Microbenchmarks of each stage of message processing: `cargo bench -p switchboard-tests --bench micro`. An argument
//! after `--` selects benchmarks by a part of their name.
//!
//! An item is a message: 10 Mitem/s is 100 ns per message. Times depend on the machine and its load, so nothing here
//! passes or fails. The bench `counts` checks the same paths with instruction counts.
#![allow(clippy::unwrap_used)] // A bench that cannot be set up should panic.

mod edge;
mod framings;
mod paths;

fn main() {
    divan::main();
}
