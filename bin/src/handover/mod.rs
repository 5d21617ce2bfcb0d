//! Open sockets that a process receives at its start, from the service manager or from the old process in an upgrade.
//!
//! `inherited` receives them, `new_process` starts a new process with them. Both use `protocol`.

mod environment;
mod inherited;
mod new_process;
mod processes;
mod protocol;

pub(crate) use inherited::InheritedSockets;
pub(crate) use new_process::{Executable, start_new_process};
