//! The state of a listener that a reload keeps: open connections, counters and running tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio_util::task::TaskTracker;

use crate::connection::{Admission, ConnectionTable, Handshakes, ListenerContext, ListenerInfo};
use crate::drain::DrainSwitch;
use crate::metrics::ListenerMetrics;
use crate::spec::ListenerSpec;

#[derive(Default)]
pub(super) struct ListenerState {
    pub(super) switch: DrainSwitch,
    pub(super) table: Arc<ConnectionTable>,
    handshakes: Arc<Handshakes>,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) accept_loops: TaskTracker,
    pub(super) datagram_loops: TaskTracker,
    /// Datagrams in progress that a drain aborted.
    pub(super) datagrams_cut: Arc<AtomicUsize>,
}

/// The connections that a listener has opened, closed and aborted, and the datagrams that it has aborted.
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

impl ListenerState {
    /// A new state with the metrics of an earlier listener of the same name.
    pub(super) fn continuing(previous: Option<&Self>) -> Self {
        let metrics = previous.map(|state| state.metrics.clone()).unwrap_or_default();
        Self { metrics, ..Self::default() }
    }

    pub(super) fn count(&self) -> Count {
        let Self { table, datagrams_cut, .. } = self;
        let datagrams = datagrams_cut.load(SeqCst);
        let (entered, gone, cut) = table.totals();
        Count { entered, gone, cut, datagrams }
    }

    /// The context of new connections. Rates continue from the previous context.
    pub(super) fn context(&self, spec: &ListenerSpec, previous: Option<&ListenerContext>) -> Arc<ListenerContext> {
        let admission = Admission::new(&spec.limits, &spec.rates, spec.access.clone(), spec.proxy.clone());
        Arc::new(ListenerContext {
            info: Arc::new(ListenerInfo {
                name: spec.name.as_str().into(),
                drain: self.switch.signal(),
                metrics: self.metrics.clone(),
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
