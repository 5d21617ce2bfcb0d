//! The status of a running server: listeners, metrics, open connections, readiness.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::future::join_all;

use crate::close_reason::CloseReason;
use crate::connection::{Connection, ConnectionTable, Kind, Rejection};
use crate::drain::Phase;
use crate::metrics::{AcceptErrorClass, HandlerMetric, Outcome};
use crate::server::listener::ListenerHandle;
use crate::server::listener_report::{ListenerReport, ListenerStatus};
use crate::server::running::Running;
use crate::settings::Network;

/// The result of [`Running::readiness`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Readiness {
    /// The server accepts clients.
    Ready,
    /// The server does not accept all clients. The text names the reason.
    NotReady(String),
}

impl Readiness {
    /// Whether the server accepts clients.
    pub fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

impl Running {
    /// A report for each listener, sorted by name. A listener that a reload has removed is included until its last
    /// connection closes. Listeners with the same name are combined.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// use switchboard::transport::memory;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let running = Server::bind("mem:report").start(echo).await?;
    /// let mut client = memory::connect("report").await?;
    /// client.write_all(b"hi").await?;
    /// client.read_exact(&mut [0; 2]).await?;
    /// let report = running.report();
    /// assert_eq!((&*report[0].name, report[0].open, report[0].bytes_in), ("main", 1, 2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn report(&self) -> Vec<ListenerReport> {
        let mut reports: BTreeMap<String, ListenerReport> = BTreeMap::new();
        let is_draining = *self.draining.borrow();
        for listener in self.all_listeners() {
            match reports.get_mut(&listener.spec.name) {
                // Both share their metrics; only open connections are counted separately.
                Some(report) => {
                    report.open += listener.open();
                    let (bytes_in, bytes_out) = listener.table().with_open(bytes);
                    report.bytes_in += bytes_in;
                    report.bytes_out += bytes_out;
                }
                None => drop(reports.insert(listener.spec.name.clone(), report(&listener, is_draining))),
            }
        }
        reports.into_values().collect()
    }

    /// The metrics that the handlers have registered when they started, sorted by name.
    pub fn handler_metrics(&self) -> Vec<HandlerMetric> {
        self.handlers.metrics()
    }

    /// All open connections. Excludes datagram peers.
    pub fn connections(&self) -> Vec<Connection> {
        let listeners = self.all_listeners();
        let of = |listener: &ListenerHandle| listener.table().with_open(|open| open.cloned().collect::<Vec<_>>());
        listeners.iter().flat_map(of).collect()
    }

    /// At most `limit` open connections that `matches` accepts, in the order of their [ids](Connection::id), from the
    /// first id above `after`. Excludes datagram peers.
    ///
    /// Accepting and closing connections wait only for a copy of the ids. With many connections this takes
    /// milliseconds: call it through `tokio::task::spawn_blocking`.
    pub fn connections_after(
        &self,
        after: u64,
        limit: usize,
        mut matches: impl FnMut(&Connection) -> bool,
    ) -> Vec<Connection> {
        let listeners = self.all_listeners();
        let ids = |table: &ConnectionTable| table.ids().into_iter().filter(|id| *id > after).collect::<Vec<_>>();
        let mut all: Vec<_> =
            listeners.iter().flat_map(|one| ids(one.table()).into_iter().map(move |id| (id, one))).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        let open = all.into_iter().filter_map(|(id, listener)| listener.table().get(id));
        open.filter(|connection| matches(connection)).take(limit).collect()
    }

    /// The open connection with this [id](Connection::id).
    pub fn connection(&self, id: u64) -> Option<Connection> {
        self.all_listeners().iter().find_map(|listener| listener.table().get(id))
    }

    /// Whether the connection with this id is open.
    #[cfg(feature = "testing")]
    pub(crate) fn is_open(&self, id: u64) -> bool {
        self.connection(id).is_some()
    }

    /// The listeners that accept a network even if it is banned, because their `access.allow` names all of it.
    pub fn listeners_exempting(&self, network: Network) -> Vec<String> {
        let state = self.state();
        let exempt = state.listeners.iter().filter(|listener| listener.spec.access.allow.names_all(network));
        exempt.map(|listener| listener.spec.name.clone()).collect()
    }

    /// Aborts the connection with this [id](Connection::id). Returns whether it was open.
    pub fn kill(&self, id: u64) -> bool {
        self.connection(id).map(|connection| connection.kill()).is_some()
    }

    /// The phase of a drain. It is still `Running` during the announcement; see [`is_stopping`](Self::is_stopping).
    pub fn phase(&self) -> Phase {
        self.state()
            .listeners
            .iter()
            .map(ListenerHandle::phase)
            .max_by_key(|phase| match phase {
                Phase::Running => 0,
                Phase::Draining { .. } => 1,
                Phase::Cutting => 2,
            })
            .unwrap_or(Phase::Running)
    }

