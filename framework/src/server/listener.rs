//! One listener that runs: its socket, what is done with what comes, who is there, and how it stops.
//!
//! A reload replaces a line by one with other settings. What outlives that is shared by both: the socket's door, the table,
//! the tasks.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::address::Endpoint;
use crate::connection::{Admission, ConnectionTable, ControlSignal, Handshakes, Kind, ListenerContext, ListenerInfo};
use crate::drain::{DrainSwitch, Phase};
use crate::driver::DatagramLoop;
use crate::driver::DatagramService;
use crate::driver::ServiceSnapshot;
use crate::metrics::ListenerMetrics;
use crate::pipeline::{ConnectionService, Pipeline};
use crate::server::acceptor::{Acceptor, run};
use crate::server::bind::{BoundListener, BoundTransport};
use crate::server::spec::ListenerSpec;
use crate::transport::SharedSocket;
use crate::transport::tls;

/// A listener that runs. Clones are the same one.
#[derive(Clone)]
pub(super) struct ListenerHandle {
    pub(super) spec: Arc<ListenerSpec>,
    /// Where it listens, with the port that the system chose.
    pub(super) endpoint: Endpoint,
    pub(super) tls: Option<tls::Server>,
    listener_context: Arc<ListenerContext>,
    snapshots: SnapshotSender,
    socket: Arc<OpenSocket>,
    retired: CancellationToken,
    heartbeat: mpsc::Sender<oneshot::Sender<()>>,
    state: Arc<ListenerState>,
}

/// Who came to a listener, under whatever settings.
#[derive(Default)]
struct ListenerState {
    switch: DrainSwitch,
    table: Arc<ConnectionTable>,
    handshakes: Arc<Handshakes>,
    metrics: Arc<ListenerMetrics>,
    /// The accept loops.
    acceptors: TaskTracker,
    /// The tasks of datagram sockets.
    datagram_loops: TaskTracker,
    datagrams_cut: Arc<AtomicUsize>,
}

/// What is done with what comes from now on. The other side takes it up by itself.
#[derive(Clone)]
enum SnapshotSender {
    Stream(watch::Sender<ServiceSnapshot<ConnectionService>>),
    Datagram(watch::Sender<ServiceSnapshot<Arc<dyn DatagramService>>>),
}

/// Whether a listener is open, and then a handle to its socket, for whoever goes on listening on it.
#[derive(Debug, Default)]
pub(super) struct OpenSocket(Mutex<Option<Option<SharedSocket>>>);

impl OpenSocket {
    /// It is open; not every transport has a socket to share.
    pub(super) fn fill(&self, socket: Option<SharedSocket>) {
        *self.0.lock() = Some(socket);
    }

    /// The socket is closed when its listener closes it too.
    pub(super) fn clear(&self) {
        *self.0.lock() = None;
    }

    fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }

    /// One more handle.
    fn share(&self) -> Option<SharedSocket> {
        self.0.lock().as_ref()?.as_ref()?.try_clone()
    }
}

/// How many connections came so far, left, and were cut; and how many datagrams were cut.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) entered: usize,
    pub(super) gone: usize,
    pub(super) cut: usize,
    pub(super) datagrams: usize,
}

impl Count {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            entered: self.entered + other.entered,
            gone: self.gone + other.gone,
            cut: self.cut + other.cut,
            datagrams: self.datagrams + other.datagrams,
        }
    }
}

impl ListenerHandle {
    /// Begins to serve at a socket that is bound. It goes on counting where another of the same name has left off, if there is one.
    pub(super) fn start(
        spec: ListenerSpec,
        bound: BoundListener,
        finish_timeout: Duration,
        previous: Option<&Self>,
    ) -> Self {
        let metrics = previous.map(|listener| listener.state.metrics.clone()).unwrap_or_default();
        let state = Arc::new(ListenerState { metrics, ..ListenerState::default() });
        Self::with(state, None, spec, bound, finish_timeout)
    }

    /// The same listener with another door: the one before it accepts no more, and whoever is there stays.
    pub(super) fn replace_acceptor(&self, spec: ListenerSpec, bound: BoundListener, finish_timeout: Duration) -> Self {
        let moved = Self::with(self.state.clone(), Some(&self.listener_context), spec, bound, finish_timeout);
        self.retire();
        moved
    }

    fn with(
        state: Arc<ListenerState>,
        before: Option<&ListenerContext>,
        spec: ListenerSpec,
        BoundListener { bound_transport, endpoint, transport, tls, shared }: BoundListener,
        finish_timeout: Duration,
    ) -> Self {
        let listener_context = listener_context(&state, &spec, before);
        tracing::info!(listener = spec.name, address = %endpoint, "listening");
        let (socket, retired) = (Arc::new(OpenSocket::default()), CancellationToken::new());
        let (heartbeat, local_ip) = mpsc::channel(1);
        socket.fill(shared);
        let handshake_timeout = spec.timeouts.handshake;
        let snapshots = match bound_transport {
            BoundTransport::Stream(listener, service) => {
                let (snapshots, snapshot) = watch::channel(ServiceSnapshot {
                    listener_context: listener_context.clone(),
                    service,
                    handshake_timeout,
                    finish_timeout,
                });
                let (options, retired) = (spec.socket.clone(), retired.clone());
                let acceptor = Acceptor::new(snapshot, endpoint.clone(), options, retired, socket.clone(), local_ip);
                state.acceptors.spawn(run(acceptor, listener, transport));
                SnapshotSender::Stream(snapshots)
            }
            BoundTransport::Datagram(datagrams, service) => {
                let (snapshots, snapshot) = watch::channel(ServiceSnapshot {
                    listener_context: listener_context.clone(),
                    service,
                    handshake_timeout,
                    finish_timeout,
                });
                let datagram_loop =
                    DatagramLoop::new(datagrams, snapshot, retired.clone(), state.datagrams_cut.clone(), local_ip);
                let socket = socket.clone();
                state.datagram_loops.spawn(async move {
                    datagram_loop.run().await;
                    socket.clear();
                });
                SnapshotSender::Datagram(snapshots)
            }
        };
        Self { spec: Arc::new(spec), endpoint, tls, listener_context, snapshots, socket, retired, heartbeat, state }
    }

