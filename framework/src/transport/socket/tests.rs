//! Tests of sockets for several addresses.

use super::*;

fn bind(addresses: &[&str], kind: Type) -> io::Result<Vec<Socket>> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let addresses: Vec<SocketAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    bind_each(&addresses, kind, protocol, &SocketOptions::default())
}

#[test]
fn every_address_has_the_same_port_and_an_error_names_its_address() {
    for kind in [Type::STREAM, Type::DGRAM] {
        let sockets = bind(&["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"], kind).unwrap();
        let at = |socket: &Socket| socket.local_addr().unwrap().as_socket().unwrap();
        let port = at(&sockets[0]).port();
        let found: Vec<String> = sockets.iter().map(|socket| at(socket).to_string()).collect();
        assert_eq!(found, [1, 2, 3].map(|last| format!("127.0.0.{last}:{port}")));
        if kind == Type::STREAM {
            sockets[1].listen(1).unwrap(); // with SO_REUSEADDR only a listening socket blocks the port
        }
        let error = bind(&[&format!("127.0.0.9:{port}"), &found[1]], kind).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&found[1]), "{error}");
    }
}

#[test]
fn an_address_of_another_host_is_an_error_and_a_missing_address_family_is_not() {
    let error = bind(&["127.0.0.1:0", "192.0.2.1:0"], Type::STREAM).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    let errno = |errno: Errno| io::Error::from_raw_os_error(errno as i32);
    let of = |address: &str| address.parse().unwrap();
    assert!(is_unsupported(&errno(Errno::EADDRNOTAVAIL), of("[::1]:0")));
    assert!(is_unsupported(&errno(Errno::EAFNOSUPPORT), of("[2001:db8::1]:0")));
    assert!(!is_unsupported(&errno(Errno::EADDRNOTAVAIL), of("192.0.2.1:0")));
    assert!(!is_unsupported(&errno(Errno::EADDRINUSE), of("[::1]:0")));
    assert!(bind(&[], Type::STREAM).is_err());
}

#[test]
fn a_handle_for_several_sockets_can_be_copied_and_split() {
    let sockets = bind(&["127.0.0.1:0", "127.0.0.2:0"], Type::STREAM).unwrap();
    let joined = SharedSocket::join(sockets.into_iter().map(|socket| SharedSocket::new(socket.into()))).unwrap();
    let copy = joined.try_clone().unwrap();
    let addresses: Vec<_> = joined.socket_addrs().collect();
    assert_eq!((addresses.len(), copy.socket_addrs().collect::<Vec<_>>()), (2, addresses));
    assert_eq!(copy.split().count(), 2);
    assert!(SharedSocket::join([]).is_none());
}
