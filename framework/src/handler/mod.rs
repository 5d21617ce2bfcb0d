//! The traits that you implement: a [`Handler`] answers messages, a [`StreamHandler`] owns the byte stream.

mod arc;
mod background;
mod context;
mod function;
mod reply;
mod service;
mod start;
mod stream;

pub(crate) use background::Background;
pub use context::Context;
pub use function::{HandlerFn, handler_fn};
pub(crate) use reply::Protocol;
pub use reply::{Frames, IntoFrame, Reply, ReplyFuture, ReplyOrder, Switch, Then};
pub(crate) use service::HandlerCell;
pub use service::{HandlerFuture, HandlerLayer, HandlerService, LayerBounds, MessageService, Request};
pub use start::StartContext;
pub use stream::ByteStream;

use bytes::{Bytes, BytesMut};

use crate::close_reason::CloseReason;
use crate::connection::{Connection, Kind};
use crate::direction::Direction;
use crate::error::Result;

/// Answers messages. One object serves all connections; its [`State`](Self::State) is per connection. An `Arc` of a
/// handler is a handler too: keep a clone to share the handler with other code.
///
/// ```
/// use switchboard::prelude::*;
///
/// /// Replies with the number of messages received on this connection.
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
/// # Life of a handler
///
/// 1. [`start`](Self::start) is called once, before the listeners of the handler are bound. It opens databases and
///    files, and registers metrics. If it fails, the server does not start, or the reload is rejected.
/// 2. The handler serves the connections of its listeners.
/// 3. [`stop`](Self::stop) is called once, after the last connection of the handler has closed. It writes what is only
///    in memory.
///
/// All listeners that share a [`HandlerInstance`](crate::registry::HandlerInstance) share these calls.
///
/// # Life of a connection
///
/// 1. The server accepts it. Its state is `State::default()`.
/// 2. [`open`](Self::open) is called once. Its reply is the greeting.
/// 3. [`message`](Self::message) is called for each message, in order, one at a time. The [`Reply`] contains what is
///    sent, and whether the connection stays open.
/// 4. The peer, a reply, a limit or a drain ends it. If the server ends it, [`closing`](Self::closing) can return a
///    last message. [`close`](Self::close) is called once with the reason.
///
/// # Errors and timeouts
///
/// An error from `open` or `message` is logged and closes that connection with reason `handler_error`; a panic closes
/// it with reason `panic`. Earlier replies are still written. Other connections are unaffected.
///
/// On a timeout, or when the peer disconnects, the future of `message` is dropped at its current `.await`. Do not split
/// an update that must be atomic across an `.await`. The state is kept, and `close` is still called.
///
/// # Datagrams
///
/// For a datagram peer only `message` is called: there is no `open` and no `close`. The state of an inactive
/// peer is dropped when the table is full ([`Limits::sessions`](crate::settings::Limits::sessions)). Until its address
/// is validated, a peer is sent at most
/// [`Limits::amplification`](crate::settings::Limits::amplification) times the bytes it sent; a handler with longer
/// replies must validate the address first ([`Connection::validate_address`]). [`Connection::kind`] distinguishes
/// streams and datagrams.
///
/// Messages have any type that the [framing](crate::framing) produces: `impl Handler<Command, Answer> for Store`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `Handler<{In}, {Out}>`; a `StreamHandler` needs `serve_stream` or `start_stream`",
    label = "not a handler of `{In}` messages",
    note = "the framing decides the message types: with a framing of bytes, write `impl Handler for …`",
    note = "`handler_fn(|cx: Context, message: Bytes| async move {{ … }})` makes a handler of a function"
)]
pub trait Handler<In: Send + 'static = Bytes, Out: Send + 'static = In>: Send + Sync + 'static {
    /// The kinds of listener that can serve this handler. A server with another kind does not start, and a
    /// configuration that combines them is invalid.
    const NEEDS: Needs = Needs::Either;

    /// The state of one connection; `()` for none.
    type State: Default + Send + 'static;

    /// Called once, before any listener of the server is bound. The default does nothing.
    ///
    /// An error, a panic, or more than 30 s
    /// ([`ListenerSet::prepare_timeout`](crate::ListenerSet::prepare_timeout)) for the handlers of a server together is
    /// an error of the start: the exit status is 1. In a reload, only the handlers that do not run yet are started, and
    /// a failure rejects the reload. A check of the configuration never calls it.
    ///
    /// `stop` is not called if `start` fails. After a stop signal the future is dropped at its current `.await`.
    ///
    /// In a reload that replaces the handler, and in an upgrade, the new handler starts before the old one stops: both
    /// use their files and databases for some time.
    fn start(&self, cx: &StartContext) -> impl Future<Output = Result<()>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Called when a connection opens. The default sends nothing.
    fn open(&self, cx: &mut Context<Self::State, Out>) -> impl Future<Output = Result<Reply<Out>>> + Send {
        let _ = cx;
        async { Ok(Reply::none()) }
    }

    /// Called for each message.
    ///
    /// A `Bytes` message is a slice of the read buffer (4 KiB; 64 KiB if a peer sends large bursts). Copy
    /// (`Bytes::copy_from_slice`) data that you keep for long; otherwise a few bytes keep the whole buffer alive.
    fn message(
        &self,
        cx: &mut Context<Self::State, Out>,
        message: In,
    ) -> impl Future<Output = Result<Reply<Out>>> + Send;

    /// Called when the connection has started TLS ([`Reply::then_tls`]). Its reply is the first one inside TLS.
    ///
    /// The default resets the state and sends nothing: what the peer said before TLS is not trustworthy.
    fn secured(&self, cx: &mut Context<Self::State, Out>) -> impl Future<Output = Result<Reply<Out>>> + Send {
        cx.state = Self::State::default();
        async { Ok(Reply::none()) }
    }

    /// Called when the connection has missed frames of a room, before the next frame that it gets. The default sends
    /// nothing. See [`Hub`](crate::hub::Hub).
    ///
    /// `missed` is their number; 0 if it is unknown, because a link to other instances was interrupted. The reply is
    /// written before the frames behind the gap, unless it is [later](Reply::later). While another call of this
    /// connection is in progress, the gap and the frames behind it wait.
    ///
    /// A protocol whose clients cannot miss a frame closes the connection: `Ok(Reply::close())`.
    fn gap(
        &self,
        cx: &mut Context<Self::State, Out>,
        room: &str,
        missed: u64,
    ) -> impl Future<Output = Result<Reply<Out>>> + Send {
        let _ = (cx, room, missed);
        async { Ok(Reply::none()) }
    }

    /// Called when the server closes a connection whose peer can still receive. Returns a last message. The default
    /// returns none.
    ///
    /// `reason` is a timeout, a drain, an invalid or too large message, an error or panic of the handler, or a close by
    /// the operator; never `peer_closed`, `handler_closed`, `banned`, or a connection that does not transport data any
    /// more. The message is written after all replies and pushed frames. If the connection is aborted (`killed`,
    /// `drain_deadline`), queued frames are dropped and the message has half a second.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// # struct Smtp;
    /// # impl Handler for Smtp {
    /// #     type State = ();
    /// #     async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> { Ok(Reply::send(message)) }
    /// fn closing(&self, _: &mut Context, reason: CloseReason) -> Option<Bytes> {
    ///     Some(match reason {
    ///         CloseReason::Idle => "421 4.4.2 idle for too long".into(),
    ///         CloseReason::FrameTooLarge => "500 5.5.2 line too long".into(),
    ///         _ => "421 4.3.2 closing".into(),
    ///     })
    /// }
    /// # }
    /// ```
    fn closing(&self, cx: &mut Context<Self::State, Out>, reason: CloseReason) -> Option<Out> {
        let _ = (cx, reason);
        None
    }

    /// Called when the connection closes: nothing can be sent any more. Runs at most one second.
    ///
    /// Output that is sent already is written meanwhile. If that is aborted, for example by a ban, the log and the
    /// metrics have the reason of the abort, and `reason` is the first one.
    fn close(&self, cx: &mut Context<Self::State, Out>, reason: CloseReason) -> impl Future<Output = ()> + Send {
        let _ = (cx, reason);
        async {}
    }

    /// Removes secrets from a message before the flight recorder writes it to a file, or an operator sees it. The
    /// default changes nothing.
    ///
    /// `message` is what the framing has decoded or will encode; for messages that are not bytes, it is the bytes on
    /// the wire. It can be only the beginning of a message. A message of the same length with other bytes can still be
    /// replayed.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// # struct Login;
    /// # impl Handler for Login {
    /// #     type State = ();
    /// #     async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> { Ok(Reply::send(message)) }
    /// fn redact(&self, direction: Direction, message: &mut BytesMut) {
    ///     if direction == Direction::Received && message.starts_with(b"PASS ") {
    ///         message[5..].fill(b'x');
    ///     }
    /// }
    /// # }
    /// ```
    fn redact(&self, direction: Direction, message: &mut BytesMut) {
        let _ = (direction, message);
    }

    /// Replaces what differs in every run, such as a time or a random number, in a reply. A replay compares the
    /// recorded replies with the new ones after this. The default changes nothing.
    ///
    /// `reply` is what the framing encodes; for replies that are not bytes, it is the bytes on the wire.
    fn normalise(&self, reply: &mut BytesMut) {
        let _ = reply;
    }

    /// Called once, after the last connection of the handler has closed: at a shutdown, after a reload has replaced the
    /// handler, and in the old process of an upgrade. The default does nothing.
    ///
    /// It has until the drain deadline, and at least 2 s. An error, a panic or a timeout is logged as
    /// `handler stop failed`, and the exit status is 3.
    fn stop(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// The kinds of listener that can serve a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// Streams only.
    Stream,
    /// Datagrams only.
    Datagram,
    /// Both.
    Either,
}

