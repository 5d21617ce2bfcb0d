//! Tests of `driver/datagram/drop_reason.rs`.

use super::*;

#[test]
fn every_reason_is_listed_at_its_index() {
    assert!(DropReason::VARIANTS.iter().enumerate().all(|(index, reason)| *reason as usize == index));
}

#[test]
fn unanswerable_source_addresses_are_rejected() {
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
