//! Runs scenarios: rounds in which the servers take turns, and one turn of a server.

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

use crate::contender::{Contender, Sort};
use crate::load::closed::Closed;
use crate::load::datagram::Datagrams;
use crate::load::open::Open;
use crate::load::{Seen, Target, Traffic, churn};
use crate::measure::{SystemCalls, cpu_time, memory};
use crate::report::{Metric, Outcome, Sample};
use crate::scenario::{Effort, Load, Scenario};
use crate::server::{self, Server};

/// How long a server has to give memory back after all have left.
const RECOVERY: Duration = Duration::from_secs(30);

/// Whatever does not change from scenario to scenario.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    /// For servers.
    pub(crate) core: usize,
    /// For the load.
    pub(crate) own: usize,
    /// `None` where it is not installed.
    pub(crate) strace: Option<PathBuf>,
    directory: TempDir,
    tls: Arc<ClientConfig>,
}

impl Bench {
    /// Takes one core for the load, and leaves another to the servers.
    pub(crate) fn new(rounds: usize, time: Duration) -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let certificate = server::certificate(directory.path())?.join("cert.pem");
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.resumption = Resumption::disabled(); // each handshake is a whole one
        let (core, own) = server::cores()?;
        server::pin(own)?;
        Ok(Self { rounds, time, core, own, strace: harness::tool("strace"), directory, tls: Arc::new(tls) })
    }

    /// All rounds of a scenario; who begins changes from round to round.
    pub(crate) fn run(&self, scenario: &Scenario, contenders: &[Contender]) -> Outcome {
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
        let mut outcome = Outcome::new(&scenario.name, primary, contenders);
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
            for turn in 0..contenders.len() {
                let nth = (round + turn) % contenders.len();
                let sample = self.turn(&contenders[nth], scenario, time, rate, &mut outcome.notes);
                if let Err(error) = &sample {
                    outcome.notes.push(format!("{} failed in round {}: {error}", contenders[nth].name, round + 1));
                }
                outcome.servers[nth].rounds.push(sample.ok());
            }
        }
        outcome
    }

    /// For an open loop: half of what the first baseline can do at this moment.
    fn rate(&self, scenario: &Scenario, time: Duration) -> io::Result<f64> {
        let Load::Open { connections, size } = scenario.load else { return Ok(0.0) };
        let baseline = Contender { name: scenario.baselines[0].to_owned(), sort: Sort::Baseline };
        let server = baseline.start(&scenario.service, self.directory.path(), self.core)?;
        let mut load = Closed::connect(&self.target(&server, scenario), connections, traffic(scenario, size, 1))?;
        load.run(time / 5)?;
        let seen = load.run(time / 2)?;
        Ok(seen.rate() / 2.0)
    }

    /// One turn of a server, from its start to its end.
    fn turn(
        &self,
        contender: &Contender,
        scenario: &Scenario,
        time: Duration,
        rate: f64,
        notes: &mut Vec<String>,
    ) -> io::Result<Sample> {
        let mut server = contender.start(&scenario.service, self.directory.path(), self.core)?;
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
                let recovers = matches!(contender.sort, Sort::Switchboard(_));
                idle(&server, &target, connections, traffic(scenario, 64, 1), recovers)
            }
            Load::Drain { connections } => {
                let traffic = traffic(scenario, 64, 1);
                Closed::connect(&target, connections, traffic).and_then(|load| drain(&mut server, load))
            }
            Load::SystemCalls { connections, depth, size } => {
                let counted = self.calls(&server, &target, scenario, (connections, depth, size), time);
                counted.map(|(sample, text)| {
                    notes.push(format!("{}: {text}", contender.name));
                    sample
                })
            }
        };
        sample.map_err(|error| server.told(&error))
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
        let mut run: Box<dyn FnMut(Duration) -> io::Result<Seen>> = if scenario.service.protocol == "udp" {
            let mut load = Datagrams::connect(target.addresses[0], connections, traffic)?;
            Box::new(move |time| load.run(time))
        } else {
            let mut load = Closed::connect(target, connections, traffic)?;
            Box::new(move |time| load.run(time))
        };
        run(time / 5)?;
        let strace = self.strace.as_ref().ok_or_else(|| io::Error::other("strace is not installed"))?;
        let calls = SystemCalls::count(strace, server.id(), self.own)?;
        let seen = run(time)?;
        let mut calls = calls.stop()?;
        calls.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let a_message = |count: u64| count as f64 / seen.messages as f64;
        let all = a_message(calls.iter().map(|(_, count)| count).sum());
        let frequent = calls.iter().filter(|(_, count)| a_message(*count) >= 0.001);
        let text: Vec<String> = frequent.map(|(name, count)| format!("{name} {:.3}", a_message(*count))).collect();
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

/// Warms up, then measures.
fn timed(server: &Server, time: Duration, mut run: impl FnMut(Duration) -> io::Result<Seen>) -> io::Result<Sample> {
    run(time / 5)?;
    let before = cpu_time(server.id())?;
    let seen = run(time)?;
    let used = cpu_time(server.id())? - before;
    let latency = |quantile| seen.latency.value_at_quantile(quantile) as f64;
    let mut sample = Sample::from([
        (Metric::Cpu, used as f64 / seen.messages as f64),
        (Metric::Rate, seen.rate()),
        (Metric::P50, latency(0.5)),
        (Metric::P99, latency(0.99)),
        (Metric::P999, latency(0.999)),
    ]);
    if seen.lost > 0 {
        sample.insert(Metric::Lost, seen.lost as f64);
    }
    Ok(sample)
}

/// Memory of connections: before they have said anything, after one message each, and after they have left.
fn idle(server: &Server, target: &Target, count: usize, traffic: Traffic, recovers: bool) -> io::Result<Sample> {
    let settled = || {
        thread::park_timeout(Duration::from_millis(500));
        memory(server.id())
    };
    let start = settled()?;
    let mut load = Closed::connect(target, count, traffic)?;
    let silent = settled()?;
    load.run(Duration::ZERO)?; // one message each
    let used = settled()?;
    drop(load);
    let each = |now: u64| now.saturating_sub(start) as f64 / count as f64;
    let mut sample =
        Sample::from([(Metric::Idle, each(silent)), (Metric::Used, each(used)), (Metric::Start, start as f64)]);
    if recovers {
        thread::park_timeout(RECOVERY);
        sample.insert(Metric::Left, memory(server.id())? as f64);
    }
    Ok(sample)
}

/// How long a server takes to end that is asked to.
fn drain(server: &mut Server, load: Closed) -> io::Result<Sample> {
    let begun = Instant::now();
    let status = server.drain()?;
    let took = begun.elapsed();
    drop(load);
    if !status.success() {
        return Err(io::Error::other(format!("it drained with {status}")));
    }
    Ok(Sample::from([(Metric::Drain, took.as_secs_f64())]))
}
