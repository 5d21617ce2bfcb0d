//! The datagram driver: one task per socket. The generic types of a handler are erased once per socket.

use std::sync::Arc;
use std::task::Context;

use crate::connection::ListenerContext;
use crate::transport::DatagramSocket;

pub(crate) mod bans;
pub(crate) mod batch_counters;
pub(crate) mod dispatcher;
pub(crate) mod driver;
pub(crate) mod drop_reason;
pub(crate) mod jobs;
pub(crate) mod later_peers;
pub(crate) mod later_replies;
pub(crate) mod own_sockets;
pub(crate) mod peers;
pub(crate) mod receiver;
pub(crate) mod results;
pub(crate) mod send_queue;
pub(crate) mod socket_loop;

pub(crate) use jobs::MAX_PENDING_BYTES;
pub(crate) use receiver::MAX_DATAGRAM;
pub(crate) use send_queue::SEND_BATCH;
pub(crate) use socket_loop::DatagramLoop;

pub(crate) trait DatagramService: Send + Sync {
    fn open(&self, socket: Arc<dyn DatagramSocket>, context: Arc<ListenerContext>) -> Box<dyn DatagramDispatcher>;
}

pub(crate) trait DatagramDispatcher: Send {
    /// Does a bounded amount of work. True if nothing is pending and no more datagrams are received.
    fn poll(&mut self, cx: &mut Context<'_>, state: LoopState) -> bool;

    fn pending(&self) -> usize;

    /// Removes peers that are banned. False if the message of one of them is being handled: call it again.
    fn remove_banned(&mut self) -> bool;

    /// Applies new settings of the listener. The peers are kept.
    fn set_context(&mut self, listener_context: Arc<ListenerContext>);
}

/// The shutdown phase of a socket task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoopState {
    Active,
    /// Receives what the system has already queued, and finishes pending messages.
    DrainingInput,
    /// Receives nothing, and finishes pending messages.
    Finishing,
}
