//! Attacks the server and measures the latency of well-behaved clients.
//!
//! Run it with `cargo bench -p switchboard-tests --bench siege`; `… -- no-read oversized` runs these attacks only. Each
//! attack has its own server process. Rounds without and with the attack alternate, because the machine is noisy and
//! only their ratio is meaningful. The exit status is 1 if a well-behaved client fails, if the 99th percentile under
//! attack is more than three times the percentile without (values below 2 ms count as 2 ms), if the server exceeds the
//! memory bound of its limits, or if it leaks file descriptors.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)] // A benchmark program.

mod attack;
mod clients;

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use attack::Attack;
use clients::{Latencies, measure};
use harness::{Program, Running};
use switchboard::Kind;
use switchboard::server::ListenerSpec;

/// Duration of a round, and number of rounds without and with the attack.
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// Maximum ratio of the 99th percentiles.
const MAX_RATIO: f64 = 3.0;
/// Lower latencies are noise on a shared machine.
const NOISE_FLOOR: Duration = Duration::from_millis(2);
/// Timeout for the server to close the descriptors of disconnected clients.
const RECOVERY: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [flag, attack, address] = &args[..]
        && flag == "--attack"
    {
        Attack::named(attack).expect("an attack").run(address);
        return ExitCode::SUCCESS;
    }
    println!(
        "{:<10} {:>9} {:>9} {:>9} {:>9} {:>6} {:>7} {:>18} {:>14} {:>11}",
        "attack", "p50", "p50 att.", "p99", "p99 att.", "ratio", "failed", "peak of limit", "rss growth", "descriptors"
    );
    let chosen =
        Attack::ALL.into_iter().filter(|attack| args.is_empty() || args.iter().any(|arg| arg == attack.name()));
    let passed = chosen.map(run_attack).fold(true, |all, one| all & one);
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Attacks a new server process. Returns whether all criteria hold.
fn run_attack(attack: Attack) -> bool {
    let server = Program::switchboard()
        .args([
            "--handler",
            "echo",
            "--framing",
            "length",
            "--listen",
            "tcp://127.0.0.1:0",
            "--log-level",
            "warn,switchboard::server::line=info",
        ])
        .args(["--set", "limits.connections_per_source=5000"])
        .start();
    let address = server.socket("main");
    let before = ProcessStats::at(&server);
    let (mut baseline, mut attacked) = (Latencies::default(), Latencies::default());
    let mut peak = 0;
    for _ in 0..ROUNDS {
        baseline.add(measure(&address, ROUND));
        let attackers = Attackers::start(attack, &address);
        attacked.add(measure(&address, ROUND));
        peak = peak.max(ProcessStats::at(&server).peak);
        attackers.stop();
    }
    let deadline = Instant::now() + RECOVERY;
    let after = loop {
        let now = ProcessStats::at(&server);
        if now.descriptors <= before.descriptors || Instant::now() > deadline {
            break now;
        }
        thread::park_timeout(Duration::from_millis(50));
    };
    let mut spec = ListenerSpec::new("main", "tcp://127.0.0.1:0".parse().expect("an address"));
    spec.limits.connections_per_source = 5000;
    let max_memory = spec.max_memory(Kind::Stream) / 1024;
    let ratio =
        attacked.percentile(99).max(NOISE_FLOOR).as_secs_f64() / baseline.percentile(99).max(NOISE_FLOOR).as_secs_f64();
    let failed = baseline.failed + attacked.failed;
    println!(
        "{:<10} {:>9.2?} {:>9.2?} {:>9.2?} {:>9.2?} {:>6.2} {:>7} {:>18} {:>14} {:>11}",
        attack.name(),
        baseline.percentile(50),
        attacked.percentile(50),
        baseline.percentile(99),
        attacked.percentile(99),
        ratio,
        failed,
        format!("{} of {} MiB", (peak - before.rss) / 1024, max_memory / 1024),
        format!("{} KiB", after.rss.saturating_sub(before.rss)),
        format!("{} → {}", before.descriptors, after.descriptors),
    );
    failed == 0 && ratio <= MAX_RATIO && peak - before.rss <= max_memory && after.descriptors <= before.descriptors
}

/// Memory in KiB and number of open files of a process, from /proc (proc(5)).
struct ProcessStats {
    rss: u64,
    peak: u64,
    descriptors: usize,
}

impl ProcessStats {
    fn at(server: &Running) -> Self {
        let directory = format!("/proc/{}", server.id());
        let status = fs::read_to_string(format!("{directory}/status")).expect("the server runs");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("a field");
            line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
        };
        let descriptors = fs::read_dir(format!("{directory}/fd")).expect("the server runs").count();
        Self { rss: field("VmRSS"), peak: field("VmHWM"), descriptors }
    }
}

/// The attack, in a separate process.
struct Attackers(std::process::Child);

impl Attackers {
    /// Starts the attack and waits until it prints `ready`.
    fn start(attack: Attack, address: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("a path"))
            .args(["--attack", attack.name(), address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut ready).expect("it prints a line");
        assert_eq!(ready.trim(), "ready");
        Self(child)
    }

    /// Closes standard input, which ends the attack.
    fn stop(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends");
    }
}
