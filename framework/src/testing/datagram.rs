//! Datagrams in memory: the socket of the server, and its peers.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::address::{Address, Endpoint};
use crate::connection::Kind;
use crate::testing::transcript::{Side, Transcript, excerpt, seconds};
use crate::testing::wait::bounded;
use crate::transport::{Bind, DatagramSocket, Listener, Route, SchemeInfo, Transport};

/// The scheme of the endpoint.
pub(super) const SCHEME: &str = "memdgram";
/// Datagrams that wait for the server. Further senders wait.
const MAX_ARRIVING: usize = 1024;
/// Datagrams that wait for one peer. Further ones are lost, as with a full receive buffer of the kernel.
const MAX_UNREAD: usize = 64 * 1024;

/// The network of one server, which is also its transport.
#[derive(Clone)]
pub(super) struct Network {
    state: Arc<Mutex<State>>,
    endpoint: Endpoint,
}

#[derive(Default)]
struct State {
    arriving: VecDeque<(SocketAddr, Bytes)>,
    receiver: Option<Waker>,
    senders: Vec<Waker>,
    inboxes: HashMap<SocketAddr, Inbox>,
}

/// What the server has sent to one peer.
struct Inbox {
    unread: VecDeque<Bytes>,
    reader: Option<Waker>,
    transcript: Transcript,
}

impl Network {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { state: Arc::default(), endpoint }
    }

    #[track_caller]
    pub(super) fn peer(&self, address: SocketAddr) -> DatagramPeer {
        let inbox = Inbox { unread: VecDeque::new(), reader: None, transcript: Transcript::new() };
        let earlier = self.state.lock().inboxes.insert(address, inbox);
        assert!(earlier.is_none(), "two datagram peers have the address {address}");
        DatagramPeer { address, network: self.clone() }
    }
}

#[async_trait]
impl Transport for Network {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new(SCHEME, "datagrams inside this process, for tests", Kind::Datagram)]
    }

    async fn bind(&self, _: Bind) -> io::Result<Listener> {
        Ok(Listener::Datagram(Box::new(self.clone())))
    }
}

impl DatagramSocket for Network {
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        let mut state = self.state.lock();
        let Some((peer, datagram)) = state.arriving.pop_front() else {
            state.receiver = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.senders.drain(..).for_each(Waker::wake);
        let room = buffer.capacity() - buffer.len();
        buffer.extend_from_slice(&datagram[..datagram.len().min(room)]); // truncated, as by recv(2)
        Poll::Ready(Ok(Route::new(Address::Inet(peer), None)))
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        let Address::Inet(peer) = route.peer else { return Ok(()) };
        if let Some(inbox) = self.state.lock().inboxes.get_mut(&peer) {
            if inbox.unread.len() >= MAX_UNREAD {
                inbox.transcript.event(Side::Server, format!("a datagram is lost: {MAX_UNREAD} are unread"));
                return Ok(());
            }
            inbox.transcript.datagram(Side::Server, payload);
            inbox.unread.push_back(Bytes::copy_from_slice(payload));
            inbox.reader.take().into_iter().for_each(Waker::wake);
        }
        Ok(())
    }

    fn poll_send_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn local(&self) -> Address {
        Address::Named(self.endpoint.to_string().into())
    }
}

/// A peer of a datagram server in a test.
///
/// [`Running::datagram_peer`](crate::testing::Running::datagram_peer) creates it.
///
/// Datagrams to an address without a peer are lost. The bounds of waits, and the text of a failure, are those of
/// [`Peer`](crate::testing::Peer).
///
/// ```
/// # use switchboard::prelude::*;
/// # use switchboard::testing;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
/// let server = testing::Server::datagrams(echo).start().await;
/// let mut peer = server.datagram_peer(([192, 0, 2, 1], 4000));
/// peer.send("hi").await.expect("hi").await;
/// # }
/// ```
pub struct DatagramPeer {
    address: SocketAddr,
    network: Network,
}

