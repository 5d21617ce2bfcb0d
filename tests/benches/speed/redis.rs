//! Measures a server with the Redis protocol, using redis-benchmark.

use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::CpuSet;

use crate::measure::cpu_time;
use crate::metric::{Metric, Sample};
use crate::server::{Server, spawn};

/// Warms up and then measures one command. redis-benchmark runs on the given core.
pub(crate) fn measure(
    server: &Server,
    core: &CpuSet,
    command: &str,
    pipeline: usize,
    time: Duration,
) -> io::Result<Sample> {
    let expected_rate = if pipeline == 1 { 100_000.0 } else { 600_000.0 };
    let requests = (time.as_secs_f64() * expected_rate) as u64 + 1;
    benchmark(server, core, "set", 1, 1)?; // Stores the key for GET.
    benchmark(server, core, command, pipeline, requests / 5 + 1)?; // Warm-up.
    let before = cpu_time(server.id())?;
    let rate = benchmark(server, core, command, pipeline, requests)?;
    let used = cpu_time(server.id())? - before;
    Ok(Sample::from([(Metric::Cpu, used as f64 / requests as f64), (Metric::Rate, rate)]))
}

/// Requests per second, as reported by redis-benchmark.
fn benchmark(server: &Server, core: &CpuSet, command: &str, pipeline: usize, requests: u64) -> io::Result<f64> {
    let mut benchmark = Command::new("redis-benchmark");
    let port = server.addresses[0].port().to_string();
    benchmark.args(["-h", "127.0.0.1", "-p", &port, "-c", "50", "--csv", "-t", command]);
    benchmark.args(["-P", &pipeline.to_string(), "-n", &requests.to_string()]);
    let out = spawn(benchmark.stdout(Stdio::piped()).stderr(Stdio::null()), core)?.wait_with_output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    // The output is a header line and `"GET","98039.22",…`.
    let line = text.lines().find(|line| line.to_lowercase().starts_with(&format!("\"{command}\"")));
    let rate = line.and_then(|line| line.split('"').nth(3)).and_then(|rate| rate.parse().ok());
    rate.ok_or_else(|| io::Error::other(format!("redis-benchmark reports no rate: {}", text.trim())))
}
