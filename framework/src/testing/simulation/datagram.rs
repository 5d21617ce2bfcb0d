//! Datagrams of a simulated network: the socket of the server, and those of its peers.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::address::{Address, Endpoint};
use crate::testing::conformance::Random;
use crate::testing::simulation::conditions::{Conditions, happens, random_time};
use crate::testing::simulation::trace::{Subject, Trace, What};
use crate::transport::{DatagramSocket, Route};

/// The scheme of datagrams.
pub(super) const DATAGRAM: &str = "simgram";
/// Datagrams that wait for one socket, on their way included. Further ones are lost.
const MAX_QUEUED: usize = 4096;

/// All datagrams to and from one listener. Clones are the same.
#[derive(Clone)]
pub(super) struct DatagramLink(Arc<Mutex<State>>);

struct State {
    name: String,
    conditions: Conditions,
    random: Random,
    trace: Trace,
    sent: u64,
    is_bound: bool,
    server: Inbox,
    peers: BTreeMap<SocketAddr, Inbox>,
}

fn subject(client: SocketAddr, is_client: bool) -> Subject {
    Subject { client, connection: 0, is_client }
}

/// The datagrams to one socket, by the time of their arrival.
#[derive(Default)]
struct Inbox {
    arriving: BTreeMap<(Instant, u64), (SocketAddr, Bytes)>,
    reader: Option<Waker>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Inbox {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(SocketAddr, Bytes)> {
        loop {
            let Some((&(at, number), _)) = self.arriving.first_key_value() else {
                self.reader = Some(cx.waker().clone());
                return Poll::Pending;
            };
            if at <= Instant::now() {
                let datagram = self.arriving.remove(&(at, number));
                return datagram.map_or(Poll::Pending, Poll::Ready);
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
            if timer.deadline() != at || timer.is_elapsed() {
                timer.as_mut().reset(at);
            }
            self.reader = Some(cx.waker().clone()); // an earlier one can be sent
            ready!(timer.as_mut().poll(cx));
        }
    }
}

impl DatagramLink {
    pub(super) fn new(name: &str, conditions: Conditions, seed: u64, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(State {
            name: name.to_owned(),
            conditions,
            random: Random::new(seed),
            trace,
            sent: 0,
            is_bound: false,
            server: Inbox::default(),
            peers: BTreeMap::new(),
        })))
    }

    /// The socket of the server; `None` if there is one.
    pub(super) fn bind(self) -> Option<ServerSocket> {
        let is_bound = std::mem::replace(&mut self.0.lock().is_bound, true);
        (!is_bound).then(|| ServerSocket(self))
    }

    pub(super) fn socket(self, address: SocketAddr) -> SimulatedSocket {
        self.0.lock().peers.entry(address).or_default();
        SimulatedSocket { address, link: self }
    }

    /// Sends a datagram of this peer to the server, or of the server to this peer. Returns how many of its copies
    /// arrive complete.
    fn send(&self, peer: SocketAddr, to_server: bool, payload: &[u8]) -> usize {
        let State { conditions, random, trace, sent, is_bound, server, peers, .. } = &mut *self.0.lock();
        let inbox = if to_server { is_bound.then_some(server) } else { peers.get_mut(&peer) };
        let payload = Bytes::copy_from_slice(payload);
        trace.add(subject(peer, to_server), What::Writes(payload.clone()));
        let inbox = inbox.filter(|inbox| inbox.arriving.len() < MAX_QUEUED && !happens(random, conditions.loss));
        let Some(inbox) = inbox else {
            trace.add(subject(peer, to_server), What::Event("loses it"));
            return 0;
        };
        let mut complete = 0;
        for _ in 0..1 + usize::from(happens(random, conditions.duplicates)) {
            let is_truncated = happens(random, conditions.truncation);
            let length = if is_truncated { random.below(payload.len()) } else { payload.len() };
            complete += usize::from(length == payload.len());
            *sent += 1;
            let at = Instant::now() + random_time(random, &conditions.delay);
            inbox.arriving.insert((at, *sent), (peer, payload.slice(..length)));
        }
        inbox.reader.take().into_iter().for_each(Waker::wake);
        complete
    }
}

/// The socket of the server.
pub(super) struct ServerSocket(DatagramLink);

impl DatagramSocket for ServerSocket {
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        let State { server, trace, .. } = &mut *self.0.0.lock();
        let (peer, datagram) = ready!(server.poll(cx));
        trace.add(subject(peer, false), What::Reads(datagram.len()));
        let room = buffer.capacity() - buffer.len();
        buffer.extend_from_slice(&datagram[..datagram.len().min(room)]); // truncated, as by recv(2)
        Poll::Ready(Ok(Route::new(Address::Inet(peer), None)))
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        if let Address::Inet(peer) = route.peer {
            self.0.send(peer, false, payload);
        }
        Ok(())
    }

    fn poll_send_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Other { scheme: DATAGRAM.to_owned(), rest: self.0.0.lock().name.clone() }
    }

    fn local(&self) -> Address {
        Address::Named(self.endpoint().to_string().into())
    }
}

impl Drop for ServerSocket {
    fn drop(&mut self) {
        let State { is_bound, server, .. } = &mut *self.0.0.lock();
        (*is_bound, *server) = (false, Inbox::default());
    }
}

/// A datagram socket of a client in a [`SimulatedNetwork`](crate::testing::SimulatedNetwork).
///
/// ```
/// use switchboard::prelude::*;
/// use switchboard::testing::SimulatedNetwork;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<()> {
/// let net = SimulatedNetwork::new(7).duplicates(1.0);
/// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
/// let server = Server::bind("simgram:echo").transport(net.clone()).start(echo).await?;
/// let socket = net.socket("echo", ([192, 0, 2, 1], 4000));
/// assert_eq!(socket.send(b"hi"), 2); // each datagram arrives twice, and so does each reply
/// for _ in 0..4 {
///     assert_eq!(socket.receive().await, "hi");
/// }
/// # Ok(())
/// # }
/// ```
pub struct SimulatedSocket {
    address: SocketAddr,
    link: DatagramLink,
}

impl SimulatedSocket {
    /// Sends a datagram to the listener. Returns how many copies of it arrive complete: 1 without faults.
    pub fn send(&self, datagram: impl AsRef<[u8]>) -> usize {
        self.link.send(self.address, true, datagram.as_ref())
    }

    /// Receives the next datagram. Waits until there is one.
    pub async fn receive(&self) -> Bytes {
        poll_fn(|cx| {
            let State { trace, peers, .. } = &mut *self.link.0.lock();
            let Some(inbox) = peers.get_mut(&self.address) else { return Poll::Pending };
            let (_, datagram) = ready!(inbox.poll(cx));
            trace.add(subject(self.address, true), What::Reads(datagram.len()));
            Poll::Ready(datagram)
        })
        .await
    }
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        self.link.0.lock().peers.remove(&self.address);
    }
}

impl fmt::Debug for SimulatedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimulatedSocket").field(&self.address).finish()
    }
}
