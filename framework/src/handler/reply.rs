//! The reply to a message: frames to send, and what happens next.

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
}

/// What the server does after it has sent the frames of a [`Reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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

    /// Sends nothing, and closes after all queued frames are written.
    pub fn finish() -> Self {
        Self::none().then_finish()
    }

    /// Closes immediately; queued frames are dropped.
    pub fn close() -> Self {
        Self { frames: Frames::None, then: Then::Close }
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

impl<Out> fmt::Debug for Frames<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "0",
            Self::One(_) => "1",
            Self::Many(_) => "several",
            Self::Stream(_) => "stream",
        })
    }
}
