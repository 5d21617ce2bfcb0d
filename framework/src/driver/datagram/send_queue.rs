//! Sends datagrams immediately, together with others of a batch, or from a bounded queue while the socket buffer is
//! full. Logs dropped datagrams.

use std::array;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Context;

use bytes::Bytes;
use strum::VariantArray;

use crate::connection::{Connection, ListenerContext, OverBudget};
use crate::driver::close_outcome::reason_of;
use crate::driver::datagram::drop_reason::DropReason;
use crate::error::{BoxError, Result, chain, find_cause};
use crate::framing::Framing;
use crate::layer::{OverRate, Panicked};
use crate::log_throttle::LogThrottle;
use crate::metrics::Outcome;
use crate::transport::{Datagram, DatagramSocket, Route};

/// Maximum replies and pushed frames that are gathered and sent together.
pub(crate) const SEND_BATCH: usize = 32;

pub(crate) struct SendQueue {
    socket: Arc<dyn DatagramSocket>,
    pub(crate) listener_context: Arc<ListenerContext>,
    /// Datagrams that are gathered, at most [`SEND_BATCH`], or that wait for room in the socket buffer, at most
    /// `limit`.
    unsent: VecDeque<Datagram>,
    limit: usize,
    /// The first unsent datagram waits for room in the socket buffer.
    is_blocked: bool,
    /// Datagrams are gathered and sent together.
    gathers: bool,
    drop_throttles: [LogThrottle; DropReason::VARIANTS.len()],
    failure_throttle: LogThrottle,
    receive_throttle: LogThrottle,
    /// Bytes sent since [`publish_sent_bytes`](Self::publish_sent_bytes).
    sent_bytes: u64,
}

impl SendQueue {
    pub(crate) fn new(socket: Arc<dyn DatagramSocket>, listener_context: Arc<ListenerContext>, limit: usize) -> Self {
        Self {
            socket,
            listener_context,
            unsent: VecDeque::new(),
            limit,
            is_blocked: false,
            gathers: false,
            drop_throttles: array::from_fn(|_| LogThrottle::default()),
            failure_throttle: LogThrottle::default(),
            receive_throttle: LogThrottle::default(),
            sent_bytes: 0,
        }
    }

