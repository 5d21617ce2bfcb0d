//! The settings of a listener and of the server, each one field with its type, documentation, bounds and default.
//!
//! The configuration file, its schema, the defaults, `switchboard config` and the reference derive from these types.
//! A setting is plain data: comparable, without I/O. The documentation of a field is also the help text for operators.
//!
//! The mark `x-applies` in the schema of a field names what a listener must have for the field to have an effect:
//! `connections`, `datagrams`, peers on a `network`, `handshakes` of TLS or PROXY, or a `tcp`, `inet` or `unix`
//! address. To set such a field of a listener that does not have it is an error.
//!
//! Use [`Secret`], [`Size`], [`Interval`], [`Rate`] and [`Mode`] as fields of the options of a handler, layer or
//! framing:
//!
//! ```
//! use switchboard::settings::{Interval, Size};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct CacheOptions {
//!     /// Maximum size of the cache.
//!     memory: Size,
//!     /// Lifetime of an entry.
//!     lifetime: Interval,
//! }
//!
//! let options: CacheOptions = serde_json::from_str(r#"{ "memory": "16MiB", "lifetime": "5m" }"#)?;
//! assert_eq!((*options.memory, options.lifetime.as_secs()), (16 << 20, 300));
//! # Ok::<(), serde_json::Error>(())
//! ```

mod bans;
mod define;
pub mod file;
mod fleet;
#[cfg(feature = "log")]
pub(crate) mod log;
mod network;
mod rate;
mod recorder;
mod secret;
pub mod text;
mod tls;
mod units;

pub use bans::{BanSettings, StrikeWeights};
#[cfg(feature = "fleet")]
pub(crate) use fleet::LinkAddress;
pub use fleet::{FleetSettings, Link, LinkError, SharedLimit};
#[cfg(feature = "log")]
pub use log::{LogFormat, LogSettings};
pub use network::{Access, Network, Networks};
pub use rate::Rate;
pub use recorder::{RecordedReasons, RecorderSettings};
pub use secret::Secret;
pub use text::InvalidValue;
pub use tls::{ProxySettings, TlsIdentity, TlsSettings, TlsStart};
pub use units::{Interval, Mode, Size};

use std::time::Duration;

use tokio::time::Instant;

use define::settings;
use units::Keepalive;

settings! {
    /// Limits of concurrency and size.
    ///
    /// ```
    /// # use switchboard::settings::Limits;
    /// let limits = Limits::default().connections(500).frame(1 << 20);
    /// assert_eq!((limits.connections, limits.outbox), (500, 256));
    /// ```
    #[derive(Copy)]
    pub struct Limits {
        /// Maximum open connections. Further connections are accepted, closed immediately and counted as rejected.
        #[schemars(range(min = 1, max = 10_000_000), extend("x-applies" = "connections"))]
        pub connections: usize = 10_000,
        /// Maximum open connections per source, an IPv4 address or an IPv6 /64. 0: no limit per source. Off by default,
        /// because many clients can share an address. Set it on the internet, or one source can take all connections.
        #[schemars(range(max = 10_000_000), extend("x-applies" = "connections network"))]
        pub connections_per_source: usize = 0,
        /// Maximum TLS and PROXY handshakes in progress. At the limit, the source with most handshakes loses its oldest
        /// one, so that silent clients cannot block others. A source is an IPv4 address or an IPv6 /64.
        #[schemars(range(min = 1, max = 10_000_000), extend("x-applies" = "handshakes"))]
        pub handshakes: usize = 256,
        /// Largest message, without header or terminator. A larger message closes the connection; a larger datagram is
        /// dropped.
        pub frame: usize as "Size" = 64 * 1024,
        /// Maximum messages of a connection, or of a datagram peer, whose replies are not ready, if the handler works
        /// on several at once. Then the server reads no more from the connection. They have at most `limits.frame`
        /// bytes together, or are one message.
        #[schemars(range(min = 1, max = 65_536))]
        pub in_flight: usize = 16,
        /// Maximum messages in the outbox of a connection. If it is full, the sender waits.
        #[schemars(range(min = 1, max = 65_536))]
        pub outbox: usize = 256,
        /// Maximum remembered datagram peers. The least recently seen peer is forgotten; peers seen only once are
        /// forgotten first, so that a flood of spoofed senders does not evict active peers.
        #[schemars(range(min = 1, max = 10_000_000), extend("x-applies" = "datagrams"))]
        pub sessions: usize = 10_000,
        /// Maximum bytes sent to a datagram peer per byte received from it, IP and UDP headers included, until the
        /// handler has validated its address. A reply above it fails. The source of a datagram can be forged, so a
        /// higher value lets others use the server to flood a victim. Unix sockets have no such limit.
        #[schemars(range(min = 1, max = 10_000_000), extend("x-applies" = "datagrams network"))]
        pub amplification: usize = 3,
    }
}

