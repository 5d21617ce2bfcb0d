//! Transports: they bind endpoints and accept connections or receive datagrams.
//!
//! A [`Transport`] binds an endpoint and returns a [`Listener`]: a [`StreamListener`] or a [`DatagramSocket`].
//! TLS and the PROXY protocol wrap a `StreamListener`. A listener only reports errors; the accept loop handles them.
//! [`TransportService`] makes a transport a `tower::Service<Bind, Response = Listener>`.

mod accepted;
mod box_io;
mod connection_service;
mod handshake;
mod incoming;
mod listener;
pub mod memory;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(not(feature = "proxy"))]
#[path = "proxy/disabled.rs"]
pub(crate) mod proxy;
mod several;
mod socket;
#[cfg_attr(not(feature = "unix"), expect(dead_code, reason = "only the transports of Unix sockets bind paths"))]
mod socket_path;
mod start_tls;
mod systemd;
mod table;
mod tcp;
pub mod tls;
#[cfg(feature = "udp")]
mod udp;
#[cfg(feature = "unix")]
mod unix;
#[cfg(feature = "unix")]
mod unix_bind;
#[cfg(feature = "unix")]
mod unixgram;
#[cfg(feature = "unix")]
mod unread_replies;

pub(crate) use accepted::HandshakeState;
pub use accepted::{Accepted, HandshakeContext};
pub use box_io::{BoxIo, Io};
pub use connection_service::ConnectionService;
pub(crate) use connection_service::SessionFuture;
pub use handshake::HandshakeFailure;
pub(crate) use handshake::establish;
pub use incoming::Incoming;
pub use listener::{Bind, Datagram, DatagramSocket, Listener, Route, SchemeInfo, StreamListener, Transport};
pub use socket::SharedSocket;
pub(crate) use socket::Unreachable;
pub use start_tls::StartTls;
pub use systemd::Systemd;
pub use table::{BoxTransport, TransportService, Transports};
pub use tcp::Tcp;
#[cfg(feature = "udp")]
pub use udp::Udp;
#[cfg(feature = "unix")]
pub use unix::Unix;
#[cfg(feature = "unix")]
pub use unixgram::Unixgram;
