//! The driver of a datagram socket: it receives, has messages handled, and answers, a round at a time.
//!
//! An answer that is ready at once costs no task and no allocation of its own. One that waits goes to a bounded set and
//! holds up nobody but its own peer, whose next messages wait for it in order. The work itself is in `desk`; when there is a
//! next round, and when the last, is known to the server.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context as TaskContext;

use tokio::sync::mpsc;

use crate::address::Address;
use crate::connection::{Connection, Kind, ListenerContext};
use crate::driver::datagram::dispatcher::Dispatcher;
use crate::driver::handler_calls::{direct, has_layers, layered};
use crate::framing::Framing;
use crate::handler::{Context, Handler, HandlerLayer};
use crate::layer::MessageStack;
use crate::outbox::Pusher;
use crate::settings::Limits;
use crate::transport::{DatagramSocket, Route};

/// What datagrams are served by; erased once a socket.
pub(crate) trait DatagramService: Send + Sync + fmt::Debug {
    /// Begins to serve the datagrams of a socket.
    fn open(
        &self,
        socket: Arc<dyn DatagramSocket>,
        listener_context: Arc<ListenerContext>,
    ) -> Box<dyn DatagramDispatcher>;
}

/// Datagrams of one socket that are being served: peers, and what is in hand for them.
pub(crate) trait DatagramDispatcher: Send {
    /// Does what can be done now, and a bounded part of it. True when, on the way to the end, nothing is in hand any more.
    fn poll(&mut self, cx: &mut TaskContext<'_>, stage: Stage) -> bool;

    /// How many messages have come and are not answered.
    fn in_hand(&self) -> usize;

    /// Goes on under other settings of the listener, with the same peers.
    fn set_context(&mut self, listener_context: Arc<ListenerContext>);
}

/// How far a desk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It serves.
    Open,
    /// It takes what the system has received already, and finishes what is in hand.
    LastCall,
    /// It receives no more, and finishes what is in hand.
    Closed,
}

/// Serves datagrams by a handler.
pub(crate) struct DatagramDriver<H, F, L> {
    pub(crate) handler: Arc<H>,
    pub(crate) framing: Arc<F>,
    pub(crate) stack: Arc<MessageStack>,
    /// The layers inside of the stack, outermost first; each peer gets services of its own from them.
    pub(crate) layer: L,
    pub(crate) limits: Limits,
}

impl<H, F, L> DatagramService for DatagramDriver<H, F, L>
where
    F: Framing,
    H: Handler<F::In, F::Out>,
    L: HandlerLayer<H, F::In, F::Out>,
{
    fn open(
        &self,
        socket: Arc<dyn DatagramSocket>,
        listener_context: Arc<ListenerContext>,
    ) -> Box<dyn DatagramDispatcher> {
        let (pushes, pushed) = mpsc::channel(self.limits.outbox.max(1));
        let local = socket.local();
        let meet = move |route: &Route, listener_context: &Arc<ListenerContext>| {
            let local = match (&local, route.local_ip) {
                (Address::Inet(local), Some(local_ip)) => Address::Inet(SocketAddr::new(local_ip, local.port())),
                (local, _) => local.clone(),
            };
            let connection = Connection::new(listener_context.clone(), Kind::Datagram, route.peer.clone(), local);
            let pusher = Pusher::to_datagrams(connection.clone(), route.clone(), pushes.clone());
            (connection, Context::new(H::State::default(), pusher))
        };
        let (handler, stack, layer) = (self.handler.clone(), self.stack.clone(), self.layer.clone());
        if has_layers::<L>() {
            let make = move |route: &Route, listener_context: &Arc<ListenerContext>| {
                let (connection, context) = meet(route, listener_context);
                (connection, layered(handler.clone(), context, &stack, &layer))
            };
            Box::new(Dispatcher::new(socket, self.framing.clone(), self.limits, listener_context, make, pushed))
        } else {
            let make = move |route: &Route, listener_context: &Arc<ListenerContext>| {
                let (connection, context) = meet(route, listener_context);
                (connection, direct(handler.clone(), context, stack.clone()))
            };
            Box::new(Dispatcher::new(socket, self.framing.clone(), self.limits, listener_context, make, pushed))
        }
    }
}

impl<H, F, L> fmt::Debug for DatagramDriver<H, F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramDriver")
    }
}
