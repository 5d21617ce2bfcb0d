//! Servers: listeners, their start, reload and graceful shutdown.
//!
//! [`Server`] builds a server with one listener and one handler, [`ListenerSet`] a server with several. Both start a
//! [`Running`] server.

mod acceptor;
mod ban_enforcer;
mod bind;
mod bind_hint;
mod builder;
mod changes;
mod connection_task;
mod counts;
mod evacuate;
mod evacuation;
mod fleet_report;
mod handlers;
mod handover;
mod inherited;
mod listener;
mod listener_details;
mod listener_report;
mod listener_set;
mod listener_state;
mod neighbours;
mod reachability;
#[cfg(feature = "script")]
mod recorded;
mod reload;
mod reload_plan;
mod report;
mod run;
mod running;
mod socket_owner;
mod start_error;
mod stop_signals;
#[cfg(feature = "script")]
mod tap;

pub use builder::Server;
pub use changes::{Changes, ReloadError};
pub use evacuation::{Evacuation, EvacuationError, EvacuationPlan, EvacuationReport, EvacuationState};
pub use handlers::StartedHandlers;
pub use inherited::Inherited;
pub use listener_details::ListenerDetails;
pub use listener_report::{ListenerReport, ListenerStatus};
pub use listener_set::{BoundSet, ListenerSet};
pub use report::Readiness;
pub use running::{AbortHandle, Drained, Running};
pub use start_error::StartError;
#[cfg(feature = "script")]
pub use tap::{Tap, TapError, TapMessage};

pub use crate::listener_spec::ListenerSpec;
