//! A simulated network for tests: connections and datagrams with delay and faults, all determined by one seed.
//!
//! The crates turmoil and turmoil-net replace the sockets of tokio, move their network in ticks, and have no torn
//! writes, resets or faults of datagrams. A transport is a trait here, so this one needs no adapter and no dependency.

mod conditions;
mod datagram;
mod link;
mod stream;
mod trace;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::address::{Address, Endpoint};
use crate::connection::Kind;
use crate::testing::conformance::Random;
use crate::testing::simulation::conditions::Conditions;
use crate::testing::simulation::datagram::{DATAGRAM, DatagramLink};
use crate::testing::simulation::link::{Link, LinkEnd};
use crate::testing::simulation::trace::Trace;
use crate::transport::{Accepted, Bind, Listener, SchemeInfo, StreamListener, Transport};

pub use datagram::SimulatedSocket;
pub use stream::SimulatedStream;

/// The scheme of connections.
const STREAM: &str = "sim";

/// A network in which one seed determines every delay and every fault. It is the transport of `sim:NAME`, which accepts
/// connections, and of `simgram:NAME`, which receives datagrams. Clones are the same network.
///
/// Use it in a runtime with one thread and paused time. The same seed then leads to the same [trace](Self::trace), as
/// far as the handler is deterministic: it must not use threads, the wall clock, or the order of a `HashMap`.
///
/// ```
/// use std::time::Duration;
/// use switchboard::prelude::*;
/// use switchboard::testing::SimulatedNetwork;
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<()> {
/// // In a test with #[tokio::test(start_paused = true)]:
/// let milliseconds = Duration::from_millis(1)..Duration::from_millis(80);
/// let net = SimulatedNetwork::new(7).delay(milliseconds).segment(3);
/// let net = net.resets(0.2).faults_within(Duration::from_millis(300));
/// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
/// let server = Server::bind("sim:echo").transport(net.clone()).framing(Lines::default()).start(echo).await?;
/// let mut complete = 0;
/// for host in 1..=100 {
///     let mut client = net.connect("echo", ([192, 0, 2, host], 4000)).await?;
///     let mut replies = Vec::new();
///     let conversation = async {
///         client.write_all(b"one\ntwo\n").await?;
///         client.shutdown().await?;
///         client.read_to_end(&mut replies).await
///     };
///     let is_ended = conversation.await.is_ok();
///     assert!(b"one\ntwo\n".starts_with(&*replies), "{}", net.trace());
///     // The network resets some of the connections. All others get every reply.
///     assert!(client.is_faulted() || (is_ended && replies.len() == 8), "{}", net.trace());
///     complete += usize::from(replies.len() == 8);
/// }
/// assert!((75..100).contains(&complete), "{complete}");
/// assert_eq!(server.drain().await.cut, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SimulatedNetwork {
    state: Arc<Mutex<State>>,
    trace: Trace,
}

struct State {
    random: Random,
    conditions: Conditions,
    connections: usize,
    listeners: BTreeMap<String, mpsc::Sender<LinkEnd>>,
    datagrams: BTreeMap<String, DatagramLink>,
}

