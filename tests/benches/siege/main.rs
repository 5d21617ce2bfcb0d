//! The siege: fifty good clients measure themselves while somebody attacks the server.
//!
//! Run it by `cargo bench -p switchboard-tests --bench siege`, or for some of the attacks only, `… -- deaf bombs`. For each
//! attack the real binary is started; rounds without and with the attack take turns in one run, since the machine is noisy
//! and only their ratio says anything. It ends with status 1 if a good client failed, if the 99th percentile under attack is
//! more than three times of what it is without (two milliseconds count as nothing), if the server took more memory than
//! its limits say, or if it did not give its descriptors back.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)] // a program that measures

mod attack;
mod good;

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use attack::Attack;
use good::{Figures, measure};
use harness::{Program, Running};
use switchboard::Kind;
use switchboard::server::ListenerSpec;

/// How long a round is, and how many there are of each kind.
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// So many times slower the 99th percentile may be.
const RATIO: f64 = 3.0;
/// Below this a machine that is shared with others cannot tell one server from another.
const FLOOR: Duration = Duration::from_millis(2);
/// How long the server has to notice that all have left.
const RECOVERY: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [flag, attack, address] = &words[..]
        && flag == "--attack"
    {
        Attack::named(attack).expect("an attack").run(address);
        return ExitCode::SUCCESS;
    }
    println!(
        "{:<10} {:>9} {:>9} {:>9} {:>9} {:>6} {:>7} {:>18} {:>14} {:>11}",
        "attack",
        "p50",
        "p50 att.",
        "p99",
        "p99 att.",
        "ratio",
        "failed",
        "peak of at most",
        "left of rss",
        "descriptors"
    );
    let chosen =
        Attack::ALL.into_iter().filter(|attack| words.is_empty() || words.iter().any(|word| word == attack.name()));
    let held = chosen.map(besiege).fold(true, |held, one| held & one);
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One attack on a server of its own; whether it held.
fn besiege(attack: Attack) -> bool {
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
    let before = Look::at(&server);
    let (mut calm, mut under) = (Figures::default(), Figures::default());
    let mut peak = 0;
    for _ in 0..ROUNDS {
        calm.add(measure(&address, ROUND));
        let besiegers = Besiegers::start(attack, &address);
        under.add(measure(&address, ROUND));
        peak = peak.max(Look::at(&server).peak);
        besiegers.stop();
    }
    let deadline = Instant::now() + RECOVERY;
    let after = loop {
        let now = Look::at(&server);
        if now.descriptors <= before.descriptors || Instant::now() > deadline {
            break now;
        }
        thread::park_timeout(Duration::from_millis(50));
    };
    let mut spec = ListenerSpec::new("main", "tcp://127.0.0.1:0".parse().expect("an address"));
    spec.limits.connections_per_source = 5000;
    let most = spec.max_memory(Kind::Stream) / 1024;
    let ratio = under.percentile(99).max(FLOOR).as_secs_f64() / calm.percentile(99).max(FLOOR).as_secs_f64();
    let failed = calm.failed + under.failed;
    println!(
        "{:<10} {:>9.2?} {:>9.2?} {:>9.2?} {:>9.2?} {:>6.2} {:>7} {:>18} {:>14} {:>11}",
        attack.name(),
        calm.percentile(50),
        under.percentile(50),
        calm.percentile(99),
        under.percentile(99),
        ratio,
        failed,
        format!("{} of {} MiB", (peak - before.rss) / 1024, most / 1024),
        format!("{} KiB", after.rss.saturating_sub(before.rss)),
        format!("{} → {}", before.descriptors, after.descriptors),
    );
    failed == 0 && ratio <= RATIO && peak - before.rss <= most && after.descriptors <= before.descriptors
}

/// What the system says of a process: memory in KiB, and open files.
struct Look {
    rss: u64,
    peak: u64,
    descriptors: usize,
}

impl Look {
    fn at(server: &Running) -> Self {
        let at = format!("/proc/{}", server.id());
        let status = fs::read_to_string(format!("{at}/status")).expect("the server runs");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("a field");
            line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
        };
        let descriptors = fs::read_dir(format!("{at}/fd")).expect("the server runs").count();
        Self { rss: field("VmRSS"), peak: field("VmHWM"), descriptors }
    }
}

/// The attackers, in a process of their own.
struct Besiegers(std::process::Child);

impl Besiegers {
    /// Starts them, and waits until they say that the attack is under way.
    fn start(attack: Attack, address: &str) -> Self {
        let mut child = Command::new(env::current_exe().expect("a path"))
            .args(["--attack", attack.name(), address])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut ready).expect("it says something");
        assert_eq!(ready.trim(), "ready");
        Self(child)
    }

    /// They attack until their input ends.
    fn stop(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("it ends");
    }
}