    /// The same listener under other settings, from now on; without a pipeline with what it does now.
    pub(super) fn change(&self, spec: ListenerSpec, pipeline: Option<Pipeline>, finish_timeout: Duration) -> Self {
        let listener_context = listener_context(&self.state, &spec, Some(&self.listener_context));
        if spec.limits.connections_per_source > 0 {
            self.state.table.count_all_sources();
        }
        let handshake_timeout = spec.timeouts.handshake;
        match (&self.snapshots, pipeline.unwrap_or_else(|| self.pipeline())) {
            (SnapshotSender::Stream(snapshots), Pipeline { stream: Some(service), .. }) => {
                snapshots.send_replace(ServiceSnapshot {
                    listener_context: listener_context.clone(),
                    service,
                    handshake_timeout,
                    finish_timeout,
                });
            }
            (SnapshotSender::Datagram(snapshots), Pipeline { datagram: Some(service), .. }) => {
                snapshots.send_replace(ServiceSnapshot {
                    listener_context: listener_context.clone(),
                    service,
                    handshake_timeout,
                    finish_timeout,
                });
            }
            // The plan was checked; nothing else comes here.
            _ => {}
        }
        Self { spec: Arc::new(spec), listener_context, ..self.clone() }
    }

    /// What is done with what comes now.
    pub(super) fn pipeline(&self) -> Pipeline {
        match &self.snapshots {
            SnapshotSender::Stream(snapshots) => {
                Pipeline { stream: Some(snapshots.borrow().service.clone()), datagram: None }
            }
            SnapshotSender::Datagram(snapshots) => {
                Pipeline { stream: None, datagram: Some(snapshots.borrow().service.clone()) }
            }
        }
    }

    /// Whether it brings connections or datagrams.
    pub(super) fn kind(&self) -> Kind {
        match &self.snapshots {
            SnapshotSender::Stream(_) => Kind::Stream,
            SnapshotSender::Datagram(_) => Kind::Datagram,
        }
    }

    /// Accepts no more, and leaves those who wait to whoever listens on the same socket now.
    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    /// Whether it listens; not while it is being bound again, for one.
    pub(super) fn is_open(&self) -> bool {
        self.socket.is_open()
    }

    /// Waits until the task that accepts or receives has gone round once more.
    pub(super) async fn heartbeat(&self) {
        let (answer, answered) = oneshot::channel();
        if self.is_over() || (self.heartbeat.send(answer).await.is_ok() && answered.await.is_ok()) {
            return;
        }
        std::future::pending().await // it ended meanwhile, and whether that is well is for others to say
    }

    /// Whether nobody can come any more: its transport has run dry.
    pub(super) fn is_over(&self) -> bool {
        self.state.acceptors.is_empty() && self.state.datagram_loops.is_empty()
    }

    /// One more handle to its socket, while that is open.
    pub(super) fn share(&self) -> Option<SharedSocket> {
        self.socket.share()
    }

    pub(super) fn table(&self) -> &ConnectionTable {
        &self.state.table
    }

    pub(super) fn metrics(&self) -> &Arc<ListenerMetrics> {
        &self.state.metrics
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.state.table.len()
    }

    pub(super) fn count(&self) -> Count {
        let ListenerState { table, datagrams_cut, .. } = &*self.state;
        let datagrams = datagrams_cut.load(SeqCst);
        Count { entered: table.accepted(), gone: table.closed(), cut: table.aborted(), datagrams }
    }

    /// Whether both are the same listener, perhaps under different settings.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    /// How far its stop is.
    pub(super) fn phase(&self) -> Phase {
        self.listener_context.info.drain.phase()
    }

    /// Tells the tasks and connections how far the stop is. The listener closes, and before that takes in whom the system has
    /// let in.
    pub(super) fn advance(&self, phase: Phase) {
        self.state.switch.advance(phase);
    }

    /// Waits until the doors are closed and everybody who stood there is in.
    pub(super) async fn closed(&self) {
        self.state.acceptors.close();
        self.state.acceptors.wait().await;
    }

    /// Tells every open connection, and every one that comes later.
    pub(super) fn broadcast(&self, signal: ControlSignal) {
        self.state.table.broadcast(signal);
    }

    /// Waits until nobody can come any more and nobody is there.
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

fn listener_context(
    state: &ListenerState,
    spec: &ListenerSpec,
    before: Option<&ListenerContext>,
) -> Arc<ListenerContext> {
    let admission = Admission::new(&spec.limits, &spec.rates, spec.access.clone(), spec.proxy.clone());
    Arc::new(ListenerContext {
        info: Arc::new(ListenerInfo {
            name: spec.name.as_str().into(),
            drain: state.switch.signal(),
            metrics: state.metrics.clone(),
        }),
        admission: match before {
            Some(before) => admission.after(&before.admission),
            None => admission,
        },
        table: state.table.clone(),
        handshakes: state.handshakes.clone(),
    })
}
