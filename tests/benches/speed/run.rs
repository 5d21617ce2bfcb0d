//! Runs scenarios: rounds in which the servers alternate, and the run of one server.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
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
use crate::measure::SyscallCounter;
use crate::metric::{Metric, Sample};
use crate::redis;
use crate::report::Outcome;
use crate::sample::{RECOVERY, SETTLING, drain, idle, idle_cpu, timed};
use crate::scenario::{Effort, Load, Scenario};
use crate::server::{self, Cores, Server};

/// Typical time to start a server, to connect to it and to stop it.
const START: Duration = Duration::from_millis(200);
/// Open files of this process that are not connections.
const OTHER_FILES: usize = 1000;

/// Settings shared by all scenarios.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
    cores: Cores,
    /// `None` if strace is not installed.
    strace: Option<PathBuf>,
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
        let cores = server::cores()?;
        server::pin(&cores.load)?;
        let strace = harness::tool("strace");
        Ok(Self { rounds, time, cores, strace, directory, tls: Arc::new(tls) })
    }

    /// Expected duration of a scenario.
    pub(crate) fn expected(&self, scenario: &Scenario, candidates: &[Candidate]) -> Duration {
        let (rounds, time) = self.effort(scenario);
        let measured = match scenario.load {
            Load::Idle { .. } | Load::Drain { .. } => SETTLING,
            Load::IdleCpu { .. } => SETTLING * 2 + time,
            Load::Open { .. } | Load::Paced { .. } => time * 3 / 2,
            Load::Redis { .. } => time * 2, // The number of requests is fixed.
            _ => time * 6 / 5,
        };
        let recovery = if matches!(scenario.load, Load::Idle { .. }) { RECOVERY } else { Duration::ZERO };
        let recoveries = candidates.iter().filter(|candidate| matches!(candidate.kind, Kind::Switchboard(_))).count();
        ((START + measured) * candidates.len() as u32 + recovery * recoveries as u32) * rounds as u32
    }

    /// Rounds and time of a scenario.
    fn effort(&self, scenario: &Scenario) -> (usize, Duration) {
        match scenario.effort {
            Effort::All => (self.rounds, self.time),
            Effort::Point => (self.rounds, self.time / 2),
            Effort::Once => (1, self.time),
        }
    }

    /// What a load needs and this machine does not have.
    fn missing(&self, load: Load) -> Option<&'static str> {
        match load {
            Load::SystemCalls { .. } if self.strace.is_none() => Some("strace is not installed"),
            Load::Redis { .. } if ["redis-server", "redis-benchmark"].iter().any(|it| harness::tool(it).is_none()) => {
                Some("redis-server and redis-benchmark are not installed")
            }
            _ => None,
        }
    }

    /// Runs all rounds of a scenario. The order of the servers rotates from round to round.
    pub(crate) fn run(&self, scenario: &Scenario, candidates: &[Candidate]) -> Outcome {
        let (rounds, time) = self.effort(scenario);
        let mut outcome = Outcome::new(scenario, candidates);
        if let Some(missing) = self.missing(scenario.load) {
            outcome.notes.push(format!("skipped: {missing}"));
            return outcome;
        }
        for round in 0..rounds {
            let rate = match self.rate(scenario, candidates, time) {
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

    /// Batches per second of an open loop: half of the current maximum of the first baseline.
    fn rate(&self, scenario: &Scenario, candidates: &[Candidate], time: Duration) -> io::Result<f64> {
        let (connections, depth, size) = match scenario.load {
            Load::Open { connections, size } => (connections, 1, size),
            Load::Paced { connections, depth, size } => (connections, depth, size),
            _ => return Ok(0.0),
        };
        let first = candidates.iter().find(|it| scenario.baselines.first().is_some_and(|name| it.name == *name));
        let server = self.start(first.unwrap_or(&candidates[0]), scenario)?;
        let mut load = Closed::connect(&self.target(&server, scenario), connections, traffic(scenario, size, depth))?;
        load.run(time / 5)?;
        let result = load.run(time / 2)?;
        Ok(result.rate() / depth as f64 / 2.0)
    }

    fn start(&self, candidate: &Candidate, scenario: &Scenario) -> io::Result<Server> {
        let cores = if scenario.service.workers > 1 { &self.cores.all } else { &self.cores.server };
        candidate.start(&scenario.service, self.directory.path(), cores)
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
        let mut server = self.start(candidate, scenario)?;
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
            Load::Paced { connections, depth, size } => {
                Open::connect(&target, connections, traffic(scenario, size, depth))
                    .and_then(|mut load| timed(&server, time, |time| load.run(time, rate)))
            }
            Load::Churn { size } => {
                let mut traffic = traffic(scenario, size, 1);
                timed(&server, time, |time| churn::run(&target, &mut traffic, time))
            }
            Load::Idle { connections } => {
                let measures_recovery = matches!(candidate.kind, Kind::Switchboard(_));
                idle(&server, &target, connections, traffic(scenario, 64, 1), measures_recovery)
            }
            Load::IdleCpu { connections } => {
                let (_, files) = getrlimit(Resource::RLIMIT_NOFILE)?;
                let count = connections.min((files as usize).saturating_sub(OTHER_FILES));
                if count < connections {
                    notes.push(format!("{count} connections: the limit of open files is {files}"));
                }
                let traffic = traffic(scenario, 64, 1);
                Closed::connect(&target, count, traffic).and_then(|load| idle_cpu(&server, load, time))
            }
            Load::Redis { command, pipeline } => redis::measure(&server, &self.cores.load, command, pipeline, time),
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
        let counter = SyscallCounter::attach(strace, server.id(), &self.cores.load)?;
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
