//! Connections: the [`Connection`] handle, the table of open connections per listener, and admission.

mod admission;
mod amplification;
mod control;
mod counters;
mod handle;
mod handshakes;
mod info;
mod kind;
mod listener_context;
mod listener_info;
mod table;

pub(crate) use admission::{AddressKnown, Admission, Rejection};
pub(crate) use control::ControlSignal;
pub(crate) use counters::ConnectionCounters;
pub use handle::{Connection, TASKS_PER_CONNECTION, TooManyTasks};
pub(crate) use handshakes::Handshakes;
pub use info::{ClientCertificate, ProxyInfo, TlsInfo};
pub use kind::Kind;
pub(crate) use listener_context::ListenerContext;
pub(crate) use listener_info::ListenerInfo;
pub(crate) use table::{ConnectionGuard, ConnectionTable};
