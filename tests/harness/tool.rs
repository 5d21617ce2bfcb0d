//! Small things that are easy to get wrong: names, ports, programs of other people.

use std::env;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A name that no other test of this process uses: for `mem:` listeners and paths.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{name}-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed))
}

/// A port of 127.0.0.1 that is free for TCP and UDP, and that the system gives to nobody who asks for any port.
///
/// For programs that cannot say which port they were given; where one can, use port 0.
pub fn free_port() -> u16 {
    // Below the range from which Linux takes ports for clients (ip_local_port_range), and elsewhere for each process.
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..PORTS {
        let nth = process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = u16::try_from(FIRST + nth % PORTS).expect("the range ends below 65536");
        let at = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok() {
            return port;
        }
    }
    panic!("no port from {FIRST} on is free");
}

/// The path of a program of other people that a test needs. `None`, after saying so, where it is not installed; a failure
/// where the environment has `CI=true`, so that no test is skipped there unnoticed.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0));
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "{name} is not installed, and CI skips nothing");
        eprintln!("skipped: {name} is not installed");
    }
    found
}
