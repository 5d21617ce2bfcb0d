//! Which datagrams must not be answered, whatever they say.

use std::net::IpAddr;

use crate::address::Address;
use crate::driver::datagram::drop_reason::DropReason;
use crate::transport::Route;

/// DropReason a datagram from there must not be answered: nobody can have sent it honestly, or whoever sent it would answer back
/// for ever.
pub(crate) fn reject_source(route: &Route, local: &Address) -> Option<DropReason> {
    /// Services that answer anything: echo, daytime, qotd, chargen, time, dns, tftp, ntp.
    const ANSWERING: [u16; 8] = [7, 13, 17, 19, 37, 53, 69, 123];
    let Address::Inet(peer) = &route.peer else { return None };
    let ip = peer.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if peer.port() == 0 || ANSWERING.contains(&peer.port()) {
        return Some(DropReason::SourcePort);
    }
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Some(DropReason::SourceAddress);
    }
    let Address::Inet(local) = local else { return None };
    // On a socket for every address, every loopback address is our own.
    let local_ip = route.local_ip.unwrap_or(local.ip()).to_canonical();
    let ours = ip == local_ip || (local.ip().is_unspecified() && ip.is_loopback());
    (local.port() == peer.port() && ours).then_some(DropReason::OwnAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_must_not_be_answered() {
        let local = Address::Inet("127.0.0.1:9999".parse().unwrap());
        let why = |peer: &str, local_ip: Option<&str>| {
            let route = Route {
                peer: Address::Inet(peer.parse().unwrap()),
                local_ip: local_ip.map(|local_ip| local_ip.parse().unwrap()),
            };
            reject_source(&route, &local)
        };
        assert_eq!(why("127.0.0.1:4000", None), None);
        assert_eq!(why("192.0.2.1:9999", None), None);
        for port in [0, 7, 13, 17, 19, 37, 53, 69, 123] {
            assert_eq!(why(&format!("192.0.2.1:{port}"), None), Some(DropReason::SourcePort), "{port}");
        }
        for ip in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "[ff02::1]", "[::]", "[::ffff:0.0.0.0]"] {
            assert_eq!(why(&format!("{ip}:4000"), None), Some(DropReason::SourceAddress), "{ip}");
        }
        assert_eq!(why("127.0.0.1:9999", None), Some(DropReason::OwnAddress));
        assert_eq!(why("127.0.0.2:9999", Some("127.0.0.2")), Some(DropReason::OwnAddress));
    }
}
