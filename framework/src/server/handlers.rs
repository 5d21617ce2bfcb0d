//! The handlers of a server: starts each one before the listeners, and stops it when nothing uses it any more.
//!
//! A pipeline, a connection and a datagram dispatcher each count as a user of their handler. A task per handler waits
//! until it has no users: a reload has replaced it, the server has not started, or the server is dropped. A shutdown
//! stops all handlers after the last connection.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::task::task_tracker::{TaskTracker, TaskTrackerToken};

use crate::deadline_timer::{DeadlineTimer, timeout_at};
use crate::drain::{DrainSwitch, Phase};
use crate::error::{BoxError, Result, chain};
use crate::fleet::Fleet;
use crate::handler::StartContext;
use crate::layer::Panicked;
use crate::lifecycle::Lifecycle;
use crate::listener_spec::ListenerSpec;
use crate::metrics::{Counts, HandlerMetric, HandlerMetricStore, HandlerMetrics};
use crate::pipeline::HandlerInstance;
use crate::server::start_error::StartError;
use crate::settings::{DrainSettings, deadline_after};

/// Minimum time that a handler has to stop, also after the drain deadline and after a second stop signal.
const MIN_STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a shutdown waits for tasks of handlers beyond their deadlines.
const TASK_TIMEOUT: Duration = Duration::from_secs(1);

/// The handlers that a [`ListenerSet`](crate::ListenerSet) or a running server has started. Clones refer to the same
/// handlers.
#[derive(Clone, Default)]
pub struct StartedHandlers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    running: Mutex<Vec<Entry>>,
    metrics: HandlerMetricStore,
    switch: DrainSwitch,
    /// `drain.deadline`, the time that a handler has to stop.
    stop_timeout: Mutex<Duration>,
    /// Set when the server stops: the end of the time that the handlers have.
    deadline: watch::Sender<Option<Instant>>,
    /// The fleet of the listeners.
    fleet: watch::Sender<Option<Fleet>>,
    tasks: TaskTracker,
    failures: AtomicUsize,
    first_failure: OnceLock<String>,
}

/// A handler between its start and its stop.
#[derive(Clone)]
struct Entry {
    lifecycle: Arc<Lifecycle>,
    /// Holds its name and metrics.
    context: Arc<StartContext>,
}

impl StartedHandlers {
    /// Stops all handlers and waits until they have stopped: for at most `time`, and at least 2 s. When `aborted`
    /// resolves, 2 s remain. Returns the number of handlers whose stop has failed since the start of the server.
    ///
    /// A running server does this after a drain. Call it if the future of
    /// [`ListenerSet::bind`](crate::ListenerSet::bind) was dropped, or if its result was not started.
    pub async fn stop(&self, time: Duration, aborted: impl Future<Output = ()>) -> usize {
        self.stop_until(deadline_after(Instant::now(), time), aborted).await
    }

    pub(super) async fn stop_until(&self, deadline: Instant, aborted: impl Future<Output = ()>) -> usize {
        let Shared { deadline: latest, tasks, failures, .. } = &*self.0;
        let minimum = || Instant::now() + MIN_STOP_TIMEOUT;
        latest.send_replace(Some(deadline.max(minimum())));
        tasks.close();
        tokio::select! {
            biased;
            () = self.stopped() => {}
            () = aborted => {
                latest.send_modify(|latest| *latest = latest.map(|latest| latest.min(minimum())));
                self.stopped().await;
            }
        }
        failures.load(SeqCst)
    }

    async fn stopped(&self) {
        let Some(deadline) = *self.0.deadline.borrow() else { return };
        // A task can be late only if a handler blocks its thread.
        let _ = timeout_at(deadline_after(deadline, TASK_TIMEOUT), self.0.tasks.wait()).await;
    }

    pub(super) fn apply(&self, settings: DrainSettings) {
        *self.0.stop_timeout.lock() = settings.deadline;
    }

