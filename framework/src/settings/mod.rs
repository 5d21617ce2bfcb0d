//! What a listener is allowed and how long it waits: plain values with finite defaults, comparable, without I/O.
//!
//! Every field is a key of the configuration; its default is the one that an operator gets.

mod network;
mod tls;

pub use network::{Access, Network, NetworkError, Networks};
pub use tls::{ProxySettings, TlsIdentity, TlsSettings};

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// How much of each thing at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections open at once; more are accepted and closed at once. Default 10,000.
    pub connections: usize,
    /// Connections open at once from one [`Source`](crate::Source): an IPv4 address or an IPv6 /64. Zero, the default: no limit
    /// of its own. Peers without a network address are not counted.
    pub connections_per_source: usize,
    /// Handshakes (TLS, a proxy's header) under way at once; when one more begins, the longest unfinished one yields. Default 256.
    pub handshakes: usize,
    /// Bytes of the largest message, without header or terminator. A larger one closes the connection; a larger datagram
    /// is dropped, as is one over 1 MiB whatever is said here. Default 64 KiB.
    pub frame: usize,
    /// Frames waiting to be written; a full outbox makes a pusher wait. Default 256.
    pub outbox: usize,
    /// Datagram peers remembered at once, by address and port. Default 10,000; zero counts as one.
    ///
    /// A full table forgets the longest unseen of those that were heard only once, so that a flood of made-up senders does
    /// not displace steady clients. Peers heard again have up to three quarters of the table; senders that are heard twice
    /// each can displace them, if they are as many as that before the client is heard again. Peers whose address was validated
    /// ([`Connection::validate_address`](crate::Connection::validate_address)) are displaced only by others like them. A peer
    /// that is being served is passed over; if no other is found, the newcomer's datagram is dropped. A peer whose message can
    /// not even wait, since too many do already, is forgotten with it. With a limit of one, the last peer is the one that is
    /// remembered.
    pub sessions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_source: 0,
            handshakes: 256,
            frame: 64 * 1024,
            outbox: 256,
            sessions: 10_000,
        }
    }
}

/// How long each thing may take. Zero: no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// The handshakes of a connection together: TLS, a proxy's header. Default 10 s.
    pub handshake: Duration,
    /// From accept to the first whole message. Default none.
    pub first_message: Duration,
    /// From the first byte of a message to its last. Default 30 s.
    pub frame: Duration,
    /// Nothing read or written, while no call of the handler is under way. Default 5 min.
    pub idle: Duration,
    /// One call of the handler. Default none.
    pub message: Duration,
    /// A peer that does not read what is written to it. Default 30 s.
    pub write: Duration,
    /// The whole connection; it ends at the next message boundary. Default none.
    pub lifetime: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            first_message: Duration::ZERO,
            frame: Duration::from_secs(30),
            idle: Duration::from_secs(300),
            message: Duration::ZERO,
            write: Duration::from_secs(30),
            lifetime: Duration::ZERO,
        }
    }
}

/// So many in so long, as text `100/s`, `5/m` or `1000/h`. Zero: no limit.
///
/// ```
/// use switchboard::settings::Rate;
///
/// assert_eq!("100/s".parse::<Rate>()?, Rate::per_second(100));
/// assert_eq!(Rate::per_second(100).to_string(), "100/s");
/// assert!("0/h".parse::<Rate>()?.is_off());
/// # Ok::<(), switchboard::settings::InvalidRate>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long; zero only where `count` is zero.
    pub per: Duration,
}

impl Rate {
    /// `count` a second; 0 for no limit.
    pub fn per_second(count: u32) -> Self {
        Self { count, per: Duration::from_secs(1) }
    }

    /// Whether it limits nothing.
    pub fn is_off(&self) -> bool {
        self.count == 0 || self.per.is_zero()
    }
}

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a rate; write it like \"100/s\", \"5/m\" or \"1000/h\"")]
pub struct InvalidRate(String);

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let invalid = || InvalidRate(text.to_owned());
        let (count, unit) = text.split_once('/').ok_or_else(invalid)?;
        let count = match count.trim() {
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| invalid())?,
            _ => return Err(invalid()),
        };
        let per = match unit.trim() {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3600,
            _ => return Err(invalid()),
        };
        // No limit is no limit, whatever the time.
        Ok(if count == 0 { Self::default() } else { Self { count, per: Duration::from_secs(per) } })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            3600 => "h",
            60 => "m",
            _ => "s",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl TryFrom<String> for Rate {
    type Error = InvalidRate;

    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

/// How fast one source may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Rates {
    /// Messages of one source. On a stream, reading from that connection waits; a datagram is dropped. Default none.
    pub messages_per_source: Rate,
    /// New connections of one source; over it they are accepted and closed. Default none.
    pub connections_per_source: Rate,
    /// How many may come at once before a rate applies; 0 for one second's worth. Default 0.
    pub burst: u32,
}

/// Options of the sockets of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Clients that the system lets wait for accept. Default 1,024.
    pub backlog: u32,
    /// Send small segments at once (`TCP_NODELAY`). Default on.
    pub nodelay: bool,
    /// Idle time after which the system asks whether a TCP peer still lives; zero for never. Default 60 s.
    pub keepalive: Duration,
    /// Let several processes listen on the same port (`SO_REUSEPORT`). Default off.
    pub reuse_port: bool,
    /// Mode of a Unix socket's path, set before anyone can connect. Default `0600`.
    pub mode: u32,
    /// Group of a Unix socket's path; `None` leaves it as it is.
    pub group: Option<String>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        let keepalive = Duration::from_secs(60);
        Self { backlog: 1024, nodelay: true, keepalive, reuse_port: false, mode: 0o600, group: None }
    }
}

/// How long a stop may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DrainSettings {
    /// How long readiness says no before the listeners close. Default 0.
    pub announce: Duration,
    /// How long connections have to finish, `announce` not included. Default 30 s.
    pub deadline: Duration,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { announce: Duration::ZERO, deadline: Duration::from_secs(30) }
    }
}

/// A point in time so long after another; a century, where the sum is more than a clock can say.
pub(crate) fn deadline_after(begin: Instant, time: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    begin + time.min(CENTURY)
}
