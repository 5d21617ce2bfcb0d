//! Connections inside this process, for tests: they need no ports and work with tokio's paused time. The module
//! `testing` has clients with exact expectations; here a client is a byte stream.
//!
//! ```
//! use switchboard::prelude::*;
//! use switchboard::transport::memory;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let echo = handler_fn(|_cx: Context, message: Bytes| async move { Ok(Reply::send(message)) });
//! let running = Server::bind("mem:doc").framing(Lines::default()).start(echo).await?;
//!
//! let mut client = memory::connect("doc").await?;
//! client.write_all(b"hi\n").await?;
//! let mut reply = [0; 3];
//! client.read_exact(&mut reply).await?;
//! assert_eq!(&reply, b"hi\n");
//! drop(client);
//! running.drain().await;
//! # Ok(())
//! # }
//! ```

use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use crate::address::{Address, Endpoint};
use crate::connection::Kind;
use crate::transport::accepted::Accepted;
use crate::transport::listener::{Bind, Listener, SchemeInfo, StreamListener, Transport, unsupported_endpoint};

/// The size of the buffer in each direction.
const CAPACITY: usize = 64 * 1024;

static LISTENING: LazyLock<Mutex<HashMap<String, mpsc::Sender<Accepted>>>> = LazyLock::new(Mutex::default);

/// `mem:NAME`. Uses the socket option `backlog`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory;

/// Connects to the listener `mem:NAME` of this process. The peer has a unique name.
///
/// # Errors
///
/// `ConnectionRefused` if nothing listens on that name.
pub async fn connect(name: &str) -> io::Result<DuplexStream> {
    connect_as(name, unique_peer(name)).await
}

/// Connects like [`connect`], with a network address as the peer address, so that per-source limits apply.
///
/// # Errors
///
/// `ConnectionRefused` if nothing listens on that name.
pub async fn connect_from(name: &str, peer: SocketAddr) -> io::Result<DuplexStream> {
    connect_as(name, Address::Inet(peer)).await
}

/// Connects with any peer address.
pub(crate) async fn connect_as(name: &str, peer: Address) -> io::Result<DuplexStream> {
    let (ours, theirs) = duplex(CAPACITY);
    queue(name, Accepted::ready(peer, local(name), theirs)).await?;
    Ok(ours)
}

/// The address of a client without a network address.
pub(crate) fn unique_peer(name: &str) -> Address {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Address::Named(format!("mem:{name}#{}", NEXT.fetch_add(1, Relaxed)).into())
}

/// The local address of the connections to a name.
pub(crate) fn local(name: &str) -> Address {
    Address::Named(format!("mem:{name}").into())
}

/// Adds a client to the backlog of the listener on `name`. Waits while the backlog is full.
pub(crate) async fn queue(name: &str, client: Accepted) -> io::Result<()> {
    let queue = LISTENING.lock().get(name).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
    queue.send(client).await.map_err(|_| io::ErrorKind::ConnectionRefused.into())
}

#[async_trait]
impl Transport for Memory {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("mem", "in-process connections for tests: mem:NAME", Kind::Stream)]
    }

    async fn bind(&self, Bind { endpoint, options, .. }: Bind) -> io::Result<Listener> {
        let Endpoint::Memory(name) = &endpoint else { return Err(unsupported_endpoint(&endpoint)) };
        let mut listening = LISTENING.lock();
        if listening.contains_key(name) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (queue, accepted) = mpsc::channel(options.backlog.max(1) as usize);
        listening.insert(name.clone(), queue);
        Ok(Listener::Stream(Box::new(MemoryListener { name: name.clone(), accepted })))
    }
}

struct MemoryListener {
    name: String,
    accepted: mpsc::Receiver<Accepted>,
}

#[async_trait]
impl StreamListener for MemoryListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        Ok(self.accepted.recv().await)
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Memory(self.name.clone())
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        LISTENING.lock().remove(&self.name);
    }
}
