//! The reply to a message: frames to send, and what happens next.

use std::any::Any;
use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

use crate::error::Result;

/// The reply to a message: the frames to send, and whether the connection stays open.
///
/// [`finish`](Self::finish) and [`close`](Self::close) have reason `handler_closed`. On a datagram socket, a frame is
/// one datagram to the sender, and closing drops the state of the peer. Until its address is validated, a peer is sent
/// at most a multiple of the bytes it sent ([`Connection::reply_budget`](crate::Connection::reply_budget)).
///
/// A layer can read and change the fields.
#[must_use = "a reply does nothing unless the handler returns it"]
#[non_exhaustive]
pub struct Reply<Out = Bytes> {
    /// The frames to send.
    pub frames: Frames<Out>,
    /// What happens after that.
    pub then: Then,
}

/// A reply that becomes ready later.
pub type ReplyFuture<Out = Bytes> = Pin<Box<dyn Future<Output = Result<Reply<Out>>> + Send>>;

/// The frames of a [`Reply`].
#[non_exhaustive]
pub enum Frames<Out = Bytes> {
    /// No frame.
    None,
    /// One frame.
    One(Out),
    /// Several frames, written together.
    Many(Vec<Out>),
    /// Frames that become ready over time. An error closes the connection with reason `handler_error`.
    Stream(Pin<Box<dyn Stream<Item = Result<Out>> + Send>>),
    /// The frames of a reply that becomes ready while the next messages are handled.
    Later(ReplyOrder, ReplyFuture<Out>),
    /// Frames, and a change of the protocol behind them.
    Switch(Box<Switch<Out>>),
}

/// The frames of a reply, and a change of the protocol behind them: see [`Reply::then_framing`], [`Reply::then_tls`].
#[non_exhaustive]
pub struct Switch<Out = Bytes> {
    /// The frames.
    pub frames: Frames<Out>,
    pub(crate) to: Protocol,
}

/// What a connection changes to.
pub(crate) enum Protocol {
    /// A `BoxFraming` of the message types of the connection.
    Framing(Box<dyn Any + Send>),
    Tls,
}

/// When a later reply is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(usize)] // see `Then`
pub enum ReplyOrder {
    /// After the replies to all earlier messages: see [`Reply::later`].
    Requests,
    /// When it is ready: see [`Reply::unordered`].
    Ready,
}

/// What the server does after it has sent the frames of a [`Reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
// As wide as the other fields of a reply. The compiler copies a narrower one in overlapping parts, which is slow.
#[repr(usize)]
pub enum Then {
    /// Waits for the next message.
    Continue,
    /// Closes after all queued frames, including pushed ones, are written.
    Finish,
    /// Closes immediately; queued frames are dropped.
    Close,
}

impl<Out> Reply<Out> {
    /// Sends nothing; the connection stays open.
    pub fn none() -> Self {
        Self { frames: Frames::None, then: Then::Continue }
    }

    /// Sends one frame. It owns its data: use `message.slice(..)` for a part of a message, and
    /// `Bytes::copy_from_slice` for borrowed bytes.
    pub fn send(frame: impl IntoFrame<Out>) -> Self {
        Self { frames: Frames::One(frame.into_frame()), then: Then::Continue }
    }

    /// Sends several frames, in order.
    pub fn many(frames: impl IntoIterator<Item: IntoFrame<Out>>) -> Self {
        Self { frames: Frames::Many(frames.into_iter().map(IntoFrame::into_frame).collect()), then: Then::Continue }
    }

    /// Sends each frame when it is ready and the previous one is written. Reading pauses until the stream ends.
    pub fn stream(frames: impl Stream<Item = Result<Out>> + Send + 'static) -> Self {
        Self { frames: Frames::Stream(Box::pin(frames)), then: Then::Continue }
    }

