//! The datagram driver: one loop per socket.

pub(crate) mod dispatcher;
pub(crate) mod drop_reason;
pub(crate) mod peers;
pub(crate) mod send_queue;
pub(crate) mod service;
pub(crate) mod socket_loop;
pub(crate) mod source_filter;

pub(crate) use dispatcher::{LARGEST, WAITING_BYTES};
pub(crate) use service::{DatagramDriver, DatagramService};
pub(crate) use socket_loop::DatagramLoop;
