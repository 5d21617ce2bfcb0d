//! Unique names, free ports and external programs for tests.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{env, io, process};

use socket2::{Domain, Socket, Type};

/// A name that no other test uses, for `mem:` listeners and paths.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed))
}

/// A TCP port on 127.0.0.1 at which nothing listens, as long as this value exists.
#[derive(Debug)]
pub struct ClosedPort(Socket);

impl ClosedPort {
    /// Reserves a port.
    pub fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("the system has sockets");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port is free");
        Self(socket)
    }

    /// The address, such as `127.0.0.1:40001`.
    pub fn address(&self) -> String {
        let address = self.0.local_addr().ok().and_then(|address| address.as_socket());
        address.expect("the socket is bound").to_string()
    }
}

/// A port on 127.0.0.1 that is free for TCP and UDP and outside the ephemeral range.
///
/// For programs that do not report their port. Prefer port 0 for the others.
pub fn free_port() -> u16 {
    // Below the ephemeral range (ip_local_port_range in ip(7)). Each process starts at a different port.
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let nth = process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = u16::try_from(FIRST + nth % PORTS).expect("the range is below 65536");
        let at = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST}");
}

/// The path of an external program that a test needs. If it is not installed, prints a message and returns `None`.
/// With `CI=true` a missing program fails the test, so that CI skips no test.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0));
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "{name} is not installed, and CI must not skip tests");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// Repeats a system call while it is interrupted. A read or write with a timeout is never restarted when its process
/// continues after a stop, see signal(7).
pub fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
