//! Whether a listener is open, with a handle to its socket.

use parking_lot::Mutex;
use std::net::SocketAddr;

use crate::transport::SharedSocket;

/// The state of a listener's socket.
#[derive(Debug, Default)]
pub(super) struct OpenSocket(Mutex<SocketState>);

#[derive(Debug, Default)]
enum SocketState {
    #[default]
    Closed,
    /// The transport has no socket to share.
    Open,
    Shareable(SharedSocket),
}

impl OpenSocket {
    /// The listener is open.
    pub(super) fn set_open(&self, socket: Option<SharedSocket>) {
        *self.0.lock() = socket.map_or(SocketState::Open, SocketState::Shareable);
    }

    /// The listener is closed. Drops this handle to the socket.
    pub(super) fn set_closed(&self) {
        *self.0.lock() = SocketState::Closed;
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(*self.0.lock(), SocketState::Closed)
    }

    /// Another handle to the socket.
    pub(super) fn share(&self) -> Option<SharedSocket> {
        match &*self.0.lock() {
            SocketState::Shareable(socket) => socket.try_clone(),
            SocketState::Closed | SocketState::Open => None,
        }
    }

    /// The local IP address and port of a network socket.
    pub(super) fn socket_addr(&self) -> Option<SocketAddr> {
        match &*self.0.lock() {
            SocketState::Shareable(socket) => socket.socket_addr(),
            SocketState::Closed | SocketState::Open => None,
        }
    }
}
