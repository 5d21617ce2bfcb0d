//! TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use async_trait::async_trait;
use socket2::{Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

use crate::address::{Address, Endpoint};
use crate::connection::Kind;
use crate::settings::SocketOptions;
use crate::transport::accepted::Accepted;
use crate::transport::listener::{Bind, Listener, SchemeInfo, StreamListener, Transport, unsupported_endpoint};
use crate::transport::several::combine;
use crate::transport::socket::{SharedSocket, adopt_all, bind_all};

/// `tcp://host:port`, and the TCP part of `tls://host:port`. Uses all socket options except `mode` and `group`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

#[async_trait]
impl Transport for Tcp {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![
            SchemeInfo::new("tcp", "TCP: tcp://host:port", Kind::Stream),
            // A server with TLS settings binds the TCP endpoint and adds TLS to the listener.
            #[cfg(feature = "tls")]
            SchemeInfo::new("tls", "TLS over TCP: tls://host:port, with a certificate and a key", Kind::Stream),
        ]
    }

    async fn bind(&self, Bind { endpoint, options, inherited }: Bind) -> io::Result<Listener> {
        let host_port = match &endpoint {
            Endpoint::Tcp(host_port) => host_port,
            Endpoint::Tls(_) => {
                let reason = "TLS needs a certificate and a key; neither is configured";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
            }
            _ => return Err(unsupported_endpoint(&endpoint)),
        };
        let sockets = match inherited {
            Some(inherited) => adopt_all(inherited)?,
            None => bind_all(host_port, Type::STREAM, Protocol::TCP, &options).await?,
        };
        combine(sockets.into_iter().map(|socket| listen(socket, &endpoint, &options)))
    }
}

/// Bytes of a connection that the kernel takes before it can send them. Without a limit, it takes megabytes for a slow
/// client, and reports no progress before the client has read a third of them: `timeouts.write` would close it.
const MAX_UNSENT: u32 = 512 << 10;

pub(super) fn listen(socket: Socket, endpoint: &Endpoint, options: &SocketOptions) -> io::Result<Listener> {
    // Accepted connections inherit these options from the listener (tcp(7)).
    socket.set_tcp_nodelay(options.nodelay)?;
    let _ = socket.set_tcp_notsent_lowat(MAX_UNSENT); // an inherited socket of another protocol may not have it
    socket.set_keepalive(!options.keepalive.is_zero())?;
    if !options.keepalive.is_zero() {
        SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(options.keepalive))?;
    }
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    let endpoint = endpoint.with_port(local.port());
    Ok(Listener::Stream(Box::new(TcpStreamListener { listener, endpoint, local })))
}

struct TcpStreamListener {
    listener: TcpListener,
    endpoint: Endpoint,
    local: SocketAddr,
}

#[async_trait]
impl StreamListener for TcpStreamListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let (stream, peer) = self.listener.accept().await?;
        // Saves a system call if the listener is bound to one address. The call fails if the client has already
        // disconnected; the first read reports that.
        let wildcard = self.local.ip().is_unspecified();
        let local = wildcard.then(|| stream.local_addr().ok()).flatten().unwrap_or(self.local);
        let descriptor = Some(stream.as_raw_fd());
        let accepted = Accepted::ready(canonical(peer), canonical(local), stream);
        Ok(Some(Accepted { descriptor, ..accepted }))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn share(&self) -> Option<SharedSocket> {
        SharedSocket::of(&self.listener)
    }
}

/// An IPv4 client has the same address on an IPv4 socket and on an IPv6 socket.
fn canonical(address: SocketAddr) -> Address {
    Address::Inet(match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    })
}
