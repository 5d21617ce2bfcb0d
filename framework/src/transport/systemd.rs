//! Sockets from the service manager (socket activation, sd_listen_fds(3)).

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use socket2::{Domain, Type};

use crate::address::Endpoint;
use crate::connection::Kind;
use crate::transport::listener::{Bind, Listener, SchemeInfo, Transport, unsupported_endpoint};
#[cfg(feature = "unix")]
use crate::transport::socket::local_path;
use crate::transport::socket::{SharedSocket, adopt};
use crate::transport::tcp;
#[cfg(feature = "udp")]
use crate::transport::udp;
#[cfg(feature = "unix")]
use crate::transport::{unix, unixgram};

/// `systemd:NAME`: a socket that the service manager passed under this name. It can be a TCP, UDP, Unix stream or Unix
/// datagram socket. The socket options apply as for that transport, except `reuse_port`, `mode` and `group`, which the
/// service manager sets.
///
/// The default has no sockets, so every bind fails. A program takes its passed sockets (for example with the crate
/// `listenfd`) and [adds](crate::transport::Transports::add) a transport with them.
#[derive(Clone, Default)]
pub struct Systemd(Arc<Vec<(String, SharedSocket)>>);

impl Systemd {
    /// A transport with these named sockets.
    pub fn new(sockets: impl IntoIterator<Item = (String, OwnedFd)>) -> Self {
        let sockets = sockets.into_iter().map(|(name, fd)| (name, SharedSocket::new(fd)));
        Self(Arc::new(sockets.collect()))
    }

    /// All sockets and their names.
    pub fn sockets(&self) -> impl Iterator<Item = (&str, &SharedSocket)> {
        self.0.iter().map(|(name, socket)| (&**name, socket))
    }

    fn find(&self, name: &str) -> io::Result<SharedSocket> {
        let mut found = self.0.iter().filter(|(known, _)| known == name).map(|(_, socket)| socket);
        let names: Vec<_> = self.sockets().map(|(name, _)| format!("{name:?}")).collect();
        let names = names.join(", ");
        let message = match (found.next(), found.next()) {
            (Some(socket), None) => {
                let out_of_descriptors = "cannot duplicate the socket: out of file descriptors";
                return socket.try_clone().ok_or_else(|| io::Error::other(out_of_descriptors));
            }
            (Some(_), Some(_)) => {
                let hint = "set a different FileDescriptorName= for each";
                format!("several sockets with this name were passed; {hint}; passed: {names}")
            }
            (None, _) if names.is_empty() => {
                "the service manager passed no sockets (LISTEN_FDS is not set, or LISTEN_PID is another process)".into()
            }
            (None, _) => format!("no socket with this name was passed; passed: {names}"),
        };
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    }
}

#[async_trait]
impl Transport for Systemd {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("systemd", "a socket from the service manager: systemd:NAME", Kind::Stream)]
    }

    async fn bind(&self, Bind { endpoint, options, inherited }: Bind) -> io::Result<Listener> {
        let Endpoint::Systemd(name) = &endpoint else { return Err(unsupported_endpoint(&endpoint)) };
        let (socket, _) = adopt(match inherited {
            Some(inherited) => inherited,
            None => self.find(name)?,
        })?;
        let (address, kind) = (socket.local_addr()?, socket.r#type()?);
        let unsupported = |message: &str| Err(io::Error::new(io::ErrorKind::Unsupported, message));
        match (address.domain(), kind) {
            (_, Type::STREAM) if socket.peer_addr().is_ok() => {
                unsupported("the socket is a connection, not a listening socket; with systemd, set Accept=no")
            }
            (Domain::IPV4 | Domain::IPV6, Type::STREAM) => tcp::listen(socket, &endpoint, &options),
            #[cfg(feature = "udp")]
            (Domain::IPV4 | Domain::IPV6, Type::DGRAM) => udp::listen(socket, &endpoint),
            #[cfg(feature = "unix")]
            (Domain::UNIX, Type::STREAM) => {
                unix::listen(socket, None, endpoint, local_path(&address).map(Arc::from), &options)
            }
            #[cfg(feature = "unix")]
            (Domain::UNIX, Type::DGRAM) => {
                unixgram::listen_datagram(socket, None, endpoint, local_path(&address).map(Arc::from))
            }
            _ => unsupported("the socket is not of a supported kind (TCP, UDP, Unix stream or Unix datagram)"),
        }
    }
}

impl fmt::Debug for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sockets().map(|(name, _)| name)).finish()
    }
}
