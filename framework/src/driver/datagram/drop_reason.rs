//! Why a datagram or a reply is dropped, and the filter for sources that must not be answered.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use strum::{IntoStaticStr, VariantArray};

use crate::address::Address;
use crate::close_reason::CloseReason;
use crate::driver::datagram::own_sockets::is_own_socket;

/// The highest port of a service that answers any datagram: ntp.
const MAX_SERVICE: u16 = 123;

/// The values of the log field `reason` of `datagram dropped`. Each has its own log throttle, so none hides another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum DropReason {
    /// The datagram is larger than `limits.frame`.
    FrameTooLarge,
    /// The source port must not be answered.
    SourcePort,
    /// The source address must not be answered.
    SourceAddress,
    /// The path of a Unix peer is relative, so it has another meaning in this process.
    RelativePath,
    /// The source is a datagram socket of this process.
    OwnAddress,
    /// `access` rejects the peer.
    Denied,
    /// The source is banned.
    Banned,
    /// The datagram is not a valid message.
    BadFrame,
    /// The peer table is full, and no peer can be evicted.
    Sessions,
    /// Too many messages are pending.
    Waiting,
    /// The source exceeds its rate.
    Rate,
    /// The send queue is full.
    OutboxFull,
    /// The peer is not validated, and the pushed frame exceeds its amplification limit.
    AmplificationLimit,
    /// The peer is not validated, and the reply exceeds `rate.replies_per_peer`.
    ReplyRate,
}

impl DropReason {
    /// The close reason whose weight counts as strikes of a peer that causes it.
    pub(crate) fn strikes_as(self) -> Option<CloseReason> {
        match self {
            Self::FrameTooLarge => Some(CloseReason::FrameTooLarge),
            Self::BadFrame => Some(CloseReason::BadFrame),
            Self::Denied => Some(CloseReason::Denied),
            _ => None,
        }
    }
}

/// Why a datagram must not be answered: a real sender does not have its source address, or a service there would answer
/// the reply in an endless loop.
pub(crate) fn reject_source(peer: &Address) -> Option<DropReason> {
    // The name of an abstract socket begins with NUL.
    if let Address::Unix(Some(path)) = peer
        && !matches!(path.as_os_str().as_bytes(), [b'/' | 0, ..])
    {
        return Some(DropReason::RelativePath);
    }
    if let Address::Inet(peer) = peer
        && !is_ordinary(peer)
        && let Some(reason) = reject_inet(peer)
    {
        return Some(reason);
    }
    is_own_socket(peer).then_some(DropReason::OwnAddress)
}

/// Whether a peer has an IPv4 unicast address and a port above those of the services: most peers do.
#[inline]
fn is_ordinary(peer: &SocketAddr) -> bool {
    matches!(peer, SocketAddr::V4(peer) if peer.port() > MAX_SERVICE && matches!(peer.ip().octets(), [1..=223, ..]))
}

fn reject_inet(peer: &SocketAddr) -> Option<DropReason> {
    let ip = peer.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    // Services that answer any datagram: echo, daytime, qotd, chargen, time, dns, tftp, ntp.
    if matches!(peer.port(), 0 | 7 | 13 | 17 | 19 | 37 | 53 | 69 | MAX_SERVICE) {
        return Some(DropReason::SourcePort);
    }
    (ip.is_unspecified() || ip.is_multicast() || is_broadcast).then_some(DropReason::SourceAddress)
}

#[cfg(test)]
mod tests;
