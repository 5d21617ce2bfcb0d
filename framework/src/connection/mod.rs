//! Who is connected: the handle to one connection, the table of a listener's open ones, and the gate that lets them in.
//!
//! All of it is about addresses, counts and orders. It knows nothing of bytes.

mod admission;
mod amplification;
mod handle;
mod handshakes;
mod info;
mod table;

pub(crate) use admission::{Admission, Rejection};
pub(crate) use handle::ControlSignal;
pub use handle::{Connection, Kind, TASKS_PER_CONNECTION, TooManyTasks};
pub(crate) use handshakes::Handshakes;
pub use info::{ClientCertificate, ProxyInfo, TlsInfo};
pub(crate) use table::{ConnectionGuard, ConnectionTable};

use std::sync::Arc;

use crate::drain::DrainSignal;
use crate::metrics::ListenerMetrics;

/// What all connections share that came to one listener under the same settings. Who is there is shared by all that ever came.
#[derive(Debug)]
pub(crate) struct ListenerContext {
    pub(crate) name: Arc<str>,
    pub(crate) drain: DrainSignal,
    pub(crate) admission: Admission,
    pub(crate) table: Arc<ConnectionTable>,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) metrics: Arc<ListenerMetrics>,
}
