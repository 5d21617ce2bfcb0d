//! The task of an evacuation: signals the chosen connections as scheduled, and waits until they have closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::connection::{Connection, ControlSignal};
use crate::server::evacuation::candidates::{Candidate, Candidates};
use crate::server::evacuation::report::{Evacuation, EvacuationReport, EvacuationState};
use crate::server::evacuation::schedule::Schedule;
use crate::server::listener::ListenerHandle;
use crate::settings::deadline_after;

/// How long the connections are observed before the first one is signalled: those with traffic meanwhile come last.
const OBSERVATION: Duration = Duration::from_millis(250);
/// For how long the order of the connections is used before they are compared again.
const ORDER_LIFETIME: Duration = Duration::from_secs(1);
/// The interval at which closed connections are counted.
const COUNT_INTERVAL: Duration = Duration::from_millis(100);
/// From this number of connections on, they are compared on a thread that may block.
const MANY_CONNECTIONS: usize = 10_000;

pub(in crate::server) struct EvacuationTask {
    pub(in crate::server) report: EvacuationReport,
    pub(in crate::server) reports: Arc<watch::Sender<Option<EvacuationReport>>>,
    pub(in crate::server) candidates: Candidates,
    pub(in crate::server) listeners: Vec<ListenerHandle>,
    pub(in crate::server) cancel: CancellationToken,
    /// Set when a drain begins.
    pub(in crate::server) draining: watch::Receiver<bool>,
    /// How long signalled connections have to finish.
    pub(in crate::server) finish_timeout: Duration,
}

impl EvacuationTask {
    pub(in crate::server) async fn run(mut self) {
        let Evacuation { share, rate, listener, source } = &self.report.evacuation;
        let (listener, source) = (listener.as_deref(), source.map(tracing::field::display));
        let EvacuationReport { open, chosen, .. } = self.report;
        tracing::info!(target: "switchboard", share, %rate, listener, source, open, chosen, "evacuating");
        let began = Instant::now();
        let (cancel, mut draining) = (self.cancel.clone(), self.draining.clone());
        let mut signalled = Vec::new();
        let state = tokio::select! {
            biased;
            () = cancel.cancelled() => EvacuationState::Cancelled,
            // An error: the server is dropped.
            _ = draining.wait_for(|draining| *draining) => EvacuationState::Cancelled,
            () = self.close_connections(began, &mut signalled) => EvacuationState::Finished,
        };
        self.report.state = state;
        self.publish(began, &mut signalled);
        let EvacuationReport { closed, .. } = self.report;
        let (remaining, seconds) = (self.report.remaining(), self.report.elapsed.as_secs_f64());
        let state = state.as_str();
        tracing::info!(target: "switchboard", state, chosen, closed, remaining, seconds, "evacuated");
    }

    /// Signals the connections, and waits until they have closed or the time to finish has passed.
    async fn close_connections(&mut self, began: Instant, signalled: &mut Vec<Connection>) {
        sleep(OBSERVATION).await;
        let mut schedule = Schedule::new(self.report.evacuation.period(), Instant::now());
        let mut ticks = interval(COUNT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut next, mut ordered_at) = (Vec::new(), None);
        while self.report.signalled < self.report.chosen {
            tokio::select! {
                _ = ticks.tick() => {
                    self.publish(began, signalled);
                    continue;
                }
                () = sleep_until(schedule.due) => {}
            }
            let Some(connection) = self.next_candidate(&mut next, &mut ordered_at).await else { break };
            connection.signal(ControlSignal::Drain);
            signalled.push(connection);
            self.report.signalled += 1;
            schedule.advance(Instant::now());
        }
        self.listeners.iter().for_each(ListenerHandle::wake_drain_signals);
        let deadline = deadline_after(Instant::now(), self.finish_timeout);
        while !signalled.is_empty() && Instant::now() < deadline {
            ticks.tick().await;
            self.publish(began, signalled);
        }
    }

    /// The next connection to signal. `next` has some of them in reverse order, as of `ordered_at`. `None`: all
    /// candidates have closed.
    async fn next_candidate(
        &mut self,
        next: &mut Vec<Candidate>,
        ordered_at: &mut Option<Instant>,
    ) -> Option<Connection> {
        loop {
            if ordered_at.is_none_or(|at: Instant| at.elapsed() >= ORDER_LIFETIME) || next.is_empty() {
                self.candidates.put_back(std::mem::take(next));
                *next = self.take().await;
                *ordered_at = Some(Instant::now());
                self.listeners.iter().for_each(ListenerHandle::wake_drain_signals);
            }
            let candidate = next.pop()?;
            if candidate.is_open() {
                return Some(candidate.connection);
            }
        }
    }

    /// Takes the connections that are due while their order is used.
    async fn take(&mut self) -> Vec<Candidate> {
        let periods = ORDER_LIFETIME.as_nanos() / self.report.evacuation.period().as_nanos().max(1);
        let left = self.report.chosen - self.report.signalled;
        let count = usize::try_from(periods).unwrap_or(usize::MAX).clamp(1, left);
        if self.candidates.len() < MANY_CONNECTIONS {
            return self.candidates.take(count);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        let ordered = tokio::task::spawn_blocking(move || (candidates.take(count), candidates)).await;
        // An error: the runtime has ended.
        let (taken, candidates) = ordered.unwrap_or_default();
        self.candidates = candidates;
        taken
    }

    /// Removes the connections that have closed from `signalled`, counts them, and publishes the progress.
    fn publish(&mut self, began: Instant, signalled: &mut Vec<Connection>) {
        signalled.retain(is_open);
        self.report.closed = self.report.signalled - signalled.len();
        self.report.elapsed = began.elapsed();
        self.reports.send_replace(Some(self.report.clone()));
    }
}

/// Whether it counts as open. A closed connection lingers for a moment, so that its peer can read the last message.
fn is_open(connection: &Connection) -> bool {
    connection.close_reason().is_none() || connection.listener_info().open.contains(connection.id())
}
