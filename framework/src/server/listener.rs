//! The handle to a running listener.
//!
//! A reload replaces the handle by one with other settings. Both share the same [`ListenerState`].

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::address::Endpoint;
use crate::bans::Bans;
use crate::connection::{ConnectionTable, ControlSignal, Kind, ListenerContext};
use crate::drain::Phase;
use crate::driver::{DatagramLoop, DatagramService, ServiceSnapshot};
use crate::listener_spec::ListenerSpec;
use crate::log_throttle::LogThrottle;
use crate::metrics::ListenerMetrics;
use crate::pipeline::{Pipeline, Services};
use crate::server::acceptor::{Acceptor, run};
use crate::server::bind::{BoundListener, BoundTransport};
use crate::server::listener_state::{Count, ListenerState, OpenSocket};
use crate::server::reachability::Reachability;
use crate::settings::TlsStart;
use crate::transport::tls::TlsAcceptor;
use crate::transport::{ConnectionService, SharedSocket, Unreachable};

/// A running listener. Clones refer to the same listener.
#[derive(Clone)]
pub(super) struct ListenerHandle {
    pub(super) spec: Arc<ListenerSpec>,
    pub(super) endpoint: Endpoint,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) pipeline: Pipeline,
    pub(super) listener_context: Arc<ListenerContext>,
    snapshots: SnapshotSender,
    socket: Arc<OpenSocket>,
    /// Cancelled when another accept loop takes over the socket.
    retired: CancellationToken,
    heartbeat: mpsc::Sender<oneshot::Sender<()>>,
    state: Arc<ListenerState>,
}

/// The sender of service snapshots. The loop uses the newest snapshot for new connections and datagrams.
#[derive(Clone)]
enum SnapshotSender {
    Stream(watch::Sender<ServiceSnapshot<ConnectionService>>),
    Datagram(watch::Sender<ServiceSnapshot<Arc<dyn DatagramService>>>),
}

fn snapshot<S>(
    service: S,
    listener_context: &Arc<ListenerContext>,
    spec: &ListenerSpec,
    tls: Option<&TlsAcceptor>,
    finish_timeout: Duration,
) -> ServiceSnapshot<S> {
    let (listener_context, handshake_timeout) = (listener_context.clone(), spec.timeouts.handshake);
    let start_tls = tls.filter(|_| spec.tls_start() == Some(TlsStart::OnRequest)).cloned();
    ServiceSnapshot { listener_context, service, start_tls, handshake_timeout, finish_timeout }
}

/// Logs each address if a host name has several, and the configured address otherwise.
fn log_listening(listener: &str, endpoint: &Endpoint, socket: Option<&SharedSocket>) {
    let log = |address: &dyn Display| {
        tracing::info!(target: "switchboard::listener", listener, address = %address, "listening");
    };
    let addresses: Vec<SocketAddr> = socket.into_iter().flat_map(SharedSocket::socket_addrs).collect();
    match &*addresses {
        [_, _, ..] => addresses.iter().for_each(|address| log(&format_args!("{}://{address}", endpoint.scheme()))),
        _ => log(endpoint),
    }
}

/// Logs whether clients can reach a datagram socket. Only a reload binds its path again.
async fn watch(socket: Arc<OpenSocket>, listener: String) {
    let mut reachability = Reachability::of(&socket);
    loop {
        reachability.path_lost(&socket, &listener).await;
    }
}

impl ListenerHandle {
    /// Serves a bound listener. Metrics continue from an earlier listener of the same name.
    pub(super) fn start(
        spec: ListenerSpec,
        bound: BoundListener,
        finish_timeout: Duration,
        previous: Option<&Self>,
        bans: &Bans,
    ) -> Self {
        let state = ListenerState::continuing(previous.map(|listener| &*listener.state), bans.clone());
        Self::with(Arc::new(state), None, spec, bound, finish_timeout)
    }

    /// The same listener with another accept loop. The old loop stops accepting; open connections stay.
    pub(super) fn replace_acceptor(&self, spec: ListenerSpec, bound: BoundListener, finish_timeout: Duration) -> Self {
        let moved = Self::with(self.state.clone(), Some(&self.listener_context), spec, bound, finish_timeout);
        self.retire();
        moved
    }

    fn with(
        state: Arc<ListenerState>,
        previous: Option<&ListenerContext>,
        spec: ListenerSpec,
        BoundListener { bound_transport, pipeline, endpoint, binder, shared }: BoundListener,
        finish_timeout: Duration,
    ) -> Self {
        let listener_context = state.context(&spec, previous);
        log_listening(&spec.name, &endpoint, shared.as_ref());
        let (socket, retired) = (Arc::new(OpenSocket::default()), CancellationToken::new());
        let (heartbeat, heartbeats) = mpsc::channel(1);
        let tls = state.acceptor(&spec, binder.tls.clone());
        socket.set_open(shared);
        let snapshots = match bound_transport {
            BoundTransport::Stream(listener, service) => {
                let snapshot = snapshot(service, &listener_context, &spec, tls.as_ref(), finish_timeout);
                let (snapshots, snapshot) = watch::channel(snapshot);
                let acceptor = Acceptor {
                    snapshot,
                    endpoint: endpoint.clone(),
                    options: spec.socket.clone(),
                    pause_at: spec.waits_when_full.then_some(spec.limits.connections),
                    retired: retired.clone(),
                    socket: socket.clone(),
                    heartbeats,
                    failures: LogThrottle::default(),
                };
                state.accept_loops.spawn(run(acceptor, listener, binder));
                SnapshotSender::Stream(snapshots)
            }
            BoundTransport::Datagram(datagrams, service) => {
                let snapshot = snapshot(service, &listener_context, &spec, tls.as_ref(), finish_timeout);
                let (snapshots, snapshot) = watch::channel(snapshot);
                let datagrams_cut = state.datagrams_cut.clone();
                let datagram_loop = DatagramLoop::new(datagrams, snapshot, retired.clone(), datagrams_cut, heartbeats);
                let watching = AbortOnDropHandle::new(tokio::spawn(watch(socket.clone(), spec.name.clone())));
                let socket = socket.clone();
                state.datagram_loops.spawn(datagram_loop.run().map(move |()| {
                    drop(watching);
                    socket.set_closed();
                }));
                SnapshotSender::Datagram(snapshots)
            }
        };
        Self {
            spec: Arc::new(spec),
            endpoint,
            tls,
            pipeline,
            listener_context,
            snapshots,
            socket,
            retired,
            heartbeat,
            state,
        }
    }

