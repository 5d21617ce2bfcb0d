//! Open sockets that a process receives at its start, from the service manager or from the old process in an upgrade.
//!
//! `inherited` receives them, `new_process` starts a new process with them. Then the old process sends its counters
//! until its last connection has closed: `successor` sends them, `predecessor` receives them, `counters` has both. All
//! use `protocol`.

mod counters;
mod environment;
mod inherited;
mod new_process;
mod predecessor;
mod processes;
mod protocol;
mod successor;

pub(crate) use counters::CounterHandover;
pub(crate) use inherited::InheritedSockets;
pub(crate) use new_process::{Executable, start_new_process};
pub(crate) use successor::Successor;
