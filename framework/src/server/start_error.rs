//! The error of a listener that cannot be started.

use crate::address::Endpoint;
use crate::error::{BoxError, chain, debug_as_display};

/// A listener that could not be started.
#[derive(thiserror::Error)]
#[error("listener {listener} cannot listen on {endpoint}: {}", chain(&**source))]
pub struct StartError {
    pub(super) listener: String,
    pub(super) endpoint: Endpoint,
    pub(super) source: BoxError,
}

debug_as_display!(StartError);
