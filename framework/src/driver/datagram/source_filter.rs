//! Filters datagrams that must not be answered because of their source.

use std::net::IpAddr;

use crate::address::Address;
use crate::driver::datagram::drop_reason::DropReason;
use crate::transport::Route;

/// Ports of services that answer any datagram: echo, daytime, qotd, chargen, time, dns, tftp, ntp.
const ANSWERING_PORTS: [u16; 8] = [7, 13, 17, 19, 37, 53, 69, 123];

/// Why a datagram must not be answered: its source is forged, or would answer the reply in an endless loop.
pub(crate) fn reject_source(route: &Route, local: &Address) -> Option<DropReason> {
    let Address::Inet(peer) = &route.peer else { return None };
    let ip = peer.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if peer.port() == 0 || ANSWERING_PORTS.contains(&peer.port()) {
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
mod tests {
    use super::*;

    #[test]
    fn sources_that_must_not_be_answered() {
        let local = Address::Inet("127.0.0.1:9999".parse().unwrap());
        let reason = |peer: &str, local_ip: Option<&str>| {
            let route = Route {
                peer: Address::Inet(peer.parse().unwrap()),
                local_ip: local_ip.map(|local_ip| local_ip.parse().unwrap()),
            };
            reject_source(&route, &local)
        };
        assert_eq!(reason("127.0.0.1:4000", None), None);
        assert_eq!(reason("192.0.2.1:9999", None), None);
        for port in [0, 7, 13, 17, 19, 37, 53, 69, 123] {
            assert_eq!(reason(&format!("192.0.2.1:{port}"), None), Some(DropReason::SourcePort), "{port}");
        }
        for ip in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "[ff02::1]", "[::]", "[::ffff:0.0.0.0]"] {
            assert_eq!(reason(&format!("{ip}:4000"), None), Some(DropReason::SourceAddress), "{ip}");
        }
        assert_eq!(reason("127.0.0.1:9999", None), Some(DropReason::OwnAddress));
        assert_eq!(reason("127.0.0.2:9999", Some("127.0.0.2")), Some(DropReason::OwnAddress));
    }
}
