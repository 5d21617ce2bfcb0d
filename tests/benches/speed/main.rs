//! Load benchmark: compares the server binary with hand-written servers on the same machine.
//!
//! Run it with `cargo bench -p switchboard-tests --bench speed`; `… -- --help` lists the options. The server and the
//! load generator have one core each, and only one server runs at a time. The servers alternate within a scenario,
//! because the machine is noisy and only the ratios within a round are meaningful. The load generator checks every
//! received byte. A scenario may have a goal, which is printed next to the figure.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A benchmark program.

mod baseline;
mod candidate;
mod catalog;
mod load;
mod markdown;
mod measure;
mod metric;
mod redis;
mod report;
mod run;
mod sample;
mod scenario;
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use candidate::{Candidate, Kind};
use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use report::Outcome;
use run::Bench;
use scenario::{Load, Scenario, count};
use serde_json::json;

/// Compares the switchboard binary with hand-written servers.
#[derive(Debug, Parser)]
#[command(
    name = "speed",
    after_help = "Relative paths start at the working directory. cargo bench runs this program in the directory tests."
)]
struct Options {
    /// Run only scenarios whose name contains this text; can be repeated
    #[arg(long, value_name = "SUBSTRING")]
    only: Vec<String>,
    /// Number of rounds; each server runs once per round
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Duration of a measurement in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// List the scenarios and exit
    #[arg(long)]
    list: bool,
    /// Measure this binary instead of building one
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Compare with another switchboard binary; can be repeated
    #[arg(long, value_name = "NAME=PATH", value_parser = named)]
    against: Vec<(String, PathBuf)>,
    /// Compare another build of the example kv with redis; can be repeated
    #[arg(long, value_name = "NAME=PATH", value_parser = named)]
    kv: Vec<(String, PathBuf)>,
    /// Run only switchboard binaries
    #[arg(long, conflicts_with = "peers")]
    no_baselines: bool,
    /// Compare with other frameworks too; building them takes much longer
    #[arg(long)]
    peers: bool,
    /// File for the results; default: target/speed.json
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// File for the tables of bin/docs/performance.md; default: not written
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    let (name, path) = text.split_once('=').ok_or("expected NAME=PATH")?;
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
    let result = if env::args().nth(1).as_deref() == Some("serve") {
        baseline::serve(&ServeOptions::parse_from(env::args().skip(1)).serve)
    } else {
        bench(&Options::parse())
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> io::Result<()> {
    let chosen = |name: &str| options.only.is_empty() || options.only.iter().any(|part| name.contains(&**part));
    let scenarios: Vec<Scenario> = catalog::all().into_iter().filter(|scenario| chosen(&scenario.name)).collect();
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{}", scenario.name));
        return Ok(());
    }
    if scenarios.is_empty() {
        return Err(io::Error::other("no scenario matches; --list shows all scenarios"));
    }
    let (_, hard_limit) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard_limit, hard_limit)?;
    let binary = match &options.binary {
        Some(path) => fs::canonicalize(path)?,
        None => {
            let _built = harness::Program::switchboard();
            harness::target().join("switchboard")
        }
    };
    let peers = if options.peers { Candidate::peers(&build_peers()?)? } else { Vec::new() };
    let bench =
        Bench::new(options.rounds.max(1), Duration::try_from_secs_f64(options.seconds).map_err(io::Error::other)?)?;
    let file = options.json.clone().unwrap_or_else(|| harness::target().with_file_name("speed.json"));
    let runs: Vec<(Scenario, Vec<Candidate>)> = scenarios
        .into_iter()
        .map(|scenario| {
            let candidates = candidates(options, &binary, &peers, &scenario);
            (scenario, candidates)
        })
        .collect();
    let expected: Duration = runs.iter().map(|(scenario, candidates)| bench.expected(scenario, candidates)).sum();
    let minutes = expected.as_secs().div_ceil(60) as usize;
    eprintln!("{}, about {}", count(runs.len(), "scenario"), count(minutes, "minute"));
    let mut outcomes = Vec::new();
    for (nth, (scenario, candidates)) in runs.iter().enumerate() {
        let started = Instant::now();
        let mut outcome = bench.run(scenario, candidates);
        outcome.apply_goal(&outcomes);
        let (name, summary) = (&scenario.name, outcome.summary());
        eprintln!("{}/{} {name}: {summary} ({:.0?})", nth + 1, runs.len(), started.elapsed());
        outcome.notes.iter().for_each(|note| eprintln!("    {note}"));
        outcomes.push(outcome);
        // Written after each scenario, because a run is long and may be interrupted.
        let figures = json!({
            "rounds": bench.rounds,
            "seconds": bench.time.as_secs_f64(),
            "scenarios": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
        });
        fs::write(&file, format!("{figures:#}\n"))?;
        if let Some(file) = &options.markdown {
            fs::write(file, markdown::tables(&outcomes))?;
        }
    }
    outcomes.iter().for_each(|outcome| println!("{}", outcome.table()));
    println!("{}", report::goals(&outcomes));
    println!("All results are in {}.", file.display());
    match outcomes.iter().map(Outcome::failures).sum::<usize>() {
        0 => Ok(()),
        failures => Err(io::Error::other(format!("{failures} runs failed; see the notes above"))),
    }
}

/// The servers of a scenario. The first one is the server under test.
fn candidates(options: &Options, binary: &Path, peers: &[(Candidate, String)], scenario: &Scenario) -> Vec<Candidate> {
    if matches!(scenario.load, Load::Redis { .. }) {
        let new = |name: &str, kind| Candidate { name: name.to_owned(), kind };
        let mut all = vec![new("kv", Kind::KeyValue(None))];
        all.extend(options.kv.iter().map(|(name, path)| new(name, Kind::KeyValue(Some(path.clone())))));
        all.push(new("redis", Kind::Redis));
        return all;
    }
    let switchboard =
        |name: &str, path: &Path| Candidate { name: name.to_owned(), kind: Kind::Switchboard(path.to_owned()) };
    let mut all = vec![switchboard("switchboard", binary)];
    all.extend(options.against.iter().map(|(name, path)| switchboard(name, path)));
    let baselines = if options.no_baselines { &[] } else { scenario.baselines };
    all.extend(baselines.iter().map(|name| {
        let kind = if scenario.service.recorder { Kind::Unrecorded(binary.to_owned()) } else { Kind::Baseline };
        Candidate { name: (*name).to_owned(), kind }
    }));
    let supports = |(_, protocol): &&(Candidate, String)| scenario.peers && protocol == scenario.service.protocol;
    all.extend(peers.iter().filter(supports).map(|(peer, _)| peer.clone()));
    all
}

/// Builds the program with the other frameworks, which is a separate workspace.
fn build_peers() -> io::Result<PathBuf> {
    let target = harness::target().with_file_name("peers");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--release", "--manifest-path", "tests/peers/Cargo.toml", "--target-dir"]);
    command.arg(&target).current_dir(harness::root());
    if harness::tool("cmake").is_some() {
        command.args(["--features", "pingora"]);
    }
    if !command.status()?.success() {
        return Err(io::Error::other("building the peers failed"));
    }
    Ok(target.join("release/peers"))
}
