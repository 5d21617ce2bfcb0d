//! Runs the fuzz targets over the corpus of tests/fuzz and over deterministic mutations of it.

use std::collections::BTreeSet;
use std::fs;
use std::thread::panicking;

use harness::root;
use harness::targets::{TARGETS, Target};

use crate::support::Rng;

/// The corpus of a target, sorted by file name.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = root().join("tests/fuzz/corpus").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths: BTreeSet<_> = files.map(|file| file.unwrap().path()).collect();
    let inputs: Vec<Vec<u8>> = paths.into_iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(inputs.len() > 3, "{target} has a corpus of fewer than 4 inputs");
    inputs
}

/// Mutates an input: a few bytes are changed, duplicated, removed, or copied from another input.
fn mutate(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = inputs[rng.below(inputs.len())].clone();
    for _ in 0..=rng.below(4) {
        let at = rng.below(input.len() + 1);
        let end = (at + rng.below(8)).min(input.len());
        match rng.below(5) {
            0 if at < input.len() => input[at] = rng.below(256) as u8,
            1 if at < input.len() => input[at] ^= 1 << rng.below(8),
            2 => drop(input.drain(at..end)),
            3 => drop(input.splice(at..at, input[at..end].to_vec())),
            _ => {
                let other = &inputs[rng.below(inputs.len())];
                let from = rng.below(other.len() + 1);
                let until = (from + rng.below(16)).min(other.len());
                drop(input.splice(at..at, other[from..until].iter().copied()));
            }
        }
    }
    input
}

/// Runs a target over the corpus and this many mutations. A failing input is printed as a Rust literal.
fn run(name: &str, target: Target, mutations: usize) {
    let inputs = corpus(name);
    let mut rng = Rng::new(name.len() as u64 + mutations as u64);
    for nth in 0..inputs.len() + mutations {
        let input = if nth < inputs.len() { inputs[nth].clone() } else { mutate(&inputs, &mut rng) };
        let guard = PrintOnPanic(name, &input);
        target(&input);
        drop(guard);
    }
}

/// Prints the input if the target panics.
struct PrintOnPanic<'a>(&'a str, &'a [u8]);

impl Drop for PrintOnPanic<'_> {
    fn drop(&mut self) {
        if panicking() {
            eprintln!("target {}, input b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

#[test]
fn framing_and_header_invariants_hold_for_the_corpus_and_mutations() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| parses_peer_bytes(name)) {
        run(name, target, 500);
    }
}

#[test]
fn address_and_network_invariants_hold_for_the_corpus_and_mutations() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| ["endpoint", "networks"].contains(name)) {
        run(name, target, 1000);
    }
}

#[test]
fn scripts_are_rejected_with_errors_or_survive_a_round_trip() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| name.starts_with("script")) {
        run(name, target, 1000);
    }
}

#[test]
fn configurations_are_rejected_with_errors_or_survive_a_round_trip() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| name.starts_with("config_")) {
        run(name, target, 30);
    }
}

#[test]
fn the_next_client_is_answered_after_any_client_behaviour() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| *name == "stream") {
        run(name, target, 100);
    }
}

/// Whether a target parses bytes of a peer.
fn parses_peer_bytes(name: &str) -> bool {
    ["raw", "lines", "length", "delimited", "json_lines", "proxy"].contains(&name)
}

/// The resident memory of this process in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// `.ci/run` runs it, alone, because it takes long and measures memory (tests/fuzz/README.md).
#[test]
#[ignore = "slow: see tests/fuzz/README.md"]
fn a_million_malformed_inputs_do_not_grow_the_memory() {
    const INPUTS: usize = 1_000_000;
    let targets: Vec<_> = TARGETS.into_iter().filter(|(name, _)| parses_peer_bytes(name)).collect();
    // The first inputs cause the one-time allocations.
    targets.iter().for_each(|(name, target)| run(name, *target, 1000));
    let before = resident();
    targets.iter().for_each(|(name, target)| run(name, *target, INPUTS / targets.len()));
    let after = resident();
    eprintln!("{INPUTS} inputs; {before} KiB before, {after} KiB after");
    assert!(after < before + 4096, "{before} KiB before, {after} KiB after");
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let manifest = fs::read_to_string(root().join("tests/fuzz/Cargo.toml")).unwrap();
    let has = |ending: &str| {
        let files = fs::read_dir(root().join("tests/fuzz").join(ending)).unwrap();
        files.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()).collect()
    };
    let named: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let (programs, corpora): (BTreeSet<String>, BTreeSet<String>) = (has("targets"), has("corpus"));
    assert_eq!(programs, named);
    assert_eq!(corpora, named);
    for name in named {
        assert!(manifest.contains(&format!("\"targets/{name}.rs\"")), "{name} is not in tests/fuzz/Cargo.toml");
    }
}
