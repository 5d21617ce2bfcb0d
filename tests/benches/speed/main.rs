//! The load bench: the real binary beside servers written by hand, on one machine, round by round.
//!
//! Run it by `cargo bench -p switchboard-tests --bench speed`; `… -- --help` tells the rest. Each server has a core of its own,
//! the load has another, and only one server runs at a time. Servers take turns within a scenario, since the machine is noisy
//! and only the ratios of a round say anything; the load holds every byte against what it should be.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program that measures

mod baseline;
mod load;
mod measure;
mod report;
mod scenario;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use clap::Parser;
use load::Traffic;
use load::closed::Closed;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use report::{Metric, Outcome, Sample};
use scenario::{Load, Scenario};
use serde_json::json;
use server::{Contender, Server, Sort};

/// Compares the switchboard binary with servers written by hand.
#[derive(Debug, Parser)]
#[command(name = "speed")]
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
    let chosen = |scenario: &Scenario| {
        options.only.is_empty() || options.only.iter().any(|part| scenario.name.contains(&**part))
    };
    let scenarios: Vec<Scenario> = scenario::all().into_iter().filter(chosen).collect();
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{}", scenario.name));
        return Ok(());
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
    let (core, own) = server::cores()?;
    server::pin(own)?;
    let mut outcomes = Vec::new();
    for (nth, scenario) in scenarios.iter().enumerate() {
        let begun = Instant::now();
        let contenders = contenders(options, &binary, scenario);
        let outcome = rounds(options, scenario, &contenders, core);
        let first = |to| outcome.ratio(0, to, Metric::Cpu).map_or(String::new(), |it| format!("{:.2}", it.median));
        let ratios: Vec<String> =
            (1..contenders.len()).map(|to| format!("{} × {}", first(to), contenders[to].name)).collect();
        let (name, took) = (&scenario.name, begun.elapsed());
        eprintln!("{}/{} {name}: {} ({took:.0?})", nth + 1, scenarios.len(), ratios.join(", "));
        outcomes.push(outcome);
    }
    for outcome in &outcomes {
        println!("{}", outcome.table());
    }
    let file = options.json.clone().unwrap_or_else(|| harness::target().with_file_name("speed.json"));
    let figures = json!({
        "rounds": options.rounds,
        "seconds": options.seconds,
        "scenarios": outcomes.iter().map(Outcome::json).collect::<Vec<_>>(),
    });
    fs::write(&file, format!("{figures:#}\n"))?;
    println!("The figures are in {}.", file.display());
    Ok(())
}

/// Who takes part: the server under test first.
fn contenders(options: &Options, binary: &std::path::Path, scenario: &Scenario) -> Vec<Contender> {
    let under_test = Contender { name: "switchboard".to_owned(), sort: Sort::Switchboard(binary.to_owned()) };
    let baselines = scenario.baselines.iter().map(|name| Contender { name: (*name).to_owned(), sort: Sort::Baseline });
    let against = options
        .against
        .iter()
        .map(|(name, path)| Contender { name: name.clone(), sort: Sort::Switchboard(path.clone()) });
    std::iter::once(under_test).chain(baselines).chain(against).collect()
}

/// All rounds of a scenario; who begins changes from round to round.
fn rounds(options: &Options, scenario: &Scenario, contenders: &[Contender], core: usize) -> Outcome {
    let mut servers: Vec<_> = contenders.iter().map(|contender| (contender.name.clone(), Vec::new())).collect();
    let mut failures = Vec::new();
    for round in 0..options.rounds {
        for turn in 0..contenders.len() {
            let nth = (round + turn) % contenders.len();
            let sample = contenders[nth]
                .start(&scenario.service, core)
                .and_then(|server| measure(&server, scenario, Duration::from_secs_f64(options.seconds)));
            if let Err(error) = &sample {
                failures.push(format!("{} failed in round {}: {error}", contenders[nth].name, round + 1));
                eprintln!("{}: {}", scenario.name, failures[failures.len() - 1]);
            }
            servers[nth].1.push(sample.ok());
        }
    }
    Outcome { scenario: scenario.name.clone(), servers, failures }
}

/// One turn of a server.
fn measure(server: &Server, scenario: &Scenario, time: Duration) -> io::Result<Sample> {
    let Load::Closed { connections, depth, size } = scenario.load;
    let traffic = Traffic::new(scenario.service.protocol, size, depth);
    let mut load = Closed::connect(&server.addresses, connections, traffic, depth)?;
    load.run(time / 5)?; // to warm up
    let before = measure::cpu_time(server.id())?;
    let seen = load.run(time)?;
    let used = measure::cpu_time(server.id())? - before;
    let latency = |quantile| seen.latency.value_at_quantile(quantile) as f64;
    Ok(Sample::from([
        (Metric::Cpu, used as f64 / seen.messages as f64),
        (Metric::Rate, seen.messages as f64 / seen.time.as_secs_f64()),
        (Metric::P50, latency(0.5)),
        (Metric::P99, latency(0.99)),
        (Metric::P999, latency(0.999)),
    ]))
}
