//! Errors of codecs that decide the close reason of a connection.

use std::io;

use crate::error::{BoxError, debug_as_display};

/// An error of a codec. Return it from your own codecs too, so that the connection closes with the right reason.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A message is larger than the limit: reason `frame_too_large`.
    #[error("a message is larger than {limit} bytes")]
    TooLarge {
        /// The largest allowed message in bytes.
        limit: usize,
    },
    /// The bytes are not a message of this framing: reason `bad_frame`.
    #[error("{0}")]
    Malformed(&'static str),
    /// The framing cannot encode an outgoing message: reason `handler_error`.
    #[error("an outgoing message does not fit the framing: {0}")]
    Unfit(&'static str),
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Any other error of a codec that is not part of this crate.
    #[error("{0}")]
    Codec(#[source] BoxError),
}

debug_as_display!(FrameError);