    pub(crate) fn publish_sent_bytes(&mut self) {
        match std::mem::take(&mut self.sent_bytes) {
            0 => {}
            bytes => drop(self.listener_context.info.metrics.bytes_out.fetch_add(bytes, Relaxed)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Sends a frame of a reply. False if the message fails because of it, which is counted and logged.
    #[inline]
    pub(crate) fn send_reply<F: Framing>(
        &mut self,
        framing: &F,
        route: &Route,
        connection: &Connection,
        frame: F::Out,
    ) -> bool {
        let sent = self.send_frame(framing, route, connection, frame);
        sent.inspect_err(|error| self.message_failed(route, error)).is_ok()
    }

    /// Sends a pushed frame. No message fails if it is above the amplification limit.
    pub(crate) fn send_pushed<F: Framing>(
        &mut self,
        framing: &F,
        route: &Route,
        connection: &Connection,
        frame: F::Out,
    ) {
        match self.send_frame(framing, route, connection, frame) {
            Ok(()) => {}
            Err(error) if find_cause::<OverBudget>(&*error).is_some() => {
                self.drop_one(route, DropReason::AmplificationLimit);
            }
            Err(error) => self.message_failed(route, &error),
        }
    }

    /// Encodes and sends a frame. The error is that of the framing, or [`OverBudget`]; a datagram that is dropped later
    /// is counted and logged.
    #[inline]
    fn send_frame<F: Framing>(
        &mut self,
        framing: &F,
        route: &Route,
        connection: &Connection,
        frame: F::Out,
    ) -> Result<()> {
        let datagram = match catch_unwind(AssertUnwindSafe(|| framing.datagram_out(frame))) {
            Ok(datagram) => datagram?,
            Err(payload) => return Err(Panicked::new(&*payload).into()),
        };
        if let Some(limit) = connection.amplification_limit() {
            if !limit.try_debit(&route.peer, datagram.len()) {
                return Err(over_budget(connection, datagram.len()));
            }
            if !limit.try_count(&route.peer, self.listener_context.admission.rates.replies_per_peer) {
                self.drop_one(route, DropReason::ReplyRate);
                return Ok(());
            }
        }
        connection.counters().bytes_out.add(datagram.len());
        self.send(route, datagram);
        Ok(())
    }

    #[inline]
    fn send(&mut self, route: &Route, datagram: Bytes) {
        if self.unsent.is_empty() && !self.gathers {
            match self.socket.try_send(&datagram, route) {
                Ok(()) => return self.sent_bytes += datagram.len() as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_blocked = true,
                Err(error) => return self.send_failed(route, error),
            }
        }
        self.unsent.push_back(Datagram::new(route.clone(), datagram));
        if self.is_blocked {
            self.drop_excess();
        } else if self.unsent.len() >= SEND_BATCH {
            self.send_unsent();
        }
    }

    /// Whether the next datagrams are gathered. A single datagram is cheaper to send immediately.
    pub(crate) fn gather(&mut self, gathers: bool) {
        self.gathers = gathers;
    }

    /// Sends the gathered datagrams. [`flush`](Self::flush) sends those that wait for room in the socket buffer.
    #[inline]
    pub(crate) fn send_gathered(&mut self) {
        if !self.is_blocked && !self.unsent.is_empty() {
            self.send_unsent();
        }
    }

    /// Sends unsent datagrams until the socket buffer is full. Registers the task for the rest.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>) {
        while !self.unsent.is_empty() {
            self.send_unsent();
            if self.is_blocked && self.socket.poll_send_ready(cx).is_pending() {
                return;
            }
        }
    }

    fn send_unsent(&mut self) {
        self.is_blocked = false;
        while !self.is_blocked && !self.unsent.is_empty() {
            match self.socket.try_send_batch(self.unsent.as_slices().0) {
                Ok(sent) => {
                    let sent = self.unsent.drain(..sent.max(1));
                    self.sent_bytes += sent.map(|datagram| datagram.payload.len() as u64).sum::<u64>();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    self.drop_excess();
                }
                Err(error) => {
                    if let Some(Datagram { route, .. }) = self.unsent.pop_front() {
                        self.send_failed(&route, error);
                    }
                }
            }
        }
    }

    /// Drops the newest of the datagrams that wait for room in the socket buffer, until they are within the limit.
    fn drop_excess(&mut self) {
        while self.unsent.len() > self.limit
            && let Some(Datagram { route, .. }) = self.unsent.pop_back()
        {
            self.drop_one(&route, DropReason::OutboxFull);
        }
        self.is_blocked = !self.unsent.is_empty();
    }

    #[cold]
    pub(crate) fn drop_one(&mut self, route: &Route, reason: DropReason) {
        let info = &self.listener_context.info;
        info.metrics.failed(Outcome::Dropped);
        self.drop_throttles[reason as usize].log(|| {
            let (listener, peer, reason) = (info.name.clone(), route.peer.clone(), <&str>::from(reason));
            move |count| {
                let listener = &*listener;
                tracing::warn!(target: "switchboard::connection", listener, %peer, reason, count, "datagram dropped");
            }
        });
    }

    /// Counts and logs a failed message. Errors are not answered: two servers could answer each other endlessly.
    #[cold]
    pub(crate) fn message_failed(&mut self, route: &Route, error: &BoxError) {
        if find_cause::<OverRate>(&**error).is_some() {
            return self.drop_one(route, DropReason::Rate);
        }
        self.failed(route, Outcome::of(reason_of(&**error)), error);
    }

    /// Counts and logs a datagram that the system does not send. Its message was handled.
    #[cold]
    fn send_failed(&mut self, route: &Route, error: io::Error) {
        self.failed(route, Outcome::Dropped, &error.into());
    }

    fn failed(&mut self, route: &Route, outcome: Outcome, error: &BoxError) {
        let info = &self.listener_context.info;
        info.metrics.failed(outcome);
        self.failure_throttle.log(|| {
            let (listener, peer, error) = (info.name.clone(), route.peer.clone(), chain(&**error));
            move |count| {
                let listener = &*listener;
                tracing::warn!(target: "switchboard::connection", listener, %peer, error, count, "datagram failed");
            }
        });
    }

    /// Logs a receive error. The kernel also reports errors of earlier sends here (ICMP errors, see udp(7)).
    pub(crate) fn receive_failed(&mut self, error: &io::Error) {
        self.receive_throttle.log(|| {
            let (listener, error) = (self.listener_context.info.name.clone(), error.to_string());
            move |count| {
                let listener = &*listener;
                tracing::warn!(target: "switchboard::connection", listener, error, count, "receive failed");
            }
        });
    }
}

#[cold]
fn over_budget(connection: &Connection, size: usize) -> BoxError {
    OverBudget { size, budget: connection.reply_budget().unwrap_or(usize::MAX) }.into()
}
