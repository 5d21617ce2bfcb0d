//! How a connection ended: the close reason, and the error that caused it.

use std::error::Error;
use std::io;
use std::ops::{Deref, DerefMut};

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

/// Boxed: a message or a reply is moved together with the space for this error, and in as many parts as its fields.
#[derive(Debug)]
pub(crate) struct CloseOutcome(Box<Ending>);

#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) reason: CloseReason,
    pub(crate) error: Option<BoxError>,
}

impl Deref for CloseOutcome {
    type Target = Ending;

    fn deref(&self) -> &Ending {
        &self.0
    }
}

impl DerefMut for CloseOutcome {
    fn deref_mut(&mut self) -> &mut Ending {
        &mut self.0
    }
}

impl CloseOutcome {
    pub(crate) fn new(reason: CloseReason, error: Option<BoxError>) -> Self {
        Self(Box::new(Ending { reason, error }))
    }

    pub(crate) fn plain(reason: CloseReason) -> Self {
        Self::new(reason, None)
    }

    pub(crate) fn from_service(error: BoxError) -> Self {
        Self::new(reason_of(&*error), Some(error))
    }

    pub(crate) fn from_decoder(error: BoxError) -> Self {
        let too_large = matches!(find_cause::<FrameError>(&*error), Some(FrameError::TooLarge { .. }))
            || matches!(find_cause::<LinesCodecError>(&*error), Some(LinesCodecError::MaxLineLengthExceeded))
            || find_cause::<LengthDelimitedCodecError>(&*error).is_some()
            || find_cause::<io::Error>(&*error)
                .and_then(io::Error::get_ref)
                .is_some_and(|inner| inner.is::<LengthDelimitedCodecError>());
        let reason = if too_large { CloseReason::FrameTooLarge } else { CloseReason::BadFrame };
        Self::new(reason, Some(error))
    }

    pub(crate) fn from_io(error: io::Error) -> Self {
        Self::new(CloseReason::IoError, Some(error.into()))
    }

    /// The result of a connection that ended like this.
    pub(crate) fn into_result(self) -> Result<(), BoxError> {
        self.0.error.map_or(Ok(()), Err)
    }
}
