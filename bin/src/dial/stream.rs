//! Stream connections: TCP, TLS and Unix sockets.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use switchboard::Endpoint;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::server::{CONNECT_TIMEOUT, Server, reason};

/// A connection of any stream transport.
pub(crate) type Stream = Either<Either<TcpStream, UnixStream>, Box<TlsStream<TcpStream>>>;

/// An open connection.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    /// The address that accepted the connection; none for a path.
    pub(crate) address: Option<SocketAddr>,
    /// What was negotiated, such as `TLS 1.3, no ALPN`.
    pub(crate) tls: Option<String>,
}

/// Why no connection was opened, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("{0}")]
    Connect(String),
    #[error("{0}")]
    Handshake(String),
}

impl Server {
    /// Opens a connection to the first address that accepts it, and completes its TLS handshake.
    pub(crate) async fn open(&self) -> Result<Opened, OpenError> {
        if let Endpoint::Unix(path) = &self.address {
            let stream = self.open_unix(path).await.map_err(OpenError::Connect)?;
            return Ok(Opened { stream: Either::Left(Either::Right(stream)), address: None, tls: None });
        }
        let (stream, address) = self.open_tcp().await.map_err(OpenError::Connect)?;
        let Some(tls) = &self.tls else {
            return Ok(Opened { stream: Either::Left(Either::Left(stream)), address: Some(address), tls: None });
        };
        let stream = match timeout(CONNECT_TIMEOUT, tls.handshake(stream)).await {
            Ok(result) => result,
            Err(_) => {
                Err(format!("no answer within {} s; the server may not use TLS (tcp://)", CONNECT_TIMEOUT.as_secs()))
            }
        };
        let stream = stream
            .map_err(|why| OpenError::Handshake(format!("the TLS handshake with {} failed: {why}", self.address)))?;
        let negotiated = tls.negotiated(&stream);
        Ok(Opened { stream: Either::Right(Box::new(stream)), address: Some(address), tls: Some(negotiated) })
    }

    async fn open_unix(&self, path: &Path) -> Result<UnixStream, String> {
        match timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
            Ok(stream) => stream.map_err(|error| self.failed(reason(&error))),
            Err(_) => Err(self.failed(no_answer())),
        }
    }

    async fn open_tcp(&self) -> Result<(TcpStream, SocketAddr), String> {
        let mut failures = Vec::new();
        for &address in &self.addresses {
            match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Sends each message immediately instead of waiting for the next one (Nagle's algorithm).
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, address));
                }
                Ok(Err(error)) => failures.push((address, reason(&error))),
                Err(_) => failures.push((address, no_answer())),
            }
        }
        Err(self.all_failed(&failures))
    }
}

/// Resets the connection (RST) instead of ending it, when it is dropped. A Unix socket has no reset.
pub(crate) fn reset_on_drop(stream: &Stream) -> io::Result<()> {
    match stream {
        Either::Left(Either::Left(stream)) => stream.set_zero_linger(),
        Either::Left(Either::Right(_)) => Err(io::ErrorKind::Unsupported.into()),
        Either::Right(stream) => stream.get_ref().0.set_zero_linger(),
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())
}

/// Whether these bytes, the first of a server on a connection without TLS, are a TLS alert (RFC 8446, sections 5.1
/// and 6): the record type 21, a version, the length 2, a level and a description.
pub(crate) fn sent_tls_alert(bytes: &[u8]) -> bool {
    matches!(bytes, [21, 3, 0..=4, 0, 2, 1 | 2, _])
}
