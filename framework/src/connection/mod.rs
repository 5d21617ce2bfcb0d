//! Connections: the [`Connection`] handle, the table of open connections per listener, and admission.

mod admission;
mod amplification;
mod control_signal;
mod datagram_peer;
mod extensions;
mod handle;
mod handshakes;
mod info;
mod listener_context;
mod moment;
mod recently_closed;
mod shared_counts;
mod shared_limits;
mod strike_rules;
mod strikes;
mod table;

pub(crate) use admission::{AddressKnown, Admission, Rejection};
pub(crate) use amplification::OverBudget;
pub(crate) use control_signal::ControlSignal;
pub use extensions::Extensions;
pub use handle::Connection;
pub(crate) use handshakes::Handshakes;
pub use info::{ClientCertificate, Kind, ProxyInfo, TASKS_PER_CONNECTION, TlsInfo, TlsVersion, TooManyTasks};
pub(crate) use info::{ConnectionCounters, ListenerInfo};
pub(crate) use listener_context::ListenerContext;
pub(crate) use moment::Moment;
pub use recently_closed::{ClosedConnection, RECENTLY_CLOSED};
pub(crate) use strike_rules::StrikeRules;
pub(crate) use table::{ConnectionGuard, ConnectionTable};
