//! What you write: a [`Handler`] answers messages, a [`StreamHandler`] owns the bytes.
//!
//! This module knows nothing of sockets. A handler is shared by all connections (`&self`): what they share is a field,
//! what one of them remembers is its [`State`](Handler::State).

mod context;
mod function;
mod reply;
mod service;
mod stream;

pub use context::Context;
pub use function::{HandlerFn, handler_fn};
pub use reply::{Frames, Reply, Then};
pub(crate) use service::HandlerCell;
pub use service::{HandlerFuture, HandlerLayer, HandlerService, MessageService, Request};
pub use stream::ByteStream;

use bytes::Bytes;

use crate::connection::{Connection, Kind};
use crate::error::Result;
use crate::reason::CloseReason;

/// SendQueue the messages of any number of connections.
///
/// The life of a connection:
///
/// 1. It is accepted; its state is `State::default()`.
/// 2. [`open`](Self::open) is called once. What it replies is the greeting.
/// 3. [`message`](Self::message) is called for each message, in order, one at a time. The [`Reply`] says what is sent and
///    whether the connection goes on.
/// 4. It ends: by the peer, by a reply, by a limit, by a drain. [`close`](Self::close) is called once with the reason.
///
/// The peer of a datagram socket has only step 3: nothing opens or closes it, and its state is forgotten when it has been
/// silent and its place is needed ([`Limits::sessions`](crate::settings::Limits::sessions)). Until it has shown that it receives,
/// it is sent at most three times what came from it; a handler with longer answers proves the address first
/// ([`Connection::validate_address`]). Ask [`Connection::kind`] where it matters.
///
/// An error from `open` or `message` closes that connection with reason `handler_error` and is logged; a panic does the
/// same with reason `panic`. Replies given before are still written, and nobody else notices.
///
/// When a deadline passes, or the peer is gone, the future of `message` is dropped where it waits: keep what must not be half-done before or
/// after an `.await`, not across it. The state itself is never lost.
///
/// ```
/// use switchboard::prelude::*;
///
/// /// Says how many messages it has seen on this connection.
/// struct Count;
///
/// impl Handler for Count {
///     type State = u64;
///
///     async fn message(&self, cx: &mut Context<u64>, _message: Bytes) -> Result<Reply> {
///         cx.state += 1;
///         Ok(Reply::send(cx.state.to_string()))
///     }
/// }
/// ```
///
/// Messages can be of any type, if the [framing](crate::framing) makes that type: `impl Handler<Command, Answer> for Store`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Handler<{In}, {Out}>`",
    note = "the framing decides the message types: framings of bytes need `impl Handler for …`",
    note = "a function is made a handler by `handler_fn(|cx: Context, message: Bytes| async move {{ … }})`"
)]
pub trait Handler<In = Bytes, Out = In>: Send + Sync + 'static
where
    In: Send + 'static,
    Out: Send + 'static,
{
    /// What it can be served on. A server whose transport brings something else does not start, and a configuration that
    /// would put them together is refused.
    const NEEDS: Needs = Needs::Either;

    /// What one connection remembers; `()` for nothing.
    type State: Default + Send + 'static;

    /// A connection has opened. The default says nothing.
    fn open(&self, cx: &mut Context<Self::State, Out>) -> impl Future<Output = Result<Reply<Out>>> + Send {
        let _ = cx;
        async { Ok(Reply::none()) }
    }

    /// A message has come.
    ///
    /// Its bytes are a part of the buffer that they were read into: 4 KiB, or 64 KiB where a peer sends much at once. What is to be
    /// kept for long is better copied (`Bytes::copy_from_slice`), or a few bytes keep all of that.
    fn message(
        &self,
        cx: &mut Context<Self::State, Out>,
        message: In,
    ) -> impl Future<Output = Result<Reply<Out>>> + Send;

    /// The connection has ended; nothing can be sent any more. The default does nothing. It has a second to finish.
    fn close(&self, cx: &mut Context<Self::State, Out>, reason: CloseReason) -> impl Future<Output = ()> + Send {
        let _ = (cx, reason);
        async {}
    }
}

/// What a handler can be served on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Connections only.
    Stream,
    /// Datagrams only.
    Datagram,
    /// Both.
    Either,
}

impl Needs {
    /// Whether a transport that brings `kind` will do.
    pub fn takes(self, kind: Kind) -> bool {
        matches!((self, kind), (Self::Either, _) | (Self::Stream, Kind::Stream) | (Self::Datagram, Kind::Datagram))
    }
}

/// Owns the bytes of each connection: a tunnel, an HTTP library, a protocol with its own driver.
///
/// It has the same limits on connections, the same idle deadline, the same drain as a [`Handler`]; framing and message
/// layers do not apply. When it returns, the connection closes: `Ok` with reason `handler_closed` (or `peer_closed`, if the
/// peer had ended its input), an error with `handler_error`. On a drain it is told by [`Connection::drain`] and should
/// finish what is under way and return; at the deadline its future is dropped.
///
/// ```
/// use switchboard::prelude::*;
/// use tokio::io::AsyncWriteExt;
///
/// /// The daytime protocol: says one line and closes.
/// struct Uptime(std::time::Instant);
///
/// impl StreamHandler for Uptime {
///     async fn serve(&self, _connection: Connection, mut stream: ByteStream) -> Result<()> {
///         stream.write_all(format!("up {} s\n", self.0.elapsed().as_secs()).as_bytes()).await?;
///         Ok(())
///     }
/// }
/// ```
pub trait StreamHandler: Send + Sync + 'static {
    /// Serves one connection to its end.
    fn serve(&self, connection: Connection, stream: ByteStream) -> impl Future<Output = Result<()>> + Send;
}
