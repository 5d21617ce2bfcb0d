//! A source of frames that has one place in an outbox, such as a member of a room.

use std::sync::Arc;

/// Yields frames when its place in an outbox comes to the front.
pub(crate) trait FrameSource<Out>: Send + Sync {
    /// The next frame.
    fn next(&self) -> Sourced<Out>;

    /// Takes the gap that [`next`](Self::next) has reported. `None` if there is no gap any more.
    fn take_gap(&self) -> Option<Gap>;

    /// Whether the connection must close, because the source has lost frames while the peer did not read.
    fn is_too_slow(&self) -> bool;

    /// The outbox has removed the place, because there was no further frame. True if it must be added again.
    fn removed(&self) -> bool;

    /// The connection closes: only the frames that are there now still follow. True if a place must be added for them.
    fn close(&self) -> bool;

    /// Whether the source can be forgotten.
    fn has_ended(&self) -> bool;
}

pub(crate) enum Sourced<Out> {
    Frame(Out),
    /// Frames are missing. The handler is called before the next frame.
    Gap,
    /// There may be a frame at the next turn.
    Later,
    Empty,
}

/// Frames of a room that a member has missed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) room: Arc<str>,
    /// 0: an unknown number.
    pub(crate) missed: u64,
}

/// Why a source was not added to an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceError {
    Full,
    Closed,
}
