//! A TLS handshake that the server starts in an open connection, after an exchange of plaintext (STARTTLS).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::{Connection, ListenerContext};
use crate::transport::accepted::HandshakeState;
use crate::transport::box_io::BoxIo;
use crate::transport::handshake::{HandshakeFailure, establish};
use crate::transport::tls::TlsAcceptor;

/// Starts TLS in an open connection of a listener with [`TlsStart::OnRequest`](crate::settings::TlsStart::OnRequest).
///
/// Plaintext that the peer sends behind its request for TLS must not reach the protocol inside TLS (CVE-2011-0411). A
/// layer therefore reads exactly the request, and passes no byte that it has read beyond it to the encrypted protocol.
///
/// A layer for PostgreSQL, whose clients request TLS with one message of a fixed size before all others:
///
/// ```no_run
/// use switchboard::prelude::*;
/// use switchboard::settings::{TlsSettings, TlsStart};
/// use switchboard::tower::{ServiceExt, layer::layer_fn, service_fn};
/// use switchboard::transport::ConnectionService;
/// use switchboard::{Incoming, tokio::io::{AsyncReadExt, AsyncWriteExt}};
///
/// /// SSLRequest: the length of the message, and its code.
/// const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
///
/// async fn negotiate(mut incoming: Incoming) -> Result<Incoming> {
///     let start_tls = incoming.start_tls.take().ok_or("the listener has no TLS on request")?;
///     let mut request = [0; 8];
///     incoming.io.read_exact(&mut request).await?;
///     if request != REQUEST {
///         return Err("the client does not request TLS".into());
///     }
///     incoming.io.write_all(b"S").await?;
///     incoming.io = start_tls.establish(incoming.io, &incoming.connection).await?;
///     Ok(incoming)
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<()> {
/// let layer = layer_fn(|inner: ConnectionService| {
///     service_fn(move |incoming| {
///         let inner = inner.clone();
///         async move { inner.oneshot(negotiate(incoming).await?).await }
///     })
/// });
/// let tls = TlsSettings::new("cert.pem", "key.pem").start(TlsStart::OnRequest);
/// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
/// let server = Server::bind("tcp://127.0.0.1:5432").tls(tls).connection_layer(layer).start(echo).await?;
/// # Ok(())
/// # }
/// ```
pub struct StartTls {
    acceptor: TlsAcceptor,
    timeout: Duration,
    listener_context: Arc<ListenerContext>,
}

impl StartTls {
    pub(crate) fn new(acceptor: TlsAcceptor, timeout: Duration, listener_context: Arc<ListenerContext>) -> Self {
        Self { acceptor, timeout, listener_context }
    }

    /// Performs the TLS handshake on the byte stream of the connection. [`Connection::tls`] then returns its details.
    ///
    /// The handshake has the timeout [`handshake`](crate::settings::Timeouts::handshake), and counts for
    /// [`handshakes`](crate::settings::Limits::handshakes) from its start. A drain aborts it.
    ///
    /// # Errors
    ///
    /// The handshake failed, timed out or was aborted. The connection must close.
    pub async fn establish(self, io: BoxIo, connection: &Connection) -> Result<BoxIo, HandshakeFailure> {
        let Self { acceptor, timeout, listener_context } = self;
        let handshake = HandshakeState::handshake(move |context| async move { acceptor.accept(io, context).await });
        establish(handshake, timeout, connection.clone(), listener_context).await
    }
}

impl fmt::Debug for StartTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartTls").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
