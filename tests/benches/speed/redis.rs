//! Compares the key-value example with Redis, using redis-benchmark.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::candidate::{Candidate, Kind, Ready};
use crate::measure::cpu_time;
use crate::report::{Metric, Outcome, Sample};
use crate::run::Bench;
use crate::server::{Server, free_addresses, spawn};

/// Commands and pipeline depths.
const WORKLOADS: [(&str, usize); 4] = [("get", 1), ("set", 1), ("get", 16), ("set", 16)];

/// The names of these scenarios.
pub(crate) fn names() -> impl Iterator<Item = String> {
    WORKLOADS.iter().map(|(command, pipeline)| format!("kv-{command}-p{pipeline}"))
}

/// Runs a scenario. The tools are located and the example is built on demand.
pub(crate) fn run(bench: &Bench, name: &str) -> Outcome {
    let candidates = ["kv", "redis"].map(|name| Candidate { name: name.to_owned(), kind: Kind::Baseline });
    let mut outcome = Outcome::new(name, Metric::Rate, &candidates);
    let (Some(redis), Some(client)) = (harness::tool("redis-server"), harness::tool("redis-benchmark")) else {
        outcome.notes.push("skipped: redis-server and redis-benchmark are not installed".to_owned());
        return outcome;
    };
    let _built = harness::Program::example("kv");
    let kv = harness::target().join("examples/kv");
    let Some((command, pipeline)) =
        WORKLOADS.into_iter().zip(names()).find(|(_, it)| it == name).map(|(workload, _)| workload)
    else {
        return outcome;
    };
    for round in 0..bench.rounds {
        for turn in 0..2 {
            let nth = (round + turn) % 2;
            let server = if nth == 0 { start_kv(bench, &kv) } else { start_redis(bench, &redis) };
            let sample = server.and_then(|server| measure(bench, &client, &server, command, pipeline));
            if let Err(error) = &sample {
                outcome.notes.push(format!("{} failed in round {}: {error}", outcome.servers[nth].name, round + 1));
            }
            outcome.servers[nth].rounds.push(sample.ok());
        }
    }
    outcome
}

fn start_kv(bench: &Bench, path: &PathBuf) -> io::Result<Server> {
    let at = free_addresses(1);
    let mut command = Command::new(path);
    command.arg(format!("tcp://{}", at[0])).env_remove("RUST_LOG");
    Server::start(command, tempfile::tempdir()?, Ready::Accepts(at), bench.server_core)
}

fn start_redis(bench: &Bench, path: &PathBuf) -> io::Result<Server> {
    let at = free_addresses(1);
    let mut command = Command::new(path);
    command.args(["--port", &at[0].port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    Server::start(command, tempfile::tempdir()?, Ready::Accepts(at), bench.server_core)
}

fn measure(bench: &Bench, client: &Path, server: &Server, command: &str, pipeline: usize) -> io::Result<Sample> {
    let at = server.addresses[0];
    let expected_rate = if pipeline == 1 { 100_000.0 } else { 600_000.0 };
    let requests = (bench.time.as_secs_f64() * expected_rate) as u64 + 1;
    benchmark(bench, client, at, "set", 1, 1)?; // Stores the key for GET.
    benchmark(bench, client, at, command, pipeline, requests / 5 + 1)?; // Warm-up.
    let before = cpu_time(server.id())?;
    let rate = benchmark(bench, client, at, command, pipeline, requests)?;
    let used = cpu_time(server.id())? - before;
    Ok(Sample::from([(Metric::Rate, rate), (Metric::Cpu, used as f64 / requests as f64)]))
}

/// Requests per second, as reported by redis-benchmark.
fn benchmark(
    bench: &Bench,
    client: &Path,
    at: SocketAddr,
    command: &str,
    pipeline: usize,
    requests: u64,
) -> io::Result<f64> {
    let mut benchmark = Command::new(client);
    benchmark.args(["-h", "127.0.0.1", "-p", &at.port().to_string(), "-c", "50", "--csv", "-t", command]);
    benchmark.args(["-P", &pipeline.to_string(), "-n", &requests.to_string()]);
    let out = spawn(benchmark.stdout(Stdio::piped()).stderr(Stdio::null()), bench.load_core)?.wait_with_output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    // The output is a header line and `"GET","98039.22",…`.
    let line = text.lines().find(|line| line.to_lowercase().starts_with(&format!("\"{command}\"")));
    let rate = line.and_then(|line| line.split('"').nth(3)).and_then(|rate| rate.parse().ok());
    rate.ok_or_else(|| io::Error::other(format!("redis-benchmark reports no rate: {}", text.trim())))
}
