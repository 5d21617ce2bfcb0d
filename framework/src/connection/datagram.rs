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
use tower::Layer;

use crate::address::Address;
use crate::connection::desk::Desk;
use crate::framing::Framing;
use crate::handler::{Context, Handler, HandlerLayer, HandlerService, Seat};
use crate::io::{DatagramSocket, Route};
use crate::outbox::{Pushed, Pusher};
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
        let make = Maker {
            handler: self.handler.clone(),
            layer: self.layer.clone(),
            local: socket.local(),
            lane: lane.clone(),
            pushes,
        };
        let mut desk = Desk::new(Arc::from(socket), self.framing.clone(), self.limits, make, pushed);
        let (mut to_drain, mut to_cut) = (lane.drain.clone(), lane.drain.clone());
        let mut draining = pin!(to_drain.draining());
        let mut cutting = pin!(to_cut.cutting());
        let mut leaving = false;
        poll_fn(|cx| {
            leaving = leaving || draining.as_mut().poll(cx).is_ready();
            if cutting.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if desk.poll(cx, leaving) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        desk.in_hand()
    }
}

impl<H, F, L> fmt::Debug for DatagramDriver<H, F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatagramDriver")
    }
}

/// Makes the service of a new peer.
pub(crate) struct Maker<H, L, Out> {
    handler: Arc<H>,
    layer: L,
    pub(crate) local: Address,
    pub(crate) lane: Arc<Lane>,
    pushes: mpsc::Sender<Pushed<Out>>,
}

impl<H, L, Out: Send + 'static> Maker<H, L, Out> {
    pub(crate) fn session<In>(&self, route: &Route) -> (Connection, L::Service)
    where
        In: Send + 'static,
        H: Handler<In, Out>,
        L: Layer<HandlerService<H, In, Out>>,
    {
        let local = match (&self.local, route.asked) {
            (Address::Inet(local), Some(asked)) => Address::Inet(SocketAddr::new(asked, local.port())),
            (local, _) => local.clone(),
        };
        let connection = Connection::new(self.lane.clone(), Kind::Datagram, route.peer.clone(), local);
        let pusher = Pusher::to_datagrams(connection.clone(), route.clone(), self.pushes.clone());
        let seat = Seat::new(self.handler.clone(), Context::new(H::State::default(), pusher));
        (connection, self.layer.layer(HandlerService::new(seat)))
    }
}
