//! How a replay ended.

use crate::close_reason::CloseReason;

/// How a replay ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replayed {
    /// Messages that were sent.
    pub messages: usize,
    /// Replies that were compared and equal.
    pub replies: usize,
    /// The first difference. `None`: everything was as recorded, and the handler did not fail.
    pub failure: Option<ReplayFailure>,
}

/// The first difference of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplayFailure {
    /// The index of the step of the script; `None` behind the last one.
    pub step: Option<usize>,
    /// The byte of the data of the step.
    pub byte: usize,
    /// Why the connection closed, if the handler failed.
    pub reason: Option<CloseReason>,
    /// A sentence without control characters.
    pub what: String,
}
