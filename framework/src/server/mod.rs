//! Servers: what listens, and how it starts and stops.
//!
//! [`Server`] is one listener with one handler, [`ListenerSet`] any number of them. Both give a [`Running`] server, which
//! drains when asked. This module knows nothing of bytes and messages.

mod accept_error;
mod acceptor;
mod bind;
mod builder;
mod connection_task;
mod handover;
mod listener;
mod listener_set;
mod reload;
mod reload_plan;
mod report;
mod running;
mod signals;
mod spec;

pub use builder::Server;
pub use handover::Inherited;
pub use listener_set::ListenerSet;
pub use reload::{Changes, ReloadError};
pub use report::{ListenerReport, ListenerStatus};
pub use running::{AbortHandle, Drained, Running};
pub use spec::{ListenerSpec, StartError};