impl SimulatedNetwork {
    /// The network of this seed, with delays below 50 ms, windows of 64 KiB and no faults.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed),
            conditions: Conditions::default(),
            connections: 0,
            listeners: BTreeMap::new(),
            datagrams: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), trace: Trace::default() }
    }

    fn set(self, change: impl FnOnce(&mut Conditions)) -> Self {
        change(&mut self.state.lock().conditions);
        self
    }

    /// Sets the delay of each segment and datagram. Segments of a connection stay in order; those of different
    /// connections, and datagrams, do not.
    #[must_use]
    pub fn delay(self, delay: Range<Duration>) -> Self {
        self.set(|conditions| conditions.delay = delay)
    }

    /// Sets the most bytes that one read or write transfers. Each transfers a random part of that.
    #[must_use]
    pub fn segment(self, bytes: usize) -> Self {
        self.set(|conditions| conditions.segment = bytes.max(1))
    }

    /// Sets the most bytes of a connection that are sent and not read, in each direction. A client that does not read
    /// closes its window.
    #[must_use]
    pub fn window(self, bytes: usize) -> Self {
        self.set(|conditions| conditions.window = bytes.max(1))
    }

    /// Sets the share of connections that the network resets.
    #[must_use]
    pub fn resets(self, share: f64) -> Self {
        self.set(|conditions| conditions.resets = share)
    }

    /// Sets the share of connections that transport nothing for some time, at most for `longest`. What was sent
    /// meanwhile arrives afterwards.
    #[must_use]
    pub fn outages(self, share: f64, longest: Duration) -> Self {
        self.set(|conditions| (conditions.outages, conditions.longest_outage) = (share, longest))
    }

    /// Sets the share of connections that transport nothing more from some time on. No side is notified.
    #[must_use]
    pub fn partitions(self, share: f64) -> Self {
        self.set(|conditions| conditions.partitions = share)
    }

    /// Sets how long after the connect a reset, an outage or a partition begins, at most. The default is one minute.
    #[must_use]
    pub fn faults_within(self, time: Duration) -> Self {
        self.set(|conditions| conditions.faults_within = time)
    }

    /// Sets the share of datagrams that are lost.
    #[must_use]
    pub fn loss(self, share: f64) -> Self {
        self.set(|conditions| conditions.loss = share)
    }

    /// Sets the share of datagrams that arrive twice.
    #[must_use]
    pub fn duplicates(self, share: f64) -> Self {
        self.set(|conditions| conditions.duplicates = share)
    }

    /// Sets the share of datagrams that lose their last bytes.
    #[must_use]
    pub fn truncation(self, share: f64) -> Self {
        self.set(|conditions| conditions.truncation = share)
    }

    /// Connects to `sim:NAME` from this address. Waits while the backlog is full.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` if nothing listens on that name.
    pub async fn connect(&self, name: &str, from: impl Into<SocketAddr>) -> io::Result<SimulatedStream> {
        let link = {
            let State { random, conditions, connections, .. } = &mut *self.state.lock();
            *connections += 1;
            Link::new(*connections, from.into(), conditions.clone(), random.next_u64(), self.trace.clone())
        };
        let (client, server) = link.ends();
        sleep(client.delay()).await;
        let queue = self.state.lock().listeners.get(name).cloned();
        let refused = || {
            client.note("is refused");
            io::ErrorKind::ConnectionRefused
        };
        let queue = queue.ok_or_else(refused)?;
        client.note("connects");
        queue.send(server).await.map_err(|_| refused())?;
        Ok(SimulatedStream::new(client))
    }

    /// A socket with this address, for datagrams to and from `simgram:NAME`. Datagrams are lost while nothing listens.
    pub fn socket(&self, name: &str, address: impl Into<SocketAddr>) -> SimulatedSocket {
        self.datagram_link(name).socket(address.into())
    }

    fn datagram_link(&self, name: &str) -> DatagramLink {
        let State { random, conditions, datagrams, .. } = &mut *self.state.lock();
        let link = || DatagramLink::new(name, conditions.clone(), random.next_u64(), self.trace.clone());
        datagrams.entry(name.to_owned()).or_insert_with(link).clone()
    }

    /// The last events of the network, one per line: the time in seconds, the client, and what happened.
    pub fn trace(&self) -> String {
        self.trace.to_string()
    }

    /// Sets how many events the [trace](Self::trace) has. The default is 100.
    #[must_use]
    pub fn trace_length(self, events: usize) -> Self {
        self.trace.set_length(events);
        self
    }

    /// A hash of all events so far: two runs with the same value had the same events.
    pub fn fingerprint(&self) -> u64 {
        self.trace.fingerprint()
    }
}

#[async_trait]
impl Transport for SimulatedNetwork {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![
            SchemeInfo::new(STREAM, "connections of a simulated network, for tests: sim:NAME", Kind::Stream),
            SchemeInfo::new(DATAGRAM, "datagrams of a simulated network, for tests: simgram:NAME", Kind::Datagram),
        ]
    }

    async fn bind(&self, Bind { endpoint, options, .. }: Bind) -> io::Result<Listener> {
        let Endpoint::Other { scheme, rest: name } = &endpoint else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        if scheme == DATAGRAM {
            let socket = self.datagram_link(name).bind().ok_or(io::ErrorKind::AddrInUse)?;
            return Ok(Listener::Datagram(Box::new(socket)));
        }
        let mut state = self.state.lock();
        if state.listeners.contains_key(name) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (queue, accepted) = mpsc::channel(options.backlog.max(1) as usize);
        state.listeners.insert(name.clone(), queue);
        drop(state);
        Ok(Listener::Stream(Box::new(SimulatedListener { network: self.clone(), name: name.clone(), accepted })))
    }
}

struct SimulatedListener {
    network: SimulatedNetwork,
    name: String,
    accepted: mpsc::Receiver<LinkEnd>,
}

#[async_trait]
impl StreamListener for SimulatedListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let Some(end) = self.accepted.recv().await else { return Ok(None) };
        if end.is_reset() {
            return Err(io::ErrorKind::ConnectionAborted.into()); // as accept(2) on some systems
        }
        let (peer, local) = (Address::Inet(end.client()), Address::Named(format!("{STREAM}:{}", self.name).into()));
        Ok(Some(Accepted::ready(peer, local, SimulatedStream::new(end))))
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Other { scheme: STREAM.to_owned(), rest: self.name.clone() }
    }
}

impl Drop for SimulatedListener {
    fn drop(&mut self) {
        self.network.state.lock().listeners.remove(&self.name);
    }
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedNetwork").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}
