//! One run: the server, its clients and the commands, on a runtime of their own.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use switchboard::bans::NewBan;
use switchboard::server::{Drained, Evacuation, ListenerReport};
use switchboard::testing::SimulatedNetwork;
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::client::{Outcome, connect};
use super::handler::Ledger;
use super::plan::{Action, Plan, Site, listeners};
use crate::support::panic_text;

/// What has happened in a run.
#[derive(Debug)]
pub(super) struct History {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) reports: Vec<ListenerReport>,
    pub(super) bans: Vec<(IpAddr, Instant)>,
    /// When the first evacuation began.
    pub(super) evacuated: Option<Instant>,
    pub(super) drain_began: Instant,
    pub(super) drain_took: Duration,
    pub(super) drained: Drained,
    /// Sources that got no connection although all earlier connections have closed.
    pub(super) rejected_probes: Vec<(SocketAddr, String)>,
    pub(super) open_before_probes: usize,
    pub(super) tasks_left: usize,
    pub(super) problems: Vec<String>,
}

/// Notes log lines of level error.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn event(&self, event: &Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {field}={value:?}");
            }
        }
        let mut text = Text("the server logged an error:".into());
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Runs a plan. The error is the message of a panic.
pub(super) fn run(plan: &Plan, net: &SimulatedNetwork) -> Result<History, String> {
    let errors = Errors::default();
    let _logging = tracing::subscriber::set_default(errors.clone());
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(simulate(plan, net))));
    let mut history = ran.map_err(|panic| panic_text(&*panic))?;
    history.problems.append(&mut errors.0.lock().unwrap());
    Ok(history)
}

async fn simulate(plan: &Plan, net: &SimulatedNetwork) -> History {
    let began = Instant::now();
    let ledger = Arc::new(Ledger::default());
    let (mut instances, mut problems) = (Vec::new(), Vec::new());
    let set = listeners(&plan.sites, plan.drain, net, &ledger, &mut instances);
    let running = set.start().await.unwrap();
    let mut tasks: JoinSet<Outcome> = plan.clients.iter().map(|client| client.clone().run(net.clone())).collect();
    let (mut sites, mut bans, mut evacuated) = (plan.sites.clone(), Vec::new(), None);
    for (at, action) in &plan.actions {
        if plan.drain_at.is_some_and(|drain_at| drain_at <= *at) {
            break;
        }
        sleep_until(began + *at).await;
        match action {
            Action::Reload(changed) => {
                let set = listeners(changed, plan.drain, net, &ledger, &mut instances);
                // A removed listener can still be in progress: then the reload is rejected, and nothing changes.
                if running.reload(set).await.is_ok() {
                    sites.clone_from(changed);
                }
                instances.retain(|(name, generation, _)| {
                    sites.iter().any(|site| (&site.name, site.generation) == (name, *generation))
                });
            }
            Action::Evacuate(share, rate) => {
                if running.evacuate(Evacuation::new(*share, *rate)).is_ok() {
                    evacuated.get_or_insert(Instant::now());
                }
            }
            Action::Ban(address, duration) => {
                if running.bans().add(NewBan::new((*address).into()).duration(*duration)).is_ok() {
                    bans.push((*address, Instant::now()));
                }
            }
            Action::Unban(address) => drop(running.bans().remove((*address).into(), None)),
        }
    }
    drop(instances);
    let mut outcomes = Vec::new();
    let (mut rejected_probes, mut open_before_probes) = (Vec::new(), 0);
    match plan.drain_at {
        Some(at) => sleep_until(began + at).await,
        None => {
            while let Some(outcome) = tasks.join_next().await {
                outcomes.push(outcome.unwrap());
            }
            sleep(Duration::from_secs(200)).await; // longer than all timeouts and bans
            open_before_probes = running.open();
            let net = &net.clone().resets(0.0).outages(0.0, Duration::ZERO).partitions(0.0);
            rejected_probes = probe(&sites, &outcomes, net).await;
            sleep(Duration::from_secs(5)).await;
        }
    }
    let drain_began = Instant::now();
    let drained = running.drain().await;
    let drain_took = drain_began.elapsed();
    let reports = running.report();
    while let Some(outcome) = tasks.join_next().await {
        outcomes.push(outcome.unwrap());
    }
    drop(running);
    sleep(Duration::from_secs(5)).await;
    let tasks_left = Handle::current().metrics().num_alive_tasks();
    problems.extend(outcomes.iter().filter_map(|outcome| {
        let problem = outcome.problem.as_ref()?;
        Some(format!("client {}: {problem}", outcome.client.number))
    }));
    outcomes.sort_by_key(|outcome| outcome.client.number);
    History {
        outcomes,
        ledger,
        reports,
        bans,
        evacuated,
        drain_began,
        drain_took,
        drained,
        rejected_probes,
        open_before_probes,
        tasks_left,
        problems,
    }
}

/// Connects from sources that had connections, as many as the limits allow. Returns those that get none.
async fn probe(sites: &[Site], outcomes: &[Outcome], net: &SimulatedNetwork) -> Vec<(SocketAddr, String)> {
    let mut rejected = Vec::new();
    for (index, site) in sites.iter().enumerate().filter(|(_, site)| !site.is_datagram) {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        let clients = outcomes.iter().filter(|outcome| outcome.client.listener == site.name);
        clients.for_each(|outcome| *counts.entry(outcome.client.address.ip()).or_default() += 1);
        let per_source = match site.limits.connections_per_source {
            _ if !site.rates.connections_per_source.is_off() => 1,
            0 => 3,
            limit => limit,
        };
        let port = 60_000 + 10 * u16::try_from(index).unwrap(); // no client has it
        let all = counts
            .keys()
            .flat_map(|ip| (0..u16::try_from(per_source).unwrap()).map(move |n| SocketAddr::new(*ip, port + n)));
        let mut open = Vec::new();
        for address in all.take(site.limits.connections.min(60)) {
            let mut stream = connect(net, &site.name, address, site.is_proxied).await.unwrap();
            match timeout(Duration::from_secs(4), stream.read_u8()).await {
                Ok(Ok(_)) => open.push(stream),
                end => rejected.push((address, format!("listener {}: {end:?}", site.name))),
            }
        }
    }
    rejected
}
