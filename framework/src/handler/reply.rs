//! What a handler answers: some frames, and what happens next.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

use crate::error::Result;

/// The answer to a message: what is sent, and whether the connection goes on.
///
/// | written | sent | then |
/// |---|---|---|
/// | `Reply::none()` | nothing | the next message |
/// | `Reply::send(frame)` | one frame | the next message |
/// | `Reply::many(frames)` | each frame, in order | the next message |
/// | `Reply::stream(frames)` | each frame as it comes; reading waits until the stream has ended | the next message |
/// | `….then_finish()` | the same, after all that was queued before | the connection closes when everything is written |
/// | `Reply::close()` | nothing, and what is queued is dropped | the connection closes now |
///
/// Either close has reason `handler_closed`. On datagrams every frame is a datagram to the sender, and closing means that
/// the peer's state is forgotten. To a peer that has not shown that it receives, no more is sent than three times what came
/// from it: see [`Connection::validate_address`](crate::Connection::validate_address).
#[must_use = "a reply does nothing unless it is returned from the handler"]
pub struct Reply<Out = Bytes> {
    /// What is sent.
    pub frames: Frames<Out>,
    /// What happens after that.
    pub then: Then,
}

/// The frames of a [`Reply`].
#[non_exhaustive]
pub enum Frames<Out = Bytes> {
    /// Nothing is sent.
    None,
    /// One frame.
    One(Out),
    /// Several frames, written together.
    Many(Vec<Out>),
    /// Frames that come over time. An error ends the connection with reason `handler_error`.
    Stream(Pin<Box<dyn Stream<Item = Result<Out>> + Send>>),
}

/// What the server does after the frames of a [`Reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Waits for the next message.
    Continue,
    /// Closes when everything queued, pushes included, has been written.
    Finish,
    /// Closes now; what is queued is dropped.
    Close,
}

impl<Out> Reply<Out> {
    /// Says nothing; the connection goes on.
    pub fn none() -> Self {
        Self { frames: Frames::None, then: Then::Continue }
    }

    /// Sends one frame.
    pub fn send(frame: impl Into<Out>) -> Self {
        Self { frames: Frames::One(frame.into()), then: Then::Continue }
    }

    /// Sends several frames, in order.
    pub fn many<I>(frames: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Out>,
    {
        Self { frames: Frames::Many(frames.into_iter().map(Into::into).collect()), then: Then::Continue }
    }

    /// Sends frames as they come. Each waits until the one before it is on its way: a peer that does not read slows the
    /// stream, not the memory.
    pub fn stream(frames: impl Stream<Item = Result<Out>> + Send + 'static) -> Self {
        Self { frames: Frames::Stream(Box::pin(frames)), then: Then::Continue }
    }

    /// Says nothing more, and closes when everything queued has been written.
    pub fn finish() -> Self {
        Self::none().then_finish()
    }

    /// Closes now; what is queued is dropped.
    pub fn close() -> Self {
        Self { frames: Frames::None, then: Then::Close }
    }

    /// The same frames, and then the connection closes when everything is written.
    pub fn then_finish(self) -> Self {
        Self { then: Then::Finish, ..self }
    }
}

impl<Out> Default for Reply<Out> {
    fn default() -> Self {
        Self::none()
    }
}

impl<Out> fmt::Debug for Reply<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = match &self.frames {
            Frames::None => "0",
            Frames::One(_) => "1",
            Frames::Many(_) => "several",
            Frames::Stream(_) => "stream",
        };
        f.debug_struct("Reply").field("frames", &frames).field("then", &self.then).finish()
    }
}

impl<Out> fmt::Debug for Frames<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frames")
    }
}
