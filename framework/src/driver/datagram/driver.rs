//! Creates the dispatcher of a socket, and the connection and the handler calls of each peer.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::address::Address;
use crate::connection::{Connection, Kind, ListenerContext};
use crate::driver::HandlerDriver;
use crate::driver::datagram::dispatcher::Dispatcher;
use crate::driver::datagram::{DatagramDispatcher, DatagramService};
use crate::driver::handler_calls::{direct, has_layers, layered};
use crate::framing::Framing;
use crate::handler::{Context, Handler, HandlerLayer};
use crate::push_queue::Pusher;
use crate::transport::{DatagramSocket, Route};

impl<H, F, L> DatagramService for HandlerDriver<H, F, L>
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
        let new_context = move |route: &Route, listener: &ListenerContext| {
            let local = match (&local, route.local_ip) {
                (Address::Inet(local), Some(local_ip)) => Address::Inet(SocketAddr::new(local_ip, local.port())),
                (local, _) => local.clone(),
            };
            let connection = Connection::new(listener.info.clone(), Kind::Datagram, route.peer.clone(), local, None);
            let pusher = Pusher::to_peer(connection.clone(), route.clone(), pushes.clone());
            (connection, Context::new(H::State::default(), pusher))
        };
        let (handler, stack, layer) = (self.handler.clone(), self.stack.clone(), self.layer.clone());
        if has_layers::<L>() {
            let new_peer = move |route: &Route, listener: &ListenerContext| {
                let (connection, context) = new_context(route, listener);
                (connection, layered(handler.clone(), context, stack.clone(), &layer))
            };
            Box::new(Dispatcher::new(socket, self.framing.clone(), self.limits, listener_context, new_peer, pushed))
        } else {
            let new_peer = move |route: &Route, listener: &ListenerContext| {
                let (connection, context) = new_context(route, listener);
                (connection, direct(handler.clone(), context, stack.clone()))
            };
            Box::new(Dispatcher::new(socket, self.framing.clone(), self.limits, listener_context, new_peer, pushed))
        }
    }
}
