//! Regression test of the hot paths: counts instructions, allocations, atomic instructions and clock reads per message
//! under callgrind, and compares them with the limits in `counts.toml`. Instructions of heap functions do not count.
//!
//! `cargo bench -p switchboard-hot --bench counts` fails if a count exceeds its limit (instructions: the limit plus
//! 5 %), and lists the functions with the highest counts. It also fails if a shared limit or many bans cost more than
//! 1 % of the instructions of the same path without them. Arguments after `--`: names of paths restrict the run;
//! `--accept` stores the new counts; `--show` always lists the functions. It needs valgrind and objdump.
//!
//! Unlike times, counts do not depend on the load of the machine. The limits are for x86-64 with AVX2 (the processor
//! that valgrind emulates), the pinned compiler and the profile `bench`; the C library has a small influence. On other
//! machines, `--accept` creates limits to compare a change with.
#![allow(clippy::print_stdout)] // The output is the result.

mod callgrind;

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;

use hot::{Figures, HotPath};

use crate::callgrind::{Atomics, Counts};

/// Maximum number of functions in a list.
const MAX_LISTED: usize = 20;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, name, batches] = &args[..]
        && flag == "--run"
    {
        let path = HotPath::named(name).expect("a hot path");
        path.open().run(batches.parse().expect("a number"));
        return ExitCode::SUCCESS;
    }
    if cfg!(not(target_arch = "x86_64")) {
        println!("skipped: the stored counts are for x86-64");
        return ExitCode::SUCCESS;
    }
    let (flags, names): (Vec<_>, Vec<_>) = args.iter().map(String::as_str).partition(|arg| arg.starts_with("--"));
    if let Some(unknown) = flags.iter().find(|flag| !["--accept", "--show"].contains(flag)) {
        println!("unknown option {unknown}; known options: --accept, --show");
        return ExitCode::FAILURE;
    }
    check(&names, flags.contains(&"--accept"), flags.contains(&"--show"))
}

fn check(names: &[&str], accept: bool, show_all: bool) -> ExitCode {
    let atomics = Atomics::of_this_program();
    let mut kept = Figures::kept();
    let (mut excesses, mut growth, mut better) = (Vec::new(), Vec::new(), Vec::new());
    let mut measured = BTreeMap::new();
    println!(
        "{:<14} {:>12} {:>8} {:>12} {:>9} {:>12}   per message",
        "path", "instructions", "limit", "allocations", "atomics", "clock reads"
    );
    for path in HotPath::ALL.into_iter().filter(|path| names.is_empty() || names.contains(&path.name)) {
        // The keys of hash tables are random: the median of three shows a small addition better than one run.
        let runs = if path.reference().is_some() { 3 } else { 1 };
        let mut runs: Vec<_> = (0..runs).map(|_| Counts::of(path, &atomics)).collect();
        runs.sort_by(|one, other| one.figure().instructions.total_cmp(&other.figure().instructions));
        let counts = runs.swap_remove(runs.len() / 2);
        let figure = counts.figure();
        let before = kept.0.get(path.name).copied();
        println!(
            "{path:<14} {:>12} {:>8} {:>12} {:>9} {:>12}",
            figure.instructions,
            before.map_or("none".to_owned(), |before| before.instructions.to_string()),
            figure.allocations,
            figure.atomics,
            figure.clock_reads
        );
        let excess = before.map_or(vec!["no stored counts".to_owned()], |before| figure.excesses(&before));
        if show_all || !(accept || excess.is_empty()) {
            show(&counts);
        }
        excesses.extend(excess.into_iter().map(|text| format!("{path}: {text}")));
        let reference = path.reference().and_then(|name| measured.get(name));
        growth.extend(reference.and_then(|other| figure.growth(other)).map(|text| format!("{path}: {text}")));
        measured.insert(path.name, figure);
        if before.is_some_and(|before| figure.is_better_than(&before)) {
            better.push(path.name);
        }
        kept.0.insert(path.name.to_owned(), figure);
    }
    if !growth.is_empty() {
        println!("\n{}", growth.join("\n"));
        return ExitCode::FAILURE;
    }
    if accept {
        kept.0.retain(|name, _| HotPath::named(name).is_some());
        kept.keep();
        return ExitCode::SUCCESS;
    }
    if !better.is_empty() {
        println!("\nbelow the stored counts: {}; run with -- --accept to store the new counts", better.join(", "));
    }
    if excesses.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\n{}\n{}", excesses.join("\n"), Figures::ACCEPT);
    ExitCode::FAILURE
}

/// Lists the functions with the highest counts.
fn show(counts: &Counts) {
    list("instructions", &counts.instructions, 1.0);
    list("allocations by caller", &counts.allocations, 0.001);
    list("atomic instructions", &counts.atomics, 0.01);
    list("clock reads by caller", &counts.clock_reads, 0.01);
}

fn list(title: &str, counts: &BTreeMap<String, f64>, min: f64) {
    let mut counts: Vec<_> = counts.iter().filter(|(_, count)| **count >= min).collect();
    counts.sort_by(|one, other| other.1.total_cmp(one.1));
    println!("  {title}");
    for (name, count) in counts.into_iter().take(MAX_LISTED) {
        println!("    {count:>9.3}  {name}");
    }
}
