//! What leaves a datagram socket: answers at once, or in a bounded queue when the system has no room; and what is said, at
//! most once a second for each kind, of those that were dropped.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;

use crate::connection::ListenerContext;
use crate::driver::close_outcome::reason_of;
use crate::driver::datagram::drop_reason::DropReason;
use crate::error::{BoxError, chain, find_cause};
use crate::layer::OverRate;
use crate::log_throttle::LogThrottle;
use crate::metrics::Outcome;
use crate::transport::{DatagramSocket, Route};

pub(crate) struct SendQueue {
    socket: Arc<dyn DatagramSocket>,
    listener_context: Arc<ListenerContext>,
    /// SendQueue that the system's queue had no room for, at most `limit`.
    unsent: VecDeque<(Route, Bytes)>,
    limit: usize,
    /// Of each kind on its own.
    dropped: [LogThrottle; DropReason::COUNT],
    failed: LogThrottle,
    /// Bytes that were sent and not yet added up.
    sent: u64,
}

impl SendQueue {
    pub(crate) fn new(socket: Arc<dyn DatagramSocket>, listener_context: Arc<ListenerContext>, limit: usize) -> Self {
        Self {
            socket,
            listener_context,
            unsent: VecDeque::new(),
            limit,
            dropped: Default::default(),
            failed: LogThrottle::default(),
            sent: 0,
        }
    }

    /// Goes on under other settings of the listener.
    pub(crate) fn set_context(&mut self, listener_context: Arc<ListenerContext>) {
        self.listener_context = listener_context;
    }

    /// How many bytes were sent since this was last asked.
    pub(crate) fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    /// Whether everything has left.
    pub(crate) fn is_empty(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Sends a datagram, or queues it, or drops it.
    pub(crate) fn send(&mut self, route: &Route, datagram: Bytes) {
        if self.unsent.is_empty() {
            match self.socket.try_send(&datagram, route) {
                Ok(()) => return self.sent += datagram.len() as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return self.fail(route, &error.into()),
            }
        }
        if self.unsent.len() >= self.limit {
            self.drop_one(route, DropReason::OutboxFull);
        } else {
            self.unsent.push_back((route.clone(), datagram));
        }
    }

    /// Sends what is queued, as far as the system has room; the task is woken when it has more.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) {
        while let Some((route, datagram)) = self.unsent.pop_front() {
            match self.socket.try_send(&datagram, &route) {
                Ok(()) => self.sent += datagram.len() as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent.push_front((route, datagram));
                    if self.socket.poll_send_ready(cx).is_pending() {
                        return;
                    }
                }
                Err(error) => self.fail(&route, &error.into()),
            }
        }
    }

    /// Says that a datagram, or the answer to one, was dropped.
    pub(crate) fn drop_one(&mut self, route: &Route, why: DropReason) {
        self.listener_context.metrics.failed(Outcome::Dropped);
        if let Some(count) = self.dropped[why as usize].count() {
            let (listener, peer, why) = (&*self.listener_context.name, &route.peer, why.as_str());
            tracing::warn!(listener, %peer, why, count, "datagram dropped");
        }
    }

    /// Says that a message failed. An error is never answered: two servers could complain to each other for ever.
    pub(crate) fn fail(&mut self, route: &Route, error: &BoxError) {
        if find_cause::<OverRate>(&**error).is_some() {
            return self.drop_one(route, DropReason::Rate);
        }
        self.listener_context.metrics.failed(Outcome::of(reason_of(&**error)));
        if let Some(count) = self.failed.count() {
            let (listener, peer, error) = (&*self.listener_context.name, &route.peer, chain(&**error));
            tracing::warn!(listener, %peer, error, count, "datagram failed");
        }
    }

    /// Says that receiving failed. The kernel reports here what became of earlier answers: it is about one peer.
    pub(crate) fn receive_failed(&mut self, error: &io::Error) {
        if let Some(count) = self.failed.count() {
            let listener = &*self.listener_context.name;
            tracing::warn!(listener, %error, count, "receive failed");
        }
    }
}