    /// Sends the reply of a future, in the order of the messages. The next messages are handled meanwhile.
    ///
    /// For slow work that must not delay the work for the next messages: a query, a call to another server. A reply to
    /// a later message waits until this one is written.
    ///
    /// ```
    /// # use switchboard::prelude::*;
    /// # async fn query(_: Bytes) -> Result<Bytes> { Ok(Bytes::new()) }
    /// struct Database;
    ///
    /// impl Handler for Database {
    ///     type State = u64;
    ///
    ///     async fn message(&self, cx: &mut Context<u64>, message: Bytes) -> Result<Reply> {
    ///         cx.state += 1; // the state is available before the future starts, so it needs no lock
    ///         Ok(Reply::later(async move { Ok(Reply::send(query(message).await?)) }))
    ///     }
    /// }
    /// ```
    ///
    /// # In progress
    ///
    /// Until its reply is written, the message is in progress: the end of the input, a drain and the lifetime wait for
    /// the reply, and the idle timeout does not apply. `timeouts.message` limits the future. An error, a panic or a
    /// timeout closes the connection with its reason, after the replies to earlier messages. `limits.in_flight`
    /// messages of a connection can be in progress, and together they have at most `limits.frame` bytes (or are one
    /// message). Then the server reads no more from the connection.
    ///
    /// The future runs in the task of the connection: it must not block. It ends when the connection closes. A reply of
    /// the future can be of any kind; a reply that is itself later takes its place. If a reply
    /// [finishes](Self::then_finish) the connection, the server handles no further messages, drops the later replies to
    /// the messages behind it, and waits for those that are [unordered](Self::unordered).
    pub fn later(future: impl Future<Output = Result<Self>> + Send + 'static) -> Self {
        Self { frames: Frames::Later(ReplyOrder::Requests, Box::pin(future)), then: Then::Continue }
    }

    /// Like [`later`](Self::later), but sends each reply when it is ready: for protocols with request ids.
    ///
    /// A reply of several frames is sent as a whole.
    pub fn unordered(future: impl Future<Output = Result<Self>> + Send + 'static) -> Self {
        Self { frames: Frames::Later(ReplyOrder::Ready, Box::pin(future)), then: Then::Continue }
    }

    /// Sends nothing, and closes after all queued frames are written.
    pub fn finish() -> Self {
        Self::none().then_finish()
    }

    /// Closes immediately; queued frames are dropped.
    pub fn close() -> Self {
        Self { frames: Frames::None, then: Then::Close }
    }

    /// Sends the same frames, and then starts TLS (STARTTLS). The listener has TLS
    /// [on request](crate::settings::TlsStart::OnRequest).
    ///
    /// The server writes the reply, performs the handshake within `timeouts.handshake` and `limits.handshakes`, and
    /// calls [`secured`](crate::Handler::secured). [`Connection::tls`](crate::Connection::tls) then has the details of
    /// the session. Messages in progress are finished before the reply is written.
    ///
    /// A peer must wait for the reply before it sends anything else. If the server has received more, the connection
    /// closes with reason `starttls_injection`, and the handler never gets it: it could come from someone between peer
    /// and server (CVE-2011-0411). A failed handshake closes the connection with reason `handshake`. On a listener
    /// without TLS on request, and on a connection that uses TLS already, the reason is `handler_error`.
    pub fn then_tls(self) -> Self {
        self.then_protocol(Protocol::Tls)
    }

    pub(crate) fn then_protocol(self, to: Protocol) -> Self {
        let Self { frames, then } = self;
        Self { frames: Frames::Switch(Box::new(Switch { frames, to })), then }
    }

    /// Sends the same frames, and then closes after all queued frames are written.
    pub fn then_finish(self) -> Self {
        Self { then: Then::Finish, ..self }
    }
}

/// A value that can be sent as a frame of type `Out`: everything that is `Into<Out>`.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` cannot be sent as a frame of type `{Out}`: it does not implement `Into<{Out}>`",
    label = "a reply owns its data: use `Bytes::copy_from_slice(…)`, or `message.slice(..)` for a part of a message"
)]
pub trait IntoFrame<Out> {
    /// Makes the frame.
    fn into_frame(self) -> Out;
}

#[diagnostic::do_not_recommend]
impl<T: Into<Out>, Out> IntoFrame<Out> for T {
    #[inline]
    fn into_frame(self) -> Out {
        self.into()
    }
}

impl<Out> Default for Reply<Out> {
    fn default() -> Self {
        Self::none()
    }
}

impl<Out> fmt::Debug for Reply<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("frames", &self.frames).field("then", &self.then).finish()
    }
}

impl<Out> fmt::Debug for Switch<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl<Out> fmt::Debug for Frames<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "0",
            Self::One(_) => "1",
            Self::Many(_) => "several",
            Self::Stream(_) => "stream",
            Self::Later(..) => "later",
            Self::Switch(..) => "switch",
        })
    }
}
