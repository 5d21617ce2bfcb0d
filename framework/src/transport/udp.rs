//! UDP. A wildcard socket reads the local address of each datagram (ip(7), ipv6(7)) and replies from that address. Not
//! with `quinn-udp`: it sets the don't-fragment bit, enables GRO and hides send errors.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, sendmmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::address::{Address, Endpoint};
use crate::connection::Kind;
use crate::transport::listener::{
    Bind, Datagram, DatagramSocket, Listener, Route, SchemeInfo, Transport, unsupported_endpoint,
};
use crate::transport::several::combine;
use crate::transport::socket::{SharedSocket, adopt_all, bind_all};
use crate::transport::udp::source::Source;

mod source;

/// Maximum datagrams of one system call.
const BATCH: usize = 32;
/// Minimum places of a receive call. With two, a single datagram shows that no other one is queued.
const MIN_PLACES: usize = 2;
/// The size of a receive buffer: 64 KiB for the largest datagram, and 320 bytes. Buffers whose distance is a power of
/// two would share cache sets.
const BUFFER: usize = 65_856;

thread_local! {
    /// The receive buffers of all sockets of a thread, at most [`BATCH`].
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

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
    let is_wildcard = local.ip().is_unspecified();
    match local {
        _ if !is_wildcard => {} // the kernel replies from the address of the socket
        SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
            // For IPv4 datagrams: the option for IPv6 has only their destination.
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
    }
    let places = AtomicUsize::new(MIN_PLACES);
    Ok(Listener::Datagram(Box::new(UdpDatagramSocket { socket, endpoint, local, is_wildcard, places })))
}

struct UdpDatagramSocket {
    socket: UdpSocket,
    endpoint: Endpoint,
    local: SocketAddr,
    /// Whether the socket is bound to the wildcard address. The kernel sends the replies of any other socket from the
    /// address that it is bound to.
    is_wildcard: bool,
    /// Datagrams that the next call can receive: twice as many as the last one has received, because each place costs
    /// time even if it stays empty.
    places: AtomicUsize,
}

impl UdpDatagramSocket {
    /// Receives queued datagrams. The error [`io::ErrorKind::WouldBlock`] means that no more are queued, even if some
    /// were received.
    ///
    /// recvmmsg(2) returns an error behind the first datagram at the next call. An error that arrives meanwhile makes
    /// the socket ready again, so that the datagrams behind it do not wait for another one.
    fn receive(&self, max: usize, datagrams: &mut Vec<Datagram>) -> io::Result<()> {
        let places = self.places.load(Relaxed).min(max).max(1);
        // New headers for each call: the kernel changes msg_namelen and msg_controllen, and nix does not reset them.
        let control = self.is_wildcard.then(|| nix::cmsg_space!(in_pktinfo, in6_pktinfo));
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(places, control);
        let (earlier, mut received) = (datagrams.len(), 0);
        BUFFERS.with_borrow_mut(|buffers| {
            while buffers.len() < places {
                buffers.push(vec![0; BUFFER]);
            }
            let mut slices: Vec<_> = buffers[..places].iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let fd = self.socket.as_raw_fd();
            for message in recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::empty(), None)? {
                received += 1;
                let Some(route) = self.route(&message) else { continue };
                let payload = message.iovs().next().unwrap_or_default();
                // A copy: a small message that waits must not keep a large buffer.
                datagrams.push(Datagram::new(route, Bytes::copy_from_slice(payload)));
            }
            io::Result::Ok(())
        })?;
        let is_empty = received < places;
        let next = if is_empty { 2 * received } else { self.places.load(Relaxed).max(2 * received) };
        self.places.store(next.clamp(MIN_PLACES, BATCH), Relaxed);
        if datagrams.len() == earlier {
            return Err(io::ErrorKind::InvalidData.into()); // no datagram has an address
        }
        if is_empty { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    /// The peer of a datagram, and the local address for the reply.
    fn route(&self, message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<Route> {
        let peer = message.address.as_ref().and_then(to_std)?;
        let mut route = Route::new(Address::Inet(peer), None);
        // Fails if control messages are missing, because a service manager requested more of them.
        for control in message.cmsgs().into_iter().flatten() {
            self.set_local(&mut route, &control);
        }
        Some(route)
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

    /// Sends datagrams from the same source together. sendmmsg(2) reports an error only of the first one: after an
    /// error of another one, it returns how many it has sent before.
    fn send(&self, datagrams: &[Datagram], source: &Source) -> io::Result<usize> {
        let fd = self.socket.as_raw_fd();
        let slices: Vec<_> = datagrams.iter().map(|datagram| [IoSlice::new(&datagram.payload)]).collect();
        let peers: Vec<_> = datagrams.iter().map(|Datagram { route, .. }| to_nix(route)).collect();
        let control = source.control();
        let mut headers = MultiHeaders::preallocate(datagrams.len(), source.control_space());
        let sent = sendmmsg(fd, &mut headers, &slices, &peers, control.as_slice(), MsgFlags::empty())?;
        Ok(sent.count())
    }
}

fn to_nix(route: &Route) -> Option<SockaddrStorage> {
    if let Address::Inet(peer) = route.peer { Some(peer.into()) } else { None }
}

fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}

impl DatagramSocket for UdpDatagramSocket {
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        let mut datagrams = Vec::with_capacity(1);
        ready!(self.poll_receive_batch(cx, buffer, 1, &mut datagrams))?;
        let Datagram { route, payload } = datagrams.remove(0);
        buffer.extend_from_slice(&payload);
        Poll::Ready(Ok(route))
    }

    fn poll_receive_batch(
        &self,
        cx: &mut Context<'_>,
        _: &mut BytesMut,
        max: usize,
        datagrams: &mut Vec<Datagram>,
    ) -> Poll<io::Result<()>> {
        let earlier = datagrams.len();
        loop {
            // `WouldBlock` clears the readiness of the socket, which saves the read that finds nothing.
            match self.socket.try_io(Interest::READABLE, || self.receive(max, datagrams)) {
                _ if datagrams.len() > earlier => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_recv_ready(cx))?,
                result => return Poll::Ready(result),
            }
        }
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        let Address::Inet(peer) = route.peer else { return Err(io::ErrorKind::InvalidInput.into()) };
        if !self.is_wildcard {
            return self.socket.try_send_to(payload, peer).map(drop);
        }
        let (source, slices, to) = (Source::of(route), [IoSlice::new(payload)], SockaddrStorage::from(peer));
        let (fd, control) = (self.socket.as_raw_fd(), source.control());
        self.socket.try_io(Interest::WRITABLE, || {
            Ok(sendmsg(fd, &slices, control.as_slice(), MsgFlags::empty(), Some(&to)).map(drop)?)
        })
    }

    fn try_send_batch(&self, datagrams: &[Datagram]) -> io::Result<usize> {
        let Datagram { route, payload } = &datagrams[0];
        // The datagrams of one system call have the same control message.
        let is_alike = |other: &&Datagram| {
            let other = &other.route;
            matches!(other.peer, Address::Inet(_))
                && (!self.is_wildcard || (other.local_ip, other.interface) == (route.local_ip, route.interface))
        };
        let count = datagrams.iter().take(BATCH).take_while(is_alike).count();
        if count < 2 {
            return self.try_send(payload, route).map(|()| 1);
        }
        let source = if self.is_wildcard { Source::of(route) } else { Source::Any };
        self.socket.try_io(Interest::WRITABLE, || self.send(&datagrams[..count], &source))
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
