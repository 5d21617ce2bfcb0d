//! Compares the exact number of allocations per message with `tests/hot/counts/counts.toml`. Allocations do not
//! depend on the profile, so the test needs neither a release build nor valgrind.
//!
//! It is a separate test binary because it replaces the global allocator.
#![allow(clippy::unwrap_used)] // a failed setup step fails the test

use allocation_counter::measure;
use hot::{Figure, Figures, HotPath};

/// Enough for what happens only now and then to happen several times.
const BATCHES: usize = 320;

#[test]
fn allocations_per_message_stay_within_the_limits() {
    let kept = Figures::kept();
    let mut excesses = Vec::new();
    for path in HotPath::ALL {
        let mut hot = path.open();
        let mut messages = 0;
        let counted = measure(|| messages = hot.run(BATCHES)).count_total;
        let allocations = counted as f64 / messages as f64;
        let figure = Figure { instructions: 0.0, allocations, atomics: 0.0, clock_reads: 0.0 };
        let allowed = kept.0.get(path.name).unwrap_or_else(|| panic!("{path} has no figures"));
        excesses.extend(figure.excess_allocations(allowed).into_iter().map(|excess| format!("{path}: {excess}")));
    }
    assert!(excesses.is_empty(), "{}\n{}", excesses.join("\n"), Figures::ACCEPT);
}

#[test]
fn the_message_stack_allocates_nothing() {
    let mut hot = HotPath::named("stack").unwrap().open();
    let mut messages = 0;
    let allocations = measure(|| messages = hot.run(100)).count_total;
    // What a read costs is not of the stack: at most two allocations in more than a thousand messages.
    assert!(allocations <= 2 * 100, "{allocations} allocations for {messages} messages");
}
