//! The load bench: the real binary beside servers written by hand, on one machine, round by round.
//!
//! Run it by `cargo bench -p switchboard-tests --bench speed`; `… -- --help` tells the rest. Each server has a core of its own,
//! the load has another, and only one server runs at a time. Servers take turns within a scenario, since the machine is noisy
//! and only the ratios of a round say anything; the load holds every byte against what it should be.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program that measures

mod baseline;
mod contender;
mod load;
mod measure;
mod redis;
mod report;
mod run;
mod scenario;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use clap::Parser;
use contender::{Contender, Sort};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use report::Outcome;
use run::Bench;
use scenario::Scenario;
use serde_json::json;

/// Compares the switchboard binary with servers written by hand.
#[derive(Debug, Parser)]
#[command(
    name = "speed",
    after_help = "Relative paths count from where this runs: cargo bench runs it in the folder tests."
)]
struct Options {
    /// Only scenarios with this in their name; can be repeated
    #[arg(long, value_name = "SUBSTRING")]
    only: Vec<String>,
    /// How many times each server has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn measures
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// List the scenarios and measure nothing
    #[arg(long)]
    list: bool,
    /// Measure this binary instead of building one
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// One more switchboard binary, to compare with; can be repeated
    #[arg(long, value_name = "NAME=PATH", value_parser = named)]
    against: Vec<(String, PathBuf)>,
    /// Put other people's frameworks beside it: they are built first, and take much longer
    #[arg(long)]
    peers: bool,
    /// Where the figures go; target/speed.json unless said
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("it must be NAME=PATH")?;
    let path = fs::canonicalize(path).map_err(|error| format!("{path}: {error}"))?;
    Ok((name.to_owned(), path))
}

#[derive(Debug, Parser)]
#[command(name = "speed serve")]
struct ServeOptions {
    #[command(flatten)]
    serve: baseline::Serve,
}

fn main() -> ExitCode {
    let done = if env::args().nth(1).as_deref() == Some("serve") {
        baseline::serve(&ServeOptions::parse_from(env::args().skip(1)).serve)
    } else {
        bench(&Options::parse())
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> io::Result<()> {
    let chosen = |name: &str| options.only.is_empty() || options.only.iter().any(|part| name.contains(&**part));
    let scenarios: Vec<Scenario> = scenario::all().into_iter().filter(|scenario| chosen(&scenario.name)).collect();
    let beside_redis: Vec<String> = redis::names().filter(|name| chosen(name)).collect();
    let names: Vec<&String> = scenarios.iter().map(|scenario| &scenario.name).chain(&beside_redis).collect();
    if options.list {
        names.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    if names.is_empty() {
        return Err(io::Error::other("no scenario has that in its name; --list shows all"));
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let binary = match &options.binary {
        Some(path) => fs::canonicalize(path)?,
        None => {
            let _built = harness::Program::switchboard();
            harness::target().join("switchboard")
        }
    };
    let peers = if options.peers { Contender::peers(&build_peers()?)? } else { Vec::new() };
    let bench =
        Bench::new(options.rounds.max(1), Duration::try_from_secs_f64(options.seconds).map_err(io::Error::other)?)?;
    let file = options.json.clone().unwrap_or_else(|| harness::target().with_file_name("speed.json"));
    let mut outcomes = Vec::new();
    for (nth, name) in names.iter().enumerate() {
        let begun = Instant::now();
        let outcome = match scenarios.get(nth) {
            Some(scenario) => bench.run(scenario, &contenders(options, &binary, &peers, scenario)),
            None => redis::run(&bench, name),
        };
        eprintln!("{}/{} {name}: {} ({:.0?})", nth + 1, names.len(), outcome.summary(), begun.elapsed());
        outcome.notes.iter().for_each(|note| eprintln!("    {note}"));
        outcomes.push(outcome);
        // As it goes, since a run is long, and may be broken off.
        let figures = json!({
            "rounds": bench.rounds,
            "seconds": bench.time.as_secs_f64(),
            "scenarios": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
        });
        fs::write(&file, format!("{figures:#}\n"))?;
    }
    outcomes.iter().for_each(|outcome| println!("{}", outcome.table()));
    println!("Every figure is in {}.", file.display());
    match outcomes.iter().map(Outcome::failures).sum::<usize>() {
        0 => Ok(()),
        failures => Err(io::Error::other(format!("{failures} turns failed; the notes above say why"))),
    }
}

/// Who takes part: the server under test first.
fn contenders(options: &Options, binary: &Path, peers: &[(Contender, String)], scenario: &Scenario) -> Vec<Contender> {
    let switchboard =
        |name: &str, path: &Path| Contender { name: name.to_owned(), sort: Sort::Switchboard(path.to_owned()) };
    let mut all = vec![switchboard("switchboard", binary)];
    all.extend(options.against.iter().map(|(name, path)| switchboard(name, path)));
    all.extend(scenario.baselines.iter().map(|name| Contender { name: (*name).to_owned(), sort: Sort::Baseline }));
    let speaks = |(_, protocol): &&(Contender, String)| scenario.peers && protocol == scenario.service.protocol;
    all.extend(peers.iter().filter(speaks).map(|(peer, _)| peer.clone()));
    all
}

/// Builds the program of the peers, which is no part of this workspace.
fn build_peers() -> io::Result<PathBuf> {
    let target = harness::target().with_file_name("peers");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--release", "--manifest-path", "tests/peers/Cargo.toml", "--target-dir"]);
    command.arg(&target).current_dir(harness::root());
    if harness::tool("cmake").is_some() {
        command.args(["--features", "pingora"]);
    }
    if !command.status()?.success() {
        return Err(io::Error::other("the peers do not build"));
    }
    Ok(target.join("release/peers"))
}
