//! UDP. A wildcard socket reads the local address of each datagram (ip(7), ipv6(7)) and replies from that address. Not
//! with `quinn-udp`: it sets the don't-fragment bit, enables GRO and hides send errors.

use parking_lot::Mutex;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::BytesMut;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt, sockopt,
};
use socket2::{Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::address::{Address, Endpoint};
use crate::connection::Kind;
use crate::transport::listener::{Bind, DatagramSocket, Listener, Route, SchemeInfo, Transport, unsupported_endpoint};
use crate::transport::several::combine;
use crate::transport::socket::{SharedSocket, adopt_all, bind_all};

/// The size of the largest datagram.
const MAX_DATAGRAM: usize = 64 * 1024;

/// `udp://host:port`. Uses the socket option `reuse_port`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Udp;

#[async_trait]
impl Transport for Udp {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("udp", "UDP: udp://host:port", Kind::Datagram)]
    }

    async fn bind(&self, Bind { endpoint, options, inherited }: Bind) -> io::Result<Listener> {
        let Endpoint::Udp(host_port) = &endpoint else { return Err(unsupported_endpoint(&endpoint)) };
        let sockets = match inherited {
            Some(inherited) => adopt_all(inherited)?,
            None => bind_all(host_port, Type::DGRAM, Protocol::UDP, &options).await?,
        };
        combine(sockets.into_iter().map(|socket| listen(socket, &endpoint)))
    }
}

pub(super) fn listen(socket: Socket, endpoint: &Endpoint) -> io::Result<Listener> {
    let socket = UdpSocket::from_std(socket.into())?;
    let local = socket.local_addr()?;
    let endpoint = endpoint.with_port(local.port());
    let scratch = local.ip().is_unspecified().then(|| Mutex::new(vec![0; MAX_DATAGRAM]));
    match local {
        _ if scratch.is_none() => {} // the kernel replies from the address of the socket
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            // For IPv4 datagrams: the option for IPv6 has only their destination.
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
    }
    Ok(Listener::Datagram(Box::new(UdpDatagramSocket { socket, endpoint, local, scratch })))
}

struct UdpDatagramSocket {
    socket: UdpSocket,
    endpoint: Endpoint,
    local: SocketAddr,
    /// The receive buffer of a socket bound to the wildcard address. The kernel sends the replies of any other socket
    /// from the address that it is bound to.
    scratch: Option<Mutex<Vec<u8>>>,
}

impl UdpDatagramSocket {
    /// Receives a datagram and the local address for the reply.
    fn receive(&self, scratch: &mut [u8], buffer: &mut BytesMut) -> io::Result<Route> {
        let mut control = nix::cmsg_space!(in_pktinfo, in6_pktinfo);
        let (bytes, route) = {
            let mut slices = [IoSliceMut::new(scratch)];
            let fd = self.socket.as_raw_fd();
            let message = recvmsg::<SockaddrStorage>(fd, &mut slices, Some(&mut control), MsgFlags::empty())?;
            let peer = message.address.as_ref().and_then(to_std).ok_or(io::ErrorKind::InvalidData)?;
            let mut route = Route::new(Address::Inet(peer), None);
            // Fails if control messages are missing, because a service manager requested more of them.
            for control in message.cmsgs().into_iter().flatten() {
                self.set_local(&mut route, &control);
            }
            (message.bytes, route)
        };
        buffer.extend_from_slice(&scratch[..bytes]);
        Ok(route)
    }

    /// Reads the local address from a control message. An IPv4 datagram on an IPv6 socket has one of each kind, and the
    /// one for IPv4 is the last.
    fn set_local(&self, route: &mut Route, control: &ControlMessageOwned) {
        match control {
            // `ipi_addr` is the destination, which can be a broadcast or multicast address. `ipi_spec_dst` is always an
            // address of this host (ip(7)), or unspecified if the interface has none.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let ip = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
                let ip = if self.local.is_ipv4() { ip.into() } else { ip.to_ipv6_mapped().into() };
                *route =
                    Route::new(route.peer.clone(), Some(ip).filter(|ip: &IpAddr| !ip.to_canonical().is_unspecified()));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                // A multicast address cannot be a source: the kernel chooses an address of the interface. A link-local
                // address is valid only on its interface (RFC 4007).
                route.local_ip = Some(ip.into()).filter(|_| !ip.is_multicast());
                if ip.is_multicast() || ip.is_unicast_link_local() {
                    route.interface = info.ipi6_ifindex;
                }
            }
            _ => {}
        }
    }

    fn send(&self, payload: &[u8], peer: SocketAddr, route: &Route) -> io::Result<()> {
        let fd = self.socket.as_raw_fd();
        let slices = [IoSlice::new(payload)];
        let to = SockaddrStorage::from(peer);
        let flags = MsgFlags::empty();
        match (route.local_ip, route.interface) {
            (Some(IpAddr::V4(local_ip)), _) => {
                let from = in_addr { s_addr: u32::from_ne_bytes(local_ip.octets()) };
                let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: in_addr { s_addr: 0 } };
                sendmsg(fd, &slices, &[ControlMessage::Ipv4PacketInfo(&info)], flags, Some(&to))?
            }
            (None, 0) => sendmsg(fd, &slices, &[], flags, Some(&to))?,
            (local_ip, interface) => {
                let from = if let Some(IpAddr::V6(local_ip)) = local_ip { local_ip } else { Ipv6Addr::UNSPECIFIED };
                let info = in6_pktinfo { ipi6_addr: in6_addr { s6_addr: from.octets() }, ipi6_ifindex: interface };
                sendmsg(fd, &slices, &[ControlMessage::Ipv6PacketInfo(&info)], flags, Some(&to))?
            }
        };
        Ok(())
    }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}

impl DatagramSocket for UdpDatagramSocket {
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        loop {
            let received = match &self.scratch {
                Some(scratch) => self.socket.try_io(Interest::READABLE, || self.receive(&mut scratch.lock(), buffer)),
                None => self.socket.try_recv_buf_from(buffer).map(|(_, peer)| Route::new(Address::Inet(peer), None)),
            };
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_recv_ready(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        let Address::Inet(peer) = route.peer else { return Err(io::ErrorKind::InvalidInput.into()) };
        match self.scratch {
            Some(_) => self.socket.try_io(Interest::WRITABLE, || self.send(payload, peer, route)),
            None => self.socket.try_send_to(payload, peer).map(drop),
        }
    }

    fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_send_ready(cx)
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn local(&self) -> Address {
        Address::Inet(self.local)
    }

    fn share(&self) -> Option<SharedSocket> {
        SharedSocket::of(&self.socket)
    }
}
