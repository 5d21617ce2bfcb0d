//! Runs scenarios: rounds in which the servers alternate, and the run of one server.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::candidate::{Candidate, Kind};
use crate::load::closed::Closed;
use crate::load::datagram::Datagrams;
use crate::load::open::Open;
use crate::load::{LoadResult, Target, Traffic, churn};
use crate::measure::{SyscallCounter, cpu_time, memory};
use crate::report::{Metric, Outcome, Sample};
use crate::scenario::{Effort, Load, Scenario};
use crate::server::{self, Server};

/// Time for a server to release memory after all connections are closed.
const RECOVERY: Duration = Duration::from_secs(30);

/// Settings shared by all scenarios.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    pub(crate) server_core: usize,
    pub(crate) load_core: usize,
    /// `None` if strace is not installed.
    pub(crate) strace: Option<PathBuf>,
    directory: TempDir,
    tls: Arc<ClientConfig>,
}

impl Bench {
    /// Pins this process, the load generator, to one core; servers use another.
    pub(crate) fn new(rounds: usize, time: Duration) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let certificate = server::certificate(directory.path())?.join("cert.pem");
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.resumption = Resumption::disabled(); // Every handshake is a full handshake.
        let (server_core, load_core) = server::cores()?;
        server::pin(load_core)?;
        Ok(Self {
            rounds,
            time,
            server_core,
            load_core,
            strace: harness::tool("strace"),
            directory,
            tls: Arc::new(tls),
        })
    }

    /// Runs all rounds of a scenario. The order of the servers rotates from round to round.
    pub(crate) fn run(&self, scenario: &Scenario, candidates: &[Candidate]) -> Outcome {
        let (rounds, time) = match scenario.effort {
            Effort::All => (self.rounds, self.time),
            Effort::Point => (self.rounds.min(3), self.time / 2),
            Effort::Once => (1, self.time),
        };
        let primary = match scenario.load {
            Load::Open { .. } => Metric::P999,
            Load::Idle { .. } => Metric::Idle,
            Load::Drain { .. } => Metric::Drain,
            Load::SystemCalls { .. } => Metric::SystemCalls,
            _ => Metric::Cpu,
        };
        let mut outcome = Outcome::new(&scenario.name, primary, candidates);
        if matches!(scenario.load, Load::SystemCalls { .. }) && self.strace.is_none() {
            outcome.notes.push("skipped: strace is not installed".to_owned());
            return outcome;
        }
        for round in 0..rounds {
            let rate = match self.rate(scenario, time) {
                Ok(rate) => rate,
                Err(error) => {
                    outcome.notes.push(format!("no rate in round {}: {error}", round + 1));
                    outcome.servers.iter_mut().for_each(|server| server.rounds.push(None));
                    continue;
                }
            };
            for turn in 0..candidates.len() {
                let nth = (round + turn) % candidates.len();
                let sample = self.run_server(&candidates[nth], scenario, time, rate, &mut outcome.notes);
                if let Err(error) = &sample {
                    outcome.notes.push(format!("{} failed in round {}: {error}", candidates[nth].name, round + 1));
                }
                outcome.servers[nth].rounds.push(sample.ok());
            }
        }
        outcome
    }

    /// Rate of an open loop: half of the current maximum of the first baseline.
    fn rate(&self, scenario: &Scenario, time: Duration) -> io::Result<f64> {
        let Load::Open { connections, size } = scenario.load else { return Ok(0.0) };
        let baseline = Candidate { name: scenario.baselines[0].to_owned(), kind: Kind::Baseline };
        let server = baseline.start(&scenario.service, self.directory.path(), self.server_core)?;
        let mut load = Closed::connect(&self.target(&server, scenario), connections, traffic(scenario, size, 1))?;
        load.run(time / 5)?;
        let result = load.run(time / 2)?;
        Ok(result.rate() / 2.0)
    }

    /// Starts a server, measures it and stops it.
    fn run_server(
        &self,
        candidate: &Candidate,
        scenario: &Scenario,
        time: Duration,
        rate: f64,
        notes: &mut Vec<String>,
    ) -> io::Result<Sample> {
        let mut server = candidate.start(&scenario.service, self.directory.path(), self.server_core)?;
        let target = self.target(&server, scenario);
        let sample = match scenario.load {
            Load::Closed { connections, depth, size } => {
                Closed::connect(&target, connections, traffic(scenario, size, depth))
                    .and_then(|mut load| timed(&server, time, |time| load.run(time)))
            }
            Load::Datagrams { sockets, depth, size } => {
                Datagrams::connect(target.addresses[0], sockets, traffic(scenario, size, depth))
                    .and_then(|mut load| timed(&server, time, |time| load.run(time)))
            }
            Load::Open { connections, size } => Open::connect(&target, connections, traffic(scenario, size, 1))
                .and_then(|mut load| timed(&server, time, |time| load.run(time, rate))),
            Load::Churn { size } => {
                let mut traffic = traffic(scenario, size, 1);
                timed(&server, time, |time| churn::run(&target, &mut traffic, time))
            }
            Load::Idle { connections } => {
                let measures_recovery = matches!(candidate.kind, Kind::Switchboard(_));
                idle(&server, &target, connections, traffic(scenario, 64, 1), measures_recovery)
            }
            Load::Drain { connections } => {
                let traffic = traffic(scenario, 64, 1);
                Closed::connect(&target, connections, traffic).and_then(|load| drain(&mut server, load))
            }
            Load::SystemCalls { connections, depth, size } => {
                let calls = self.calls(&server, &target, scenario, (connections, depth, size), time);
                calls.map(|(sample, text)| {
                    notes.push(format!("{}: {text}", candidate.name));
                    sample
                })
            }
        };
        sample.map_err(|error| server.with_log(&error))
    }

    fn calls(
        &self,
        server: &Server,
        target: &Target,
        scenario: &Scenario,
        (connections, depth, size): (usize, usize, usize),
        time: Duration,
    ) -> io::Result<(Sample, String)> {
        let traffic = traffic(scenario, size, depth);
        let mut run: Box<dyn FnMut(Duration) -> io::Result<LoadResult>> = if scenario.service.protocol == "udp" {
            let mut load = Datagrams::connect(target.addresses[0], connections, traffic)?;
            Box::new(move |time| load.run(time))
        } else {
            let mut load = Closed::connect(target, connections, traffic)?;
            Box::new(move |time| load.run(time))
        };
        run(time / 5)?;
        let strace = self.strace.as_ref().ok_or_else(|| io::Error::other("strace is not installed"))?;
        let counter = SyscallCounter::attach(strace, server.id(), self.load_core)?;
        let result = run(time)?;
        let mut calls = counter.stop()?;
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let per_message = |count: u64| count as f64 / result.messages as f64;
        let all = per_message(calls.iter().map(|(_, count)| count).sum());
        let frequent = calls.iter().filter(|(_, count)| per_message(*count) >= 0.001);
        let text: Vec<String> = frequent.map(|(name, count)| format!("{name} {:.3}", per_message(*count))).collect();
        Ok((Sample::from([(Metric::SystemCalls, all)]), text.join(", ")))
    }

    fn target(&self, server: &Server, scenario: &Scenario) -> Target {
        let tls = (scenario.service.protocol == "tls").then(|| Arc::clone(&self.tls));
        Target { addresses: server.addresses.clone(), tls }
    }
}