    /// Whether a drain has begun or is announced.
    pub fn is_stopping(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until a drain has begun or is announced.
    pub async fn stopping(&self) {
        // The sender lives as long as `self`.
        let _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }

    /// Waits until the loop of every listener has completed one more iteration, for a watchdog. Use a timeout: a
    /// listener that is bound again, or whose thread is blocked, does not answer.
    pub async fn heartbeat(&self) {
        let listeners = self.state().listeners.clone();
        join_all(listeners.iter().map(ListenerHandle::heartbeat)).await;
    }

    /// Whether clients are accepted: the server is not draining, and every listener listens. After
    /// [`hand_over`](Self::hand_over) it is ready, because another process accepts on its sockets.
    pub fn readiness(&self) -> Readiness {
        if self.handed_over.get().is_some() {
            return Readiness::Ready;
        }
        if self.is_stopping() {
            return Readiness::NotReady("draining".to_owned());
        }
        // Not from `report`, which visits every open connection.
        let listeners = self.state().listeners.clone();
        let mut down: Vec<_> = listeners.iter().filter_map(down).collect();
        down.sort_unstable();
        if down.is_empty() { Readiness::Ready } else { Readiness::NotReady(down.join(", ")) }
    }
}

/// A sentence about a listener that does not accept clients.
fn down(listener: &ListenerHandle) -> Option<String> {
    let problem = listener.problem();
    let status = status(listener, problem.is_some(), false);
    let problem = problem.map(|problem| format!(": {problem}")).unwrap_or_default();
    matches!(status, ListenerStatus::Down | ListenerStatus::Ended)
        .then(|| format!("listener {} is {}{problem}", listener.spec.name, status.as_str()))
}

fn status(listener: &ListenerHandle, has_problem: bool, is_draining: bool) -> ListenerStatus {
    match listener.phase() {
        Phase::Running if is_draining => ListenerStatus::Draining,
        Phase::Running if has_problem => ListenerStatus::Down,
        Phase::Running if listener.is_open() => ListenerStatus::Listening,
        Phase::Running if listener.is_over() => ListenerStatus::Ended,
        Phase::Running => ListenerStatus::Down,
        _ => ListenerStatus::Draining,
    }
}

fn report(listener: &ListenerHandle, is_draining: bool) -> ListenerReport {
    let metrics = listener.metrics();
    let latency = metrics.latency.read();
    let mut failed = metrics.failed.counts();
    failed[Outcome::Ok as usize] = latency.count;
    let rejected = metrics.rejected.counts();
    // Under the lock of the table, so that a connection that closes now is counted once.
    let (closed, bytes_in, bytes_out) = listener.table().with_open(|open| {
        let (bytes_in, bytes_out) = bytes(open);
        let closed = named(CloseReason::ALL, metrics.closed.counts());
        (closed, metrics.bytes_in.load(Relaxed) + bytes_in, metrics.bytes_out.load(Relaxed) + bytes_out)
    });
    let (problem, limits) = (listener.problem(), &listener.spec.limits);
    ListenerReport {
        name: listener.spec.name.clone(),
        endpoint: listener.endpoint.clone(),
        kind: listener.kind(),
        state: status(listener, problem.is_some(), is_draining),
        problem: problem.map(|problem| problem.to_string()),
        certificate: listener.tls.as_ref().and_then(|tls| tls.certificates().first_to_expire().cloned()),
        open: listener.open(),
        max_open: match listener.kind() {
            Kind::Stream => limits.connections,
            Kind::Datagram => limits.sessions,
        },
        sessions: metrics.sessions.load(Relaxed),
        accepted: metrics.accepted.load(Relaxed),
        closed,
        rejected: Rejection::REASONS.map(|reason| (reason, rejected[reason as usize])).into(),
        messages: named(Outcome::ALL, failed),
        latency,
        bytes_in,
        bytes_out,
        accept_errors: named(AcceptErrorClass::ALL.map(AcceptErrorClass::as_str), metrics.accept_errors.counts()),
    }
}

/// The bytes that open connections have received and sent.
fn bytes(open: &mut dyn Iterator<Item = &Connection>) -> (u64, u64) {
    open.fold((0, 0), |(bytes_in, bytes_out), connection| {
        (bytes_in + connection.bytes_in(), bytes_out + connection.bytes_out())
    })
}

fn named<T: Copy, const N: usize>(names: [T; N], counts: [u64; N]) -> Vec<(T, u64)> {
    names.into_iter().zip(counts).collect()
}
