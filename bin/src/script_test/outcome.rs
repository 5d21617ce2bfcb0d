//! How a script ended.

use std::time::Duration;

use switchboard::script::Data;

/// Bytes before the first difference that a report shows.
const SHOWN_BEFORE: usize = 16;
/// Bytes from the first difference on that a report shows.
const SHOWN_AFTER: usize = 16;

/// The result of one script.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) result: Result<(), Mismatch>,
    pub(super) time: Duration,
    /// Close reasons that only the server knows.
    pub(super) unseen_reasons: usize,
}

/// Why a script failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The step, unless the script was at its end.
    pub(super) step: Option<usize>,
    /// The byte of the data of the step.
    pub(super) byte: usize,
    /// A sentence without control characters.
    pub(super) what: String,
    /// The server could not be reached, or the transport has no such step.
    pub(crate) is_error: bool,
    pub(super) excerpt: Option<Excerpt>,
}

/// The bytes around the first difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// `None`: any value.
    pub(super) expected: Vec<Option<u8>>,
    pub(super) received: Vec<u8>,
    /// The index of the difference in both.
    pub(super) at: usize,
    /// Bytes before and after those.
    pub(super) has_before: bool,
    pub(super) has_more_expected: bool,
    pub(super) has_more_received: bool,
}

impl Mismatch {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { step: None, byte: 0, what: what.into(), is_error: false, excerpt: None }
    }

    pub(super) fn error(what: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::new(what) }
    }
}

impl Excerpt {
    /// The bytes around an index.
    pub(super) fn new(expected: &Data, received: &[u8], index: usize) -> Self {
        let from = index.saturating_sub(SHOWN_BEFORE);
        let count = index - from + SHOWN_AFTER;
        Self {
            expected: expected.bytes().skip(from).take(count).collect(),
            received: received.iter().skip(from).take(count).copied().collect(),
            at: index - from,
            has_before: from > 0,
            has_more_expected: expected.len() > from + count,
            has_more_received: received.len() > from + count,
        }
    }
}
