//! The datagram driver: one task per socket.

pub(crate) mod batch_counters;
pub(crate) mod dispatcher;
pub(crate) mod driver;
pub(crate) mod drop_reason;
pub(crate) mod jobs;
pub(crate) mod peers;
pub(crate) mod receiver;
pub(crate) mod send_queue;
pub(crate) mod service;
pub(crate) mod socket_loop;
pub(crate) mod source_filter;

pub(crate) use driver::DatagramDriver;
pub(crate) use jobs::MAX_PENDING_BYTES;
pub(crate) use receiver::MAX_DATAGRAM;
pub(crate) use service::DatagramService;
pub(crate) use socket_loop::DatagramLoop;
