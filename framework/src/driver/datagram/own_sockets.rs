//! The datagram sockets of this process. Datagrams from them are not answered: two listeners could answer each other
//! endlessly.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::RwLock;

use crate::address::Address;

static SOCKETS: RwLock<Vec<Address>> = RwLock::new(Vec::new());
/// One bit per port: whether one of [`SOCKETS`] has it. Every received datagram reads a bit, without the lock.
static PORTS: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// The local address of an open datagram socket. Several dispatchers of one socket register it several times.
#[derive(Debug)]
pub(crate) struct OwnSocket(Address);

impl OwnSocket {
    pub(crate) fn register(local: Address) -> Self {
        let mut sockets = SOCKETS.write();
        sockets.push(local.clone());
        publish_port(&sockets, &local);
        Self(local)
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        let mut sockets = SOCKETS.write();
        if let Some(found) = sockets.iter().position(|socket| *socket == self.0) {
            sockets.swap_remove(found);
        }
        publish_port(&sockets, &self.0);
    }
}

/// Whether a peer is a datagram socket of this process.
pub(crate) fn is_own_socket(peer: &Address) -> bool {
    match peer {
        Address::Inet(peer) => {
            let (word, bit) = port_bit(peer.port());
            word.load(Relaxed) & bit != 0 && is_own_address(*peer)
        }
        Address::Unix(None) => false,
        Address::Unix(Some(_)) | Address::Named(_) => SOCKETS.read().contains(peer),
    }
}

#[cold]
fn is_own_address(peer: SocketAddr) -> bool {
    let mut is_wildcard = false;
    for socket in &*SOCKETS.read() {
        match socket {
            Address::Inet(socket) if socket.port() != peer.port() => {}
            Address::Inet(socket) if socket.ip().to_canonical() == peer.ip().to_canonical() => return true,
            Address::Inet(socket) => is_wildcard |= socket.ip().is_unspecified(),
            Address::Unix(_) | Address::Named(_) => {}
        }
    }
    is_wildcard && is_local(peer)
}

/// Whether this host has an address: a socket can be bound to it. A list of the addresses would need a netlink socket.
fn is_local(mut peer: SocketAddr) -> bool {
    let ip = peer.ip().to_canonical();
    peer.set_ip(ip);
    if ip.is_loopback() {
        return true;
    }
    peer.set_port(0);
    if UdpSocket::bind(peer).is_err() {
        return false;
    }
    // With this option any address can be bound (ip(7)); then the source of a route to the address decides.
    let option = format!("/proc/sys/net/ipv{}/ip_nonlocal_bind", if ip.is_ipv4() { 4 } else { 6 });
    let any_can_be_bound = fs::read_to_string(option).is_ok_and(|value| value.trim() == "1");
    !any_can_be_bound || source_of_route(peer).is_ok_and(|source| source == ip)
}

/// The local address from which the kernel sends to a peer. Nothing is sent.
fn source_of_route(mut peer: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = UdpSocket::bind((any, 0))?;
    peer.set_port(1); // any port
    probe.connect(peer)?;
    probe.local_addr().map(|source| source.ip())
}

fn publish_port(sockets: &[Address], changed: &Address) {
    let port = |address: &Address| match address {
        Address::Inet(address) => Some(address.port()),
        Address::Unix(_) | Address::Named(_) => None,
    };
    let Some(changed) = port(changed) else { return };
    let (word, bit) = port_bit(changed);
    if sockets.iter().any(|socket| port(socket) == Some(changed)) {
        word.fetch_or(bit, Relaxed);
    } else {
        word.fetch_and(!bit, Relaxed);
    }
}

fn port_bit(port: u16) -> (&'static AtomicU64, u64) {
    (&PORTS[usize::from(port / 64)], 1 << (port % 64))
}

#[cfg(test)]
mod tests;
