//! Sockets from the old process of an upgrade, and the listeners that continue on them.

use std::io;

use crate::address::Endpoint;
use crate::listener_spec::ListenerSpec;
use crate::transport::SharedSocket;

/// A socket of a listener of the old process.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inherited {
    /// The name of the listener.
    pub listener: String,
    /// The configured endpoint.
    pub endpoint: Endpoint,
    /// The endpoint that it listens on, with the real port.
    pub address: Endpoint,
    /// Whether the server created the path of a Unix socket, and so removes it when it stops.
    pub owns_path: bool,
    /// The device and inode number of the file that the server created. `None`: the file that is at the path.
    pub file: Option<(u64, u64)>,
    /// The socket.
    pub socket: SharedSocket,
}

impl Inherited {
    /// The socket of a listener that is configured with `endpoint` and listens on `address`.
    pub fn new(listener: impl Into<String>, endpoint: Endpoint, address: Endpoint, socket: SharedSocket) -> Self {
        Self { listener: listener.into(), endpoint, address, owns_path: false, file: None, socket }
    }

    /// Several listeners can be configured with port 0, so then the name must match too.
    fn fits(&self, spec: &ListenerSpec) -> bool {
        let is_unique = spec.endpoint.port() != Some(0) || self.listener == spec.name;
        (is_unique && self.endpoint.same_socket(&spec.endpoint)) || self.address.same_socket(&spec.endpoint)
    }
}

/// Takes the inherited sockets of a listener, if there are any: one, or one for each address of its host name.
pub(super) fn take_inherited(inherited: &mut Vec<Inherited>, spec: &ListenerSpec) -> io::Result<Option<SharedSocket>> {
    let Some(found) = inherited.iter().position(|inherited| inherited.fits(spec)) else { return Ok(None) };
    let Inherited { listener, address, socket, owns_path, file, .. } = inherited.remove(found);
    let others = inherited.extract_if(.., |other| other.listener == listener && other.address == address);
    let others: Vec<_> = others.map(|other| other.socket).collect();
    let socket = match &spec.endpoint {
        Endpoint::Unix(path) | Endpoint::Unixgram(path) if owns_path => socket.at_path(path, file)?,
        _ => socket,
    };
    Ok(SharedSocket::join(std::iter::once(socket).chain(others)))
}
