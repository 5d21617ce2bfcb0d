//! Which datagrams must not be answered, whatever they say.

use std::net::IpAddr;

use crate::address::Address;
use crate::connection::dropped::Why;
use crate::io::Route;

/// Why a datagram from there must not be answered: nobody can have sent it honestly, or whoever sent it would answer back
/// for ever.
pub(crate) fn insane(route: &Route, local: &Address) -> Option<Why> {
    /// Services that answer anything: echo, daytime, qotd, chargen, time, dns, tftp, ntp.
    const ANSWERING: [u16; 8] = [7, 13, 17, 19, 37, 53, 69, 123];
    let Address::Inet(peer) = &route.peer else { return None };
    let ip = peer.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if peer.port() == 0 || ANSWERING.contains(&peer.port()) {
        return Some(Why::SourcePort);
    }
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return Some(Why::SourceAddress);
    }
    let Address::Inet(local) = local else { return None };
    // On a socket for every address, every loopback address is our own.
    let asked = route.asked.unwrap_or(local.ip()).to_canonical();
    let ours = ip == asked || (local.ip().is_unspecified() && ip.is_loopback());
    (local.port() == peer.port() && ours).then_some(Why::OwnAddress)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_that_must_not_be_answered() {
        let local = Address::Inet("127.0.0.1:9999".parse().unwrap());
        let why = |peer: &str, asked: Option<&str>| {
            let route =
                Route { peer: Address::Inet(peer.parse().unwrap()), asked: asked.map(|asked| asked.parse().unwrap()) };
            insane(&route, &local)
        };
        assert_eq!(why("127.0.0.1:4000", None), None);
        assert_eq!(why("192.0.2.1:9999", None), None);
        for port in [0, 7, 13, 17, 19, 37, 53, 69, 123] {
            assert_eq!(why(&format!("192.0.2.1:{port}"), None), Some(Why::SourcePort), "{port}");
        }
        for ip in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "[ff02::1]", "[::]", "[::ffff:0.0.0.0]"] {
            assert_eq!(why(&format!("{ip}:4000"), None), Some(Why::SourceAddress), "{ip}");
        }
        assert_eq!(why("127.0.0.1:9999", None), Some(Why::OwnAddress));
        assert_eq!(why("127.0.0.2:9999", Some("127.0.0.2")), Some(Why::OwnAddress));
    }
}
