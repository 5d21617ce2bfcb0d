//! What a report says about one listener.

use crate::address::Endpoint;
use crate::close_reason::CloseReason;
use crate::connection::Kind;
use crate::metrics::{Latency, Outcome};
use crate::transport::tls::CertificateInfo;

/// A snapshot of one listener. Counters start with the process and continue over reloads. They include the
/// [counts](crate::Running::add_counts) of other processes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ListenerReport {
    /// The name of the listener.
    pub name: String,
    /// The endpoint that it listens on, with the real port.
    pub endpoint: Endpoint,
    /// Whether it accepts connections or receives datagrams.
    pub kind: Kind,
    /// Its state.
    pub state: ListenerStatus,
    /// Why new clients cannot reach it although it listens: its path or its address has disappeared.
    pub problem: Option<String>,
    /// The certificate that expires first, of a listener with TLS.
    pub certificate: Option<CertificateInfo>,
    /// Open connections.
    pub open: usize,
    /// The limit of open connections, or of datagram peers in the session table.
    pub max_open: usize,
    /// Datagram peers in the session table.
    pub sessions: usize,
    /// Accepted connections.
    pub accepted: u64,
    /// Closed connections, by reason.
    pub closed: Vec<(CloseReason, u64)>,
    /// Rejected connections, by reason.
    pub rejected: Vec<(CloseReason, u64)>,
    /// Messages, by outcome.
    pub messages: Vec<(Outcome, u64)>,
    /// The time from the read that completed a message until its reply was written.
    pub latency: Latency,
    /// Bytes received, including framing but not TLS overhead.
    pub bytes_in: u64,
    /// Bytes sent, including framing but not TLS overhead.
    pub bytes_out: u64,
    /// Accept errors, by class.
    pub accept_errors: Vec<(&'static str, u64)>,
}

impl ListenerReport {
    /// Connections that closed because of a failure, see [`CloseReason::is_failure`].
    pub fn errors(&self) -> u64 {
        self.closed.iter().filter(|(reason, _)| reason.is_failure()).map(|(_, count)| count).sum()
    }
}

/// The state of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenerStatus {
    /// It accepts connections or receives datagrams.
    Listening,
    /// It has failed and is being bound again, or new clients cannot reach it.
    Down,
    /// It has stopped accepting; open connections finish.
    Draining,
    /// Its transport has no more clients.
    Ended,
}

impl ListenerStatus {
    /// The name in reports and JSON. Names never change.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Ended => "ended",
        }
    }
}
