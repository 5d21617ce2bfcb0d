//! Why a datagram or a reply is dropped, and the filter for sources that must not be answered.

use std::net::IpAddr;

use strum::{IntoStaticStr, VariantArray};

use crate::address::Address;
use crate::transport::Route;

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
    /// The source is the socket itself.
    OwnAddress,
    /// `access` rejects the peer.
    Denied,
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
    /// The peer is not validated, and the reply exceeds its amplification limit.
    AmplificationLimit,
}

/// Why a datagram must not be answered: a real sender does not have its source address, or a service there would answer
/// the reply in an endless loop.
pub(crate) fn reject_source(route: &Route, local: &Address) -> Option<DropReason> {
    let Address::Inet(peer) = &route.peer else { return None };
    let ip = peer.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    // Services that answer any datagram: echo, daytime, qotd, chargen, time, dns, tftp, ntp.
    if matches!(peer.port(), 0 | 7 | 13 | 17 | 19 | 37 | 53 | 69 | 123) {
        return Some(DropReason::SourcePort);
    }
    if ip.is_unspecified() || ip.is_multicast() || is_broadcast {
        return Some(DropReason::SourceAddress);
    }
    let Address::Inet(local) = local else { return None };
    // A wildcard socket receives on every loopback address.
    let local_ip = route.local_ip.unwrap_or(local.ip()).to_canonical();
    let is_own_ip = ip == local_ip || (local.ip().is_unspecified() && ip.is_loopback());
    (local.port() == peer.port() && is_own_ip).then_some(DropReason::OwnAddress)
}

#[cfg(test)]
mod tests;
