//! The state of a listener: connections, counters and tasks that a reload keeps, and whether its socket is open.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::bans::Bans;
use crate::connection::{Admission, ConnectionTable, Handshakes, ListenerContext, ListenerInfo, StrikeRules};
use crate::drain::DrainSwitch;
use crate::fleet::Fleet;
use crate::listener_spec::ListenerSpec;
use crate::metrics::ListenerMetrics;
use crate::settings::TlsStart;
use crate::transport::tls::TlsAcceptor;
use crate::transport::{SharedSocket, Unreachable};

pub(super) struct ListenerState {
    pub(super) switch: DrainSwitch,
    pub(super) table: Arc<ConnectionTable>,
    handshakes: Arc<Handshakes>,
    bans: Bans,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) accept_loops: TaskTracker,
    pub(super) datagram_loops: TaskTracker,
    /// The acceptor for handshakes on request. Open connections use it too, so it stays, and a reload replaces its
    /// certificates.
    pub(super) start_tls: OnceLock<TlsAcceptor>,
    /// Datagrams in progress that a drain aborted.
    pub(super) datagrams_cut: Arc<AtomicUsize>,
}

/// The connections that a listener has opened, closed and aborted, and the datagrams that it has aborted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) accepted: usize,
    pub(super) closed: usize,
    pub(super) cut: usize,
    pub(super) datagrams: usize,
}

impl Count {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            accepted: self.accepted + other.accepted,
            closed: self.closed + other.closed,
            cut: self.cut + other.cut,
            datagrams: self.datagrams + other.datagrams,
        }
    }
}

impl ListenerState {
    /// A new state with the metrics of an earlier listener of the same name.
    pub(super) fn continuing(previous: Option<&Self>, bans: Bans) -> Self {
        Self {
            switch: DrainSwitch::default(),
            table: Arc::default(),
            handshakes: Arc::default(),
            bans,
            metrics: previous.map(|state| state.metrics.clone()).unwrap_or_default(),
            accept_loops: TaskTracker::default(),
            datagram_loops: TaskTracker::default(),
            start_tls: OnceLock::new(),
            datagrams_cut: Arc::default(),
        }
    }

    /// The acceptor of a listener whose certificates have been loaded. Handshakes that open connections request later
    /// use the loaded certificates too.
    pub(super) fn acceptor(&self, spec: &ListenerSpec, loaded: Option<TlsAcceptor>) -> Option<TlsAcceptor> {
        let loaded = loaded?;
        if let Some(kept) = self.start_tls.get() {
            kept.replace_with(&loaded);
        }
        Some(match spec.tls_start() {
            Some(TlsStart::OnRequest) => self.start_tls.get_or_init(|| loaded).clone(),
            _ => loaded,
        })
    }

    pub(super) fn count(&self) -> Count {
        let Self { table, datagrams_cut, .. } = self;
        let datagrams = datagrams_cut.load(SeqCst);
        let (accepted, closed, cut) = table.totals();
        Count { accepted, closed, cut, datagrams }
    }

    /// The context of new connections. Rates continue from the previous context, and open connections count for their
    /// sources.
    pub(super) fn context(&self, spec: &ListenerSpec, previous: Option<&ListenerContext>) -> Arc<ListenerContext> {
        if spec.limits.connections_per_source > 0 {
            self.table.count_all_sources();
        }
        let (access, bans) = (spec.access.clone(), self.bans.clone());
        let strike_rules =
            StrikeRules { bans: bans.clone(), exempt: access.allow.clone(), has_proxy: spec.proxy.is_some() };
        let admission = Admission::new(&spec.limits, &spec.rates, access, bans, spec.proxy.clone())
            .descriptor_limit(spec.descriptor_limit)
            .shared_by(spec.fleet.as_ref(), &spec.name, &self.table);
        spec.fleet.iter().for_each(Fleet::start);
        Arc::new(ListenerContext {
            info: Arc::new(ListenerInfo {
                name: spec.name.as_str().into(),
                drain: self.switch.signal(),
                metrics: self.metrics.clone(),
                open: self.table.clone(),
                debug_log: spec.debug_log,
                strike_rules,
                epoch: Instant::now(),
            }),
            admission: match previous {
                Some(previous) => admission.after(&previous.admission),
                None => admission,
            },
            table: self.table.clone(),
            handshakes: self.handshakes.clone(),
        })
    }
}

/// Whether a listener is open, with a handle to its socket if the transport can share it.
#[derive(Default)]
pub(super) struct OpenSocket(Mutex<(bool, Option<SharedSocket>)>);

impl OpenSocket {
    pub(super) fn set_open(&self, socket: Option<SharedSocket>) {
        *self.0.lock() = (true, socket);
    }

    /// Drops this handle to the socket.
    pub(super) fn set_closed(&self) {
        *self.0.lock() = (false, None);
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.lock().0
    }

    pub(super) fn share(&self) -> Option<SharedSocket> {
        self.0.lock().1.as_ref()?.try_clone()
    }

    /// Why new clients cannot reach the open socket, if so.
    pub(super) fn problem(&self) -> Option<Unreachable> {
        self.0.lock().1.as_ref()?.problem()
    }

    pub(super) fn can_be_lost(&self) -> bool {
        self.0.lock().1.as_ref().is_some_and(SharedSocket::can_be_lost)
    }

    pub(super) fn socket_addr(&self) -> Option<SocketAddr> {
        self.0.lock().1.as_ref()?.socket_addr()
    }
}
