//! The guard of the hot paths: instructions, allocations, atomic instructions and readings of the clock a message, counted under
//! callgrind and held against the figures that are kept in `counts.toml`.
//!
//! `cargo bench -p switchboard-tests --bench counts` fails if something costs more than is kept (instructions: 5 % more), and
//! shows where it arises. After `--`: names of paths, to look at these alone; `--accept` keeps what is counted; `--show`
//! shows where the costs arise in any case. It needs valgrind and objdump.
//!
//! Counts, not times: they are the same on a machine that is busy with other things. They are those of x86-64 with AVX2
//! (what valgrind shows of a newer processor is that), of the pinned compiler and of the profile `bench`; the C library
//! has a small part in them. Elsewhere figures of one's own are made with `--accept`, to compare before and after.
#![allow(clippy::print_stdout)] // what it says is what it is for

mod callgrind;

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;

use harness::hot::{Figures, HotPath};

use crate::callgrind::{Atomics, Counted};

/// How many functions are shown.
const SHOWN: usize = 20;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [flag, name, batches] = &words[..]
        && flag == "--run"
    {
        let path = HotPath::named(name).expect("a hot path");
        path.open().run(batches.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    if cfg!(not(target_arch = "x86_64")) {
        println!("the figures that are kept are those of x86-64: nothing is counted here");
        return ExitCode::SUCCESS;
    }
    let (flags, names): (Vec<_>, Vec<_>) = words.iter().map(String::as_str).partition(|word| word.starts_with("--"));
    if let Some(strange) = flags.iter().find(|flag| !["--accept", "--show"].contains(flag)) {
        println!("{strange} is none of --accept, --show");
        return ExitCode::FAILURE;
    }
    guard(&names, flags.contains(&"--accept"), flags.contains(&"--show"))
}

fn guard(names: &[&str], accepts: bool, shows: bool) -> ExitCode {
    let atomics = Atomics::of_this_program();
    let mut kept = Figures::kept();
    let (mut excesses, mut better) = (Vec::new(), Vec::new());
    println!(
        "{:<14} {:>12} {:>8} {:>12} {:>9} {:>12}   a message",
        "path", "instructions", "kept", "allocations", "atomics", "clock reads"
    );
    for path in HotPath::ALL.into_iter().filter(|path| names.is_empty() || names.contains(&path.name)) {
        let counted = Counted::of(path, &atomics);
        let figure = counted.figure();
        let before = kept.0.get(path.name).copied();
        println!(
            "{path:<14} {:>12} {:>8} {:>12} {:>9} {:>12}",
            figure.instructions,
            before.map_or("none".to_owned(), |before| before.instructions.to_string()),
            figure.allocations,
            figure.atomics,
            figure.clock_reads
        );
        let more = before.map_or(vec!["it has no figures yet".to_owned()], |before| figure.excesses(&before));
        if shows || !(accepts || more.is_empty()) {
            show(&counted);
        }
        excesses.extend(more.into_iter().map(|excess| format!("{path}: {excess}")));
        if before.is_some_and(|before| figure.is_better_than(&before)) {
            better.push(path.name);
        }
        kept.0.insert(path.name.to_owned(), figure);
    }
    if accepts {
        kept.0.retain(|name, _| HotPath::named(name).is_some());
        kept.keep();
        return ExitCode::SUCCESS;
    }
    if !better.is_empty() {
        println!("\ncheaper than is kept: {}; -- --accept keeps that", better.join(", "));
    }
    if excesses.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\n{}\n{}", excesses.join("\n"), Figures::ACCEPT);
    ExitCode::FAILURE
}

/// Where the costs of a message arise.
fn show(counted: &Counted) {
    list("instructions", &counted.instructions, 1.0);
    list("allocations, and for whom", &counted.allocations, 0.001);
    list("atomic instructions", &counted.atomics, 0.01);
    list("readings of the clock", &counted.clock_reads, 0.01);
}

fn list(title: &str, counts: &BTreeMap<String, f64>, least: f64) {
    let mut counts: Vec<_> = counts.iter().filter(|(_, count)| **count >= least).collect();
    counts.sort_by(|one, other| other.1.total_cmp(one.1));
    println!("  {title}");
    for (name, count) in counts.into_iter().take(SHOWN) {
        println!("    {count:>9.3}  {name}");
    }
}