    /// The same listener with other settings for new connections, and with loaded certificates.
    pub(super) fn change(
        &self,
        spec: ListenerSpec,
        pipeline: Pipeline,
        loaded: Option<TlsAcceptor>,
        finish_timeout: Duration,
    ) -> Self {
        let listener_context = self.state.context(&spec, Some(&self.listener_context));
        let tls = loaded.and_then(|loaded| {
            self.replace_certificates(&loaded);
            self.state.acceptor(&spec, Some(self.tls.clone().unwrap_or(loaded)))
        });
        match (&self.snapshots, pipeline.services.clone()) {
            (SnapshotSender::Stream(sender), Services { stream: Some(service), .. }) => {
                sender.send_replace(snapshot(service, &listener_context, &spec, tls.as_ref(), finish_timeout));
            }
            (SnapshotSender::Datagram(sender), Services { datagram: Some(service), .. }) => {
                sender.send_replace(snapshot(service, &listener_context, &spec, tls.as_ref(), finish_timeout));
            }
            _ => {} // the caller has checked that the pipeline fits the kind of the listener
        }
        Self { spec: Arc::new(spec), tls, pipeline, listener_context, ..self.clone() }
    }

    /// Uses loaded certificates for new handshakes, those that open connections request included.
    pub(super) fn replace_certificates(&self, loaded: &TlsAcceptor) {
        let acceptors = self.tls.iter().chain(self.state.start_tls.get());
        acceptors.for_each(|acceptor| acceptor.replace_with(loaded));
    }

    pub(super) fn kind(&self) -> Kind {
        match self.snapshots {
            SnapshotSender::Stream(_) => Kind::Stream,
            SnapshotSender::Datagram(_) => Kind::Datagram,
        }
    }

    /// Stops accepting. Clients in the backlog are left to another listener on the same socket.
    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    /// Whether it listens. It does not while it is bound again after a failure.
    pub(super) fn is_open(&self) -> bool {
        self.socket.is_open()
    }

    /// Why new clients cannot reach it although it listens, if so.
    pub(super) fn problem(&self) -> Option<Unreachable> {
        self.socket.problem()
    }

    /// Waits for the next iteration of the accept loop or datagram loop.
    pub(super) async fn heartbeat(&self) {
        let (answer, answered) = oneshot::channel();
        if self.is_over() || (self.heartbeat.send(answer).await.is_ok() && answered.await.is_ok()) {
            return;
        }
        std::future::pending().await // the loop ended during the call
    }

    pub(super) fn is_over(&self) -> bool {
        self.state.accept_loops.is_empty() && self.state.datagram_loops.is_empty()
    }

    pub(super) fn share(&self) -> Option<SharedSocket> {
        self.socket.share()
    }

    pub(super) fn socket_addr(&self) -> Option<SocketAddr> {
        self.socket.socket_addr().or_else(|| self.endpoint.socket_addr())
    }

    pub(super) fn table(&self) -> &ConnectionTable {
        &self.state.table
    }

    pub(super) fn metrics(&self) -> &Arc<ListenerMetrics> {
        &self.state.metrics
    }

    pub(super) fn open(&self) -> usize {
        self.state.table.len()
    }

    pub(super) fn handshakes(&self) -> usize {
        self.listener_context.handshakes.len()
    }

    pub(super) fn count(&self) -> Count {
        self.state.count()
    }

    /// Whether both are the same listener, perhaps with different settings.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    pub(super) fn phase(&self) -> Phase {
        self.listener_context.info.drain.phase()
    }

    /// Begins the next phase of a drain. In the first phase the listener accepts its backlog and closes.
    pub(super) fn advance(&self, phase: Phase) {
        self.state.switch.advance(phase);
    }

    /// Wakes the tasks that wait for a drain, because some connections drain alone.
    pub(super) fn wake_drain_signals(&self) {
        self.state.switch.wake();
    }

    /// Waits until the accept loops have accepted their backlog and closed.
    pub(super) async fn closed(&self) {
        self.state.accept_loops.close();
        self.state.accept_loops.wait().await;
    }

    /// Signals all open connections, and all connections that open later.
    pub(super) fn broadcast(&self, signal: ControlSignal) {
        self.state.table.broadcast(signal);
    }

    /// Waits until the loops have ended and no connection is open.
    pub(super) async fn ended(&self) {
        self.closed().await;
        self.state.datagram_loops.close();
        self.state.datagram_loops.wait().await;
        self.state.table.wait_empty().await;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.is_over() && self.open() == 0
    }
}
