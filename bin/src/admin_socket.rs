//! Connects to the socket of an admin endpoint.

use std::io;

use switchboard::Endpoint;
use tokio::net::{TcpStream, UnixStream};
use tokio_util::either::Either;

/// A connection to an admin endpoint.
pub(crate) type AdminSocket = Either<TcpStream, UnixStream>;

pub(crate) async fn connect(endpoint: &Endpoint) -> io::Result<AdminSocket> {
    match endpoint {
        Endpoint::Tcp(at) => {
            // A client cannot connect to a wildcard address.
            let host = match &*at.host {
                "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                host => host,
            };
            TcpStream::connect((host, at.port)).await.map(Either::Left)
        }
        Endpoint::Unix(path) => UnixStream::connect(path).await.map(Either::Right),
        _ => Err(io::Error::other("the address is neither TCP nor a Unix socket")),
    }
}
