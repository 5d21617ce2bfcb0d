//! TLS, server side.
//!
//! [`TlsAcceptor`] holds certificates and keys, which a reload can replace. [`TlsListener`] wraps a listener and adds a
//! TLS handshake. The handshake runs in the task of the connection and under the handshake timeout. `tls://` is TLS
//! over TCP; any other transport of connections keeps its endpoint.

#[cfg(feature = "tls")]
mod acceptor;
#[cfg(not(feature = "tls"))]
#[path = "disabled.rs"]
mod acceptor;
mod error;
#[cfg(feature = "tls")]
mod info;
#[cfg(feature = "tls")]
mod listener;
#[cfg(feature = "tls")]
mod load;

pub use acceptor::TlsAcceptor;
pub use error::TlsError;
#[cfg(feature = "tls")]
pub use listener::TlsListener;
