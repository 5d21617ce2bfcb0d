//! The task of an instance: renews leases at the server, and connects to it again after an error.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::Backoff;
use super::failure::LinkFailure;
use super::instance::Instance;
use super::lease::{Lease, Request, Terms};
use super::link::{Link, unexpected};
use super::report::{FailureClass, FleetState};
use super::script::{MAX_REQUESTS, Renewal, Renewed};
use crate::settings::FleetSettings;

/// Maximum time between two calls: an instance that makes no call is counted no more.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Time between two turns in which limits forget idle sources.
const CLEANUP: Duration = Duration::from_secs(1);
/// Renewals between two turns for idle sources.
const RENEWALS_PER_IDLE_TURN: u32 = 10;

/// Runs until no handle to the instance is left.
pub(super) fn spawn(instance: &Arc<Instance>) {
    let guard = Guard(Arc::downgrade(instance));
    let task = Task::new(instance);
    tokio::spawn(async move {
        let Guard(instance) = &guard;
        task.run(instance).await;
        drop(guard);
    });
}

/// Without the task, no lease is renewed: after a panic, the instance enforces its part of each limit.
struct Guard(Weak<Instance>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(instance) = self.0.upgrade()
            && std::thread::panicking()
        {
            tracing::error!(target: "switchboard::fleet", "the task of the fleet failed; limits are divided");
            set_state(&instance, FleetState::Failed);
        }
    }
}

struct Task {
    link: Link,
    renewal: Renewal,
    /// The last call.
    called: Option<Instant>,
    /// When the first of the calls began that have not been answered since the last answer.
    unanswered: Option<Instant>,
    /// No call before.
    paused_until: Instant,
    backoff: Backoff,
    cleaned: Instant,
    renewals: u32,
    /// The class of the failure that was logged last.
    logged: Option<FailureClass>,
}

impl Task {
    fn new(instance: &Instance) -> Self {
        Self {
            link: Link::new(&instance.settings),
            renewal: Renewal::new(&instance.settings),
            called: None,
            unanswered: None,
            paused_until: Instant::now(),
            backoff: Backoff::new(),
            cleaned: Instant::now(),
            renewals: 0,
            logged: None,
        }
    }

    async fn run(mut self, instance: &Weak<Instance>) {
        while let Some(instance) = instance.upgrade() {
            self.clean(&instance);
            if Instant::now() >= self.paused_until {
                self.renew(&instance).await;
            }
            self.expire(&instance);
            let interval = self.backoff.jittered(instance.interval());
            drop(instance); // the last handle ends the task
            sleep(interval).await;
        }
    }

    fn clean(&mut self, instance: &Instance) {
        if self.cleaned.elapsed() >= CLEANUP {
            self.cleaned = Instant::now();
            instance.leases().iter().for_each(|lease| lease.clean());
        }
    }

    /// Renews the leases that are due, in one call. Counts the instance at least once per [`HEARTBEAT`].
    async fn renew(&mut self, instance: &Instance) {
        self.renewals = self.renewals.wrapping_add(1);
        let leases = instance.leases();
        let (requests, owners) = due(&leases, self.renewals.is_multiple_of(RENEWALS_PER_IDLE_TURN));
        let is_counted = self.called.is_some_and(|called| called.elapsed() < HEARTBEAT) && self.unanswered.is_none();
        if requests.is_empty() && is_counted {
            return;
        }
        let now = Instant::now();
        self.called = Some(now);
        let expiry = *self.unanswered.get_or_insert(now) + instance.settings.lease;
        let answer = {
            let mut answer = pin!(renew(&mut self.link, &self.renewal, &requests, &instance.settings));
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                () = sleep_until(expiry) => {
                    divide(instance, "no answer for one lease");
                    answer.await
                }
            }
        };
        let granted = answer.as_ref().ok().map(|renewed| &renewed.granted);
        for (at, (request, owner)) in requests.iter().zip(owners).enumerate() {
            leases[owner].answer(request, granted.and_then(|granted| granted.get(at)).copied());
        }
        match answer {
            Ok(renewed) => self.succeeded(instance, renewed.instances, requests.len()),
            Err(failure) => self.failed(instance, &failure),
        }
    }

    fn succeeded(&mut self, instance: &Instance, instances: u32, renewals: usize) {
        self.unanswered = None;
        self.backoff.reset();
        instance.progress.lock().succeeded(renewals);
        let before = instance.terms();
        let is_shared_again = instance.standing.lock().answered(instances);
        let terms = instance.terms();
        if terms != before {
            apply(instance, terms);
        }
        if self.logged.take().is_some() || is_shared_again {
            let (link, instances) = (instance.link(), terms.instances);
            tracing::info!(target: "switchboard::fleet", link, instances, "fleet connected");
        }
    }

    fn failed(&mut self, instance: &Instance, failure: &LinkFailure) {
        self.paused_until = Instant::now() + self.backoff.next_pause();
        let error = failure.to_string();
        instance.progress.lock().failed(failure.class, error.clone());
        let link = instance.link();
        if self.logged == Some(failure.class) {
            tracing::debug!(target: "switchboard::fleet", link, error, "fleet call failed");
        } else {
            tracing::warn!(target: "switchboard::fleet", link, error, "fleet call failed");
            self.logged = Some(failure.class);
        }
    }

    /// Divides the limits if no call was answered for one lease.
    fn expire(&self, instance: &Instance) {
        let is_first = instance.standing.lock().state().0 == FleetState::Connecting;
        let error = instance.progress.lock().error.clone();
        if let (Some(unanswered), Some(error)) = (self.unanswered, error)
            && (is_first || unanswered.elapsed() >= instance.settings.lease)
        {
            divide(instance, &error);
        }
    }
}

/// Calls the script that renews leases.
async fn renew(
    link: &mut Link,
    renewal: &Renewal,
    requests: &[Request],
    settings: &FleetSettings,
) -> Result<Renewed, LinkFailure> {
    let reply: Vec<i64> = link.call(&renewal.call(requests)).await?;
    Renewed::read(&reply, requests.len()).ok_or_else(|| unexpected(settings))
}

/// The requests that are due, each with the index of its limit.
fn due(leases: &[Arc<dyn Lease>], idle_turn: bool) -> (Vec<Request>, Vec<usize>) {
    let (mut requests, mut owners) = (Vec::new(), Vec::new());
    for (owner, lease) in leases.iter().enumerate() {
        requests.extend(lease.due(MAX_REQUESTS - requests.len(), idle_turn));
        owners.resize(requests.len(), owner);
    }
    (requests, owners)
}

/// Enforces the part of this instance from now on.
fn divide(instance: &Instance, error: &str) {
    if set_state(instance, FleetState::Divided) {
        let instances = instance.terms().instances;
        tracing::error!(target: "switchboard::fleet", error, instances, "fleet limits divided");
    }
}

/// Sets a state without leases. False if it is the same.
fn set_state(instance: &Instance, state: FleetState) -> bool {
    let has_changed = instance.standing.lock().set(state);
    if has_changed {
        apply(instance, instance.terms());
    }
    has_changed
}

fn apply(instance: &Instance, terms: Terms) {
    instance.leases().iter().for_each(|lease| lease.set_terms(terms));
}