impl DatagramPeer {
    /// Sends a datagram. Waits while too many datagrams of all peers wait for the server.
    ///
    /// # Panics
    ///
    /// The server does not receive within the bound.
    #[track_caller]
    pub fn send(&mut self, datagram: impl AsRef<[u8]>) -> impl Future<Output = &mut Self> {
        let caller = Location::caller();
        async move {
            let datagram = datagram.as_ref();
            let sent = bounded(poll_fn(|cx| {
                let State { arriving, receiver, senders, inboxes } = &mut *self.network.state.lock();
                if arriving.len() >= MAX_ARRIVING {
                    senders.push(cx.waker().clone());
                    return Poll::Pending;
                }
                if let Some(inbox) = inboxes.get_mut(&self.address) {
                    inbox.transcript.datagram(Side::Peer, datagram);
                }
                arriving.push_back((self.address, Bytes::copy_from_slice(datagram)));
                receiver.take().into_iter().for_each(Waker::wake);
                Poll::Ready(())
            }));
            if sent.await.is_none() {
                self.fail(caller, format_args!("the server does not receive: {MAX_ARRIVING} datagrams wait for it"));
            }
            self
        }
    }

    /// Waits for the next datagram, which must have exactly these bytes.
    ///
    /// # Panics
    ///
    /// Another datagram comes, or none within the bound.
    #[track_caller]
    pub fn expect(&mut self, datagram: impl AsRef<[u8]>) -> impl Future<Output = &mut Self> {
        let caller = Location::caller();
        async move {
            let expected = datagram.as_ref();
            let received = self.next(caller, &format!("expected the datagram {}", excerpt(expected))).await;
            if received != expected {
                let (wanted, came) = (excerpt(expected), excerpt(&received));
                self.fail(caller, format_args!("expected the datagram {wanted}, received {came}"));
            }
            self
        }
    }

    /// Waits for the next datagram. For bytes that the test cannot know.
    ///
    /// # Panics
    ///
    /// No datagram comes within the bound.
    #[track_caller]
    pub fn receive(&mut self) -> impl Future<Output = Bytes> {
        let caller = Location::caller();
        async move { self.next(caller, "expected a datagram").await }
    }

    /// Checks that no datagram comes for this long. Paused time passes only while the server is idle.
    ///
    /// # Panics
    ///
    /// A datagram comes.
    #[track_caller]
    pub fn expect_nothing(&mut self, time: Duration) -> impl Future<Output = &mut Self> {
        let caller = Location::caller();
        async move {
            if let Ok(datagram) = timeout(time, poll_fn(|cx| self.poll_next(cx))).await {
                self.fail(caller, format_args!("expected no datagram, received {}", excerpt(&datagram)));
            }
            self
        }
    }

    /// The next datagram, if it has arrived.
    pub(super) fn try_next(&self) -> Option<Bytes> {
        self.network.state.lock().inboxes.get_mut(&self.address)?.unread.pop_front()
    }

    async fn next(&mut self, caller: &Location<'_>, wanted: &str) -> Bytes {
        let began = Instant::now();
        match bounded(poll_fn(|cx| self.poll_next(cx))).await {
            Some(datagram) => datagram,
            None => {
                let time = seconds(began.elapsed());
                self.fail(caller, format_args!("{wanted}, received nothing for {time}"))
            }
        }
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Bytes> {
        let mut state = self.network.state.lock();
        let Some(inbox) = state.inboxes.get_mut(&self.address) else { return Poll::Pending };
        if let Some(datagram) = inbox.unread.pop_front() {
            return Poll::Ready(datagram);
        }
        inbox.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn fail(&self, caller: &Location<'_>, what: fmt::Arguments<'_>) -> ! {
        let transcript = self.network.state.lock().inboxes.get(&self.address).map(|inbox| inbox.transcript.to_string());
        panic!("{what}\nat {caller}\n{}", transcript.unwrap_or_default())
    }
}

impl Drop for DatagramPeer {
    fn drop(&mut self) {
        self.network.state.lock().inboxes.remove(&self.address);
    }
}

impl fmt::Debug for DatagramPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatagramPeer").field(&self.address).finish()
    }
}
