//! Any bytes at all: the corpus of tests/fuzz and what becomes of it by small changes, the same in every run.

use std::collections::BTreeSet;
use std::fs;
use std::thread::panicking;

use harness::root;
use harness::targets::{TARGETS, Target};

use crate::support::Rng;

/// The inputs of a target that are kept, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = root().join("tests/fuzz/corpus").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths: BTreeSet<_> = files.map(|file| file.unwrap().path()).collect();
    let inputs: Vec<Vec<u8>> = paths.into_iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(inputs.len() > 3, "{target} has hardly a corpus");
    inputs
}

/// A kept input with a few bytes changed, doubled, cut out, or taken from another one.
fn change(inputs: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
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

/// Runs a target over so many changed inputs. One that breaks a promise is shown as it stands in a Rust text.
fn run(name: &str, target: Target, changed: usize) {
    let kept = corpus(name);
    let mut rng = Rng::new(name.len() as u64 + changed as u64);
    for nth in 0..kept.len() + changed {
        let input = if nth < kept.len() { kept[nth].clone() } else { change(&kept, &mut rng) };
        let shown = Shown(name, &input);
        target(&input);
        drop(shown);
    }
}

/// Says which input it was, if the test ends before it does.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if panicking() {
            eprintln!("target {}, input b\"{}\"", self.0, self.1.escape_ascii());
        }
    }
}

#[test]
fn framings_and_headers_keep_their_promises_for_the_corpus_and_its_neighbours() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| of_a_peer(name)) {
        run(name, target, 500);
    }
}

#[test]
fn addresses_and_networks_keep_their_promises_for_the_corpus_and_its_neighbours() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| ["endpoint", "networks"].contains(name)) {
        run(name, target, 1000);
    }
}

#[test]
fn configurations_are_refused_with_sentences_or_printed_as_they_are_read() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| name.starts_with("config_")) {
        run(name, target, 30);
    }
}

#[test]
fn whatever_one_client_does_the_next_is_answered() {
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| *name == "stream") {
        run(name, target, 100);
    }
}

/// What reads the bytes of a peer.
fn of_a_peer(name: &str) -> bool {
    ["raw", "lines", "length", "delimited", "json_lines", "proxy"].contains(&name)
}

/// What this process holds in memory, in KiB.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Run by hand (tests/fuzz/README.md), with nothing else in the process: it takes long, and looks at the memory.
#[test]
#[ignore = "takes long: see tests/fuzz/README.md"]
fn a_million_malformed_inputs_leave_the_memory_as_it_was() {
    const INPUTS: usize = 1_000_000;
    let targets: Vec<_> = TARGETS.into_iter().filter(|(name, _)| of_a_peer(name)).collect();
    // What is taken once is taken by now.
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