settings! {
    /// Timeouts. Zero: no timeout.
    #[derive(Copy)]
    pub struct Timeouts {
        /// Time for the TLS handshake and the PROXY header together. The default allows for lost packets.
        #[schemars(extend("x-applies" = "handshakes"))]
        pub handshake: Duration as "Interval" = Duration::from_secs(10),
        /// Time from accept to the first complete message. 0s: off. Off by default, because clients of many protocols
        /// can stay silent; `idle` then applies.
        #[schemars(extend("x-applies" = "connections"))]
        pub first_message: Duration as "Interval" = Duration::ZERO,
        /// Time from the first byte of a message to its last. 0s: off. A byte every few seconds does not keep a
        /// connection open. The server does not read while it handles a message, or while the peer has output to read:
        /// after that, the time starts again.
        #[schemars(extend("x-applies" = "connections"))]
        pub frame: Duration as "Interval" = Duration::from_secs(30),
        /// Time without reading or writing, while no handler call is in progress. 0s: off.
        #[schemars(extend("x-applies" = "connections"))]
        pub idle: Duration as "Interval" = Duration::from_secs(300),
        /// Time for one handler call. 0s: off.
        pub message: Duration as "Interval" = Duration::ZERO,
        /// Time without progress while the peer does not read. 0s: off.
        #[schemars(extend("x-applies" = "connections"))]
        pub write: Duration as "Interval" = Duration::from_secs(30),
        /// Maximum age of a connection. It closes at the next message boundary. 0s: off.
        #[schemars(extend("x-applies" = "connections"))]
        pub lifetime: Duration as "Interval" = Duration::ZERO,
    }
}

settings! {
    /// Rate limits per source, an IPv4 address or an IPv6 /64.
    #[derive(Copy)]
    pub struct Rates {
        /// Maximum rate of messages per source. Above it, a stream is read later and a datagram is dropped. 0/s: off.
        #[schemars(extend("x-applies" = "network"))]
        pub messages_per_source: Rate = Rate::default(),
        /// Maximum rate of new connections per source. Above it, connections are accepted and closed immediately.
        /// 0/s: off.
        #[schemars(extend("x-applies" = "connections network"))]
        pub connections_per_source: Rate = Rate::default(),
        /// Maximum rate of datagrams to one datagram peer whose address is not validated. Above it, they are dropped.
        /// One of 50,000 is dropped at any rate. Two servers then cannot answer each other endlessly after one forged
        /// datagram. Handlers can validate peers. Unix sockets have no such limit. 0/s: off.
        #[schemars(extend("x-applies" = "datagrams network"))]
        pub replies_per_peer: Rate = Rate::per_second(15_000),
        /// Maximum rate of failed TLS and PROXY handshakes per source. Above it, connections of the source are accepted
        /// and closed immediately, because each handshake costs CPU time. Raise it if many clients share one address.
        /// 0/s: off.
        #[schemars(extend("x-applies" = "handshakes"))]
        pub failed_handshakes_per_source: Rate = Rate::per_second(50),
        /// Burst: number of events accepted together before the rate applies. 0: the number allowed in one second.
        #[schemars(range(max = 10_000_000), extend("x-applies" = "network"))]
        pub burst: u32 = 0,
    }
}

settings! {
    /// Socket options.
    pub struct SocketOptions {
        /// Length of the kernel queue for connections that are not yet accepted (`listen(2)`).
        #[schemars(range(min = 1, max = 65_535), extend("x-applies" = "connections"))]
        pub backlog: u32 = 1024,
        /// Sends small segments immediately (`TCP_NODELAY`).
        #[schemars(extend("x-applies" = "tcp"))]
        pub nodelay: bool = true,
        /// Idle time before TCP keepalive probes. 0s: off.
        #[schemars(extend("x-applies" = "tcp"))]
        pub keepalive: Duration as "Keepalive" = Duration::from_secs(60),
        /// Allows several processes to listen on the same port (`SO_REUSEPORT`). Off by default, so that a second
        /// server on the same port is an error. A change needs a restart.
        #[schemars(extend("x-applies" = "inet", "x-restart" = true))]
        pub reuse_port: bool = false,
        /// Mode of the path of a Unix socket, set before the socket accepts connections.
        #[schemars(extend("x-applies" = "unix"))]
        pub mode: u32 as "Mode" = 0o600,
        /// Group of the path of a Unix socket.
        #[schemars(extend("x-applies" = "unix"))]
        pub group: Option<String> = None,
    }
}

settings! {
    /// Graceful shutdown (drain).
    #[derive(Copy)]
    pub struct DrainSettings {
        /// How long `/readyz` returns 503 before listeners close.
        pub announce: Duration as "Interval" = Duration::ZERO,
        /// Time for connections and handlers to finish, not counting `announce`. Then the remaining connections are
        /// closed.
        pub deadline: Duration as "Interval" = Duration::from_secs(30),
    }
}

/// The instant `time` after `begin`, at most a century later: a larger sum could overflow.
pub(crate) fn deadline_after(begin: Instant, time: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    begin + time.min(CENTURY)
}
