//! The driver of a datagram socket: one task receives, has messages handled, and answers.
//!
//! An answer that is ready at once costs no task and no allocation of its own. One that waits goes to a bounded set and
//! holds up nobody but its own peer, whose next messages wait for it in order. The work itself is in `desk`.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::address::Address;
use crate::connection::calls::{Calls, has_layers, layered, straight};
use crate::connection::desk::Desk;
use crate::framing::Framing;
use crate::handler::{Context, Handler, HandlerLayer};
use crate::io::{DatagramSocket, Route};
use crate::layer::MessageStack;
use crate::outbox::Pusher;
use crate::roster::{Connection, Kind, Lane};
use crate::spec::Limits;

/// Serves a datagram socket to its end; erased once a socket.
#[async_trait]
pub(crate) trait ServeDatagrams: Send + Sync + fmt::Debug {
    /// Serves until the lane drains and everything is answered, or until it is cut. Answers how many messages were cut.
    async fn serve(&self, socket: Box<dyn DatagramSocket>, lane: Arc<Lane>) -> usize;
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

#[async_trait]
impl<H, F, L> ServeDatagrams for DatagramDriver<H, F, L>
where
    F: Framing,
    H: Handler<F::In, F::Out>,
    L: HandlerLayer<H, F::In, F::Out>,
{
    async fn serve(&self, socket: Box<dyn DatagramSocket>, lane: Arc<Lane>) -> usize {
        let (pushes, pushed) = mpsc::channel(self.limits.outbox.max(1));
        let (local, socket) = (socket.local(), Arc::from(socket));
        let meet = |route: &Route| {
            let local = match (&local, route.asked) {
                (Address::Inet(local), Some(asked)) => Address::Inet(SocketAddr::new(asked, local.port())),
                (local, _) => local.clone(),
            };
            let connection = Connection::new(lane.clone(), Kind::Datagram, route.peer.clone(), local);
            let pusher = Pusher::to_datagrams(connection.clone(), route.clone(), pushes.clone());
            (connection, Context::new(H::State::default(), pusher))
        };
        let (handler, stack) = (&self.handler, &self.stack);
        if has_layers::<L>() {
            let make = |route: &Route| {
                let (connection, context) = meet(route);
                (connection, layered(handler.clone(), context, stack, &self.layer))
            };
            run(Desk::new(socket, self.framing.clone(), self.limits, lane.clone(), make, pushed)).await
        } else {
            let make = |route: &Route| {
                let (connection, context) = meet(route);
                (connection, straight(handler.clone(), context, stack.clone()))
            };
            run(Desk::new(socket, self.framing.clone(), self.limits, lane.clone(), make, pushed)).await
        }
    }
}

/// Serves until the lane drains and everything is answered, or until it is cut.
async fn run<F, C, M>(mut desk: Desk<F, C, M>) -> usize
where
    F: Framing,
    C: Calls<F::In, F::Out>,
    M: Fn(&Route) -> (Connection, C),
{
    let (mut to_drain, mut to_cut) = (desk.lane().drain.clone(), desk.lane().drain.clone());
    let mut draining = pin!(to_drain.draining());
    let mut cutting = pin!(to_cut.cutting());
    let mut leaving = false;
    poll_fn(|cx| {
        leaving = leaving || draining.as_mut().poll(cx).is_ready();
        // It is not cut before it drains.
        if leaving && cutting.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if desk.poll(cx, leaving) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    desk.in_hand()
}

impl<H, F, L> fmt::Debug for DatagramDriver<H, F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramDriver")
    }
}
