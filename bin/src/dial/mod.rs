//! Connections to a server, for the commands `connect`, `bench` and `test`.

mod datagram;
mod server;
mod stream;
mod tls;

pub(crate) use self::datagram::DatagramSocket;
pub(crate) use self::server::Server;
pub(crate) use self::stream::{OpenError, Opened, Stream, reset_on_drop, sent_tls_alert};
pub(crate) use self::tls::TlsOptions;
