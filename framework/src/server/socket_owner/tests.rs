//! Tests of `server/socket_owner.rs`.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use super::*;

fn is_this_process(endpoint: &str) -> bool {
    let owner = find_owner(&endpoint.parse().unwrap());
    matches!(owner, Some(Owner::Process { id, .. }) if id == std::process::id())
}

#[test]
fn the_process_of_a_socket_is_found() {
    for host in ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"] {
        let Ok(tcp) = TcpListener::bind(format!("{host}:0")) else { continue }; // without IPv6
        let port = tcp.local_addr().unwrap().port();
        assert!(is_this_process(&format!("tcp://{host}:{port}")), "{host}");
        assert!(is_this_process(&format!("tls://0.0.0.0:{port}")), "{host}");
        let udp = UdpSocket::bind(format!("{host}:0")).unwrap();
        assert!(is_this_process(&format!("udp://{host}:{}", udp.local_addr().unwrap().port())), "{host}");
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a socket");
    let unix = UnixListener::bind(&path).unwrap();
    assert!(is_this_process(&format!("unix:{}", path.display())));
    // A connection that is not accepted yet belongs to no process, and an accepted one can belong to another.
    let _clients: Vec<_> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
    let accepted = unix.accept().unwrap().0;
    assert!(is_this_process(&format!("unix:{}", path.display())));
    drop(unix);
    assert_eq!(find_owner(&format!("unix:{}", path.display()).parse().unwrap()), None, "{accepted:?}");
    let datagrams = directory.path().join("datagrams");
    let _datagrams = UnixDatagram::bind(&datagrams).unwrap();
    assert!(is_this_process(&format!("unixgram:{}", datagrams.display())));
    assert_eq!(find_owner(&"tcp://127.0.0.1:0".parse().unwrap()), None);
    assert_eq!(find_owner(&"unix:/not/there".parse().unwrap()), None);
}

#[test]
fn lines_of_the_tables_are_understood() {
    let line =
        "   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 4242 1 0 100 0";
    let web = Some(Entry { inode: 4242, uid: Some(33) });
    let ip = |text: &str| Some(text.parse().unwrap());
    assert_eq!(network_entry(line, ip("127.0.0.1"), 80, LISTENING), web);
    assert_eq!(network_entry(line, None, 80, LISTENING), web);
    assert_eq!(network_entry(line, None, 81, LISTENING), None);
    assert_eq!(network_entry(line, None, 80, UNCONNECTED), None);
    for broken in ["", "sl local_address", "1: 0:0 0 0A", "1: zz:zz 0 0A 0 0 0 0 0 0 0", "1: ä0000000:0050 0 0A"] {
        assert_eq!(network_entry(broken, None, 80, LISTENING), None, "{broken}");
        assert_eq!(unix_entry(broken, Path::new("/a"), &STREAM), None, "{broken}");
    }
    let line = "0000000000000000: 00000002 00000000 00010000 0001 01    77 @name of two";
    assert_eq!(unix_entry(line, Path::new("\0name of two"), &STREAM), Some(Entry { inode: 77, uid: None }));
    for other in ["name of two", "two", "\0name", "\0name of"] {
        assert_eq!(unix_entry(line, Path::new(other), &STREAM), None, "{other}");
    }
    assert_eq!(unix_entry(line, Path::new("\0name of two"), &DATAGRAM), None);
}