    /// Handlers use the fleet of these listeners from now on.
    pub(super) fn use_fleet_of<'a>(&self, mut specs: impl Iterator<Item = &'a ListenerSpec>) {
        let fleet = specs.find_map(|spec| spec.fleet.clone());
        self.0.fleet.send_if_modified(|current| {
            let has_changed = *current != fleet;
            *current = fleet;
            has_changed
        });
    }

    #[cfg(feature = "fleet")]
    pub(super) fn fleets(&self) -> watch::Receiver<Option<Fleet>> {
        self.0.fleet.subscribe()
    }

    /// Signals the phase of the shutdown to the handlers.
    pub(super) fn advance(&self, phase: Phase) {
        self.0.switch.advance(phase);
    }

    /// A sentence about the first handler whose stop has failed.
    pub(super) fn first_failure(&self) -> Option<String> {
        self.0.first_failure.get().cloned()
    }

    pub(super) fn add_counts(&self, counts: &Counts) -> bool {
        self.0.metrics.add_counts(counts)
    }

    pub(super) fn metrics(&self) -> Vec<HandlerMetric> {
        self.0.metrics.read()
    }

    /// Starts the handlers that do not run yet, one after another. All handlers of the plan keep running until the
    /// returned tokens are dropped.
    pub(super) async fn start(
        &self,
        plan: &[(ListenerSpec, HandlerInstance)],
        time: Duration,
    ) -> Result<Vec<TaskTrackerToken>, StartError> {
        let deadline = deadline_after(Instant::now(), time);
        let users = self.users(plan);
        for (spec, handler) in plan {
            if self.is_running(handler.lifecycle()) {
                continue;
            }
            let name = handler.name().cloned().unwrap_or_else(|| spec.name.as_str().into());
            let metrics = HandlerMetrics::new(name.clone(), self.0.metrics.clone());
            let (drain, fleet) = (self.0.switch.signal(), self.0.fleet.subscribe());
            let context = Arc::new(StartContext::new(name.clone(), drain, metrics, fleet));
            let entry = Entry { lifecycle: handler.lifecycle().clone(), context };
            // A task of its own, because a start that has succeeded must be followed by a stop. It ends with this call.
            let starting = AbortOnDropHandle::new(self.0.tasks.spawn(self.clone().start_one(entry)));
            let started = match timeout_at(deadline, starting).await {
                Ok(started) => started.unwrap_or_else(|panic| Err(panicked(panic))),
                Err(_) => Err(format!("it did not start within {time:.0?}").into()),
            };
            started.map_err(|error| StartError::handler(&name, error))?;
        }
        Ok(users)
    }

    /// Under the lock, so that no handler stops between the check of its users and its removal.
    fn users(&self, plan: &[(ListenerSpec, HandlerInstance)]) -> Vec<TaskTrackerToken> {
        let _running = self.0.running.lock();
        plan.iter().map(|(_, handler)| handler.lifecycle().user()).collect()
    }

    fn is_running(&self, lifecycle: &Arc<Lifecycle>) -> bool {
        self.0.running.lock().iter().any(|entry| Arc::ptr_eq(&entry.lifecycle, lifecycle))
    }

    async fn start_one(self, entry: Entry) -> Result<()> {
        entry.lifecycle.start(entry.context.clone()).await?;
        // Nothing below waits, so that the task is not aborted here.
        self.0.running.lock().push(entry.clone());
        self.0.tasks.spawn(self.clone().stop_unused(entry));
        Ok(())
    }

    /// Stops a handler when nothing uses it, or when the server stops.
    async fn stop_unused(self, entry: Entry) {
        let Entry { lifecycle, context } = entry;
        let mut stops = self.0.deadline.subscribe();
        loop {
            let is_forced = tokio::select! {
                () = lifecycle.unused() => false,
                _ = stops.wait_for(Option::is_some) => true,
            };
            let mut running = self.0.running.lock();
            if is_forced || !lifecycle.is_used() {
                running.retain(|entry| !Arc::ptr_eq(&entry.lifecycle, &lifecycle));
                break;
            }
        }
        let time = (*self.0.stop_timeout.lock()).max(MIN_STOP_TIMEOUT);
        let latest = deadline_after(Instant::now(), time);
        // A task of its own, so that a handler that blocks its thread does not block the timer.
        let stopping = AbortOnDropHandle::new(tokio::spawn(async move { lifecycle.stop().await }));
        let stopped = tokio::select! {
            biased;
            stopped = stopping => stopped.unwrap_or_else(|panic| Err(panicked(panic))),
            () = self.late(latest) => Err("it did not stop before the deadline (drain.deadline)".into()),
        };
        if let Err(error) = stopped {
            let (handler, error) = (context.name(), chain(&*error));
            tracing::error!(target: "switchboard", handler, error, "handler stop failed");
            self.0.failures.fetch_add(1, SeqCst);
            self.0.first_failure.get_or_init(|| format!("handler {handler} did not stop: {error}"));
        }
        context.stop_tasks().await;
    }

    /// Waits for the deadline of a handler, or for the deadline of the server.
    async fn late(&self, latest: Instant) {
        let mut stops = self.0.deadline.subscribe();
        loop {
            let deadline = stops.borrow_and_update().map_or(latest, |deadline| deadline.min(latest));
            tokio::select! {
                () = DeadlineTimer::new(deadline) => return,
                _ = stops.changed() => {}
            }
        }
    }
}

/// The error of a task that panicked, or of a runtime that has ended.
fn panicked(error: tokio::task::JoinError) -> BoxError {
    match error.try_into_panic() {
        Ok(payload) => Panicked::new(&*payload).into(),
        Err(cancelled) => cancelled.into(),
    }
}

impl fmt::Debug for StartedHandlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running = self.0.running.lock();
        f.debug_list().entries(running.iter().map(|entry| entry.context.name())).finish()
    }
}
