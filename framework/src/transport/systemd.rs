//! Sockets that whoever started this process has bound.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use socket2::{Domain, Type};

use crate::address::Endpoint;
use crate::connection::Kind;
use crate::transport::SharedSocket;
use crate::transport::tcp::adopt;
use crate::transport::{Bind, Listener, SchemeInfo, Transport, tcp, udp, unix, unixgram, unsupported_endpoint};

/// `systemd:NAME`: a socket that the service manager passed under this name, of whatever kind it is: TCP, UDP, or either kind of
/// Unix socket. The socket options are used as by the transport of that kind, but `reuse_port`, `mode` and `group`, which
/// whoever bound it has settled.
///
/// The default has no sockets, so that the scheme is known and every bind fails. A process takes the sockets that it was passed
/// (for example with the crate `listenfd`) and [adds](crate::transport::Transports::add) a transport that has them.
#[derive(Clone, Default)]
pub struct Systemd(Arc<Vec<(String, SharedSocket)>>);

impl Systemd {
    /// With these sockets, each under its name.
    pub fn new(sockets: impl IntoIterator<Item = (String, OwnedFd)>) -> Self {
        let sockets = sockets.into_iter().map(|(name, fd)| (name, SharedSocket::new(fd)));
        Self(Arc::new(sockets.collect()))
    }

    /// The sockets, used or not.
    pub fn sockets(&self) -> impl Iterator<Item = (&str, &SharedSocket)> {
        self.0.iter().map(|(name, socket)| (&**name, socket))
    }

    fn find(&self, name: &str) -> io::Result<SharedSocket> {
        let mut found = self.0.iter().filter(|(known, _)| known == name).map(|(_, socket)| socket);
        let refused = |what: String| Err(io::Error::new(io::ErrorKind::NotFound, what));
        let names: Vec<_> = self.sockets().map(|(name, _)| format!("{name:?}")).collect();
        match (found.next(), found.next()) {
            (Some(socket), None) => socket
                .try_clone()
                .ok_or_else(|| io::Error::other("no descriptor is left for another handle to the socket")),
            (Some(_), Some(_)) => refused(format!(
                "several sockets of this name were passed; give each a name of its own (FileDescriptorName=), of {}",
                names.join(", ")
            )),
            (None, _) if names.is_empty() => refused(
                "the service manager passed no sockets (LISTEN_FDS is not set, or not meant for this process)".into(),
            ),
            (None, _) => refused(format!("no socket of this name was passed; there are {}", names.join(", "))),
        }
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
        let path = || address.as_pathname().map(Arc::from);
        match (address.domain(), kind) {
            (_, Type::STREAM) if socket.peer_addr().is_ok() => {
                Err(unfit("it is a connection and no listening socket; with systemd, set Accept=no"))
            }
            (Domain::IPV4 | Domain::IPV6, Type::STREAM) => tcp::listen(socket, &endpoint, &options),
            (Domain::IPV4 | Domain::IPV6, Type::DGRAM) => udp::listen(socket, &endpoint),
            (Domain::UNIX, Type::STREAM) => unix::listen(socket, None, endpoint, path(), &options),
            (Domain::UNIX, Type::DGRAM) => unixgram::listen(socket, None, endpoint, path()),
            _ => Err(unfit("it is no socket of TCP, UDP or a Unix socket of streams or datagrams")),
        }
    }
}

fn unfit(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

impl fmt::Debug for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.sockets().map(|(name, _)| name)).finish()
    }
}
