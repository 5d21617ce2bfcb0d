//! How a connection ended: the close reason, and the error that caused it.

use std::error::Error;
use std::io;

use tokio_util::codec::{LengthDelimitedCodecError, LinesCodecError};

use crate::close_reason::CloseReason;
use crate::error::{BoxError, find_cause};
use crate::framing::FrameError;
use crate::layer::{Elapsed, OverRate, Panicked};
use crate::transport::HandshakeFailure;

/// The close reason for an error of a message or connection service.
pub(crate) fn reason_of(error: &(dyn Error + 'static)) -> CloseReason {
    if find_cause::<Panicked>(error).is_some() {
        CloseReason::Panic
    } else if find_cause::<Elapsed>(error).is_some() {
        CloseReason::MessageTimeout
    } else if find_cause::<OverRate>(error).is_some() {
        CloseReason::Rate
    } else if let Some(failure) = find_cause::<HandshakeFailure>(error) {
        failure.reason()
    } else {
        match find_cause::<FrameError>(error) {
            Some(FrameError::TooLarge { .. }) => CloseReason::FrameTooLarge,
            Some(FrameError::Malformed(_)) => CloseReason::BadFrame,
            _ => CloseReason::HandlerError,
        }
    }
}

#[derive(Debug)]
pub(crate) struct CloseOutcome {
    pub(crate) reason: CloseReason,
    pub(crate) error: Option<BoxError>,
}

impl CloseOutcome {
    pub(crate) fn plain(reason: CloseReason) -> Self {
        Self { reason, error: None }
    }

    pub(crate) fn from_service(error: BoxError) -> Self {
        Self { reason: reason_of(&*error), error: Some(error) }
    }

    pub(crate) fn from_decoder(error: BoxError) -> Self {
        let too_large = matches!(find_cause::<FrameError>(&*error), Some(FrameError::TooLarge { .. }))
            || matches!(find_cause::<LinesCodecError>(&*error), Some(LinesCodecError::MaxLineLengthExceeded))
            || find_cause::<LengthDelimitedCodecError>(&*error).is_some()
            || find_cause::<io::Error>(&*error)
                .and_then(io::Error::get_ref)
                .is_some_and(|inner| inner.is::<LengthDelimitedCodecError>());
        let reason = if too_large { CloseReason::FrameTooLarge } else { CloseReason::BadFrame };
        Self { reason, error: Some(error) }
    }

    pub(crate) fn from_io(error: io::Error) -> Self {
        Self { reason: CloseReason::IoError, error: Some(error.into()) }
    }
}