impl Needs {
    /// Whether a listener of this kind can serve the handler.
    pub fn takes(self, kind: Kind) -> bool {
        matches!((self, kind), (Self::Either, _) | (Self::Stream, Kind::Stream) | (Self::Datagram, Kind::Datagram))
    }
}

/// Owns the byte stream of each connection: for a tunnel, an HTTP library, or a protocol with its own driver.
///
/// Connection limits, the idle timeout and the drain apply as for a [`Handler`]. Framing and message layers do not
/// apply. Serve it with [`Server::serve_stream`](crate::Server::serve_stream).
///
/// The connection closes when `serve` returns: `Ok` closes it with reason `handler_closed`, or `peer_closed` if the
/// peer had closed its sending side. When a drain starts, [`Connection::drain`] completes: finish the current work and
/// return. At the drain timeout the future is dropped.
///
/// ```
/// use switchboard::prelude::*;
/// use tokio::io::AsyncWriteExt;
///
/// /// Sends one line and closes.
/// struct Uptime(std::time::Instant);
///
/// impl StreamHandler for Uptime {
///     async fn serve(&self, _connection: Connection, mut stream: ByteStream) -> Result<()> {
///         stream.write_all(format!("up {} s\n", self.0.elapsed().as_secs()).as_bytes()).await?;
///         Ok(())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a `StreamHandler`; a `Handler` needs `serve` or `start`",
    label = "not a handler of byte streams"
)]
pub trait StreamHandler: Send + Sync + 'static {
    /// Serves one connection to its end.
    ///
    /// An error closes the connection with reason `handler_error`, or `io_error` if the peer disconnected.
    fn serve(&self, connection: Connection, stream: ByteStream) -> impl Future<Output = Result<()>> + Send;

    /// Called once, before any listener of the server is bound; see [`Handler::start`].
    fn start(&self, cx: &StartContext) -> impl Future<Output = Result<()>> + Send {
        let _ = cx;
        async { Ok(()) }
    }

    /// Called once, after the last connection of the handler has closed; see [`Handler::stop`].
    fn stop(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}
