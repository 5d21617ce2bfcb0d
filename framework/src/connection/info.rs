//! Facts about a connection: its kind, its listener, its counters, its TLS session and its PROXY header.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use tokio::time::Instant;

use crate::address::Address;
use crate::connection::moment::Moment;
use crate::connection::strike_rules::StrikeRules;
use crate::drain::DrainSignal;
use crate::metrics::ListenerMetrics;

/// Maximum tasks that a handler may run per connection.
pub const TASKS_PER_CONNECTION: usize = 64;

/// A connection already runs [`TASKS_PER_CONNECTION`] tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this connection already has {TASKS_PER_CONNECTION} tasks running")]
pub struct TooManyTasks;

/// Whether a listener serves byte streams or datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A connection: an ordered byte stream that a framing splits into messages.
    Stream,
    /// A peer of a datagram socket: each datagram is a message.
    Datagram,
}

/// The open connections of a listener, as the guard of each connection sees them.
pub(crate) trait OpenConnections: fmt::Debug + Send + Sync {
    /// Adds a connection that has just closed to the list of those that closed last.
    fn remember_closed(&self, id: u64, error: Option<&str>);

    /// Whether the connection is not removed yet.
    fn contains(&self, id: u64) -> bool;

    /// Removes a closed connection and counts it.
    fn remove_closed(&self, id: u64);
}

/// What a connection knows about its listener.
#[derive(Debug)]
pub(crate) struct ListenerInfo {
    pub(crate) name: Arc<str>,
    pub(crate) drain: DrainSignal,
    pub(crate) metrics: Arc<ListenerMetrics>,
    pub(crate) open: Arc<dyn OpenConnections>,
    pub(crate) debug_log: bool,
    pub(crate) strike_rules: StrikeRules,
    /// The epoch of the times of its connections.
    pub(crate) epoch: Instant,
}

impl ListenerInfo {
    pub(crate) fn now(&self) -> Moment {
        Moment::new(Instant::now(), self.epoch)
    }

    pub(crate) fn instant(&self, moment: Moment) -> Instant {
        moment.instant(self.epoch)
    }
}

/// A count that only the driver of the connection changes, so no atomic read-modify-write is needed.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    pub(crate) messages: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
}

impl Counter {
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, count: u64) {
        self.0.store(count, Relaxed);
    }

    #[inline]
    pub(crate) fn add(&self, count: usize) {
        self.set(self.get() + count as u64);
    }
}

/// The TLS session of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The protocol version.
    pub version: TlsVersion,
    /// The server name that the client requested (SNI).
    pub server_name: Option<Box<str>>,
    /// The negotiated application protocol (ALPN).
    pub alpn: Option<Box<[u8]>>,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// The verified client certificate. `None` unless client certificates are required.
    pub client: Option<Box<ClientCertificate>>,
}

/// A protocol version of TLS. Its text is, for example, `TLS 1.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "TLS 1.2",
            Self::V1_3 => "TLS 1.3",
        })
    }
}

/// A verified client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// The subject: `CN=alice, O=Example`.
    pub subject: String,
    /// The subject alternative names: DNS names, e-mail addresses, URIs and IP addresses.
    pub names: Vec<String>,
    /// The certificate (DER).
    pub certificate: Bytes,
}

impl TlsInfo {
    /// The result of a handshake with this protocol version and without further facts.
    pub fn new(version: TlsVersion) -> Self {
        Self { version, server_name: None, alpn: None, resumed: false, client: None }
    }
}

impl ClientCertificate {
    /// A verified client certificate.
    pub fn new(subject: String, names: Vec<String>, certificate: Bytes) -> Self {
        Self { subject, names, certificate }
    }
}

/// The PROXY header of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyInfo {
    /// The address of the client, and the address that it connected to. `None` for `LOCAL` and `UNKNOWN`: the socket
    /// addresses apply.
    pub addresses: Option<(Address, Address)>,
    /// The command is `LOCAL`: the proxy opened the connection itself, for example for a health check. Access lists do
    /// not apply.
    pub is_local: bool,
    /// The type and value of each TLV (version 2), in order, without padding and checksum.
    pub tlvs: Vec<(u8, Bytes)>,
}

impl ProxyInfo {
    /// A header with the command `LOCAL`.
    pub fn local() -> Self {
        Self { addresses: None, is_local: true, tlvs: Vec::new() }
    }

    /// A header with the client address, the address that the client connected to, and the TLVs.
    pub fn new(addresses: Option<(Address, Address)>, tlvs: Vec<(u8, Bytes)>) -> Self {
        Self { addresses, is_local: false, tlvs }
    }

    /// The first value of a type: for example `0x02` (authority) or `0x05` (unique id).
    pub fn tlv(&self, kind: u8) -> Option<&Bytes> {
        self.tlvs.iter().find(|(of, _)| *of == kind).map(|(_, value)| value)
    }
}