fn traffic(scenario: &Scenario, size: usize, depth: usize) -> Traffic {
    Traffic::new(scenario.service.protocol, size, depth)
}

/// Warms up and then measures.
fn timed(
    server: &Server,
    time: Duration,
    mut run: impl FnMut(Duration) -> io::Result<LoadResult>,
) -> io::Result<Sample> {
    run(time / 5)?;
    let before = cpu_time(server.id())?;
    let result = run(time)?;
    let used = cpu_time(server.id())? - before;
    let latency = |quantile| result.latency.value_at_quantile(quantile) as f64;
    let mut sample = Sample::from([
        (Metric::Cpu, used as f64 / result.messages as f64),
        (Metric::Rate, result.rate()),
        (Metric::P50, latency(0.5)),
        (Metric::P99, latency(0.99)),
        (Metric::P999, latency(0.999)),
    ]);
    if result.lost > 0 {
        sample.insert(Metric::Lost, result.lost as f64);
    }
    Ok(sample)
}

/// Memory of connections: before their first message, after one message each, and after they are closed.
fn idle(
    server: &Server,
    target: &Target,
    count: usize,
    traffic: Traffic,
    measures_recovery: bool,
) -> io::Result<Sample> {
    let settled = || {
        thread::park_timeout(Duration::from_millis(500));
        memory(server.id())
    };
    let start = settled()?;
    let mut load = Closed::connect(target, count, traffic)?;
    let silent = settled()?;
    load.run(Duration::ZERO)?; // One message per connection.
    let used = settled()?;
    drop(load);
    let each = |now: u64| now.saturating_sub(start) as f64 / count as f64;
    let mut sample =
        Sample::from([(Metric::Idle, each(silent)), (Metric::Used, each(used)), (Metric::Start, start as f64)]);
    if measures_recovery {
        thread::park_timeout(RECOVERY);
        sample.insert(Metric::Left, memory(server.id())? as f64);
    }
    Ok(sample)
}

/// Duration of the drain of a server.
fn drain(server: &mut Server, load: Closed) -> io::Result<Sample> {
    let started = Instant::now();
    let status = server.drain()?;
    let duration = started.elapsed();
    drop(load);
    if !status.success() {
        return Err(io::Error::other(format!("exit status after the drain: {status}")));
    }
    Ok(Sample::from([(Metric::Drain, duration.as_secs_f64())]))
}
