//! Tests of `driver/datagram/drop_reason.rs`.

use super::*;
use crate::driver::datagram::own_sockets::OwnSocket;

#[test]
fn every_reason_is_listed_at_its_index() {
    assert!(DropReason::VARIANTS.iter().enumerate().all(|(index, reason)| *reason as usize == index));
}

#[test]
fn unanswerable_source_addresses_are_rejected() {
    let reason = |peer: &str| reject_source(&Address::Inet(peer.parse().unwrap()));
    assert_eq!(reason("127.0.0.1:4000"), None);
    assert_eq!(reason("192.0.2.1:9999"), None);
    for port in [0, 7, 13, 17, 19, 37, 53, 69, 123] {
        assert_eq!(reason(&format!("192.0.2.1:{port}")), Some(DropReason::SourcePort), "{port}");
    }
    for ip in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "[ff02::1]", "[::]", "[::ffff:0.0.0.0]"] {
        assert_eq!(reason(&format!("{ip}:4000")), Some(DropReason::SourceAddress), "{ip}");
    }
    let _own = OwnSocket::register(Address::Inet("127.0.0.1:9999".parse().unwrap()));
    assert_eq!(reason("127.0.0.1:9999"), Some(DropReason::OwnAddress));
}
